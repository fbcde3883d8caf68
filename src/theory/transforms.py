"""Movements of images and of feature maps: shifts, turns, zooms, about the image's centre.

What lies beyond the border is unknown: it is NaN, and NaN spreads to whatever was computed from it. So a
comparison of the finite values is a comparison of what saw the image alone.

Dimension letters: N images, C channels, H height, W width. Positions are (row, column); turns are
counter-clockwise as one sees them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

UNKNOWN = math.nan


@dataclass(frozen=True)
class Motion:
    """The movement p -> centre + matrix (p - centre) + offset of the plane, in pixels."""

    matrix: tuple[tuple[float, float], tuple[float, float]] = ((1.0, 0.0), (0.0, 1.0))
    offset: tuple[float, float] = (0.0, 0.0)

    @property
    def determinant(self) -> float:
        (a, b), (c, d) = self.matrix
        return a * d - b * c

    def inverse(self) -> Motion:
        """The movement back."""
        (a, b), (c, d) = self.matrix
        size = self.determinant
        back = ((d / size, -b / size), (-c / size, a / size))
        rows, columns = self.offset
        return Motion(
            back,
            (-(back[0][0] * rows + back[0][1] * columns), -(back[1][0] * rows + back[1][1] * columns)),
        )


IDENTITY = Motion()


def shift(rows: float, columns: float) -> Motion:
    """Down by `rows` and to the right by `columns` pixels."""
    return Motion(offset=(float(rows), float(columns)))


def turn(degrees: float) -> Motion:
    """Counter-clockwise; exact at multiples of 90 degrees."""
    quarters, rest = divmod(degrees, 90)
    angle = math.radians(rest)
    c, s = math.cos(angle), math.sin(angle)
    for _ in range(int(quarters) % 4):
        c, s = -s, c
    return Motion(((c, -s), (s, c)))


def zoom(factor: float) -> Motion:
    """Enlarged by `factor`.

    Raises:
        ValueError: the factor is not above 0.
    """
    if not factor > 0:
        raise ValueError(f"a zoom by {factor} is none: the factor must be above 0")
    return Motion(((float(factor), 0.0), (0.0, float(factor))))


def moved(maps: Tensor, motion: Motion, stride: int = 1, beyond: float = UNKNOWN) -> Tensor:
    """Images or feature maps (N, C, H, W) after a movement of the plane that they lie on.

    Shifts by whole cells copy; everything else interpolates with Keys' cubic convolution (1981, IEEE Trans.
    ASSP 29, a = -1/2), which is exact for polynomials of degree 2. A sample takes `beyond` for each of its
    neighbours that lies beyond the border, so that NaN there makes it NaN, even where its weight is 0.

    Args:
        stride: pixels from cell to cell; the maps' centre is the image's.
        beyond: what lies beyond the border.
    """
    N, C, H, W = maps.shape
    rows, columns = (step / stride for step in motion.offset)
    if motion.matrix == IDENTITY.matrix and rows.is_integer() and columns.is_integer():
        return _copied(maps, int(rows), int(columns), beyond)
    back = torch.tensor(motion.inverse().matrix, dtype=torch.float64)
    centre = torch.tensor([(H - 1) / 2, (W - 1) / 2], dtype=torch.float64)
    places = _places(H, W) - centre - torch.tensor([rows, columns], dtype=torch.float64)  # (H*W, 2)
    sources = places @ back.T + centre
    # Rounding must not ask for a neighbour that an exact hit does not need.
    nearest = sources.round()
    sources = torch.where((sources - nearest).abs() < 1e-9, nearest, sources)
    first = sources.floor()
    weights = [_keys(sources - first - tap) for tap in range(-1, 3)]  # of both axes, (H*W, 2) each
    ring = F.pad(maps, [1] * 4, value=beyond)
    cells = ring.permute(2, 3, 0, 1).reshape((H + 2) * (W + 2), N * C)  # (N, C, H+2, W+2) -> a row a cell
    result = torch.zeros(H * W, N * C, dtype=maps.dtype)
    for down, weight_down in zip(range(-1, 3), weights, strict=True):
        row = (first[:, 0] + down + 1).clamp(0, H + 1).long()
        for right, weight_right in zip(range(-1, 3), weights, strict=True):
            weight = (weight_down[:, 0] * weight_right[:, 1]).to(maps.dtype).unsqueeze(1)  # (H*W, 1)
            if not weight.any():  # no sample needs this neighbour: a shift along the other axis
                continue
            column = (first[:, 1] + right + 1).clamp(0, W + 1).long()
            result += weight * cells[row * (W + 2) + column]
    return result.reshape(H, W, N, C).permute(2, 3, 0, 1).contiguous()  # (H*W, N*C) -> (N, C, H, W)


def _copied(maps: Tensor, rows: int, columns: int, beyond: float) -> Tensor:
    H, W = maps.shape[2:]
    result = torch.full_like(maps, beyond)
    if abs(rows) < H and abs(columns) < W:
        down, right = max(rows, 0), max(columns, 0)
        up, left = max(-rows, 0), max(-columns, 0)
        result[:, :, down : H - up, right : W - left] = maps[:, :, up : H - down, left : W - right]
    return result


def _places(height: int, width: int) -> Tensor:
    """Row and column of each cell, row by row: (H*W, 2) float64."""
    return torch.cartesian_prod(
        torch.arange(height, dtype=torch.float64), torch.arange(width, dtype=torch.float64)
    )


def _keys(distance: Tensor) -> Tensor:
    """Keys' weight of a neighbour at this distance."""
    d = distance.abs()
    near = (1.5 * d - 2.5) * d * d + 1
    far = ((-0.5 * d + 2.5) * d - 4) * d + 2
    return torch.where(d <= 1, near, torch.where(d < 2, far, torch.zeros_like(d)))


def share_cut_off(images: Tensor, motion: Motion) -> Tensor:
    """The share (N,) of each image's light that a movement takes beyond the border; no value below 0."""
    H, W = images.shape[2:]
    centre = torch.tensor([(H - 1) / 2, (W - 1) / 2], dtype=torch.float64)
    forth = torch.tensor(motion.matrix, dtype=torch.float64)
    places = (_places(H, W) - centre) @ forth.T + centre + torch.tensor(motion.offset, dtype=torch.float64)
    limit = torch.tensor([H - 0.5, W - 0.5], dtype=torch.float64)
    outside = ((places < -0.5) | (places > limit)).any(1)  # (H*W,)
    light = images.sum(1).flatten(1).double()  # (N, H*W)
    return (light[:, outside].sum(1) / light.sum(1).clamp_min(1e-12)).to(images.dtype)


def repeated(maps: Tensor, times: int = 2) -> Tensor:
    """Enlarged by repeating each pixel: (N, C, H, W) -> (N, C, H * times, W * times)."""
    return maps.repeat_interleave(times, 2).repeat_interleave(times, 3)
