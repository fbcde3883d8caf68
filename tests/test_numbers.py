"""NaN and infinities end a run as `diverged`, with step and cause, wherever they turn up."""

import csv
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from src.captioning.module import Captioner
from src.classification.module import Classifier
from src.job import run_job
from src.plan import Plan
from src.population.launcher import run_all
from src.population.training import Population
from tests.command_line import plan
from tests.made_up_captions import write_captioned

SMALL = ("epochs=2", "limit_train=40", "limit_val=40", "limit_test=40", "threads=1", "progress=false")
STEPS = 5  # an epoch


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def train(*overrides: str) -> tuple[dict[str, Any], Plan]:
    """What results.json holds of a run in this process."""
    asked = plan(*SMALL, *overrides)
    run_job(asked.cfg, asked.run, print, show_bar=False)
    return json.loads(asked.run.results_file.read_text()), asked


def after(kind: type, name: str, spoil: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `spoil(self)` follow a method."""
    usual = getattr(kind, name)

    def spoilt(self: Any, *arguments: Any) -> Any:
        returned = usual(self, *arguments)
        spoil(self)
        return returned

    monkeypatch.setattr(kind, name, spoilt)


def test_an_infinite_weight_that_a_relu_hides_from_every_loss_is_found(
    on_idx: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_a_filter(module: Classifier) -> None:
        if module.global_step > STEPS:  # in the second epoch
            bias = module.network.conv1.bias
            assert bias is not None
            bias.data[3] = -math.inf

    after(Classifier, "training_step", lose_a_filter, monkeypatch)
    results, asked = train(*on_idx, f"output_dir={tmp_path}")
    assert results["status"] == "diverged"
    assert results["cause"] == f"network.conv1.bias holds -inf at step {2 * STEPS}, in epoch 2"
    assert results["epochs_done"] == 1
    assert results["test_acc"] is None
    assert asked.run.is_finished()


def test_an_accuracy_of_nan_scores_is_no_result(
    on_idx: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def nan(module: Classifier) -> None:
        module.network.dense3.bias.data.fill_(math.nan)

    after(Classifier, "on_test_epoch_start", nan, monkeypatch)
    results, _ = train(*on_idx, f"output_dir={tmp_path}")
    assert results["status"] == "diverged"
    assert results["cause"] == f"test_loss became nan on the test images at step {2 * STEPS}, in epoch 2"
    assert results["test_acc"] is None
    assert results["val_acc"] is not None  # the epochs before it stand


@pytest.mark.parametrize("where", ["training", "weights", "test"])
def test_a_member_of_a_population_that_diverges_leaves_the_others_alone(
    where: str, on_idx: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = (*on_idx, *SMALL, f"output_dir={tmp_path}")
    lost = "lr=1e30" if where == "training" else "lr=0.02"
    plans = [plan(*common, "lr=0.01"), plan(*common, lost)]
    epoch, evaluate = Population.train_epoch, Population.evaluate

    def spoilt_epoch(self: Population, *arguments: Any, **options: Any) -> Iterator[list[list[float]]]:
        yield from epoch(self, *arguments, **options)
        if where == "weights" and len(self) == 2:
            self.weights["conv1.bias"].data[1, 0] = -math.inf

    def spoilt_test(self: Population, images: Tensor, labels: Tensor) -> Any:
        losses, accuracies = evaluate(self, images, labels)
        in_test = plans[0].epochs_done() == 2
        return [losses[0], math.inf] if where == "test" and in_test else losses, accuracies

    monkeypatch.setattr(Population, "train_epoch", spoilt_epoch)
    monkeypatch.setattr(Population, "evaluate", spoilt_test)
    found = run_all(plans)
    assert [each["status"] for each in found] == ["done", "diverged"]
    causes = {
        "training": " in epoch 1",
        "weights": f"network.conv1.bias holds -inf at step {STEPS}, in epoch 1",
        "test": f"test_loss became inf on the test images at step {2 * STEPS}, in epoch 2",
    }
    assert found[1]["cause"].endswith(causes[where])
    assert "-inf" not in plans[1].run.results_file.read_text().replace(found[1]["cause"], "")
    assert math.isfinite(found[0]["test_loss"])


@pytest.mark.parametrize(
    ("hook", "cause"),
    [
        ("training_step", "decoder.output.bias holds nan at step 3, in epoch 1"),
        ("on_validation_epoch_start", "the log-probability of a caption is no longer finite at step 3, in"),
        ("on_test_epoch_start", "the log-probability of a caption is no longer finite at step 3, in epoch 1"),
    ],
)
def test_a_captioner_with_nan_scores_writes_nothing(
    hook: str, cause: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_captioned(tmp_path / "squares", train=2, val=2, test=2)

    def nan(module: Captioner) -> None:
        if hook != "training_step" or module.global_step == 2:  # counted up after the step
            module.decoder.output.bias.data.fill_(math.nan)

    after(Captioner, hook, nan, monkeypatch)
    results, asked = train(
        *("task=caption", "data=karpathy", f"data.root={data}", "encoder.name=tiny", "encoder.size=64"),
        *("accelerator=cpu", "attention=true", "epochs=1", "batch_size=2", f"output_dir={tmp_path / 'out'}"),
        f"encoder.cache={tmp_path / 'cache'}",
    )
    assert results["status"] == "diverged", results["cause"]
    assert results["cause"].startswith(cause)
    assert not (asked.run.folder / "captions.json").exists()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_features_that_are_not_finite_end_a_captioner_at_its_first_step(
    value: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_captioned(tmp_path / "squares", train=2, val=2, test=2)

    def spoilt(self: Captioner, seen: Tensor) -> Tensor:
        return torch.full((len(seen), 16, 128), value)

    monkeypatch.setattr(Captioner, "regions", spoilt)
    results, _ = train(
        *("task=caption", "data=karpathy", f"data.root={data}", "encoder.name=tiny", "encoder.size=64"),
        *("accelerator=cpu", "attention=true", "epochs=1", f"output_dir={tmp_path / 'out'}"),
        f"encoder.cache={tmp_path / 'cache'}",
    )
    assert results["status"] == "diverged", results["cause"]
    assert results["cause"] == "the training loss became nan at step 1, in epoch 1"


def test_a_captioners_losses_are_added_up_and_the_wrong_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_captioned(tmp_path / "squares", train=20, val=2, test=2)  # 60 captions
    losses: list[float] = []
    step = Captioner.training_step

    def training_step(self: Captioner, *arguments: Any) -> Tensor:
        if self.global_step == 69:  # of 120
            self.decoder.output.bias.data.fill_(math.nan)
        loss = step(self, *arguments)
        losses.append(float(loss.detach()))
        return loss

    monkeypatch.setattr(Captioner, "training_step", training_step)
    results, asked = train(
        *("task=caption", "data=karpathy", f"data.root={data}", "encoder.name=tiny", "encoder.size=64"),
        *("accelerator=cpu", "epochs=2", "batch_size=1", f"encoder.cache={tmp_path / 'cache'}"),
        *("threads=1", f"output_dir={tmp_path / 'out'}"),
    )
    assert results["status"] == "diverged", results["cause"]
    assert results["cause"] == "the training loss became nan at step 70, in epoch 2"
    (row,) = csv.DictReader(asked.run.metrics_file.open())
    assert float(row["train_loss"]) == pytest.approx(sum(losses[:60]) / 60, rel=1e-6)
