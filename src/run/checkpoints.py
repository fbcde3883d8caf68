"""What a run writes while it trains: checkpoints, metrics.csv, its loggers' metrics.

A checkpoint is whole or not there, and its damage is noticed. Lightning saves through the system's temporary folder and
does not sync; here a checkpoint is written beside its target, synced and renamed. It is the zip archive that
`torch.save` writes, whose records carry CRCs: reading checks them all, since `torch.load` does not.
"""

from __future__ import annotations

import csv
import io
import logging
import math
import pickle
import re
import time
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.loggers import Logger
from torch import Tensor
from torch.nn import Module

from src.config.settings import Task
from src.entry_point import UserError
from src.files import write_atomically
from src.run import ranks, signals
from src.run.environment import epoch_seed
from src.run.folder import Diverged, Run

READ_EVERY = 50  # batches between two looks at the losses: each look makes a GPU wait
logger = logging.getLogger(__name__)


class DamagedCheckpoint(UserError):
    """A checkpoint's bytes are not those that were written."""


def write_checkpoint(path: Path, content: dict[str, Any]) -> None:
    """Write primitives and tensors to `path`: whole, synced, or not at all. Scalars of NumPy become Python's.

    Raises:
        UserError: the content holds something else, which `read_checkpoint` would refuse.
        OSError: the file cannot be written; what stood at `path` before still does.
    """
    buffer = io.BytesIO()
    torch.save(_plain(content), buffer)
    if not path.exists():  # once a file
        try:
            torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
        except pickle.UnpicklingError as error:
            kind = re.search(r"GLOBAL (\S+)", str(error))
            raise UserError(
                f"a checkpoint holds tensors and plain values, not {kind[1] if kind else 'objects'}: change what the "
                "network, callback or data set keeps (its state_dict, its arguments)"
            ) from error
    write_atomically(path, buffer.getvalue())


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (dict, list, tuple):
        inner = value.items() if isinstance(value, dict) else value
        return type(value)(map(_plain, inner))
    return value


def read_checkpoint(path: Path, map_location: Any = "cpu") -> dict[str, Any]:
    """Read a checkpoint: tensors and primitives only, after the CRC of every record was compared.

    Raises:
        FileNotFoundError: there is none.
        DamagedCheckpoint: it is truncated, altered, or no checkpoint.
    """
    data = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            records = archive.infolist()
            if sum(record.file_size for record in records) > len(data):  # torch.save compresses nothing
                raise DamagedCheckpoint(f"the checkpoint {path} unpacks to more than its size: it is refused")
            if damaged := archive.testzip():
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
    """The checkpoint to go on from; None to train from the start, as where the best epoch's weights are lost.

    A `last` that is damaged, or that a kill came before, is made again from `best`.
    """
    whole = []
    for path in (last, best):
        try:
            read_checkpoint(path)
            whole.append(path)
        except FileNotFoundError:
            pass
        except DamagedCheckpoint as error:
            logger.info("%s; going on without it", error)
    if whole == [best]:
        write_atomically(last, best.read_bytes())
    return last if best in whole else None


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
        Path(path).unlink()


class Recorder(Checkpoint):
    """Writes a run's files at the end of each epoch, and takes them up again on resume.

    It is a `Checkpoint` so that Lightning calls it after everything else of the epoch. The order of the
    writes matters: best.ckpt before last.ckpt, for if the machine dies between them, the run goes on
    from the epoch before and writes best.ckpt once more. The rows of metrics.csv travel in the
    checkpoint: a resumed run's files are those of a run that was never stopped.

    The training loss is the report's: the running mean over every batch since the first epoch, never reset;
    `train_loss_epoch` is the epoch's mean.

    Args:
        run: where to write.
        task: names the metrics, of which the monitor's highest value, the first one on ties, makes an epoch the best.
        seed: of dropout and augmentation, drawn anew each epoch.
    """

    def __init__(self, run: Run, task: Task, seed: int) -> None:
        self.run, self.task, self.seed = run, task, seed
        self.rows: list[dict[str, float]] = []
        self.best: dict[str, float] = {}  # monitor's value and epoch
        self.stopped = False  # by a callback, before the last epoch
        self._running = [0.0, 0]  # sum of losses, number of batches, since the first epoch
        self._epoch = [0.0, 0]
        self._unread: list[Tensor] = []
        self._masks: set[str] = set()  # of attention: infinite from the start
        self._epoch_began = self._validation_began = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "best": self.best, "running_loss": self._running, "stopped": self.stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.best = list(state_dict["rows"]), dict(state_dict["best"])
        self._running, self.stopped = list(state_dict["running_loss"]), bool(state_dict["stopped"])

    # Not on_train_start: a run that was killed after its last epoch is not trained any more.
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._masks = {name for name, value in infinite(pl_module).items() if math.isinf(value)}
        if not trainer.is_global_zero:
            return
        for events in self.run.folder.glob("events.out.tfevents.*"):
            events.unlink()  # rewritten from the rows, so that no epoch stands in them twice
        self._write_metrics()
        for row in self.rows:
            self._log(row, [one for one in trainer.loggers if not getattr(one, "keeps_rows", False)])

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = self.stopped

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        torch.manual_seed(epoch_seed(self.seed, trainer.current_epoch, "dropout" + "+" * ranks.rank()))
        self._epoch, self._unread = [0.0, 0], []
        self._epoch_began = self._validation_began = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        signals.check()
        if "losses" in outputs:
            self._unread.append(outputs["losses"])
        else:  # Lightning has divided it
            self._unread.append(outputs["loss"].detach()[None] * trainer.accumulate_grad_batches)
        if len(self._unread) >= READ_EVERY:
            self._read_losses(trainer.current_epoch + 1)

    def _read_losses(self, epoch: int) -> None:
        """Add up the losses since the last look.

        Raises:
            Diverged: one is NaN or infinite.
        """
        values = ranks.mean(torch.cat(self._unread)).tolist() if self._unread else []
        self._unread = []
        for value in values:
            if not math.isfinite(value):
                raise Diverged(f"the training loss became {value}", epoch, int(self._running[1]) + 1)
            for sums in (self._running, self._epoch):
                sums[0] += value
                sums[1] += 1

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self._validation_began = time.perf_counter()
        self._read_losses(trainer.current_epoch + 1)
        # Before they are used: a decoder whose scores are NaN would die of another error.
        # A ReLU may hide from the loss that a weight or buffer is lost.
        for name, value in infinite(pl_module).items():
            if name not in self._masks:
                raise Diverged(f"{name} holds {value}", trainer.current_epoch + 1, trainer.global_step)

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # NaN scores have a highest one, too: the accuracy alone would look like a number.
        for name, value in plain_numbers(trainer.callback_metrics).items():
            if name.endswith("_loss") and not math.isfinite(value):
                raise Diverged(
                    f"{name} became {value} on the test images", len(self.rows), trainer.global_step
                )

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        metrics = plain_numbers(trainer.callback_metrics)
        epoch, now = trainer.current_epoch + 1, time.perf_counter()
        self._read_losses(epoch)
        examples = trainer.datamodule.examples  # type: ignore[attr-defined]
        row: dict[str, float] = {"epoch": epoch, "step": trainer.global_step}
        row |= {
            "train_loss": shortest(self._running[0] / max(self._running[1], 1)),
            "train_loss_epoch": shortest(self._epoch[0] / max(self._epoch[1], 1)),
            **{name: metrics[name] for name in self.task.columns if name in metrics},
            "seconds": now - self._epoch_began,
            self.task.rate: examples / max(self._validation_began - self._epoch_began, 1e-9),
        }
        if not math.isfinite(row["val_loss"]):
            raise Diverged(f"the validation loss became {row['val_loss']}", epoch, trainer.global_step)
        self.rows.append(row)
        self.stopped = trainer.should_stop
        with signals.defer():  # an epoch that is trained is saved before a signal ends the process
            if not self.best or row[self.task.monitor] > self.best["value"]:
                self.best = {"value": row[self.task.monitor], "epoch": epoch}
                trainer.save_checkpoint(self.run.best)
            if trainer.is_global_zero:
                self._write_metrics()
                self._log(row, trainer.loggers)
            trainer.save_checkpoint(self.run.last)

    def _write_metrics(self) -> None:
        table = io.StringIO()
        columns = ("epoch", "step", *self.task.columns, "seconds", self.task.rate)
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.run.metrics_file, table.getvalue())

    def _log(self, row: dict[str, float], loggers: Sequence[Logger]) -> None:
        metrics = {name: value for name, value in row.items() if name not in ("epoch", "step", "seconds")}
        for one in loggers:
            one.log_metrics(metrics, step=int(row["epoch"]))


def infinite(module: Module) -> dict[str, float]:
    """The weights and buffers that hold NaN or an infinity, and the first one of each."""
    floats = {name: value for name, value in module.state_dict().items() if value.is_floating_point()}
    return {
        name: value[~value.isfinite()][0].item()
        for name, value in floats.items()
        if not value.isfinite().all()
    }


def plain_numbers(metrics: Mapping[str, Tensor]) -> dict[str, float]:
    """Lightning's metrics as plain numbers."""
    return {name: shortest(value.item()) for name, value in metrics.items()}


def shortest(value: float) -> float:
    """A float32's shortest decimal: 0.566, not 0.5659999847."""
    return float(str(np.float32(value)))
