"""The process that puts inputs to the code; where one kills it, another goes on behind that input.

A line on its output for each input: JSON of outcome, CPU seconds, bytes and traceback.
"""

from __future__ import annotations

import itertools
import json
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tests.fuzz import guard
from tests.fuzz.target import Target

MEMORY_DISK = Path("/dev/shm")  # a disk's folders cost more than reading what is in them


def schedule(targets: Sequence[Target]) -> Iterator[tuple[Target, int]]:
    """Targets by turns, each with the number of its input."""
    for number in itertools.count():
        for target in targets:
            if number % target.every == 0:
                yield target, number // target.every


def made(target: Target, seed: int, number: int) -> bytes:
    """An input, always the same for the same seed and number."""
    return target.make(Random(f"{seed}/{target.name}/{number}"))


def sandbox() -> TemporaryDirectory[str]:
    """A folder for what an input writes, in memory where there is such a disk."""
    return TemporaryDirectory(prefix="fuzz", dir=MEMORY_DISK if MEMORY_DISK.is_dir() else None)


def judged(target: Target, data: bytes, parent: Path) -> dict[str, object]:
    """Put one input to its target, in a new folder below `parent`, within all bounds."""
    folder = parent / "x"
    folder.mkdir()

    def put() -> str:
        with guard.timed(), guard.watched(parent):
            return target.put(data, folder)

    before, began = guard.reset_peak(), time.process_time()
    outcome, fault = guard.fault_of(put)
    seconds, grown = time.process_time() - began, guard.peak() - before
    if grown > guard.GROWTH and not fault:
        outcome = fault = f"FAULT took {grown / 2**20:,.0f} MiB"
    shutil.rmtree(folder, ignore_errors=True)
    return {"outcome": outcome, "seconds": seconds, "grown": max(0, grown), "fault": fault}


def main() -> None:
    """`python -m tests.fuzz.worker SEED FIRST LAST NAME,NAME`: inputs FIRST to LAST of the schedule."""
    from tests.fuzz.all_targets import TARGETS, warm_up

    seed, first, last = map(int, sys.argv[1:4])
    targets = [TARGETS[name] for name in sys.argv[4].split(",")]
    for target in targets:
        warm_up(target)
    guard.limit_memory()
    print("ready", flush=True)
    with sandbox() as parent:
        for target, number in itertools.islice(schedule(targets), first, last):
            print(json.dumps(judged(target, made(target, seed, number), Path(parent))), flush=True)


if __name__ == "__main__":
    main()
