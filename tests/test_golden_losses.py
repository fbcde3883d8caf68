"""Every step's loss of the whole stack, against a plain PyTorch loop in the protocol's literal form."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from src.bench.baselines import plain_net
from src.classification import fast
from src.classification.data import train_val_split
from src.classification.datasets import read_idx
from src.download import FILES
from src.run.checkpoints import Recorder, read_checkpoint
from src.run.environment import epoch_order, epoch_seed
from tests.command_line import plan, train_here

pytestmark = pytest.mark.usefixtures("one_thread")

SEED, BATCH, EPOCHS = 42, 8, 2
LIMIT = 212  # 27 batches, the last of 4 images
CHUNK = 80  # 10 batches a chunk: 3 chunks, the last of 52 images

# The first losses at seed 42 on the made-up data, so that another initialisation or order is noticed.
GOLDEN = [2.325837, 2.293746, 2.299702, 2.316538, 2.291721]


@dataclass
class Trained:
    """What a training left behind."""

    losses: list[float]
    weights: list[Tensor]
    results: dict[str, Any]


def settings_of(folder: Path, output: Path, *more: str) -> list[str]:
    return [
        "data=idx",
        f"data.root={folder}",
        "data.val_size=100",
        f"output_dir={output}",
        "accelerator=cpu",
        "threads=1",
        f"epochs={EPOCHS}",
        *([] if any("dropout" in text for text in more) else ["dropout=0.5"]),
        *([] if any("limit_train" in text for text in more) else [f"limit_train={LIMIT}"]),
        *more,
    ]


def train_with_us(folder: Path, output: Path, monkeypatch: pytest.MonkeyPatch, *more: str) -> Trained:
    """The whole stack but the command line, in this process."""
    losses: list[float] = []
    listen = Recorder.on_train_batch_end

    def recorded(self: Recorder, trainer: Any, module: Any, outputs: Any, *rest: Any) -> None:
        losses.extend(outputs["losses"].tolist() if "losses" in outputs else [float(outputs["loss"])])
        listen(self, trainer, module, outputs, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_train_batch_end", recorded)
        patch.setattr(fast, "CHUNK_IMAGES", CHUNK)
        asked = plan(*settings_of(folder, output, *more))
        results = train_here(asked)
    state = read_checkpoint(asked.run.last)["state_dict"]
    return Trained(losses, [value for name, value in state.items() if name.startswith("network.")], results)


def train_plainly(folder: Path, make_optimizer: Callable[[Any], torch.optim.Optimizer]) -> Trained:
    """The protocol in plain PyTorch: nothing of ours but the seeds' definition."""
    images, labels = (torch.from_numpy(read_idx(folder / name).copy()) for name in list(FILES)[:2])
    chosen = torch.from_numpy(train_val_split(len(labels), 100, 42)[0][:LIMIT].copy())
    x, y = images[chosen].unsqueeze(1).float() / 256, labels[chosen].long()
    torch.manual_seed(SEED)
    network = plain_net(dropout=0.5)
    optimizer = make_optimizer(network.parameters())
    losses: list[float] = []
    epoch_means = []
    for epoch in range(EPOCHS):
        order = epoch_order(len(y), SEED, epoch)
        torch.manual_seed(epoch_seed(SEED, epoch, "dropout"))
        before = len(losses)
        for start in range(0, len(y), BATCH):
            batch = order[start : start + BATCH]
            loss = F.nll_loss(network(x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        epoch_means.append(sum(losses[before:]) / len(losses[before:]))
    results = {"train_loss": sum(losses) / len(losses), "train_loss_epoch": epoch_means[-1]}
    return Trained(losses, [weight.detach() for weight in network.parameters()], results)


@pytest.mark.parametrize("is_fast", [True, False])
def test_each_loss_and_the_weights_equal_the_plain_loop(
    idx_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_fast: bool
) -> None:
    ours = train_with_us(idx_data, tmp_path, monkeypatch, "lr=0.05", f"fast={is_fast}")
    plain = train_plainly(idx_data, lambda weights: torch.optim.SGD(weights, lr=0.05))
    assert len(ours.losses) == len(plain.losses) == EPOCHS * 27
    assert ours.losses == pytest.approx(plain.losses, rel=1e-5)
    for weight, expected in zip(ours.weights, plain.weights, strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-4, atol=1e-6)
    # The protocol's running mean goes over all batches since the first epoch, the epoch's own does not.
    for key in ("train_loss", "train_loss_epoch"):
        assert ours.results[key] == pytest.approx(plain.results[key], rel=1e-5)
    assert ours.results["train_loss_epoch"] < ours.results["train_loss"] - 0.005
    assert ours.losses[:5] == pytest.approx(GOLDEN, abs=1e-4)


@pytest.mark.parametrize(
    ("overrides", "make_optimizer"),
    [
        (
            ("lr=0.02", "optimizer.momentum=0.9", "optimizer.weight_decay=0.01"),
            lambda weights: torch.optim.SGD(weights, lr=0.02, momentum=0.9, weight_decay=0.01),
        ),
        (
            ("lr=0.001", "optimizer=adam", "optimizer.weight_decay=0.01"),
            lambda weights: torch.optim.Adam(weights, lr=0.001, weight_decay=0.01),
        ),
        (
            ("lr=0.001", "optimizer=adamw", "optimizer.weight_decay=0.1"),
            lambda weights: torch.optim.AdamW(weights, lr=0.001, weight_decay=0.1),
        ),
    ],
    ids=["momentum", "adam", "adamw"],
)
def test_each_optimizer_is_torchs(
    idx_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: tuple[str, ...],
    make_optimizer: Callable[[Any], torch.optim.Optimizer],
) -> None:
    ours = train_with_us(idx_data, tmp_path, monkeypatch, *overrides)
    plain = train_plainly(idx_data, make_optimizer)
    assert ours.losses == pytest.approx(plain.losses, rel=1e-3)
    for weight, expected in zip(ours.weights, plain.weights, strict=True):
        # Adam divides by tiny second moments, which magnifies the last digits.
        difference = (weight - expected).norm() / expected.norm()
        assert difference < 1e-3


def test_the_number_of_batches_a_chunk_does_not_matter(
    idx_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_chunks = train_with_us(idx_data, tmp_path / "a", monkeypatch, "lr=0.05")
    monkeypatch.setitem(globals(), "CHUNK", 512)
    at_once = train_with_us(idx_data, tmp_path / "b", monkeypatch, "lr=0.05")
    assert at_once.losses == in_chunks.losses
    assert all(torch.equal(a, b) for a, b in zip(at_once.weights, in_chunks.weights, strict=True))


def test_accumulated_gradients_are_those_of_the_whole_batch(
    idx_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = ("lr=0.05", "dropout=0", "limit_train=208")
    halves = "batch_size=4", "trainer.accumulate_grad_batches=2"
    in_parts = train_with_us(idx_data, tmp_path / "a", monkeypatch, *settings, *halves)
    whole = train_with_us(idx_data, tmp_path / "b", monkeypatch, *settings)
    for weight, expected in zip(in_parts.weights, whole.weights, strict=True):
        torch.testing.assert_close(weight, expected, rtol=1e-4, atol=1e-6)
    assert in_parts.results["train_loss"] == pytest.approx(whole.results["train_loss"], rel=1e-5)
