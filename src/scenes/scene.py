"""What a scene consists of.

Lengths are fractions of the picture's side, angles degrees. A box is (x0, y0, x1, y1) from the upper left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml  # type: ignore[import-untyped]

Rng = np.random.Generator
Box = tuple[float, float, float, float]
Point = tuple[float, float]
FOREST = 14  # as many trees are a forest
MANY = 7  # captions do not count as many objects
CAR_PITCH = 0.04  # from one parked car to the next
RECTANGLE: tuple[Point, ...] = ((-1, -1), (1, -1), (1, 1), (-1, 1))
OBJECTS: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("objects.yaml").read_text("utf-8"))


@dataclass(frozen=True)
class Item:
    """One house, boat, ...: `length` along its angle (0 points right, 90 down), `width` across it."""

    x: float
    y: float
    length: float
    width: float
    angle: float = 0.0
    colour: str = ""

    def place(self, points: Sequence[Point] = RECTANGLE) -> list[Point]:
        """Points of the item's own frame, where it reaches from -1 to 1 along and across, in the picture."""
        cos, sin = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        a, b = self.length / 2, self.width / 2
        return [(self.x + u * a * cos - v * b * sin, self.y + u * a * sin + v * b * cos) for u, v in points]


@dataclass(frozen=True)
class SceneObject:
    """What captions name: a kind, the box around it, and the part of the picture that it lies in, if any."""

    kind: str
    box: Box
    place: str | None


@dataclass(frozen=True)
class Group(SceneObject):
    """Items of one kind. `colour` is None where it is mixed or goes without saying."""

    items: tuple[Item, ...]
    colour: str | None = None
    cars: tuple[Item, ...] = ()  # of a parking lot


@dataclass(frozen=True)
class Strip(SceneObject):
    """A river, road or runway: a path from edge to edge. `axis` is vertical, horizontal or diagonal."""

    axis: str
    path: tuple[Point, ...]
    width: float


@dataclass(frozen=True)
class Shore(SceneObject):
    """A sea or a harbor's basin that fills one side (`place`) of the picture; piers reach into it."""

    edge: tuple[Point, ...]  # where the water ends
    piers: tuple[Item, ...] = ()

    def inland(self, step: float) -> list[Point]:
        """The edge, moved by `step` away from the water."""
        dx, dy = {"left": (1, 0), "right": (-1, 0), "top": (0, 1), "bottom": (0, -1)}[self.place or ""]
        return [(x + dx * step, y + dy * step) for x, y in self.edge]

    @property
    def beach(self) -> SceneObject:
        edges = zip(self.inland(0.0), self.inland(OBJECTS["shores"]["sea"]["width"]), strict=True)
        return SceneObject("beach", hull(point for pair in edges for point in pair), None)


@dataclass(frozen=True)
class Scene:
    """`ground` is soil, meadow or concrete; `sun` the direction that shadows fall to."""

    ground: str
    sun: float
    strips: tuple[Strip, ...] = ()
    shore: Shore | None = None
    groups: tuple[Group, ...] = ()


def group_of(kind: str, items: Sequence[Item], colour: str | None) -> Group:
    """A group with its box and its place."""
    box = hull((corner for item in items for corner in item.place()), pad=0.005)
    return Group(kind, box, place_of(box), tuple(items), colour)


def place_of(box: Box) -> str | None:
    """The part of the picture that holds the box, as in "upper left corner"; None where it is arguable."""
    across, down = _third(box[0], box[2]), _third(box[1], box[3])
    if across is None or down is None:
        return None
    column, row = ("left", "", "right")[across], ("top", "", "bottom")[down]
    if column and row:
        return f"{'upper' if row == 'top' else 'lower'} {column} corner"
    if column or row:
        return column or row
    return "center" if max(box[2] - box[0], box[3] - box[1]) <= 0.6 else None


def _third(start: float, end: float) -> int | None:
    middle = (start + end) / 2
    if end <= 0.5 and middle <= 0.34:
        return 0
    if start >= 0.5 and middle >= 0.66:
        return 2
    return 1 if 0.4 <= middle <= 0.6 and start <= 0.45 and end >= 0.55 else None


def side_of(box: Box, other: Box) -> str | None:
    """Where `box` lies as seen from `other`: left, right, above, below; None where that is arguable."""
    for axis, before, behind in ((0, "left", "right"), (1, "above", "below")):
        low, high = 1 - axis, 3 - axis  # of the other axis
        shared = min(box[high], other[high]) - max(box[low], other[low])
        if shared / min(box[high] - box[low], other[high] - other[low]) >= 0.5:
            if box[axis + 2] <= other[axis]:
                return before
            if box[axis] >= other[axis + 2]:
                return behind
    return None


def gap(box: Box, other: Box) -> float:
    """The distance between two boxes along the axes, negative where they overlap."""
    return max(box[0] - other[2], other[0] - box[2], box[1] - other[3], other[1] - box[3])


def hull(points: Iterable[Point], pad: float = 0.0) -> Box:
    """The smallest box around the points, widened by `pad` and cut at the picture's edge."""
    xs, ys = zip(*points, strict=True)
    return (
        *(max(0.0, min(xs) - pad), max(0.0, min(ys) - pad)),
        *(min(1.0, max(xs) + pad), min(1.0, max(ys) + pad)),
    )
