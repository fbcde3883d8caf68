"""The network is the protocol's, in another order of operations that gives the same numbers."""

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.classification.module import Classifier, scaled
from src.classification.network import ConvNet
from tests.protocol_network import ProtocolNetwork


def test_parameters_and_classes_of_the_protocol() -> None:
    network = ConvNet(dropout=0.3)
    assert sum(weight.numel() for weight in network.parameters()) == 769_930
    assert network(torch.zeros(3, 1, 28, 28)).shape == (3, 10)
    counts = {name: sum(w.numel() for w in layer.parameters()) for name, layer in network.named_children()}
    assert counts == {
        "conv1": 160,
        "conv2": 4_640,
        "dense1": 691_800,
        "dense2": 72_120,
        "dense3": 1_210,
        "dropout": 0,
    }


def test_the_shape_after_every_layer() -> None:
    network = ConvNet(dropout=0.3)
    shapes: OrderedDict[str, tuple[int, ...]] = OrderedDict()

    def note(name: str) -> None:
        def hook(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
            shapes[name] = tuple(output.shape)

        network.get_submodule(name).register_forward_hook(hook)

    for name, _ in network.named_children():
        note(name)
    network(torch.zeros(2, 1, 28, 28))
    assert list(shapes.items()) == [
        ("conv1", (2, 16, 28, 28)),
        ("conv2", (2, 32, 12, 12)),
        ("dense1", (2, 600)),
        ("dropout", (2, 600)),
        ("dense2", (2, 120)),
        ("dense3", (2, 10)),
    ]


@pytest.mark.parametrize("size", [(3, 8, 8), (1, 9, 31), (4, 64, 10)])
def test_other_image_sizes_and_numbers_of_classes(size: tuple[int, int, int]) -> None:
    assert ConvNet(0.0, size, classes=7)(torch.zeros(2, *size)).shape == (2, 7)


@pytest.mark.parametrize("size", [(1, 7, 28), (1, 28, 7), (3, 1, 1)])
def test_too_small_images_are_named(size: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=rf"images of {size[1]}x{size[2]} are too small .* at least 8x8"):
        ConvNet(0.0, size)


def test_dropout_works_in_training_only() -> None:
    network = ConvNet(dropout=0.9)
    images = torch.rand(4, 1, 28, 28)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_outputs_and_gradients_equal_the_literal_protocol(memory_format: torch.memory_format) -> None:
    torch.manual_seed(3)
    ours = ConvNet(dropout=0.4)
    literal = ProtocolNetwork(dropout=0.4)
    literal.take_weights_of(ours)
    ours.to(memory_format=memory_format)  # type: ignore[call-overload]
    images, labels = torch.rand(16, 1, 28, 28), torch.randint(0, 10, (16,))

    torch.manual_seed(7)
    scores = ours(images)
    loss = F.cross_entropy(scores, labels)
    loss.backward()
    torch.manual_seed(7)
    expected = literal(images)
    F.nll_loss(expected, labels).backward()

    torch.testing.assert_close(scores.log_softmax(1), expected, rtol=1e-5, atol=1e-6)
    gradients = [weight.grad for weight in ours.parameters()]
    for gradient, weight in zip(gradients, literal.parameters(), strict=True):
        torch.testing.assert_close(gradient, weight.grad, rtol=1e-4, atol=1e-7)


def test_pixels_are_divided_by_256() -> None:
    images = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(scaled(images), torch.arange(256) / 256)
    assert images.dtype == torch.uint8


def test_the_module_takes_bytes_and_gives_scores() -> None:
    module = Classifier(dropout=0.5, lr=0.1).eval()
    images = torch.randint(0, 256, (4, 1, 28, 28), dtype=torch.uint8)
    literal = ProtocolNetwork(dropout=0.5).eval()
    literal.take_weights_of(module.network)
    scores = module(images).log_softmax(1)
    torch.testing.assert_close(scores, literal(images.float() / 256), rtol=1e-5, atol=1e-6)
