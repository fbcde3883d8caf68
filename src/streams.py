"""Standard output and error that no command dies of: a pipe whose reader has left, a closed descriptor.

`python -m src.train -m ... | head` writes all its files and leaves with its own status.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any

GONE = (errno.EPIPE, errno.EIO)  # of a pipe, of a terminal


class _Lasting(io.FileIO):
    """A descriptor that drops what nobody is there to read; other errors, as of a full disk, are raised."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in GONE:
                raise
            return memoryview(data).nbytes


def guard_streams() -> None:
    """Make both streams of this process last, and replace letters that their encoding lacks.

    Call it first of all in an entry point. Streams that someone has replaced (a test, a notebook) stay.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is not getattr(sys, f"__{name}__"):
            continue
        if stream is None:  # 2>&-: the next file that is opened would get its number, and its lines
            _open_null(number)
        else:
            stream.flush()
        lasting = io.TextIOWrapper(
            io.BufferedWriter(_Lasting(number, "w", closefd=False)),
            encoding=stream.encoding if stream else "utf-8",
            errors="replace",
            line_buffering=name == "stderr" or os.isatty(number),
        )
        setattr(sys, name, lasting)
        setattr(sys, f"__{name}__", lasting)


def _open_null(number: int) -> None:
    """Open the null device as descriptor `number`, unless a library has a file there by now."""
    try:
        os.fstat(number)
    except OSError:
        null = os.open(os.devnull, os.O_WRONLY)
        if null != number:
            os.dup2(null, number)
            os.close(null)
        os.set_inheritable(number, True)


def printable(value: object, longest: int = 300) -> str:
    """A file name or a library's message on one line, without colours and cursor moves for the terminal."""
    text = "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in str(value))
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
