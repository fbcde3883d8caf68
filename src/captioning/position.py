"""Where a region lies, as features of its own: a decoder with attention cannot know it otherwise."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

FREQUENCIES = (0.5, 1.0, 2.0)  # half waves across the image: left from right, middle from margin, quarters
POSITION_DIM = 4 * len(FREQUENCIES)


def append_positions(regions: Tensor, grid: Sequence[int]) -> Tensor:
    """Regions (B, L, D) with the sines and cosines of their places behind, (B, L, D + POSITION_DIM).

    The places are the regions' centres, from -1 to 1 in both directions (Fourier features; Vaswani et al.
    2017, section 3.5, in two dimensions).

    Args:
        regions: row by row.
        grid: rows and columns, L = rows * columns.
    """
    y, x = ((2 * torch.arange(side, device=regions.device) + 1) / side - 1 for side in grid)
    places = torch.stack(torch.meshgrid(y, x, indexing="ij"), 2).flatten(0, 1)  # (L, 2)
    angles = torch.cat([math.pi * frequency * places for frequency in FREQUENCIES], 1)  # (L, 2 * frequencies)
    features = torch.cat([angles.sin(), angles.cos()], 1).to(regions.dtype)  # (L, POSITION_DIM)
    return torch.cat([regions, features.expand(len(regions), -1, -1)], 2)
