"""Checksums for a run's text files, in which a flipped byte can make another plausible number.

results.json and identity.json carry the SHA-256 of their own content under `sha256`; results.json, a run's
last file, also lists those of the files beside it under `files`. Layout and order of keys do not count, so a
file that was only formatted anew still fits. Files of older runs have neither and are taken as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

KEY = "sha256"
FILES = "files"
CHANGED = "was changed after the run wrote it (damaged, or edited by hand)"


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """`content`, which json can write as it is, and its own checksum as the last key."""
    plain = {key: value for key, value in content.items() if key != KEY}
    return {**plain, KEY: _digest(plain)}


def seal_is_broken(content: Mapping[str, Any]) -> bool:
    """Whether the content differs from what was sealed; one that bears no seal cannot differ."""
    if KEY not in content:
        return FILES in content  # which comes with a seal only
    return content[KEY] != _digest({key: value for key, value in content.items() if key != KEY})


def digests_of(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    """The SHA-256 of those files that there are, for `FILES`. Raises OSError."""
    return {name: file_digest(folder / name) for name in names if (folder / name).is_file()}


def altered(folder: Path, results: Mapping[str, Any]) -> list[str]:
    """The files in `folder` whose bytes are not those that results.json lists; absent ones do not count."""
    listed = results.get(FILES)
    found = []
    for name, digest in listed.items() if isinstance(listed, dict) else ():
        path = folder / Path(str(name)).name
        try:
            if path.is_file() and file_digest(path) != digest:
                found.append(path.name)
        except OSError:
            found.append(path.name)
    return found


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
