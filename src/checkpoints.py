"""Checkpoints that are whole or not there, and whose damage is noticed.

Lightning saves through the system's temporary folder and does not sync, and most single flipped bytes
load without an error. Here a checkpoint is written beside its target, synced and renamed, and ends in
the SHA-256 of its own bytes. The hash is the comment of the zip archive that torch.save writes, so the
file remains one that plain `torch.load(path, weights_only=True)` opens.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO

from src.files import write_atomically
from src.memory import shortage

SET_ASIDE = "set_aside.ckpt"  # a last.ckpt that cannot be gone on from, for whoever can use its weights
_MARK = b"sha256="
_COMMENT = len(_MARK) + hashlib.sha256().digest_size * 2
_END_OF_ARCHIVE = b"PK\x05\x06"  # a zip archive's last record: 22 bytes, the last two its comment's length
_END_LENGTH = 22


class DamagedCheckpoint(RuntimeError):
    """A checkpoint's bytes are not those that were written."""


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write primitives and tensors to `path`: whole, synced, or not at all.

    Raises:
        OSError: the file cannot be written; what stood at `path` before still does.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    data = buffer.getbuffer()
    if bytes(data[-_END_LENGTH : -_END_LENGTH + 4]) != _END_OF_ARCHIVE:
        raise RuntimeError("torch.save wrote something other than a zip archive without a comment")
    body = data[:-2]
    write_atomically(path, b"".join([body, _trailer(body)]))


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint: tensors and primitives only, after its hash was compared.

    Raises:
        FileNotFoundError: there is none.
        DamagedCheckpoint: it is truncated, altered, or none of ours.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no checkpoint {path}") from error
    body, trailer = data[: -2 - _COMMENT], data[-2 - _COMMENT :]
    if not trailer[2:].startswith(_MARK):
        raise DamagedCheckpoint(
            f"the checkpoint {path} is cut off or not one of this project: no hash at its end"
        )
    if trailer != _trailer(body):
        raise DamagedCheckpoint(
            f"the checkpoint {path} is damaged: its bytes do not give the hash at its end"
        )
    try:
        _refuse_squeezed(data)
        content = torch.load(io.BytesIO(data), map_location=map_location, weights_only=True)
    except Exception as error:  # whole, but made by somebody else: torch refuses it in a dozen ways
        if shortage(error) is not None:  # no fault of the file
            raise
        raise DamagedCheckpoint(f"{_not_ours(path)}: {type(error).__name__}") from error
    if not isinstance(content, dict):
        raise DamagedCheckpoint(_not_ours(path))
    return content


def best_survives(last: Path, best: Path, say: Callable[[str], None]) -> None:
    """See to it that a run that goes on from `last` has the weights of its best epoch so far at its end.

    Where best.ckpt is damaged or gone, they are those of `last` if its epoch is the best one. Otherwise only
    training again gives them: `last` is set aside. A damaged `last` is not looked into.

    Args:
        say: takes a line for the user where something is amiss.
    """
    try:
        content = read_checkpoint(last)
        epochs, best_epoch = _epochs_of(content)
    except (FileNotFoundError, DamagedCheckpoint, LookupError, TypeError):
        return
    try:
        read_checkpoint(best)
    except (FileNotFoundError, DamagedCheckpoint) as error:
        if best_epoch == epochs:
            say(f"{error}; it is made again from {last.name}, whose epoch {epochs} is the best")
            write_atomically(best, last.read_bytes())
            return
        aside = last.with_name(SET_ASIDE)
        say(
            f"{error}; no other file holds the weights of the best epoch so far, {best_epoch}: training "
            f"begins from the start ({last.name}, of epoch {epochs}, is kept as {aside.name})"
        )
        last.replace(aside)
        best.unlink(missing_ok=True)


def _epochs_of(content: dict[str, Any]) -> tuple[int, int]:
    """How many epochs a checkpoint's run has done, and which was the best (src/recorder.py)."""
    recorded = content["callbacks"]["Recorder"]
    return len(recorded["rows"]), int(recorded["best"]["epoch"])


def _refuse_squeezed(data: bytes) -> None:
    """Raises ValueError where an archive's records are larger than the archive.

    torch.save squeezes nothing, but torch.load unpacks what is: somebody's megabyte can hold a gigabyte.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if sum(record.file_size for record in archive.infolist()) > len(data):
            raise ValueError("its records are squeezed")


def _trailer(body: bytes | memoryview) -> bytes:
    """The comment's length and the comment, as they end a zip archive."""
    return _COMMENT.to_bytes(2, "little") + _MARK + hashlib.sha256(body).hexdigest().encode()


def _not_ours(path: Path) -> str:
    return f"the checkpoint {path} holds something other than a dictionary of tensors and plain values"


class SafeCheckpointIO(CheckpointIO):
    """How Lightning's Trainer writes and reads checkpoints here."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None
    ) -> None:
        write_checkpoint(Path(path), checkpoint)

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True
    ) -> dict[str, Any]:
        return read_checkpoint(Path(path), map_location or "cpu")

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)
