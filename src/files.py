"""Write files so that a reader, or a crash, meets the old content or the new, never a half."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path, data: bytes | str) -> None:
    """Put `data` at `path`: a temporary file beside it, flushed to the disk, then renamed over it.

    Text is written as UTF-8 with its line ends as they are. Missing parent folders are made. Processes
    that write the same path at once do not mix: the last rename wins.

    Raises OSError when the file cannot be written (`path` then holds what it held before) and
    UnicodeEncodeError when the text has no UTF-8 form (nothing is touched).
    """
    content = data.encode("utf-8") if isinstance(data, str) else data
    with replacing(path) as file:
        file.write(content)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write what shall stand at `path`, which holds it once the block has ended without an error.

    Raises:
        OSError: as `write_atomically`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Beside its target, since a rename is atomic within one file system only. The name stays short: the
    # target's own may already be as long as the file system allows.
    temporary = path.parent / f".{secrets.token_hex(8)}.tmp"
    try:
        # "x" takes the umask's permissions, which tempfile's 0600 would not.
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and error.filename in (None, str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from error  # the name that the user knows
        raise
    flush_folder(path.parent)


OLD_S = 600.0  # nobody has been writing a file for that long


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files that a killed process left in `folder`, but none that may still be written."""
    with contextlib.suppress(OSError):
        for path in folder.glob(".*.tmp"):
            if time.time() - path.stat().st_mtime > OLD_S:
                path.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Flush a rename to the disk, where the system can open folders (POSIX)."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


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


def listed_files(folder: Path) -> dict[str, str]:
    """The checksum of each file that SHA256SUMS names; nothing where it cannot be read."""
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return {}
    return {line[66:]: line[:64] for line in lines}


def modified_files(folder: Path) -> list[str] | None:
    """Files that are gone or are not what SHA256SUMS says; None where there is no readable SHA256SUMS."""
    listed = listed_files(folder)
    wrong = [name for name, digest in listed.items() if not _fits(folder / name, digest)]
    return wrong if listed else None


def _fits(path: Path, digest: str) -> bool:
    try:
        return file_digest(path) == digest
    except OSError:
        return False
