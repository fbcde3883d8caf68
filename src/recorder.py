"""What a run writes while it trains: checkpoints, metrics.csv, TensorBoard, one progress bar."""

from __future__ import annotations

import csv
import io
import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import Callback, Checkpoint
from lightning.pytorch.loggers import TensorBoardLogger
from torch import Tensor
from torch.nn import Module
from tqdm import tqdm

from src import stops
from src.files import write_atomically
from src.run import Diverged, Run


class RunLogger(TensorBoardLogger):
    """TensorBoard events right in the run's folder.

    Lightning would number its folders by listing what is there, which two runs at once can get wrong,
    and would write the settings a second time.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(save_dir=folder, name="", version="", default_hp_metric=False)
        # A run is one process: with SLURM_PROCID=1 or RANK=1 Lightning would take it for another's helper.
        rank_zero_only.rank = 0  # type: ignore[attr-defined]

    def save(self) -> None:
        """Settings stand in config.yaml; no hparams.yaml beside it."""


class Recorder(Checkpoint):
    """Writes a run's files at the end of each epoch, and takes them up again on resume.

    It is a `Checkpoint` so that Lightning calls it after everything else of the epoch. The order of the
    writes matters: best.ckpt before last.ckpt, for if the machine dies between them, the run goes on
    from the epoch before and writes best.ckpt once more. The rows of metrics.csv travel in the
    checkpoint: a resumed run's files are those of a run that was never stopped.

    Args:
        run: where to write.
        columns: of metrics.csv.
        tags: TensorBoard's name of each column that is shown there.
        monitor: the column whose highest value, the first one on ties, makes an epoch the best.
        rate: the column of training examples a second.
    """

    def __init__(
        self, run: Run, columns: tuple[str, ...], tags: dict[str, str], monitor: str, rate: str
    ) -> None:
        self.run = run
        self.columns, self.tags, self.monitor, self.rate = columns, tags, monitor, rate
        self.rows: list[dict[str, float]] = []
        self.best: dict[str, float] = {}  # monitor's value and epoch
        self.stage = "set-up"  # what a run is at: then training, validation, test
        self._epoch_began = self._validation_began = 0.0

    def state_dict(self) -> dict[str, Any]:
        return {"rows": self.rows, "best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows, self.best = list(state_dict["rows"]), dict(state_dict["best"])

    # Not on_train_start: a run that was killed after its last epoch is not trained any more.
    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for events in self.run.folder.glob("events.out.tfevents.*"):
            events.unlink()  # rewritten from the rows, so that no epoch stands in them twice
        self._write_metrics()
        for row in self.rows:
            self._log(trainer, row)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.stage = "training"
        self._epoch_began = self._validation_began = time.perf_counter()

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        stops.check()

    def on_validation_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.stage = "validation"
        self._validation_began = time.perf_counter()
        # Before they are used: a decoder whose scores are NaN would die of another error.
        refuse_infinite_weights(pl_module, trainer.current_epoch + 1, trainer.global_step)

    def on_test_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.stage = "test"

    def on_test_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        # NaN scores have a highest one, too: the accuracy alone would look like a number.
        refuse_infinite_loss(plain_numbers(trainer.callback_metrics), len(self.rows), trainer.global_step)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        metrics = plain_numbers(trainer.callback_metrics)
        epoch = trainer.current_epoch + 1
        examples = trainer.datamodule.examples  # type: ignore[attr-defined]
        now = time.perf_counter()
        values = {
            "epoch": epoch,
            "step": trainer.global_step,
            "seconds": now - self._epoch_began,
            self.rate: examples / max(self._validation_began - self._epoch_began, 1e-9),
            **metrics,
        }
        row = {name: values[name] for name in self.columns}
        if not math.isfinite(row["val_loss"]):
            raise Diverged(f"the validation loss became {row['val_loss']}", epoch, trainer.global_step)
        self.run.check_there()
        self.rows.append(row)
        with stops.held():  # an epoch that is trained is saved before a signal ends the process
            if not self.best or row[self.monitor] > self.best["value"]:
                self.best = {"value": row[self.monitor], "epoch": epoch}
                trainer.save_checkpoint(self.run.best)
            self._write_metrics()
            self._log(trainer, row)
            trainer.save_checkpoint(self.run.last)

    def _write_metrics(self) -> None:
        table = io.StringIO()
        writer = csv.DictWriter(table, self.columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.run.metrics_file, table.getvalue())

    def _log(self, trainer: L.Trainer, row: dict[str, float]) -> None:
        if isinstance(trainer.logger, TensorBoardLogger):
            for name, tag in self.tags.items():
                trainer.logger.experiment.add_scalar(tag, row[name], int(row["epoch"]))


class RunBar(Callback):
    """One progress bar over all epochs of a run, with the time left."""

    def __init__(self, name: str, monitor: str) -> None:
        self.name, self.monitor = name, monitor
        self.bar: tqdm | None = None

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        chunks = int(trainer.num_training_batches)
        self.bar = tqdm(
            total=chunks * (trainer.max_epochs or 1),
            initial=chunks * trainer.current_epoch,
            desc=self.name,
            unit="chunk",
            disable=None,  # where the output is no terminal
            bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed} gone, {remaining} left{postfix}",
        )

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        if self.bar is not None:
            self.bar.update()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if self.bar is not None:
            figure = float(trainer.callback_metrics[self.monitor])
            self.bar.set_postfix_str(
                f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}, {self.monitor} {figure:.4f}"
            )

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        if self.bar is not None:
            self.bar.close()


def refuse_infinite_weights(module: Module, epoch: int, step: int) -> None:
    """Check the weights and buffers themselves: a ReLU may hide from the loss that one of them is lost.

    Raises:
        Diverged: one holds NaN or an infinity.
    """
    for name, value in module.state_dict().items():
        if value.is_floating_point() and not bool(value.isfinite().all()):
            raise Diverged(f"{name} holds {first_infinite(value)}", epoch, step)


def refuse_infinite_loss(metrics: Mapping[str, float], epoch: int, step: int) -> None:
    """Check what a test measured: its loss, since scores may be undefined (CIDEr-D of a single image is).

    Raises:
        Diverged: the loss is NaN or infinite.
    """
    for name, value in metrics.items():
        if name.endswith("_loss") and not math.isfinite(value):
            raise Diverged(f"{name} became {value} on the test images", epoch, step)


def first_infinite(value: Tensor) -> str:
    """The first entry that is no finite number: nan, inf or -inf."""
    return str(value[~value.isfinite()][0].item())


def plain_numbers(metrics: Mapping[str, Tensor]) -> dict[str, float]:
    """Lightning's float32 metrics as the shortest decimals that name them: 0.566, not 0.5659999847."""
    return {name: float(str(np.float32(value.item()))) for name, value in metrics.items()}
