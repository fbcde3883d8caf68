"""A convolution's kernels as the report draws them, and tiles side by side.

Dimension letters: O filters (output channels), I input channels, h and w a kernel's sides.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

ACROSS = 8  # kernels a row


def convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    """The network's 2-d convolutions by name, in the order of its modules."""
    return {name: part for name, part in network.named_modules() if isinstance(part, nn.Conv2d)}


def protocol_kernels(weight: Tensor) -> Tensor:
    """The kernels that the report draws: those of input channel 0, min-max normalised over the layer.

    Args:
        weight: of the layer, (O, I, h, w).

    Returns:
        (O, h, w) in 0..1. Minimum and maximum are those of the whole layer, all channels included; a layer of
        equal weights gives zeros.
    """
    found = weight.detach().cpu()
    low, high = found.min(), found.max()
    return (found[:, 0] - low) / (high - low).clamp(min=1e-12)


def mosaic(tiles: Tensor, across: int, gap: int = 1) -> Tensor:
    """Tiles (N, h, w) in rows of `across`, with `gap` pixels of NaN between and around them."""
    count, height, width = tiles.shape
    rows = -(-count // across)
    sheet = tiles.new_full((rows * (height + gap) + gap, across * (width + gap) + gap), torch.nan)
    for number, tile in enumerate(tiles):
        row, column = divmod(number, across)
        top, left = gap + row * (height + gap), gap + column * (width + gap)
        sheet[top : top + height, left : left + width] = tile
    return sheet
