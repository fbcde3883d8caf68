"""Every target, by its name."""

import contextlib
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tests.fuzz import commands, folders, readers
from tests.fuzz.target import Target

TARGETS: dict[str, Target] = {
    target.name: target for target in (*readers.TARGETS, *commands.TARGETS, *folders.TARGETS)
}


def warm_up(target: Target) -> None:
    """Let the target import what it needs, which takes time, memory and caches of other folders."""
    for number in range(4):
        with TemporaryDirectory() as folder, contextlib.suppress(Exception):
            target.put(target.make(Random(f"warm {number}")), Path(folder))
