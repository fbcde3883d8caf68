"""Many inputs, one after another, in a process that is watched; what was found, as a table."""

from __future__ import annotations

import itertools
import json
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from src.files import write_atomically
from tests.fuzz.target import Target
from tests.fuzz.worker import made, schedule

START_S = 600.0  # for imports, on a machine that has other work
HANG_S = 180.0  # by the clock; the worker's own timers ring earlier, unless C code holds it
SHOWN_EVERY_S = 10.0
ROOT = Path(__file__).parents[2]


@dataclass
class Tally:
    """What became of one target's inputs."""

    inputs: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    slowest: float = 0.0  # seconds of CPU
    largest: int = 0  # bytes that one input added to the memory
    faults: int = 0


@dataclass
class Campaign:
    """Inputs of a seed for some targets.

    Attributes:
        out: takes a file for each input that did what it may not, and one with the traceback.
        until: the end by time.monotonic().
        say: takes a line for the user.
    """

    targets: Sequence[Target]
    seed: int
    inputs: int
    out: Path
    until: float
    say: Callable[[str], None]
    tallies: dict[str, Tally] = field(default_factory=dict)

    def run(self) -> int:
        """Put all inputs, or as many as the time allows; how many."""
        self.tallies = {target.name: Tally() for target in self.targets}
        done, began, shown = 0, time.monotonic(), time.monotonic()
        turns = schedule(self.targets)
        while done < self.inputs and time.monotonic() < self.until:
            with Worker(self, done) as worker:
                for line in worker:
                    target, number = next(turns)
                    self._count(target, number, line)
                    done += 1
                    if time.monotonic() - shown > SHOWN_EVERY_S:
                        shown = time.monotonic()
                        self.say(self._progress(done, shown - began))
                    if time.monotonic() > self.until:
                        break
                if worker.died and done < self.inputs:
                    target, number = next(turns)
                    self._count(target, number, {"outcome": worker.died, "fault": worker.last_words()})
                    done += 1
        return done

    def _count(self, target: Target, number: int, line: dict[str, Any]) -> None:
        tally = self.tallies[target.name]
        tally.inputs += 1
        tally.outcomes[line["outcome"]] = tally.outcomes.get(line["outcome"], 0) + 1
        tally.slowest = max(tally.slowest, line.get("seconds", 0.0))
        tally.largest = max(tally.largest, line.get("grown", 0))
        if line["fault"]:
            tally.faults += 1
            if tally.outcomes[line["outcome"]] <= 3:  # of one kind a few tell all
                name = f"{target.name.replace(' ', '_')}-{self.seed}-{number}"
                write_atomically(self.out / f"{name}.input", made(target, self.seed, number))
                write_atomically(self.out / f"{name}.txt", line["fault"].encode("utf-8", "backslashreplace"))
                self.say(f"  {target.name}, input {number}: {line['outcome']} (see {self.out / name}.txt)")

    def _progress(self, done: int, seconds: float) -> str:
        left = min((self.inputs - done) * seconds / done, self.until - time.monotonic())
        faults = sum(tally.faults for tally in self.tallies.values())
        return f"{done:,} of {self.inputs:,} inputs, {faults} faults, {max(0, left) / 60:.1f} min left"

    def table(self) -> str:
        """A line a target, in Markdown."""
        lines = [
            "| target | inputs | distinct outcomes | slowest, s of CPU | largest, MiB | faults |",
            "|---|---:|---:|---:|---:|---:|",
        ]
        lines += [
            f"| {name} | {tally.inputs:,} | {len(tally.outcomes)} | {tally.slowest:.2f} | "
            f"{tally.largest / 2**20:.0f} | {tally.faults} |"
            for name, tally in self.tallies.items()
        ]
        return "\n".join(lines)


class Worker:
    """The process; iterated over, it gives the lines that it prints, until it ends or hangs."""

    def __init__(self, campaign: Campaign, first: int) -> None:
        names = ",".join(target.name for target in campaign.targets)
        campaign.out.mkdir(parents=True, exist_ok=True)
        self.log = campaign.out / "worker.log"
        command = (
            sys.executable,
            "-m",
            "tests.fuzz.worker",
            str(campaign.seed),
            str(first),
            str(campaign.inputs),
        )
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*command, names], stdout=subprocess.PIPE, stderr=log, stdin=subprocess.DEVNULL, cwd=ROOT
            )
        self.died = ""  # how, where it did not end by itself

    def __iter__(self) -> Any:
        assert self.process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            rest, ready = b"", False
            while True:
                if not selector.select(HANG_S if ready else START_S):
                    self.died = "FAULT hangs, and no timer can wake it"
                    return
                data = self.process.stdout.read1(2**16)  # type: ignore[attr-defined]
                if not data:
                    status = self.process.wait()
                    if not ready:
                        raise RuntimeError(f"the worker cannot start: {self.last_words()[-2000:]}")
                    self.died = f"FAULT the process died, status {status}" if status else ""
                    return
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    if ready:
                        yield json.loads(line)
                    ready = True

    def last_words(self) -> str:
        """What it wrote to its standard error, and how it ended."""
        return f"{self.died}\n" + self.log.read_text(encoding="utf-8", errors="replace")[-10_000:]

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def replayed(path: Path, target: Target) -> dict[str, object]:
    """An input's file once more, in this process."""
    from tests.fuzz.all_targets import warm_up
    from tests.fuzz.worker import judged, sandbox

    warm_up(target)
    with sandbox() as folder:
        return judged(target, path.read_bytes(), Path(folder))


def first_inputs(targets: Sequence[Target], seed: int, inputs: int) -> list[tuple[Target, bytes]]:
    """What a campaign would put, for a test within its own process."""
    turns = itertools.islice(schedule(targets), inputs)
    return [(target, made(target, seed, number)) for target, number in turns]
