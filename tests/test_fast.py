"""The fast path: the step by hand against autograd, and what must not be taken by it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.parametrize
import torch.nn.utils.prune
from torch import Tensor, nn

from src.classification import fast, sgd
from src.classification.networks import ConvNet
from src.classification.task import build_data, build_module
from src.run.recorder import Recorder
from tests.command_line import plan


@pytest.mark.parametrize(
    ("image_size", "dropout", "block"),
    [((1, 28, 28), 0.5, None), ((1, 28, 28), 0.0, 40_000), ((3, 13, 18), 0.8, None), ((1, 9, 8), 1.0, 1)],
)
def test_steps_by_hand_are_those_of_autograd(
    image_size: tuple[int, int, int], dropout: float, block: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if block is not None:
        monkeypatch.setattr(sgd, "BLOCK", block)
    torch.manual_seed(0)
    ours, usual = (
        ConvNet(dropout, image_size, classes=4).double().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for _ in range(2)
    )
    usual.load_state_dict(ours.state_dict())
    pixels, labels = torch.rand(11, *image_size, dtype=torch.float64), torch.arange(11) % 4
    lr, batch = 0.3, 4  # batches of 4, 4 and 3
    torch.manual_seed(1)
    losses = sgd.sgd_steps(ours, pixels, labels, batch, lr)
    drawn = torch.get_rng_state()
    torch.manual_seed(1)
    optimizer = torch.optim.SGD(usual.parameters(), lr=lr)
    expected = []
    for x, y in zip(pixels.split(batch), labels.split(batch), strict=True):
        loss = F.cross_entropy(usual(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.detach())
    torch.testing.assert_close(losses, torch.stack(expected), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.state_dict(), usual.state_dict(), rtol=1e-11, atol=1e-12)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(weight.grad is None for weight in ours.parameters())


class Tanh(ConvNet):
    """One that `sgd_steps` does not know, with the very layers that it knows."""

    def forward(self, images: Tensor) -> Tensor:
        x = F.tanh(F.max_pool2d(self.conv1(images), 2))
        x = F.tanh(F.max_pool2d(self.conv2(x), 2))
        x = self.dropout(F.tanh(self.dense1(x.flatten(1))))
        return self.dense3(F.tanh(self.dense2(x)))


class Negated(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return -weight


def frozen(network: ConvNet) -> None:
    network.dense1.requires_grad_(False)


def layer_hook(network: ConvNet) -> None:
    network.dense2.register_forward_hook(lambda _, __, out: out + 1)


def gradient_hook(network: ConvNet) -> None:
    network.conv2.register_full_backward_hook(lambda _, g, __: (2 * g[0],))


def weight_hook(network: ConvNet) -> None:
    network.conv1.weight.register_hook(lambda g: 2 * g)


def own_forward(network: ConvNet) -> None:
    whole = network.forward
    network.forward = lambda images: 2 * whole(images)  # type: ignore[method-assign]


def parametrized(network: ConvNet) -> None:
    nn.utils.parametrize.register_parametrization(network.dense3, "weight", Negated())


def pruned(network: ConvNet) -> None:
    nn.utils.prune.random_unstructured(network.dense1, "weight", 0.5)


def strided(network: ConvNet) -> None:
    network.conv2 = nn.Conv2d(16, 32, 3, padding=1, stride=2)
    network.dense1 = nn.Linear(32 * 3 * 3, 600)


def other_dropout(network: ConvNet) -> None:
    network.dropout = nn.AlphaDropout(0.5)  # type: ignore[assignment]


def unchanged(network: ConvNet) -> None:
    pass


class Silent(L.Callback):
    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        pass


class Listening(L.Callback):
    """Sees every weight's gradient at every step."""

    steps = 0

    def on_before_optimizer_step(self, trainer: L.Trainer, pl_module: L.LightningModule, *_: Any) -> None:
        assert all(weight.grad is not None for weight in pl_module.parameters() if weight.requires_grad)
        self.steps += 1


def trained(
    on: tuple[str, ...], folder: Path, change: Callable[[ConvNet], None], callback: L.Callback, *more: str
) -> tuple[Any, L.Trainer]:
    cfg = plan(*on, f"output_dir={folder}", "limit_train=26", "limit_val=8", "batch_size=4", *more).cfg
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(accelerator="cpu", max_epochs=2, logger=False, callbacks=[callback], **quiet)  # type: ignore[arg-type]
    data = build_data(cfg)
    data.setup()
    torch.manual_seed(0)
    module = build_module(cfg, data, trainer)
    change(module.network)  # type: ignore[arg-type]
    module.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    torch.manual_seed(1)
    trainer.fit(module, datamodule=data)
    return module, trainer


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "change", "by_hand"),
    [
        ("networks.ConvNet", unchanged, True),
        ("Tanh", unchanged, False),
        *(
            ("networks.ConvNet", change, False)
            for change in (
                *(frozen, layer_hook, gradient_hook, weight_hook, own_forward, parametrized, pruned),
                *(strided, other_dropout),
            )
        ),
    ],
)
def test_only_the_network_that_it_knows_is_stepped_by_hand_and_nothing_sees_the_difference(
    on_idx: tuple[str, ...],
    tmp_path: Path,
    kind: str,
    change: Callable[[ConvNet], None],
    by_hand: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    usual = sgd.sgd_steps
    monkeypatch.setattr(sgd, "sgd_steps", lambda *given: calls.append(1) or usual(*given))
    target = "tests.test_fast.Tanh" if kind == "Tanh" else "src.classification.networks.ConvNet"
    more = (f"network._target_={target}", "dropout=0.5", "lr=0.1")
    found, plain = trained(on_idx, tmp_path, change, Silent(), *more)
    expected, watched = trained(on_idx, tmp_path, change, seen := Listening(), *more)
    assert isinstance(found, fast.ChunkedClassifier)
    assert not isinstance(expected, fast.ChunkedClassifier)
    assert seen.steps == watched.global_step == plain.global_step == 2 * 7
    torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=1e-4, atol=1e-5)
    assert bool(calls) == by_hand


@pytest.mark.parametrize(
    ("options", "schedule", "expected"),
    [
        ({}, None, True),
        ({}, {"_target_": "x"}, False),
        ({"accumulate_grad_batches": 2}, None, False),
        ({"gradient_clip_val": 1.0}, None, False),
        ({"limit_train_batches": 3}, None, False),
        ({"val_check_interval": 0.5}, None, False),
        ({"max_steps": 5}, None, False),
        ({"profiler": "simple"}, None, False),
        ({"detect_anomaly": True}, None, False),
        ({"overfit_batches": 2}, None, False),
        ({"callbacks": [Listening()]}, None, False),
        ({"callbacks": [Silent()]}, None, True),
    ],
)
def test_chunks_are_taken_only_where_nobody_can_tell(
    options: dict[str, Any], schedule: dict[str, Any] | None, expected: bool
) -> None:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False}
    trainer = L.Trainer(accelerator="cpu", **quiet, **options)  # type: ignore[arg-type]
    assert fast.applies(trainer, schedule, (Recorder,)) == expected
