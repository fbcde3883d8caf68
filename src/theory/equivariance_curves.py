"""Errors of equivariance against the size of a shift, a turn or a zoom."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from src.theory.equivariance import (
    convolution,
    equivariance_error,
    invariance_error,
    moved_along_error,
    pooled,
    there_and_back_error,
)
from src.theory.kernels import gaussian
from src.theory.transforms import Motion, shift, turn, zoom

SHIFTS = tuple(step / 2 for step in range(1, 17))  # pixels
TURNS = (5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 75.0, 90.0, 120.0, 150.0, 180.0)  # degrees
ZOOMS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.25, 1.5, 1.75, 2.0)  # factors


@dataclass(frozen=True)
class Curve:
    """Errors against the size of a movement; the mean square over the directions of shifts."""

    name: str
    sizes: tuple[float, ...]
    errors: tuple[float, ...]
    control: bool = False

    def at(self, size: float) -> float:
        """The error at one of the sizes."""
        return self.errors[self.sizes.index(size)]


@dataclass(frozen=True)
class Panel:
    """The curves of one kind of movement."""

    axis: str  # with its unit
    curves: tuple[Curve, ...]

    def curve(self, name: str) -> Curve:
        """The curve of this name."""
        return next(curve for curve in self.curves if curve.name == name)


CONVOLUTION, POOLING = "convolution", "convolution + pooling"
ALONG, BACK = "control: Gaussian, moved along", "control: there and back"


def shifts_of(size: float) -> tuple[Motion, ...]:
    """A shift down and one to the right."""
    return shift(size, 0), shift(0, size)


def error_panels(images: Tensor, kernels: Tensor) -> tuple[Panel, Panel, Panel]:
    """Errors of a convolution, of it with pooling 2, and of both controls against shift, turn and zoom.

    Args:
        images: (N, 1, H, W), H and W even.
        kernels: (D, 1, k, k).
    """
    images, kernels = images.double(), kernels.double()
    layer = convolution(kernels)
    kinds: tuple[tuple[str, Sequence[float], Callable[[float], tuple[Motion, ...]]], ...] = (
        ("Shift (pixels)", SHIFTS, shifts_of),
        ("Turn (degrees)", TURNS, lambda size: (turn(size),)),
        ("Zoom (factor)", ZOOMS, lambda size: (zoom(size),)),
    )
    measures: tuple[tuple[str, Callable[[Motion], float]], ...] = (
        (CONVOLUTION, lambda motion: equivariance_error(layer, images, motion)),
        (POOLING, lambda motion: equivariance_error(pooled(layer, 2), images, motion)),
        (ALONG, lambda motion: moved_along_error(gaussian, images, motion)),
        (BACK, lambda motion: there_and_back_error(images, motion)),
    )
    panels = []
    for axis, sizes, motions in kinds:
        curves = []
        for name, measure in measures:
            errors = (
                math.sqrt(sum(measure(motion) ** 2 for motion in motions(size)) / len(motions(size)))
                for size in sizes
            )
            curves.append(Curve(name, tuple(sizes), tuple(errors), name.startswith("control")))
        panels.append(Panel(axis, tuple(curves)))
    return panels[0], panels[1], panels[2]


def invariance_curves(images: Tensor, kernels: Tensor, windows: Sequence[int] = (1, 2, 4, 7)) -> Panel:
    """The change of a convolution's max-pooled maps under a shift, by the pooling's window (1: none)."""
    images, layer = images.double(), convolution(kernels.double())
    sizes = tuple(size for size in SHIFTS if size <= 4)
    curves = []
    for window in windows:
        stage = pooled(layer, window)
        errors = (
            math.sqrt(sum(invariance_error(stage, images, motion) ** 2 for motion in shifts_of(size)) / 2)
            for size in sizes
        )
        name = "no pooling" if window == 1 else f"{window} x {window}"
        curves.append(Curve(name, sizes, tuple(errors)))
    return Panel("Shift (pixels)", tuple(curves))
