"""A convolution's kernels as the protocol draws them (section 4), and all of them with their signs.

Dimension letters: O filters (output channels), I input channels, h and w a kernel's sides. Plain tensors; the
drawing stands in `kernel_figures.py`.
"""

from __future__ import annotations

import torch
from torch import Tensor

ACROSS = 8  # kernels a row


def protocol_kernels(weight: Tensor) -> Tensor:
    """The kernels that the protocol draws: those of input channel 0, min-max normalised over the layer.

    Args:
        weight: of the layer, (O, I, h, w).

    Returns:
        (O, h, w) in 0..1. The minimum and the maximum are those of the whole layer, all channels included;
        a layer of equal weights gives zeros.
    """
    found = checked(weight)
    low, high = found.min(), found.max()
    return (found[:, 0] - low) / torch.clamp(high - low, min=1e-12)


def channel_shares(weight: Tensor) -> list[float]:
    """How much of the layer's energy (sum of squares) lies in the kernels of each input channel; I shares."""
    energy = checked(weight).double().square().sum((0, 2, 3))  # (I,)
    return (energy / energy.sum().clamp(min=1e-300)).tolist()


def channels_for_half(weight: Tensor) -> int:
    """The median over the filters of how few input channels hold half of a filter's energy."""
    energy = checked(weight).double().square().sum((2, 3))  # (O, I)
    running = energy.sort(dim=1, descending=True).values.cumsum(1)  # (O, I)
    return int(((running < running[:, -1:] / 2).sum(1) + 1).median())


def mosaic(tiles: Tensor, across: int, gap: int = 1) -> Tensor:
    """Tiles beside each other, `across` a row, with NaN between and around them.

    Args:
        tiles: (N, h, w).
        across: tiles a row.
        gap: pixels between two tiles.

    Returns:
        (rows * (h + gap) + gap, across * (w + gap) + gap); the last row may hold fewer tiles.
    """
    count, height, width = tiles.shape
    rows = -(-count // across)
    sheet = tiles.new_full((rows * (height + gap) + gap, across * (width + gap) + gap), torch.nan)
    for number, tile in enumerate(tiles):
        top, left = place(number, across, (height, width), gap)
        sheet[top : top + height, left : left + width] = tile
    return sheet


def place(number: int, across: int, size: tuple[int, int], gap: int = 1) -> tuple[int, int]:
    """Top and left pixel of a tile of `size` (h, w) in `mosaic`."""
    row, column = divmod(number, across)
    return gap + row * (size[0] + gap), gap + column * (size[1] + gap)


def checked(weight: Tensor) -> Tensor:
    """The weight, detached and on the CPU. Raises ValueError unless it is that of a 2-d convolution."""
    if weight.ndim != 4 or not weight.numel():
        raise ValueError(f"kernels have four dimensions (filters, channels, h, w), not {tuple(weight.shape)}")
    return weight.detach().cpu().contiguous()
