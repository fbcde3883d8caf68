"""Synthetic inputs: known maxima, ranges, seeds."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from src.filters.synthesis import layer_outputs, maximize, unit


def small_network() -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3),
        nn.Flatten(),
        nn.Linear(96, 5),
    ).eval()


def test_a_bounded_input_of_a_linear_filter_is_its_kernel() -> None:
    """Cauchy and Schwarz: among inputs of norm 1, w . x is highest, |w|, at x = w / |w|."""
    kernels = torch.randn(8, 3, 5, 5, generator=torch.Generator().manual_seed(1))

    def activation(images: Tensor) -> Tensor:
        return torch.stack(
            [F.conv2d(x[None], w[None]).squeeze() for x, w in zip(images, kernels, strict=True)]
        )

    found = maximize(activation, kernels.shape, low=-math.inf, high=math.inf, radius=1.0, steps=60, seed=2)

    cosine = F.cosine_similarity(found.images.flatten(1), kernels.flatten(1))
    assert cosine.min() > 0.999
    torch.testing.assert_close(found.reached, kernels.flatten(1).norm(dim=1), rtol=1e-3, atol=0)


def test_l2_decay_alone_gives_the_kernel_too() -> None:
    kernel = torch.randn(1, 1, 5, 5, generator=torch.Generator().manual_seed(4))

    found = maximize(
        lambda x: (x * kernel).sum((1, 2, 3)), kernel.shape, low=-math.inf, high=math.inf, decay=1.0, rate=0.2
    )

    assert F.cosine_similarity(found.images.flatten(1), kernel.flatten(1)).item() > 0.999
    # Where pull and push are even, the root mean square is 1 / decay.
    assert found.images.square().mean().sqrt().item() == pytest.approx(1.0, abs=0.01)


def test_a_clipped_input_of_a_linear_filter_is_the_sign_of_its_kernel() -> None:
    torch.manual_seed(7)
    network = nn.Conv2d(1, 6, 3, padding=1)
    found = maximize(unit(network, "", range(6)), (6, 1, 7, 7), steps=150, rate=0.5)

    weight, bias = network.weight.detach(), network.bias
    assert bias is not None
    best = bias.detach() + weight.clamp_min(0).sum((1, 2, 3))  # 1 where the kernel is positive, else 0
    torch.testing.assert_close(found.reached, best, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.images[:, :, 2:5, 2:5], (weight > 0).float(), rtol=0, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    jitter=st.integers(0, 2),
    variation=st.sampled_from([0.0, 0.3]),
    smoothing=st.sampled_from([0.0, 1.0]),
)
def test_activation_rises_within_the_range_and_a_seed_repeats_it(
    seed: int, jitter: int, variation: float, smoothing: float
) -> None:
    activation = unit(small_network(), "5", range(5))

    def climb() -> tuple[Tensor, Tensor, Tensor]:
        found = maximize(
            activation,
            (5, 1, 12, 12),
            steps=20,
            seed=seed,
            low=-0.5,
            high=2.0,
            jitter=jitter,
            variation=variation,
            smoothing=smoothing,
        )
        return found.images, found.start, found.reached

    images, start, reached = climb()
    state = torch.random.get_rng_state()
    if not jitter:  # an edge that is shifted around the image is another image to this network
        assert (reached > start).all()
    assert images.min() >= -0.5
    assert images.max() <= 2.0
    assert all(torch.equal(one, two) for one, two in zip((images, start, reached), climb(), strict=True))
    assert torch.equal(state, torch.random.get_rng_state())
    torch.testing.assert_close(reached, activation(images).detach())


def test_more_restarts_never_reach_less_and_another_seed_gives_another_image() -> None:
    activation = unit(small_network(), "3", range(6), at="mean")
    once = maximize(activation, (6, 1, 12, 12), steps=10, seed=5)
    often = maximize(activation, (6, 1, 12, 12), steps=10, seed=5, restarts=4)

    assert (often.reached >= once.reached).all()
    assert (often.reached > once.reached).any()
    assert not torch.equal(maximize(activation, (6, 1, 12, 12), steps=10, seed=6).images, once.images)


def test_total_variation_smooths() -> None:
    activation = unit(small_network(), "5", range(5))

    def roughness(variation: float) -> float:
        images = maximize(activation, (5, 1, 12, 12), steps=40, variation=variation).images
        return float(images.diff(dim=2).abs().mean() + images.diff(dim=3).abs().mean())

    assert roughness(0.5) < 0.5 * roughness(0.0)


def test_layers_are_those_of_the_network_and_what_follows_is_not_run() -> None:
    network = small_network()
    images = torch.rand(2, 1, 12, 12)
    outputs = layer_outputs(network, images, ["0", "3"])

    assert torch.equal(outputs["0"], network[0](images))  # type: ignore[index]
    assert torch.equal(outputs["3"], network[:4](images))  # type: ignore[index]
    layer_outputs(network, torch.rand(2, 1, 40, 40), ["3"])  # of a size that the dense layer would refuse
    assert not any(module._forward_hooks for module in network.modules())


def test_mistakes_are_named() -> None:
    network = small_network()
    with pytest.raises(ValueError, match="no layer 'conv9'"):
        layer_outputs(network, torch.rand(1, 1, 12, 12), ["conv9"])
    with pytest.raises(ValueError, match="one number an image"):
        maximize(lambda x: x.sum(), (2, 1, 4, 4))
    with pytest.raises(ValueError, match="from 1 to 0 is empty"):
        maximize(lambda x: x.sum((1, 2, 3)), (2, 1, 4, 4), low=1, high=0)
    with pytest.raises(ValueError, match="steps=0"):
        maximize(lambda x: x.sum((1, 2, 3)), (2, 1, 4, 4), steps=0)
    with pytest.raises(ValueError, match="'middle'"):
        unit(network, "0", [0], at="middle")
