"""Checkpoints that are whole or not there, and whose damage is noticed.

Lightning saves through the system's temporary folder and does not sync. Here a checkpoint is written beside its
target, synced and renamed. It is the zip archive that `torch.save` writes, whose records carry CRCs: reading
checks them all, since `torch.load` does not.
"""

from __future__ import annotations

import io
import logging
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import CheckpointIO

from src.files import write_atomically

logger = logging.getLogger(__name__)


class DamagedCheckpoint(RuntimeError):
    """A checkpoint's bytes are not those that were written."""


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write primitives and tensors to `path`: whole, synced, or not at all.

    Raises:
        OSError: the file cannot be written; what stood at `path` before still does.
    """
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomically(path, buffer.getvalue())


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint: tensors and primitives only, after the CRC of every record was compared.

    Raises:
        FileNotFoundError: there is none.
        DamagedCheckpoint: it is truncated, altered, or no checkpoint.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise FileNotFoundError(f"there is no checkpoint {path}") from error
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            records = archive.infolist()
            if sum(record.file_size for record in records) > len(data):  # torch.save compresses nothing
                raise DamagedCheckpoint(f"the checkpoint {path} unpacks to more than its size: it is refused")
            damaged = archive.testzip()
        if damaged is not None:
            raise DamagedCheckpoint(f"the checkpoint {path} is damaged: the CRC of {damaged} is wrong")
        content = torch.load(io.BytesIO(data), map_location=map_location, weights_only=True)
    except (DamagedCheckpoint, MemoryError):
        raise
    except Exception as error:  # zipfile and torch refuse what is no checkpoint in a dozen ways
        raise DamagedCheckpoint(
            f"{path} is cut off, damaged, or no checkpoint of tensors and plain values ({type(error).__name__})"
        ) from error
    if not isinstance(content, dict):
        raise DamagedCheckpoint(f"{path} is no checkpoint: it holds a {type(content).__name__}")
    return content


def resume_point(last: Path, best: Path) -> Path | None:
    """The checkpoint to go on from, with the other one beside it; None to train from the start.

    A damaged `last` is made again from `best`. A damaged `best` is made again from `last` where that holds the best
    epoch; otherwise only training again gives its weights.
    """
    there = {path: _whole(path) for path in (last, best)}
    if there[last] is None and there[best] is None:
        return None
    if there[last] is None:
        write_atomically(last, best.read_bytes())
    elif there[best] is None:
        recorded = there[last]["callbacks"]["Recorder"]  # type: ignore[index]
        if recorded["best"]["epoch"] != len(recorded["rows"]):
            logger.info(
                "nothing else holds the weights of the best epoch so far: training begins from the start"
            )
            last.unlink()
            return None
        write_atomically(best, last.read_bytes())
    return last


def _whole(path: Path) -> dict[str, Any] | None:
    try:
        return read_checkpoint(path)
    except FileNotFoundError:
        return None
    except DamagedCheckpoint as error:
        logger.info("%s; going on without it", error)
        return None


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
