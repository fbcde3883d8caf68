"""How far f(g(x)) is from g(f(x)), for convolutions and pooling f and movements g of real images.

Borders: a convolution here is padded with NaN, and what a movement brings in from beyond the border is NaN
(transforms.py). Only places that are finite on both sides are compared, so neither padding nor invented
pixels take part. A shift by s whole pixels of a 28x28 image leaves a 3x3 kernel (26 - s) x 26 places.

An error is the root of sum |f(g(x)) - g(f(x))|^2 / sum |g(f(x)) - its channel's mean|^2 over all compared
values: 0 for equivariance, 1 for an answer as good as each channel's mean; a bias does not change it.

Dimension letters: N images, C channels, H height, W width, k a kernel's side.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from src.findings import Statement, Table
from src.theory.kernels import drawn_images, edge, gaussian, random_kernels, turned_mean
from src.theory.transforms import IDENTITY, UNKNOWN, Motion, moved, repeated, shift, turn, zoom

ROUNDING = {torch.float64: 1e-12, torch.float32: 1e-5}  # the largest error that counts as rounding
TIMES = 2.0  # an error that many times the control's is more than interpolation
BROKEN = 0.05  # an error without interpolation that is no rounding
TABLED = (
    *((f"shift by {size:g} px", shift(0, size)) for size in (0.5, 1, 2, 3, 4, 8)),
    *((f"turn by {size} degrees", turn(size)) for size in (5, 15, 45, 90)),
    *((f"zoom by {size:g}", zoom(size)) for size in (0.7, 0.9, 1.1, 1.5, 2)),
)


@dataclass(frozen=True, eq=False)
class Layer:
    """A function of images (N, 1, H, W) whose maps have a cell every `stride` pixels."""

    name: str
    of: Callable[[Tensor], Tensor]
    stride: int = 1


def convolved(images: Tensor, kernels: Tensor) -> Tensor:
    """The convolution (as deep learning has it: not mirrored) of (N, C, H, W) with (D, C, k, k), k odd.

    Returns:
        (N, D, H, W); NaN where the kernel would reach over the border.
    """
    return F.conv2d(F.pad(images, [kernels.shape[-1] // 2] * 4, value=UNKNOWN), kernels)


def convolution(kernels: Tensor, name: str = "convolution") -> Layer:
    """The layer of kernels (D, 1, k, k), in their precision."""
    return Layer(name, lambda images: convolved(images.to(kernels.dtype), kernels))


def pooled(layer: Layer, window: int, name: str = "convolution + pooling") -> Layer:
    """The layer with max-pooling behind it, whose stride is its window, as in the classifier."""
    return Layer(name, lambda images: F.max_pool2d(layer.of(images), window), layer.stride * window)


def relative_error(left: Tensor, right: Tensor) -> float:
    """The error of (N, C, H, W) left against right, in standard deviations of the right (see above).

    Raises:
        ValueError: no place is known on both sides, or the right side is constant there.
    """
    difference, centred = _compared(left, right)
    return math.sqrt((difference**2).sum().item() / (centred**2).sum().item())


def largest_error(left: Tensor, right: Tensor) -> float:
    """The largest difference, as a share of the largest deviation of the right from its channel's mean.

    Raises:
        ValueError: as `relative_error`.
    """
    difference, centred = _compared(left, right)
    return (difference.abs().max() / centred.abs().max()).item()


def _compared(left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
    """left - right and right - mean of the channel where both are known, 0 elsewhere."""
    known = left.isfinite() & right.isfinite()
    if not known.any():
        raise ValueError("the movement leaves no place that saw the image alone: take a smaller one")
    zero = torch.zeros((), dtype=right.dtype)
    counts = known.sum((0, 2, 3), keepdim=True).clamp_min(1)
    mean = torch.where(known, right, zero).sum((0, 2, 3), keepdim=True) / counts  # (1, C, 1, 1)
    centred = torch.where(known, right - mean, zero)
    # A mean is rounded, so constant values miss it by a few last digits.
    digits = 100 * torch.finfo(right.dtype).eps * torch.where(known, right, zero).abs().max()
    if centred.abs().max() <= digits:
        raise ValueError(
            f"the {int(known.sum())} compared values are constant in each channel: images must vary"
        )
    return torch.where(known, left - right, zero), centred


def sides(layer: Layer, images: Tensor, motion: Motion) -> tuple[Tensor, Tensor]:
    """f(g(x)) and g(f(x)), each (N, C, H / stride, W / stride)."""
    return layer.of(moved(images, motion)), moved(layer.of(images), motion, layer.stride)


def equivariance_error(layer: Layer, images: Tensor, motion: Motion) -> float:
    """The error of f(g(x)) against g(f(x))."""
    return relative_error(*sides(layer, images, motion))


def invariance_error(layer: Layer, images: Tensor, motion: Motion) -> float:
    """The error of f(g(x)) against f(x): 0 where the movement changes nothing."""
    return relative_error(layer.of(moved(images, motion)), layer.of(images))


def moved_along_error(kernel: Callable[[Motion], Tensor], images: Tensor, motion: Motion) -> float:
    """The error where the kernel is moved with the image: (g x) * (g k) against g(x * k).

    In the plane both are equal for every k, so that this is the error of interpolation and sampling: the
    control. A Gaussian that is turned is itself.
    """
    left = convolved(moved(images.double(), motion), kernel(motion))
    return relative_error(left, moved(convolved(images.double(), kernel(IDENTITY)), motion))


def there_and_back_error(images: Tensor, motion: Motion) -> float:
    """The error of g^-1(g(x)) against x: two interpolations; at a zoom below 1 lost detail, too."""
    return relative_error(moved(moved(images, motion), motion.inverse()), images)


def quarter_turn_error(layer: Layer, images: Tensor) -> float:
    """The error at a turn by exactly 90 degrees, which copies pixels and interpolates nothing."""
    return relative_error(layer.of(images.rot90(1, (2, 3))), layer.of(images).rot90(1, (2, 3)))


def repetition_error(layer: Layer, images: Tensor) -> float:
    """The error at a zoom by 2 that repeats pixels and interpolates nothing."""
    return relative_error(layer.of(repeated(images)), repeated(layer.of(images)))


def statements(
    images: Tensor | None = None, seed: int = 42, kernels: Tensor | None = None
) -> tuple[tuple[Statement, ...], Table]:
    """What theory says of convolution, pooling and movements, put to the test.

    Args:
        images: (N, 1, H, W) in 0..1, H and W even and at least 16; None draws some from the seed.
        seed: of random kernels and drawn images.
        kernels: (D, 1, k, k), k odd; None draws 16 of 3 x 3 from the seed.

    Returns:
        The statements, and a table of errors by movement.

    Raises:
        ValueError: the images are too small or constant.
    """
    images = (drawn_images(seed) if images is None else images).double()
    kernels = (random_kernels(seed) if kernels is None else kernels).double()
    layer = convolution(kernels)
    pooling = pooled(layer, 2)
    found = (
        *_of_shifts(images, kernels, pooling, seed),
        *_without_interpolation(images, layer, kernels),
        *_against_control("a turn by 45 degrees", images, layer, turn(45)),
        *_against_control("a zoom by 1.5", images, layer, zoom(1.5)),
    )
    return found, error_table(images, layer, pooling)


def _of_shifts(images: Tensor, kernels: Tensor, pooling: Layer, seed: int) -> list[Statement]:
    found = []
    steps = [shift(rows, columns) for rows, columns in ((1, 0), (0, -2), (3, 5), (-4, 1))]
    every = [kernels, *(random_kernels(seed + side, 4, side) for side in (1, 5, 7))]
    for precision, limit in ROUNDING.items():
        layers = [convolution(some.to(precision)) for some in every]
        worst = max(
            largest_error(*sides(each, images.to(precision), step)) for each in layers for step in steps
        )
        what = f"a convolution's largest error at shifts by whole pixels, {str(precision).split('.')[1]}"
        found.append(_at_most(what, worst, limit))
    layer, limit = convolution(kernels), ROUNDING[torch.float64]
    halves = [shift(rows, columns) for rows, columns in ((0.5, 0), (0.25, -1.5))]
    worst = max(largest_error(*sides(layer, images, step)) for step in halves)
    found.append(_at_most("the same at shifts by parts of a pixel, float64", worst, limit))
    even = [shift(rows, columns) for rows, columns in ((2, 0), (0, -4), (2, 6))]
    worst = max(largest_error(*sides(pooling, images, step)) for step in even)
    found.append(
        _at_most("convolution + pooling 2 x 2: largest error at shifts by whole strides", worst, limit)
    )
    odd = min(equivariance_error(pooling, images, shift(rows, 0)) for rows in (1, 3))
    found.append(_at_least("convolution + pooling 2 x 2: error at shifts by 1 or 3 pixels", odd, BROKEN))
    # How far pooling damps a shift depends on the images (the curves show it); this holds whatever they are.
    spot = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    spot[..., 4, 4] = 1  # in the corner of a window of 4 x 4
    single = pooled(convolution(torch.ones(1, 1, 1, 1, dtype=torch.float64)), 4)
    within = max(invariance_error(single, spot, shift(step, step)) for step in (1, 2, 3))
    found.append(_at_most("pooling 4 x 4: change as a bright pixel moves within a window", within, 0.0))
    beyond = invariance_error(single, spot, shift(0, 4))
    found.append(_at_least("pooling 4 x 4: change as it moves on to the next window", beyond, BROKEN))
    return found


def _without_interpolation(images: Tensor, layer: Layer, kernels: Tensor) -> list[Statement]:
    symmetric = convolution(turned_mean(kernels))
    single = convolution(kernels.mean((2, 3), keepdim=True))
    limit = ROUNDING[torch.float64]
    return [
        _at_least("a convolution's error at a turn by 90 degrees", quarter_turn_error(layer, images), BROKEN),
        _at_most(
            "the same with each kernel the mean of its quarter turns",
            quarter_turn_error(symmetric, images),
            limit,
        ),
        _at_least(
            "a convolution's error at a zoom by 2 that repeats pixels",
            repetition_error(layer, images),
            BROKEN,
        ),
        _at_most("the same with kernels of 1 x 1", repetition_error(single, images), limit),
    ]


def _against_control(what: str, images: Tensor, layer: Layer, motion: Motion) -> list[Statement]:
    error = equivariance_error(layer, images, motion)
    control = max(moved_along_error(gaussian, images, motion), there_and_back_error(images, motion))
    fixed = equivariance_error(convolution(edge()), images, motion)
    along = moved_along_error(edge, images, motion)
    return [
        _at_least(f"a convolution's error at {what}, in the larger control's", error / control, TIMES, error),
        _at_least(
            f"an edge filter's error at {what}, in its error when moved along", fixed / along, TIMES, fixed
        ),
    ]


def _at_most(what: str, value: float, limit: float) -> Statement:
    return Statement(
        what, f"{value:.1e}" if value else "0", f"at most {limit:.0e}" if limit else "0", value <= limit
    )


def _at_least(what: str, value: float, limit: float, error: float | None = None) -> Statement:
    measured = f"{value:.3f}" if error is None else f"{value:.1f} times ({error:.3f})"
    expected = f"at least {limit:g}" + ("" if error is None else " times")
    return Statement(what, measured, expected, value >= limit)


def error_table(images: Tensor, layer: Layer, pooling: Layer) -> Table:
    """The errors of a convolution, of it with pooling and of both controls at some movements."""
    rows = []
    for name, motion in TABLED:
        errors = (
            equivariance_error(layer, images, motion),
            equivariance_error(pooling, images, motion),
            moved_along_error(gaussian, images, motion),
            there_and_back_error(images, motion),
        )
        rows.append((name, *map(error_text, errors)))
    return Table(
        "Error of f(g(x)) against g(f(x)), in standard deviations of g(f(x))",
        (
            "movement g",
            "convolution",
            "convolution + pooling",
            "control: Gaussian, moved along",
            "control: there and back",
        ),
        tuple(rows),
        "Over the places that saw nothing from beyond the border. The controls show what interpolation alone "
        "does: a radially symmetric kernel that is zoomed with the image (g(x * k) and g(x) * g(k) agree in "
        "the plane), and g undone by its inverse, without any layer.",
    )


def error_text(error: float) -> str:
    """An error for people: 0, 3.1e-16 or 0.123."""
    return "0" if error == 0 else f"{error:.1e}" if error < 1e-3 else f"{error:.3f}"
