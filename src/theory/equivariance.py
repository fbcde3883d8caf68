"""How far f(g(x)) is from g(f(x)), for convolutions and pooling f and movements g of images.

Images lie on a black plane, wide enough for every movement (`framed`), that wraps around: no border counts.

An error is the root of sum |f(g(x)) - g(f(x))|^2 / sum |g(f(x)) - its channel's mean|^2: 0 for equivariance,
1 for an answer as good as each channel's mean.

A motion is a matrix (3, 3) of homogeneous positions (x, y, 1) about the image's centre, in pixels.
Dimension letters: N images, C channels, H height, W width, D kernels, k a kernel's side.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from src.findings import Statement

ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-5}  # the largest error that counts as rounding
TIMES = 2.0  # an error that many times the control's is more than interpolation
BROKEN = 0.05  # an error without interpolation that is no rounding
Layer = Callable[[Tensor], Tensor]  # images (N, C, H, W) to maps, whose cells may be some pixels wide


def shift(rows: float, columns: float) -> Tensor:
    """Down by `rows` and to the right by `columns` pixels."""
    return torch.tensor([[1, 0, columns], [0, 1, rows], [0, 0, 1]], dtype=torch.float64)


def turn(degrees: float) -> Tensor:
    """Counter-clockwise, as one sees it."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return torch.tensor([[c, s, 0], [-s, c, 0], [0, 0, 1]], dtype=torch.float64)


def zoom(factor: float) -> Tensor:
    """Enlarged by `factor`, above 0."""
    return torch.diag(torch.tensor([factor, factor, 1], dtype=torch.float64))


def moved(maps: Tensor, motion: Tensor, stride: int = 1) -> Tensor:
    """Images, or feature maps of cells `stride` pixels wide, (N, C, H, W), moved: bicubic, 0 moves in."""
    height, width = (stride * side for side in maps.shape[2:])
    scale = torch.tensor([width / 2, height / 2, 1], dtype=torch.float64)  # torch's positions are -1 to 1
    theta = (torch.linalg.inv(motion) * scale / scale[:, None])[:2].to(maps.dtype).expand(len(maps), 2, 3)
    grid = F.affine_grid(theta, list(maps.shape), align_corners=False)
    return F.grid_sample(maps, grid, mode="bicubic", padding_mode="zeros", align_corners=False)


def framed(images: Tensor, side: int = 64) -> Tensor:
    """Images (N, C, H, W) as float64 in the middle of black ones, (N, C, side, side)."""
    more = [side - length for length in (images.shape[3], images.shape[2])]
    return F.pad(images.double(), [half for total in more for half in (total // 2, total - total // 2)])


def convolution(kernels: Tensor) -> Layer:
    """The convolution (as deep learning has it: not mirrored) with kernels (D, C, k, k), k odd, circular."""
    padding = [kernels.shape[-1] // 2] * 4
    return lambda images: F.conv2d(F.pad(images.to(kernels.dtype), padding, mode="circular"), kernels)


def pooled(layer: Layer, window: int) -> Layer:
    """The layer with max-pooling behind it, whose stride is its window, as in the classifier."""
    return lambda images: F.max_pool2d(layer(images), window)


def relative_error(left: Tensor, right: Tensor) -> float:
    """The error of (N, C, H, W) left against right, in standard deviations of the right (see above)."""
    centred = right - right.mean((0, 2, 3), keepdim=True)
    return float((left - right).norm() / centred.norm())


def equivariance_error(layer: Layer, images: Tensor, motion: Tensor) -> float:
    """The error of f(g(x)) against g(f(x))."""
    maps, after = layer(images), layer(moved(images, motion))
    return relative_error(after, moved(maps, motion, images.shape[-1] // maps.shape[-1]))


def edge(motion: Tensor | None = None) -> Tensor:
    """A Gaussian's derivative along x, moved along: k(M^-1 u) / |det M| at whole pixels, (1, 1, k, k)."""
    matrix = torch.eye(2, dtype=torch.float64) if motion is None else motion[:2, :2]
    size = float(torch.linalg.det(matrix))
    radius = math.ceil(3 * max(1.0, math.sqrt(size)))
    steps = torch.arange(-radius, radius + 1, dtype=torch.float64)
    y, x = torch.meshgrid(steps, steps, indexing="ij")
    places = torch.stack([x, y], -1) @ torch.linalg.inv(matrix).T  # (k, k, 2)
    values = places[..., 0] * torch.exp(-(places**2).sum(-1) / 2) / (2 * math.pi * size)
    return values[None, None]


def moved_along_error(images: Tensor, motion: Tensor) -> float:
    """The error where the kernel moves with the image: (g x) * (g k) against g(x * k), k an edge filter.

    In the plane both are equal for every k: this is the error of interpolation and sampling alone.
    """
    along = convolution(edge(motion))(moved(images, motion))
    return relative_error(along, moved(convolution(edge())(images), motion))


def there_and_back_error(images: Tensor, motion: Tensor) -> float:
    """The error of g^-1(g(x)) against x: two interpolations; at a zoom below 1 lost detail, too."""
    return relative_error(moved(moved(images, motion), torch.linalg.inv(motion)), images)


def statements(images: Tensor, kernels: Tensor) -> list[Statement]:
    """What theory says, put to the test on images (N, 1, H, W), `framed`, and kernels (D, 1, k, k)."""
    layer, pooling, rounding = convolution(kernels), pooled(convolution(kernels), 2), ROUNDING[torch.float64]

    def rolled(of: Layer, by: tuple[int, int], stride: int = 1) -> float:
        after = of(images).roll((by[0] // stride, by[1] // stride), (2, 3))
        return relative_error(of(images.roll(by, (2, 3))), after)

    def quarter_turn(some: Tensor) -> float:
        of = convolution(some)
        return relative_error(of(images.rot90(1, (2, 3))), of(images).rot90(1, (2, 3)))

    parts = max(equivariance_error(layer, images, shift(*by)) for by in ((0.5, 0), (0.25, -1.5)))
    symmetric = torch.stack([kernels.rot90(quarter, (2, 3)) for quarter in range(4)]).mean(0)
    one = equivariance_error(pooling, images, shift(1, 0))
    found = [
        _at_most("convolution: shifts by parts of a pixel, interpolated", parts, rounding),
        _at_most(
            "convolution + pooling 2 x 2: shifts by whole strides", rolled(pooling, (2, -6), 2), rounding
        ),
        _at_least("convolution + pooling 2 x 2: a shift by 1 pixel", one),
        _at_least("convolution: a turn by 90 degrees", quarter_turn(kernels)),
        _at_most("the same, each kernel the mean of its quarter turns", quarter_turn(symmetric), rounding),
    ]
    for precision, limit in ROUNDING.items():
        of = convolution(kernels.to(precision))
        worst = max(rolled(of, by) for by in ((1, 0), (0, -2), (40, 33)))
        found.append(_at_most(f"convolution: shifts by whole pixels, {str(precision)[6:]}", worst, limit))
    for name, motion in (("a turn by 45 degrees", turn(45)), ("a zoom by 1.5", zoom(1.5))):
        control = max(moved_along_error(images, motion), there_and_back_error(images, motion))
        for what, of in (("convolution", layer), ("edge filter", convolution(edge()))):
            error = equivariance_error(of, images, motion) / control
            found.append(_at_least(f"{what}: {name}, in the larger control's error", error, TIMES))
    return found


def _at_most(what: str, error: float, limit: float) -> Statement:
    return Statement(what, f"{error:.1e}", f"at most {limit:g}", error <= limit)


def _at_least(what: str, error: float, limit: float = BROKEN) -> Statement:
    return Statement(what, f"{error:.3f}", f"at least {limit:g}", error >= limit)
