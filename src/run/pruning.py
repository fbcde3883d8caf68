"""Runs that a sweep ends early: they are `pruned`, and go on from their checkpoint when they are asked for again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning as L
from lightning.pytorch.callbacks import Callback

from src.run.ranks import agreed

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
        ends = None
        if trainer.is_global_zero:
            self.trial.report(rows[-1][monitor], len(rows))
            ends = self.trial.should_prune()
        if agreed(ends):  # all ranks or none
            raise Pruned(
                f"after epoch {len(rows)} of {trainer.max_epochs}, {monitor} {rows[-1][monitor]:.4f}"
            )


def callbacks_of(cfg: Any, recorder: Recorder) -> Sequence[Callback]:
    """The callbacks that `stop_after` and `trial` ask for."""
    stops: list[Callback] = [StopAfter(cfg.stop_after)] if cfg.stop_after else []
    return [*stops, ReportToStudy(trial_of(cfg.trial), recorder)] if cfg.trial else stops


def trial_of(text: str) -> optuna.Trial:
    """The trial of a run's setting `trial`: JOURNAL:STUDY:NUMBER."""
    import optuna

    journal, name, number = text.rsplit(":", 2)
    study = optuna.load_study(study_name=name, storage=storage(Path(journal)), pruner=pruner())
    return optuna.Trial(study, study.trials[int(number)]._trial_id)


def storage(journal: Path) -> optuna.storages.JournalStorage:
    """A study's storage: a file that many processes append to."""
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    return JournalStorage(JournalFileBackend(str(journal)))


def pruner() -> optuna.pruners.BasePruner:
    """After epochs 1, 3, 9, ... the best third goes on (asynchronous successive halving, Li et al. 2018)."""
    import optuna

    return optuna.pruners.SuccessiveHalvingPruner(min_resource=1, reduction_factor=3)
