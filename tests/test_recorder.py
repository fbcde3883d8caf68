"""What the Recorder writes at an epoch's end, and in which order."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from src.recorder import Recorder
from src.run import Diverged, Run

COLUMNS = ("epoch", "val_loss", "val_acc", "seconds", "images_per_second")


class FakeTrainer:
    """As much of a Trainer as the Recorder asks for; remembers what was saved."""

    def __init__(self) -> None:
        self.saved: list[str] = []
        self.current_epoch = 0
        self.global_step = 0
        self.logger = None
        self.datamodule = SimpleNamespace(examples=10)
        self.callback_metrics: dict[str, torch.Tensor] = {}

    def save_checkpoint(self, path: Path) -> None:
        self.saved.append(path.name)

    def end_epoch(self, recorder: Recorder, val_acc: float, val_loss: float = 0.5) -> None:
        self.callback_metrics = {"val_acc": torch.tensor(val_acc), "val_loss": torch.tensor(val_loss)}
        recorder.on_train_epoch_end(cast(Any, self), cast(Any, None))
        self.current_epoch += 1


@pytest.fixture
def recorder(tmp_path: Path) -> Recorder:
    (tmp_path / "run").mkdir()
    return Recorder(Run(tmp_path / "run", {}, "code"), COLUMNS, {}, "val_acc", "images_per_second")


def test_best_is_written_before_last(recorder: Recorder) -> None:
    """A machine that dies between the two must go on from the epoch before, and write best once more."""
    trainer = FakeTrainer()
    trainer.end_epoch(recorder, 0.5)
    assert trainer.saved == ["best.ckpt", "last.ckpt"]


def test_best_is_the_first_epoch_of_the_highest_value(recorder: Recorder) -> None:
    trainer = FakeTrainer()
    for accuracy in (0.5, 0.7, 0.7, 0.6):
        trainer.end_epoch(recorder, accuracy)
    assert recorder.best == {"value": 0.7, "epoch": 2}
    assert trainer.saved.count("best.ckpt") == 2
    assert trainer.saved.count("last.ckpt") == 4


def test_rows_travel_in_the_state_and_metrics_csv_is_written_whole(
    recorder: Recorder, tmp_path: Path
) -> None:
    trainer = FakeTrainer()
    trainer.end_epoch(recorder, 0.566)
    (tmp_path / "other").mkdir()
    other = Recorder(Run(tmp_path / "other", {}, "code"), COLUMNS, {}, "val_acc", "images_per_second")
    other.load_state_dict(recorder.state_dict())
    trainer.end_epoch(other, 0.6)
    lines = (tmp_path / "other" / "metrics.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert [line.split(",")[2] for line in lines[1:]] == ["0.566", "0.6"]  # not 0.5659999847


def test_a_validation_loss_that_is_no_number_is_divergence(recorder: Recorder) -> None:
    with pytest.raises(Diverged, match="validation loss became nan"):
        FakeTrainer().end_epoch(recorder, 0.1, float("nan"))
    assert recorder.rows == []
