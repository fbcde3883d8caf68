"""The tasks: what a run of each consists of. A further task is one module and one line in TASKS.

A task's module (`Task.module`) offers

    Settings                                     dataclass, registered as the schema conf/task/NAME.yaml names
    build_data(cfg) -> LightningDataModule       with `examples` (training examples an epoch) and `digest`
    build_module(cfg, data, trainer) -> LightningModule
    check_module(cfg, data)                      tries the network on a little data
    log_artifacts(module, data, folder, trainer, cfg) -> dict       pictures of a finished run, further results
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Task:
    """Names of a task's metrics and settings; importing it imports neither torch nor Lightning.

    Args:
        name: the value of `task`.
        module: dotted path of its implementation.
        monitor: validation metric that picks the best epoch and ranks runs, a fraction; more is better.
        test: the test metric that is reported.
        label, unit: of the monitor in tables and plots.
        columns: metrics of metrics.csv, besides epoch, step, seconds and `rate`.
        rate: column of the training examples a second.
        always_named: settings that stand in every run folder's name.
        further: test metrics shown in the ranking, and their highest values.
        remark: a fixed sentence below the ranking.
    """

    name: str
    module: str
    monitor: str
    test: str
    label: str
    unit: str
    columns: tuple[str, ...]
    rate: str
    always_named: tuple[str, ...]
    further: Mapping[str, float] = field(default_factory=dict)
    remark: str = ""

    @property
    def test_best(self) -> str:
        """The test metric measured with the weights of the best validation epoch."""
        return f"{self.test}_best_val"

    def load(self) -> Any:
        """The task's module."""
        return importlib.import_module(self.module)


TASKS = {
    task.name: task
    for task in (
        Task(
            name="classify",
            module="src.classification.task",
            monitor="val_acc",
            test="test_acc",
            label="validation accuracy",
            unit="fraction correct",
            columns=("train_loss", "train_loss_epoch", "val_loss", "val_acc"),
            rate="images_per_second",
            always_named=("dropout", "lr"),
        ),
        Task(
            name="caption",
            module="src.captioning.task",
            monitor="val_bleu4",
            test="test_bleu4",
            label="validation BLEU-4",
            unit="BLEU-4",
            columns=(
                *("train_loss", "train_loss_epoch", "val_loss"),
                *("val_bleu4", "val_bleu4_sentence", "val_cider_d", "val_rouge_l"),
            ),
            rate="captions_per_second",
            always_named=("decoder", "dropout", "lr"),
            further={"test_bleu4_sentence": 1.0, "test_cider_d": 10.0, "test_rouge_l": 1.0},
            remark="BLEU-4 is the corpus's, test_bleu4_sentence the mean over the images.",
        ),
    )
}
