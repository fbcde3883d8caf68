"""Integrity of finished folders: SHA256SUMS, in the format of `sha256sum` (check by hand: `sha256sum -c SHA256SUMS`).

Checkpoints need none: they are zip archives with a CRC for each record (src/run/checkpoints.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from src.files import write_atomically

SUMS = "SHA256SUMS"
CHANGED = "was changed after it was written (damaged, or edited by hand)"


def file_digest(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sums(folder: Path, names: Sequence[str]) -> None:
    """Write the checksums of those files that there are; a folder's last file."""
    lines = [f"{file_digest(folder / name)}  {name}\n" for name in names if (folder / name).is_file()]
    write_atomically(folder / SUMS, "".join(lines))


def modified_files(folder: Path) -> list[str] | None:
    """Files that are gone or are not what SHA256SUMS says; None where there is no readable SHA256SUMS."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
        listed = [(line[:64], line[66:]) for line in lines]
        wrong = [name for digest, name in listed if not _fits(folder / name, digest)]
    except (OSError, UnicodeDecodeError):
        return None
    return wrong if listed else None


def _fits(path: Path, digest: str) -> bool:
    try:
        return file_digest(path) == digest
    except OSError:
        return False
