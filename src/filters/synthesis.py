"""The input that excites a filter most: gradient ascent on the image (Erhan et al. 2009).

What a filter of a trained network answers to is sought by climbing: the weights stay, the image moves along
the gradient of the filter's activation. Without a leash that ends in noise which no camera gives, so the
usual regularisers are at hand:

    a bounded norm               Erhan et al. 2009, Visualizing higher-layer features of a deep network
    L2 decay                     Simonyan et al. 2013, arXiv:1312.6034
    clipping, several starts     Yosinski et al. 2015, arXiv:1506.06579
    total variation              Mahendran and Vedaldi 2015, arXiv:1412.0035
    jitter, smoothed gradients   Olah et al. 2017, https://distill.pub/2017/feature-visualization

Layers are read by forward hooks, which serve any nn.Module; torchvision's `create_feature_extractor` has to
trace the network, which fails where its code branches on values, and runs all of it.

Dimension letters: B images (one a filter), C channels, H, W pixels; F filters, h, w a layer's map.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]  # images (B, C, H, W) -> what to raise (B,): image i's i-th filter


@dataclass(frozen=True, eq=False)
class Synthetic:
    """What the ascent found.

    Attributes:
        images: (B, C, H, W).
        start: (B,) the activation of the noise that each image grew from.
        reached: (B,) the activation of `images`, without jitter and regularisers.
    """

    images: Tensor
    start: Tensor
    reached: Tensor


class _Reached(Exception):
    """The last layer asked for is done: what comes after it need not be computed."""


def layer_outputs(network: nn.Module, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """What the named layers return for these images; layers behind the last of them are not run.

    Args:
        layers: names as in `network.named_modules()`. The network must not change their outputs in place.

    Raises:
        ValueError: there is no such layer, or the network does not call it.
    """
    outputs: dict[str, Tensor] = {}
    hooks = []

    def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            outputs.setdefault(name, output)
            if len(outputs) == len(set(layers)):
                raise _Reached

        return hook

    modules = dict(network.named_modules())
    unknown = [name for name in layers if name not in modules]
    if unknown:
        raise ValueError(
            f"the network has no layer {unknown[0]!r}: it has {', '.join(filter(None, modules))}"
        )
    try:
        hooks = [modules[name].register_forward_hook(keep(name)) for name in layers]
        network(images)
    except _Reached:
        pass
    finally:
        for handle in hooks:
            handle.remove()
    if len(outputs) < len(set(layers)):
        idle = next(name for name in layers if name not in outputs)
        raise ValueError(f"the network never calls the layer {idle!r}: choose one that it calls")
    return outputs


def unit(network: nn.Module, layer: str, filters: Sequence[int], at: str = "centre") -> Activation:
    """The activation of filters of a convolution (or of a layer behind one), or of units of a dense layer.

    Args:
        filters: for image i of the batch, filter `filters[i]`.
        at: "centre" for the map's middle position alone, so that the image shows what one unit answers to;
            "mean" for the mean over the map, which gives a texture. A dense layer has no positions.

    Raises:
        ValueError: `at` is neither.
    """
    if at not in ("centre", "mean"):
        raise ValueError(f"a filter is read at {at!r}: it must be 'centre' or 'mean'")
    rows = torch.arange(len(filters))
    chosen = torch.as_tensor(list(filters))

    def activation(images: Tensor) -> Tensor:
        output = layer_outputs(network, images, [layer])[layer]  # (B, F, h, w) or (B, F)
        maps = output[rows, chosen]  # (B, h, w) or (B,)
        if maps.dim() == 1:
            return maps
        return maps.mean((1, 2)) if at == "mean" else maps[:, maps.shape[1] // 2, maps.shape[2] // 2]

    return activation


def maximize(
    activation: Activation,
    shape: Sequence[int],
    *,
    steps: int = 128,
    seed: int = 0,
    rate: float = 0.1,
    low: float = 0.0,
    high: float = 1.0,
    base: float | None = None,
    noise: float = 0.05,
    jitter: int = 0,
    variation: float = 0.0,
    decay: float = 0.0,
    smoothing: float = 0.0,
    radius: float | None = None,
    restarts: int = 1,
) -> Synthetic:
    """Climb from noise to an image that excites each filter of a batch.

    A step is `rate` x span x (g / rms(g) - variation x TV' - decay x (x - base) / span), and shrinks evenly
    to nothing. g is the activation's gradient; its size differs by orders between layers and is divided out,
    so that the regularisers' weights mean the same for every filter. TV' is the gradient of the anisotropic
    total variation, the sum of the absolute differences of neighbouring pixels: -4 to 4 a pixel.

    Args:
        activation: differentiable; see `Activation`. Image i must not touch the activation of another one.
        shape: (B, C, H, W).
        steps: of the ascent.
        seed: of noise and jitter; torch's global generator is left alone.
        rate: root mean square of the first step, as a share of the span, high - low.
        low, high: the valid range of a pixel; infinite for none: then the span counts as 1, the middle as 0.
        base: the value that the start lies around and that decay pulls to; None for the range's middle.
        noise: standard deviation of the start around the base, as a share of the span.
        jitter: before each step the image is shifted, around its edges, by up to so many pixels each way.
        variation, decay: weights of the total variation and of L2 decay towards the base.
        smoothing: the gradient's amplitude at each spatial frequency f is divided by f to this power, as
            steepest ascent in a Fourier basis of such scale has it (Olah et al. 2017, "preconditioning").
        radius: the largest L2 norm of an image; None for no bound.
        restarts: how often to climb, from other noise; each filter keeps its highest image.

    Raises:
        ValueError: a setting is out of range, or the activation is not one number an image.
    """
    _check(shape, low, high, radius, {"steps": (steps, 1), "restarts": (restarts, 1), "jitter": (jitter, 0)})
    generator = torch.Generator().manual_seed(seed)
    bounded = math.isfinite(low) and math.isfinite(high)
    span, middle = (high - low, (high + low) / 2) if bounded else (1.0, 0.0)
    base = middle if base is None else base
    filtering = _amplitudes(shape[-2], shape[-1], smoothing) if smoothing else None
    best: Synthetic | None = None
    for _ in range(restarts):
        start = _within(
            base + noise * span * torch.randn(tuple(shape), generator=generator), low, high, radius
        )
        images = start
        for step in range(steps):
            dy, dx = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist()
            moved = images.roll((dy, dx), (2, 3)).requires_grad_()
            (gradient,) = torch.autograd.grad(_checked(activation(moved), shape[0]).sum(), moved)
            with torch.no_grad():
                direction = gradient.roll((-dy, -dx), (2, 3))
                if filtering is not None:
                    direction = torch.fft.irfft2(torch.fft.rfft2(direction) * filtering, s=tuple(shape[-2:]))
                size = direction.square().mean((1, 2, 3), keepdim=True).sqrt()
                direction = direction / size.clamp_min(1e-12)
                direction = direction - variation * _rise_of_variation(images)
                direction = direction - decay * (images - base) / span
                length = rate * span * (1 - step / steps)
                images = _within(images + length * direction, low, high, radius)
        with torch.no_grad():
            found = Synthetic(images, activation(start), activation(images))
        best = found if best is None else _higher(best, found)
    assert best is not None
    return best


def _higher(one: Synthetic, other: Synthetic) -> Synthetic:
    """For each filter the image that reached more."""
    better = other.reached > one.reached  # (B,)
    return Synthetic(
        torch.where(better[:, None, None, None], other.images, one.images),
        torch.where(better, other.start, one.start),
        torch.where(better, other.reached, one.reached),
    )


def _within(images: Tensor, low: float, high: float, radius: float | None) -> Tensor:
    """The nearest images in the range and, after that, in the ball."""
    images = images.clamp(low, high)
    if radius is None:
        return images
    norm = images.flatten(1).norm(dim=1)[:, None, None, None]
    return images * (radius / norm.clamp_min(radius))


def _rise_of_variation(images: Tensor) -> Tensor:
    """The gradient of the sum of |x_i - x_j| over neighbours, (B, C, H, W)."""
    rise = torch.zeros_like(images)
    for axis in (2, 3):
        signs = images.diff(dim=axis).sign()
        size = images.shape[axis]
        rise.narrow(axis, 1, size - 1).add_(signs)
        rise.narrow(axis, 0, size - 1).sub_(signs)
    return rise


def _amplitudes(height: int, width: int, power: float) -> Tensor:
    """1 / f^power for each frequency of `rfft2`, (H, W // 2 + 1); 0 counts as the lowest but it."""
    down, across = torch.fft.fftfreq(height), torch.fft.rfftfreq(width)
    frequency = torch.hypot(down[:, None], across[None, :]).clamp_min(1 / max(height, width))
    return frequency.pow(-power)


def _checked(values: Tensor, count: int) -> Tensor:
    if values.shape != (count,):
        raise ValueError(
            f"the activation gave {tuple(values.shape)} for {count} images: it must give one number an image"
        )
    return values


def _check(
    shape: Sequence[int], low: float, high: float, radius: float | None, least: dict[str, tuple[int, int]]
) -> None:
    """`least` has for each whole number its value and the smallest one allowed."""
    if len(shape) != 4 or min(shape) < 1:
        raise ValueError(f"images of shape {tuple(shape)} cannot be made: give (B, C, H, W), each at least 1")
    if not low < high:
        raise ValueError(f"the range from {low:g} to {high:g} is empty: low must lie below high")
    if radius is not None and not (radius > 0 and low <= 0 <= high):
        raise ValueError(
            f"radius={radius:g} with values from {low:g} to {high:g} leaves no image: "
            "give a positive radius and a range that holds 0"
        )
    for name, (value, smallest) in least.items():
        if value < smallest:
            raise ValueError(f"{name}={value} is out of range: give at least {smallest}")
