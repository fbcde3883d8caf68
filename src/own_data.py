"""Whether data of the user's own are the same: read once, then trusted by size and time of change."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

SETTLED_S = 2.0  # a file that changed later than that may change again within the clock's resolution
_known: dict[str, str] = {}  # digests by stamp, of this process


def stamp_of(files: Sequence[Path]) -> str | None:
    """A digest of the files' places, sizes and times of change; None where one changed only just now."""
    states = [(path, path.stat()) for path in files]
    if not files or max(state.st_mtime for _, state in states) > time.time() - SETTLED_S:
        return None
    told = [f"{path.resolve()} {state.st_size} {state.st_mtime_ns}" for path, state in states]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]


def forget() -> None:
    """Trust nothing that this process has read: for tests."""
    _known.clear()


def digest_of(files: Sequence[Path], stamp: str | None) -> str:
    """A digest of the files' names and bytes, which are read once for a stamp that is not None."""
    if stamp in _known:
        return _known[stamp]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    found = digest.hexdigest()[:16]
    if stamp is not None:
        _known[stamp] = found
    return found
