"""Paths as people type them, of which the system takes not every one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def expanded(given: str | Path) -> Path:
    """A leading `~` or `~user` as that user's home; where there is no such user it stays, as in a shell."""
    try:
        return Path(given).expanduser()
    except RuntimeError:
        return Path(given)


def exists(path: Path) -> bool:
    """As Path.exists, and False for a name that no file can have (too long, say)."""
    return _asked(path.exists)


def is_file(path: Path) -> bool:
    """As Path.is_file, and False for a name that no file can have."""
    return _asked(path.is_file)


def is_dir(path: Path) -> bool:
    """As Path.is_dir, and False for a name that no folder can have."""
    return _asked(path.is_dir)


def _asked(question: Callable[[], bool]) -> bool:
    try:
        return question()
    except (OSError, ValueError):
        return False
