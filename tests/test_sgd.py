"""The step by hand against autograd and torch.optim.SGD, and networks that must not be stepped by hand."""

from collections.abc import Callable
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.parametrize
import torch.nn.utils.prune
from lightning.pytorch.callbacks import StochasticWeightAveraging
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn

from src.build import configure_optimizers
from src.classification import fast, sgd
from src.classification.data import Batches
from src.classification.fast import ChunkedClassifier
from src.classification.module import Classifier
from src.classification.networks import ConvNet


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
    ours = ConvNet(dropout, image_size, classes=4).double().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    usual = ConvNet(dropout, image_size, classes=4).double().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
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


class DropsLater(ConvNet):
    """Dropout before the last layer."""

    def forward(self, images: Tensor) -> Tensor:
        x = F.relu(F.max_pool2d(self.conv1(images), 2))
        x = F.relu(F.max_pool2d(self.conv2(x), 2))
        x = F.relu(self.dense1(x.flatten(1)))
        return self.dense3(self.dropout(F.relu(self.dense2(x))))


class DoublesGradients(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        return 2 * g


class Negated(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return -weight


def frozen(network: ConvNet) -> None:
    network.dense1.requires_grad_(False)


def layer_hook(network: ConvNet) -> None:
    network.dense2.register_forward_hook(lambda _, __, out: out + 1)


def gradient_hook(network: ConvNet) -> None:
    def doubled(_: nn.Module, g: Any, __: Any) -> Any:
        return (2 * g[0],)

    network.conv2.register_full_backward_hook(doubled)


def weight_hook(network: ConvNet) -> None:
    network.conv1.weight.register_hook(lambda g: 2 * g)


def own_forward(network: ConvNet) -> None:
    whole = network.forward
    network.forward = lambda images: DoublesGradients.apply(whole(images))  # type: ignore[method-assign]


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


SETTINGS: Any = {
    "network": {"_target_": "src.classification.networks.ConvNet", "dropout": 0.5},
    "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1},
}


def trained(kind: type[ConvNet], change: Callable[[ConvNet], None], is_fast: bool) -> tuple[Classifier, bool]:
    """A classifier after one epoch of three batches, and whether its network is one that is stepped by hand."""
    torch.manual_seed(0)
    module = (ChunkedClassifier if is_fast else Classifier)(**SETTINGS)
    if isinstance(module, ChunkedClassifier):
        module.batch_size = 4
    network = kind(0.5).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    change(network)
    module.network = network
    images, labels = torch.randint(0, 256, (12, 1, 28, 28), dtype=torch.uint8), torch.arange(12) % 10
    data: Any = Batches(images, labels, torch.arange(12), 12 if is_fast else 4)
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(accelerator="cpu", max_epochs=1, logger=False, **quiet)  # type: ignore[arg-type]
    trainer.fit(module, data)
    assert trainer.global_step == 3
    weights = [weight for weight in network.parameters() if weight.requires_grad]
    return module, sgd.applies(network.train(), torch.optim.SGD(weights, lr=0.1), 4)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("kind", "change", "by_hand"),
    [
        (ConvNet, unchanged, True),
        (Tanh, unchanged, False),
        (DropsLater, unchanged, False),
        *(
            (ConvNet, change, False)
            for change in (
                *(frozen, layer_hook, gradient_hook, weight_hook, own_forward, parametrized, pruned),
                *(strided, other_dropout),
            )
        ),
    ],
)
def test_only_the_network_that_it_knows_is_stepped_by_hand(
    kind: type[ConvNet], change: Callable[[ConvNet], None], by_hand: bool
) -> None:
    (found, applies), (expected, _) = trained(kind, change, True), trained(kind, change, False)
    torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=1e-4, atol=1e-5)
    assert applies == by_hand


@pytest.mark.parametrize(
    ("options", "schedule"),
    [
        ({"accumulate_grad_batches": 2}, None),
        ({"gradient_clip_val": 1.0}, None),
        ({"limit_train_batches": 3}, None),
        ({"max_steps": 5}, None),
        ({"callbacks": [StochasticWeightAveraging(0.1)]}, None),
        ({"profiler": "simple"}, None),
        ({"detect_anomaly": True}, None),
        ({}, {"_target_": "torch.optim.lr_scheduler.CosineAnnealingLR"}),
    ],
)
def test_chunks_are_taken_only_where_nobody_can_tell(options: dict[str, Any], schedule: Any) -> None:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    assert fast.applies(L.Trainer(accelerator="cpu", **quiet), None)  # type: ignore[arg-type]
    assert not fast.applies(L.Trainer(accelerator="cpu", **quiet, **options), schedule)  # type: ignore[arg-type]


def test_scaled_gradients_are_clipped_as_true_ones() -> None:
    """fp16: a gradient of 3 under a scale of 65,536, clipped at 5, steps by 3 (Lightning leaves fused ones scaled)."""
    weight = torch.nn.Parameter(torch.zeros(1))
    seen: list[float] = []

    class Module(L.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.weight = weight

        def training_step(self, batch: Any, index: int) -> Tensor:
            return (3 * self.weight).sum()

        def configure_optimizers(self) -> Any:
            return configure_optimizers(self, {"_target_": "torch.optim.SGD", "lr": 1.0}, None)

        def on_before_optimizer_step(self, optimizer: Any) -> None:
            seen.append(float(self.weight.grad))  # type: ignore[arg-type]

    scaler = torch.amp.GradScaler("cpu", init_scale=65_536)
    precision = MixedPrecision("16-mixed", "cpu", scaler)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=1,
        plugins=[precision],
        gradient_clip_val=5.0,
        gradient_clip_algorithm="value",
        enable_model_summary=False,
        **quiet,  # type: ignore[arg-type]
    )
    trainer.fit(Module(), [0])
    assert float(weight.detach()) == pytest.approx(-3.0)
    assert seen == pytest.approx([3.0])
