"""What a run writes while it trains: checkpoints, metrics.csv, its loggers' metrics."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Mapping
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.pytorch.callbacks import Checkpoint
from torch import Tensor
from torch.nn import Module

from src.files import write_atomically
from src.run import signals
from src.run.environment import epoch_seed
from src.run.folder import Diverged, Run
from src.tasks import Task

READ_EVERY = 50  # batches between two looks at the losses: each look makes a GPU wait


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
        self.stage = "set-up"  # what a run is at: then training, validation, test
        self.stopped = False  # by a callback, before the last epoch
        self._running = [0.0, 0]  # sum of losses, number of batches, since the first epoch
        self._epoch = [0.0, 0]
        self._unread: list[Tensor] = []
        self._epoch_began = self._validation_began = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "best": self.best, "running_loss": self._running, "stopped": self.stopped}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.best = list(state_dict["rows"]), dict(state_dict["best"])
        self._running, self.stopped = list(state_dict["running_loss"]), bool(state_dict["stopped"])

    # Not on_train_start: a run that was killed after its last epoch is not trained any more.
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for events in self.run.folder.glob("events.out.tfevents.*"):
            events.unlink()  # rewritten from the rows, so that no epoch stands in them twice
        self._write_metrics()
        for row in self.rows:
            self._log(trainer, row)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        trainer.should_stop = self.stopped

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        torch.manual_seed(epoch_seed(self.seed, trainer.current_epoch, "dropout"))
        self.stage = "training"
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
        values = torch.cat(self._unread).tolist() if self._unread else []
        self._unread = []
        for value in values:
            if not math.isfinite(value):
                raise Diverged(f"the training loss became {value}", epoch, int(self._running[1]) + 1)
            for sums in (self._running, self._epoch):
                sums[0] += value
                sums[1] += 1

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.stage = "validation"
        self._validation_began = time.perf_counter()
        self._read_losses(trainer.current_epoch + 1)
        # Before they are used: a decoder whose scores are NaN would die of another error.
        refuse_infinite_weights(pl_module, trainer.current_epoch + 1, trainer.global_step)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.stage = "test"

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
        if not self.run.folder.is_dir():  # the files of the epoch would make a folder anew
            raise FileNotFoundError(self.run.folder)
        self.rows.append(row)
        self.stopped = trainer.should_stop
        with signals.defer():  # an epoch that is trained is saved before a signal ends the process
            if not self.best or row[self.task.monitor] > self.best["value"]:
                self.best = {"value": row[self.task.monitor], "epoch": epoch}
                trainer.save_checkpoint(self.run.best)
            self._write_metrics()
            self._log(trainer, row)
            trainer.save_checkpoint(self.run.last)

    def _write_metrics(self) -> None:
        table = io.StringIO()
        columns = ("epoch", "step", *self.task.columns, "seconds", self.task.rate)
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.run.metrics_file, table.getvalue())

    def _log(self, trainer: L.Trainer, row: dict[str, float]) -> None:
        metrics = {name: value for name, value in row.items() if name not in ("epoch", "step", "seconds")}
        for logger in trainer.loggers:
            if row["epoch"] > getattr(logger, "epochs_sent", 0):  # by an earlier process (src/run/loggers.py)
                logger.log_metrics(metrics, step=int(row["epoch"]))


def refuse_infinite_weights(module: Module, epoch: int, step: int) -> None:
    """Check the weights and buffers themselves: a ReLU may hide from the loss that one of them is lost.

    Raises:
        Diverged: one holds NaN or an infinity.
    """
    for name, value in module.state_dict().items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise Diverged(f"{name} holds {value[~value.isfinite()][0].item()}", epoch, step)


def plain_numbers(metrics: Mapping[str, Tensor]) -> dict[str, float]:
    """Lightning's metrics as plain numbers."""
    return {name: shortest(value.item()) for name, value in metrics.items()}


def shortest(value: float) -> float:
    """A float32's shortest decimal: 0.566, not 0.5659999847."""
    return float(str(np.float32(value)))
