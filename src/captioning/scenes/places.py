"""Boxes in the unit square and what can be said of where they lie.

A box is (x0, y0, x1, y1), fractions of width and height from the upper left. Every rule here is stricter
than a person would be, so that nobody disputes a place that a caption names.
"""

from __future__ import annotations

from collections.abc import Iterable

Box = tuple[float, float, float, float]
Point = tuple[float, float]

# Where a group of objects may be put. Those of `BELTS` run along a whole side, for what comes in masses.
ZONES: dict[str, Box] = {
    "upper left corner": (0.03, 0.03, 0.44, 0.44),
    "upper right corner": (0.56, 0.03, 0.97, 0.44),
    "lower left corner": (0.03, 0.56, 0.44, 0.97),
    "lower right corner": (0.56, 0.56, 0.97, 0.97),
    "top": (0.28, 0.03, 0.72, 0.42),
    "bottom": (0.28, 0.58, 0.72, 0.97),
    "left": (0.03, 0.28, 0.42, 0.72),
    "right": (0.58, 0.28, 0.97, 0.72),
    "center": (0.28, 0.28, 0.72, 0.72),
}
BELTS: dict[str, Box] = {
    "top": (0.03, 0.03, 0.97, 0.36),
    "bottom": (0.03, 0.64, 0.97, 0.97),
    "left": (0.03, 0.03, 0.36, 0.97),
    "right": (0.64, 0.03, 0.97, 0.97),
}
OPPOSITE = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}


def place_of(box: Box) -> str | None:
    """The name, as in `ZONES`, of the part of the picture that holds the box; None where it is arguable."""
    across = _third(box[0], box[2])
    down = _third(box[1], box[3])
    if across is None or down is None:
        return None
    names = {"low": ("left", "top"), "high": ("right", "bottom")}
    if across == "middle":
        if down == "middle":
            return "center" if max(box[2] - box[0], box[3] - box[1]) <= 0.6 else None
        return names[down][1]
    if down == "middle":
        return names[across][0]
    return f"{'upper' if down == 'low' else 'lower'} {names[across][0]} corner"


def _third(start: float, end: float) -> str | None:
    middle = (start + end) / 2
    if end <= 0.5 and middle <= 0.34:
        return "low"
    if start >= 0.5 and middle >= 0.66:
        return "high"
    return "middle" if 0.4 <= middle <= 0.6 and start <= 0.45 and end >= 0.55 else None


def side_of(box: Box, other: Box) -> str | None:
    """Where `box` lies as seen from `other`: "left", "right", "above" or "below"; None where they overlap
    in both directions or lie diagonally."""
    if _shared(box[1::2], other[1::2]) >= 0.5:
        if box[2] <= other[0]:
            return "left"
        if box[0] >= other[2]:
            return "right"
    if _shared(box[0::2], other[0::2]) >= 0.5:
        if box[3] <= other[1]:
            return "above"
        if box[1] >= other[3]:
            return "below"
    return None


def _shared(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """The share of the shorter of two intervals that lies in the longer."""
    return (min(one[1], other[1]) - max(one[0], other[0])) / min(one[1] - one[0], other[1] - other[0])


def gap(box: Box, other: Box) -> float:
    """The distance between two boxes along the axes, 0 where they touch."""
    across = max(box[0] - other[2], other[0] - box[2], 0.0)
    down = max(box[1] - other[3], other[1] - box[3], 0.0)
    return max(across, down)


def overlap(box: Box, other: Box, margin: float = 0.0) -> bool:
    """Whether two boxes come closer than `margin` to each other."""
    return (
        box[0] - margin < other[2]
        and other[0] - margin < box[2]
        and box[1] - margin < other[3]
        and other[1] - margin < box[3]
    )


def inside(box: Box, other: Box, margin: float) -> bool:
    """Whether `box` lies in `other`, widened by `margin`."""
    return (
        box[0] >= other[0] - margin
        and box[1] >= other[1] - margin
        and box[2] <= other[2] + margin
        and box[3] <= other[3] + margin
    )


def hull(points: Iterable[Point], pad: float = 0.0) -> Box:
    """The smallest box around the points, widened by `pad` and cut at the picture's edge."""
    xs, ys = zip(*points, strict=True)
    return (
        max(0.0, min(xs) - pad),
        max(0.0, min(ys) - pad),
        min(1.0, max(xs) + pad),
        min(1.0, max(ys) + pad),
    )
