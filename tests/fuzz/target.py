"""What a target of the fuzzing is: it makes inputs, and puts one to the code."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Protocol


class Make(Protocol):
    def __call__(self, random: Random) -> bytes: ...


class Put(Protocol):
    def __call__(self, data: bytes, folder: Path) -> str: ...


@dataclass(frozen=True)
class Target:
    """A reader of what comes from outside.

    Attributes:
        make: an input, always the same for the same generator.
        put: puts an input to the reader within an empty folder; gives the outcome's kind, raises where the
            reader does what it may not.
        every: of so many rounds it takes part in one: what draws figures takes a hundred times as long.
    """

    name: str
    make: Make
    put: Put
    every: int = 1


def home_in(folder: Path) -> Path:
    """A folder so deep that some `..` more do not walk through the machine's own files."""
    home = folder / "/".join("abcdefghijkl")
    home.mkdir(parents=True, exist_ok=True)
    return home


@contextlib.contextmanager
def at(home: Path) -> Iterator[None]:
    """The working folder, and what `~` stands for."""
    before, own = Path.cwd(), os.environ.get("HOME", "")
    os.chdir(home)
    os.environ["HOME"] = str(home)
    try:
        yield
    finally:
        os.chdir(before)
        os.environ["HOME"] = own
