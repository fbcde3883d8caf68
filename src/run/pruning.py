"""Runs that a sweep ends early: they are `pruned`, and go on from their checkpoint when they are asked for again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import lightning as L
from lightning.pytorch.callbacks import Callback

if TYPE_CHECKING:
    import optuna

    from src.run.checkpoints import Recorder


class Pruned(RuntimeError):
    """A sweep ends this run after an epoch that is saved."""


class StopAfter(Callback):
    """Ends a run after an epoch, counted from 1, with its schedules as for all epochs (`stop_after`)."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Not at an epoch's end, where the recorder has yet to save it."""
        if trainer.current_epoch >= self.epoch:
            raise Pruned(f"after epoch {trainer.current_epoch} of {trainer.max_epochs}")


class ReportToStudy(Callback):
    """Reports each epoch to a study of Optuna and ends the run when the study's pruner says so (`trial`).

    Args:
        trial: of the study.
        recorder: has the epochs' rows.
    """

    def __init__(self, trial: optuna.Trial, recorder: Recorder) -> None:
        self.trial, self.recorder = trial, recorder

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """See `StopAfter`."""
        rows, monitor = self.recorder.rows, self.recorder.task.monitor
        if not rows:
            return
        self.trial.report(rows[-1][monitor], len(rows))
        if self.trial.should_prune():
            raise Pruned(
                f"after epoch {len(rows)} of {trainer.max_epochs}, {monitor} {rows[-1][monitor]:.4f}"
            )


def callbacks_of(cfg: Any, recorder: Recorder) -> Sequence[Callback]:
    """The callbacks that `stop_after` and `trial` ask for."""
    found: list[Callback] = [StopAfter(cfg.stop_after)] if cfg.stop_after else []
    if cfg.trial:
        from src.sweep.optuna import trial_of

        found.append(ReportToStudy(trial_of(cfg.trial), recorder))
    return found
