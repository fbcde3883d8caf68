"""The name of a run's folder: its settings, as far as a file system takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

LONGEST = 200  # bytes; file systems take 255, and `.lock` is appended
NO_LETTERS = '/\\,= \n\t:*?"<>|'  # what separates parts of a path or of a name


def folder_name(settings: Mapping[str, Any]) -> str:
    """`key=value,key=value`; a long name ends in a digest of the whole, config.yaml has every setting."""
    name = ",".join(f"{key}={_plain(value)}" for key, value in settings.items())
    data = name.encode()
    if len(data) <= LONGEST:
        return name
    return f"{data[: LONGEST - 9].decode(errors='ignore')}-{_digest(name)}"


def _plain(value: Any) -> str:
    """A value without separators, of a path the last part.

    What had to be changed ends in a digest of the whole, so that two values never share a name.
    """
    text = str(value).lower() if isinstance(value, bool) else str(value)  # as on the command line
    last = text.rstrip("/").rpartition("/")[2]
    kept = "".join("_" if sign in NO_LETTERS else sign for sign in last)
    return kept if kept == text else f"{kept}-{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
