"""Kernels and images to measure equivariance with: kernels that move along, symmetric and random ones.

Dimension letters: k a kernel's side.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from src.theory.transforms import IDENTITY, Motion

WIDTH = 1.0  # pixels, the standard deviation of the smooth kernels


def gaussian(motion: Motion = IDENTITY) -> Tensor:
    """A Gaussian kernel (1, 1, k, k) of standard deviation `WIDTH`, radially symmetric, moved along."""
    return _smooth(lambda places: torch.ones(len(places), dtype=torch.float64), motion)


def edge(motion: Motion = IDENTITY) -> Tensor:
    """The Gaussian's derivative along the columns (1, 1, k, k): an edge filter, moved along."""
    return _smooth(lambda places: places[:, 1], motion)


def _smooth(factor: Callable[[Tensor], Tensor], motion: Motion) -> Tensor:
    """k(u) = factor(u) exp(-|u|^2 / 2 WIDTH^2) after the movement, k(M^-1 u) / |det M|, at whole pixels."""
    radius = math.ceil(3 * WIDTH * max(1.0, math.sqrt(abs(motion.determinant))))
    steps = torch.arange(-radius, radius + 1, dtype=torch.float64)
    places = torch.cartesian_prod(steps, steps) @ torch.tensor(motion.inverse().matrix, dtype=torch.float64).T
    values = factor(places) * torch.exp(-(places**2).sum(1) / (2 * WIDTH**2))
    values /= 2 * math.pi * WIDTH**2 * abs(motion.determinant)
    return values.reshape(1, 1, 2 * radius + 1, 2 * radius + 1)


def turned_mean(kernels: Tensor) -> Tensor:
    """The mean of the kernels' quarter turns: the nearest kernels that a quarter turn does not change."""
    turns = [kernels.rot90(quarter, (2, 3)) for quarter in range(4)]
    return torch.stack(turns).mean(0)


def random_kernels(seed: int, count: int = 16, side: int = 3) -> Tensor:
    """Kernels (count, 1, side, side) in float64 from the standard normal distribution, over their side."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, side, side, generator=generator, dtype=torch.float64) / side


def drawn_images(seed: int, count: int = 24, side: int = 28) -> Tensor:
    """Images (count, 1, side, side) in 0..1: bright rectangles and discs with soft edges on black."""
    generator = torch.Generator().manual_seed(seed)
    steps = torch.arange(side, dtype=torch.float64)
    images = torch.zeros(count, 1, side, side, dtype=torch.float64)
    for image in images:
        for disc in (True, False, True):
            at, size = torch.rand(2, 2, generator=generator)
            level = 0.4 + 0.6 * torch.rand(1, generator=generator).item()
            row, column = ((0.2 + 0.6 * place) * side for place in at.tolist())
            high, wide = ((0.08 + 0.2 * half) * side for half in size.tolist())
            down, right = (steps - row).abs() / high, (steps - column).abs() / wide
            if disc:
                far = (down[:, None] ** 2 + right[None] ** 2).sqrt()
            else:
                far = torch.maximum(down[:, None], right[None])
            image[0] = torch.maximum(image[0], level * torch.sigmoid((1 - far) * min(high, wide) / 0.6))
    return images
