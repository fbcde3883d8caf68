"""Activation maps and the most exciting images, on networks whose answers are known."""

from collections import OrderedDict

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.classification.module import Classifier, scaled
from src.filters.activations import activations
from src.filters.classifier import STAGES, exciting, layers_of, protocol_order, untrained, window_of
from src.filters.exciting import Window, class_shares, most_exciting, window


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    torch.manual_seed(3)
    return Classifier(dropout=0.5, lr=0.01, seed=9).eval()


def noise(count: int, seed: int = 0, high: int = 256) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, high, (count, 1, 28, 28), generator=generator, dtype=torch.uint8)


def test_every_stage_equals_the_sub_network_run_by_hand(classifier: Classifier) -> None:
    image, n = noise(1), classifier.network
    with torch.no_grad():
        relu1 = F.relu(n.conv1(scaled(image)))
        pool1 = F.max_pool2d(relu1, 2)
        relu2 = F.relu(n.conv2(pool1))
        pool2 = F.max_pool2d(relu2, 2)
        dense1 = F.relu(n.dense1(pool2.flatten(1)))
        dense2 = F.relu(n.dense2(dense1))
        by_hand = (relu1, pool1, relu2, pool2, dense1, dense2, n.dense3(dense2))
    found = layers_of(classifier, image)
    assert [*found] == [*STAGES.values()]
    for ours, expected in zip(found.values(), by_hand, strict=True):
        assert torch.allclose(ours, expected[0], atol=1e-6)
    assert torch.allclose([*found.values()][-1], classifier(image)[0], atol=1e-5)


def test_activations_of_any_module() -> None:
    """Nested names, in-place layers, and an end at the last layer asked for."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(inplace=True))
            self.never = nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return -self.inner(x)

    block = Block()
    with torch.no_grad():
        block.inner[0].weight.copy_(torch.eye(2))  # type: ignore[operator]
    x = torch.tensor([[1.0, -2.0]])
    found = activations(block, x)
    assert {name: values.tolist() for name, values in found.items()} == {
        "inner.0": [[1.0, -2.0]],
        "inner.1": [[1.0, 0.0]],
    }
    assert [*activations(block, x, ["inner.0"])] == ["inner.0"]
    assert activations(block, x, [""])[""].tolist() == [[-1.0, 0.0]]
    with pytest.raises(ValueError, match="never reached never"):
        activations(block, x, ["never"])
    with pytest.raises(ValueError, match=r"no layer 'outer'; there are inner\.0, inner\.1, never"):
        activations(block, x, ["outer"])
    assert not any(part._forward_hooks for part in block.modules())


@pytest.mark.parametrize("layer", ["conv1", "conv2"])
def test_window_is_where_a_change_of_the_image_can_be_seen(classifier: Classifier, layer: str) -> None:
    """The derivative of one position of the map vanishes outside its window, and reaches its edges."""
    network = protocol_order(classifier.network)
    seen = window_of(classifier, layer)
    for row, column in ((0, 0), (5, 7)):
        reached = torch.zeros(28, 28, dtype=torch.bool)
        for seed in range(20):  # max-pooling hands the derivative to one pixel of four
            image = scaled(noise(1, seed)).requires_grad_()
            x: Tensor = image
            for name, part in network.named_children():
                x = part(x)
                if name == layer:
                    break
            x[0, :, row, column].square().sum().backward()
            assert image.grad is not None
            reached |= image.grad[0, 0] != 0
        for axis, position in enumerate((row, column)):
            first, size = seen.of(position)
            lines = reached.any(1 - axis).nonzero().flatten().tolist()
            assert (lines[0], lines[-1]) == (max(first, 0), first + size - 1)


def test_window_with_padding_behind_a_stride() -> None:
    network = nn.Sequential(nn.Conv2d(1, 1, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(1, 1, 3, padding=1))
    assert window(network, "2") == Window(first=-3, step=2, size=8)


def test_planted_pattern_wins_where_it_stands(classifier: Classifier) -> None:
    """The filter's own pattern, in one image among faint noise, at a known place."""
    planted = Classifier(dropout=0.5, lr=0.01).eval()
    pattern = torch.tensor([[0.0, 1, 0], [1, 1, 1], [0, 1, 0]])
    with torch.no_grad():
        planted.network.conv1.weight[4, 0] = pattern - pattern.mean()
        planted.network.conv1.bias[:] = 0  # type: ignore[index]
    images = noise(700, high=60)  # more than a batch
    images[613, 0, 9:12, 20:23] += (pattern * 190).to(torch.uint8)
    images[42, 0, 2:5, 3:6] += (pattern * 120).to(torch.uint8)
    found = exciting(planted, "conv1", images, k=3)
    assert found.top[4, :2].tolist() == [613, 42]
    assert found.peaks[4, :2].tolist() == [[10, 21], [3, 4]]
    first, size = window_of(planted, "conv1").of(int(found.peaks[4, 0, 0]))
    assert (first, size) == (9, 3)
    assert torch.allclose(found.values, found.best.sort(dim=0, descending=True).values[:3].T)


def test_exciting_agrees_with_the_maps_of_all_images_at_once(classifier: Classifier) -> None:
    images = noise(60)
    found = exciting(classifier, "conv2", images, k=5)
    with torch.no_grad():
        n = classifier.network
        maps = n.conv2(F.max_pool2d(F.relu(n.conv1(scaled(images))), 2))  # (60, 32, 12, 12)
    assert torch.allclose(found.best, maps.amax((2, 3)), atol=1e-5)
    for number in (0, 17, 31):
        for image, (row, column), value in zip(
            found.top[number], found.peaks[number].tolist(), found.values[number], strict=True
        ):
            assert torch.isclose(maps[image, number, row, column], value, atol=1e-5)


def test_ties_and_silent_filters_and_too_few_images() -> None:
    conv = nn.Conv2d(1, 2, 3, bias=False)
    layer = nn.Sequential(OrderedDict(conv=conv))
    with torch.no_grad():
        conv.weight[0], conv.weight[1] = 1.0, -1.0
    found = most_exciting(layer, "conv", torch.ones(4, 1, 5, 5), lambda batch: batch, k=2)
    assert found.top.tolist() == [[0, 1], [0, 1]]
    assert found.peaks.unique().tolist() == [0]
    assert found.silent == [1]
    with pytest.raises(ValueError, match="the 5 most exciting of 4 images"):
        most_exciting(layer, "conv", torch.ones(4, 1, 5, 5), lambda batch: batch, k=5)
    with pytest.raises(ValueError, match="no maps"):
        most_exciting(nn.Sequential(nn.Flatten()), "0", torch.ones(4, 1, 5, 5), lambda batch: batch, k=1)
    with pytest.raises(ValueError, match="could be traced back"):
        window(nn.Sequential(nn.Flatten(), nn.Linear(2, 2)), "1")


def test_shares_of_classes() -> None:
    labels = torch.tensor([3, 3, 1, 0, 3, 1])
    (first, second) = class_shares(torch.tensor([[0, 1, 2, 4], [2, 3, 5, 1]]), labels)
    assert (first.label, first.share, first.classes) == (3, 0.75, 2)
    assert (second.label, second.share, second.classes) == (1, 0.5, 3)


def test_untrained_is_a_function_of_the_run_s_seed_and_leaves_torch_s_generator(
    classifier: Classifier,
) -> None:
    torch.manual_seed(9)
    expected = Classifier(dropout=0.5, lr=0.01, seed=9).network.conv1.weight
    state = torch.get_rng_state()
    assert torch.equal(untrained(classifier).network.conv1.weight, expected)
    assert torch.equal(torch.get_rng_state(), state)
