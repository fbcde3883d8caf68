"""The step by hand against autograd and torch.optim.SGD, and networks that must not be stepped by hand."""

from collections.abc import Callable
from typing import Any

import lightning as L
import pytest
import torch
import torch.nn.functional as F
import torch.nn.utils.parametrize
import torch.nn.utils.prune
from torch import Tensor, nn

from src.classification import sgd
from src.classification.data import Chunks
from src.classification.module import Classifier
from src.classification.network import ConvNet


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


class Silent(L.Callback):
    pass


class Listening(L.Callback):
    """Has every step taken by autograd."""

    def on_after_backward(self, *_: Any) -> None:
        pass


def trained(kind: type[ConvNet], change: Callable[[ConvNet], None], callback: L.Callback) -> Classifier:
    torch.manual_seed(0)
    module = Classifier(dropout=0.5, lr=0.1, batch_size=4)
    network = kind(0.5).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    change(network)
    module.network = network
    images = torch.randint(0, 256, (12, 1, 28, 28), dtype=torch.uint8)
    data: Any = Chunks(images, torch.arange(12) % 10, chunk=12)
    quiet = {"enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = L.Trainer(accelerator="cpu", max_epochs=1, logger=False, callbacks=[callback], **quiet)  # type: ignore[arg-type]
    trainer.fit(module, data)
    return module


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
    found, expected = trained(kind, change, Silent()), trained(kind, change, Listening())
    assert found.running_loss_sum == pytest.approx(expected.running_loss_sum, rel=1e-5)
    torch.testing.assert_close(found.state_dict(), expected.state_dict(), rtol=1e-4, atol=1e-6)
    assert all(weight.grad is None for weight in found.parameters()) == by_hand
