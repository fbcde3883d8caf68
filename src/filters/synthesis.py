"""Feature visualisation: the input that excites a filter most, by gradient ascent (Erhan et al. 2009).

The weights stay, the image moves along the gradient of the filter's activation. Without regularisation that
ends in noise which no camera gives:

    clipping          Yosinski et al. 2015, arXiv:1506.06579
    total variation   Mahendran and Vedaldi 2015, arXiv:1412.0035
    jitter            Olah et al. 2017, https://distill.pub/2017/feature-visualization

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
    jitter: int = 0,
    variation: float = 0.0,
) -> Tensor:
    """Images (B, C, H, W) in 0..1 that excite their filters, grown from noise around 0.5.

    A step is `rate` x (g / rms(g) - variation x TV'), and shrinks evenly to nothing. g is the activation's
    gradient, without its size, which differs by orders between layers; TV' is that of the sum of absolute
    differences of neighbouring pixels.

    Args:
        activation: differentiable; see `Activation`.
        shape: (B, C, H, W).
        rate: root mean square of the first step.
        jitter: before each step the image is shifted, around its edges, by up to so many pixels each way.
        variation: weight of the total variation.
    """
    generator = torch.Generator().manual_seed(42)
    images = 0.5 + 0.05 * torch.randn(tuple(shape), generator=generator)
    for step in range(steps):
        dy, dx = torch.randint(-jitter, jitter + 1, (2,), generator=generator).tolist()
        shifted = images.roll((dy, dx), (2, 3)).requires_grad_()
        (gradient,) = torch.autograd.grad(activation(shifted).sum(), shifted)
        rough = images.requires_grad_()
        total = rough.diff(dim=2).abs().sum() + rough.diff(dim=3).abs().sum()
        (roughness,) = torch.autograd.grad(total, rough)
        direction = gradient.roll((-dy, -dx), (2, 3))
        size = direction.square().mean((1, 2, 3), keepdim=True).sqrt()
        direction = direction / size.clamp_min(1e-12) - variation * roughness
        images = (images.detach() + rate * (1 - step / steps) * direction).clamp(0, 1)
    return images
