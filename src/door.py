"""What the doors that read key=value words do alike: help, mistakes at once, stopped in a sentence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from src import stops
from src.job import say_to_terminal
from src.streams import guard_streams
from src.words import plain

LONGEST = 2_000  # characters of a line: whatever a file is called, and whatever an error says


def say(line: str) -> None:
    """A line for the user on standard error, printable and shortened; its indent stays."""
    text = line.lstrip(" ")
    say_to_terminal(line[: len(line) - len(text)] + plain(text, LONGEST))


def refuse(door: str, outcome: str, mistakes: Sequence[str]) -> int:
    """Name every mistake once; exit status 2.

    Args:
        door: `src.predict`.
        outcome: what has not happened: "Nothing was written".
        mistakes: a sentence each.
    """
    unique = list(dict.fromkeys(mistakes))
    say(f"{outcome}: {len(unique)} mistake{'s' if len(unique) > 1 else ''}.")
    for mistake in unique:
        say(f"  {mistake.strip()}")
    say(f"python -m {door} --help explains every setting.")
    return 2


def enter(command: Callable[[list[str]], int], help_text: Callable[[], str], stopped: str) -> None:
    """Run a command line as a process: `--help`, or the command, whose status the process ends with.

    Args:
        command: takes the words after `python -m src.door`; its exit status.
        help_text: what `--help` prints.
        stopped: said after Ctrl-C, SIGTERM or SIGHUP.

    Raises:
        SystemExit: always.
    """
    guard_streams()
    arguments = sys.argv[1:]
    if any(argument in ("--help", "-h") for argument in arguments):
        print(help_text())
        raise SystemExit(0)
    stops.heed()
    try:
        raise SystemExit(command(arguments))
    except KeyboardInterrupt as error:
        for line in stopped.splitlines():
            say(line)
        raise SystemExit(stops.status_of(error)) from None
