"""Chunks of many steps: what callbacks see, and that the short way gives the same numbers up to rounding."""

from typing import Any

import lightning as L
import pytest
import torch

from src.classification.data import Chunks
from src.classification.module import Classifier


class CountsSteps(L.Callback):
    """A callback that listens to single optimizer steps, as a user's may."""

    def __init__(self) -> None:
        self.steps = 0
        self.chunks = 0

    def on_before_optimizer_step(self, *_: Any) -> None:
        self.steps += 1

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self.chunks += 1


class CountsChunks(L.Callback):
    """One that does not."""

    def __init__(self) -> None:
        self.chunks = 0

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self.chunks += 1


def train(callback: L.Callback) -> tuple[L.Trainer, Classifier]:
    torch.manual_seed(0)
    module = Classifier(dropout=0.5, lr=0.1, batch_size=4)
    images = torch.randint(0, 256, (26, 1, 28, 28), dtype=torch.uint8)
    data: Any = Chunks(images, torch.arange(26) % 10, chunk=12)
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=2,
        logger=False,
        callbacks=[callback],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, data)
    return trainer, module


@pytest.mark.filterwarnings("ignore")
def test_a_callback_sees_every_step_and_its_absence_changes_rounding_only() -> None:
    steps = 2 * (3 + 3 + 1)  # chunks of 12, 12 and 2 images in batches of 4
    watched, slow = train(seen := CountsSteps())
    plain, fast = train(other := CountsChunks())
    assert all(weight.grad is not None for weight in slow.parameters())
    assert all(weight.grad is None for weight in fast.parameters()), (
        "what is taken by hand leaves no gradient"
    )
    assert seen.steps == steps
    assert watched.global_step == plain.global_step == steps
    assert seen.chunks == other.chunks == 6
    for one, two in zip(slow.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-6)


class SeesGradients(CountsSteps):
    """One that reads every weight's gradient."""

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        assert all(weight.grad is not None for weight in pl_module.parameters())
        self.steps += 1


@pytest.mark.filterwarnings("ignore")
def test_a_callback_that_listens_finds_every_gradient() -> None:
    train(seen := SeesGradients())
    assert seen.steps > 0
