"""What a killed command carries inside: a journal of its writes, and a signal at the N-th of them.

A write is a call of `os.fsync` on a file or of `os.replace`: the moments between which a file is new, half
written, whole, or in its place. Every process of the command appends to one journal, so that the N-th write
is the N-th of all of them.
"""

from __future__ import annotations

import fcntl
import os
import signal
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Moment:
    """When a command is killed, how, and who gets the signal.

    Attributes:
        event: the number of the write at which it happens, counted from 1; 0 for a moment in time.
        after: whether the write has happened by then. Before an fsync, half of the file is cut off, as if it
            had never reached the disk.
        seconds: since the start, where `event` is 0.
        whom: `command`, `group` (with all its workers) or `self` (the one that writes).
    """

    number: int
    whom: str
    event: int = 0
    after: bool = False
    seconds: float = 0.0

    @property
    def name(self) -> str:
        return f"{signal.Signals(self.number).name} to {'the writer' if self.whom == 'self' else self.whom}"


def install(journal: Path, moment: Moment | None) -> None:
    """Note every write in `journal`, and kill at the moment's one. Processes forked from here do so, too."""
    command = os.getpid()
    replace, fsync = os.replace, os.fsync

    def note(what: str) -> int:
        """The number of this write."""
        with journal.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(f"{os.getpid() == command:d} {what}\n".encode())
            file.flush()
            file.seek(0)
            return file.read().count(b"\n")

    def strike() -> None:
        assert moment is not None
        own = moment.whom == "self"
        if moment.whom == "group":
            os.killpg(command, moment.number)
        else:
            os.kill(os.getpid() if own else command, moment.number)
        if os.getpid() != command and not own and moment.number == signal.SIGKILL:
            time.sleep(5)  # the worker ends with its parent

    def replaced(source: Any, target: Any, **options: Any) -> None:
        struck = note(f"rename {Path(target)}") == (moment.event if moment else 0)
        if struck and moment and not moment.after:
            strike()
        replace(source, target, **options)
        if struck and moment and moment.after:
            strike()

    def synced(descriptor: int) -> None:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            fsync(descriptor)
            return
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        struck = note(f"fsync {path}") == (moment.event if moment else 0)
        if struck and moment and not moment.after:
            size = os.fstat(descriptor).st_size
            if moment.number == signal.SIGKILL:
                os.ftruncate(descriptor, size // 2)
            strike()
        fsync(descriptor)
        if struck and moment and moment.after:
            strike()

    os.replace, os.fsync = replaced, synced  # type: ignore[assignment]


def writes(journal: Path) -> list[str]:
    """What a journal lists, in order: `rename PATH` and `fsync PATH`."""
    try:
        lines = journal.read_text().splitlines()
    except FileNotFoundError:
        return []
    return [line.split(" ", 1)[1] for line in lines]
