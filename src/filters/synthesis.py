"""Feature visualisation: the input that excites a filter most, by gradient ascent (Erhan et al. 2009).

The weights stay, the image moves along the gradient of the filter's activation. Without regularisation that
ends in noise which no camera gives:

    clipping                     Yosinski et al. 2015, arXiv:1506.06579
    total variation              Mahendran and Vedaldi 2015, arXiv:1412.0035
    jitter, smoothed gradients   Olah et al. 2017, https://distill.pub/2017/feature-visualization

Dimension letters: B images (one a filter), C channels, H, W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from src.filters.activations import layer_outputs

Activation = Callable[[Tensor], Tensor]  # images (B, C, H, W) -> what to raise (B,): image i's i-th filter


def unit(network: nn.Module, layer: str, filters: Sequence[int]) -> Activation:
    """The middle of a filter's map, or a unit of a dense layer; `filters[i]` for image i."""
    chosen = torch.as_tensor(list(filters))

    def activation(images: Tensor) -> Tensor:
        maps = layer_outputs(network, images, [layer])[layer][torch.arange(len(chosen)), chosen]
        return maps if maps.dim() == 1 else maps[:, maps.shape[1] // 2, maps.shape[2] // 2]

    return activation


def gradient_ascent(
    activation: Activation,
    shape: Sequence[int],
    *,
    steps: int = 64,
    rate: float = 0.1,
    limits: tuple[float, float] = (0.0, 1.0),
    jitter: int = 0,
    variation: float = 0.0,
    smoothing: float = 0.0,
    seed: int = 42,
) -> Tensor:
    """Images (B, C, H, W) that excite their filters, grown from noise around the middle of the valid range.

    A step is `rate` x span x (g / rms(g) - variation x TV'), and shrinks evenly to nothing. g is the
    activation's gradient, without its size, which differs by orders between layers; TV' is that of the sum of
    absolute differences of neighbouring pixels.

    Args:
        activation: differentiable; see `Activation`.
        shape: (B, C, H, W).
        rate: root mean square of the first step, as a share of the span.
        limits: the valid range of a pixel.
        jitter: before each step the image is shifted, around its edges, by up to so many pixels each way.
        variation: weight of the total variation.
        smoothing: the gradient's amplitude at spatial frequency f is divided by f to this power.
        seed: of noise and jitter.
    """
    generator = torch.Generator().manual_seed(seed)
    low, high = limits
    span = high - low
    images = (low + high) / 2 + 0.05 * span * torch.randn(tuple(shape), generator=generator)
    frequencies = torch.hypot(torch.fft.fftfreq(shape[2])[:, None], torch.fft.rfftfreq(shape[3]))
    amplitudes = frequencies.clamp_min(1 / max(shape[2:])).pow(-smoothing)
    for step in range(steps):
        dy, dx = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist()
        shifted = images.roll((dy, dx), (2, 3)).requires_grad_()
        (gradient,) = torch.autograd.grad(activation(shifted).sum(), shifted)
        direction = gradient.roll((-dy, -dx), (2, 3))
        if smoothing:
            direction = torch.fft.irfft2(torch.fft.rfft2(direction) * amplitudes, s=tuple(shape[-2:]))
        size = direction.square().mean((1, 2, 3), keepdim=True).sqrt()
        direction = direction / size.clamp_min(1e-12) - variation * _variation_gradient(images)
        images = (images + rate * span * (1 - step / steps) * direction).clamp(low, high)
    return images


def _variation_gradient(images: Tensor) -> Tensor:
    """The gradient of the sum of |x_i - x_j| over neighbours, (B, C, H, W)."""
    found = torch.zeros_like(images)
    for axis in (2, 3):
        signs, size = images.diff(dim=axis).sign(), images.shape[axis]
        found.narrow(axis, 1, size - 1).add_(signs)
        found.narrow(axis, 0, size - 1).sub_(signs)
    return found
