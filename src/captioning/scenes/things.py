"""What a scene consists of: objects, groups of them, strips, water.

Lengths are fractions of the picture's side, angles are degrees.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from src.captioning.scenes.places import Box, Point, hull, place_of

Rng = np.random.Generator
FOREST = 14  # as many trees are a forest
MANY = 7  # as many objects are no longer counted
CAR_PITCH = 0.04  # from one parked car to the next
BEACH_WIDTH = 0.055
KINDS = ("houses", "buildings", "tanks", "courts", "trees", "lawn", "parking", "planes", "boats")


@dataclass(frozen=True)
class Item:
    """One object: `length` along its angle (0 points right, 90 down), `width` across it."""

    x: float
    y: float
    length: float
    width: float
    angle: float = 0.0
    colour: str = ""

    def corners(self) -> list[Point]:
        cos, sin = math.cos(math.radians(self.angle)), math.sin(math.radians(self.angle))
        a, b = self.length / 2, self.width / 2
        return [
            (self.x + u * cos - v * sin, self.y + u * sin + v * cos)
            for u, v in ((-a, -b), (a, -b), (a, b), (-a, b))
        ]


@dataclass(frozen=True)
class Thing:
    """What a caption can name: a kind, the box around it, and the part of the picture it lies in, if any."""

    kind: str
    box: Box
    place: str | None


@dataclass(frozen=True)
class Group(Thing):
    """Objects of one kind. `colour` is None where it is mixed or goes without saying."""

    items: tuple[Item, ...]
    colour: str | None = None
    cars: tuple[Item, ...] = ()  # of a parking lot

    @property
    def count(self) -> int:
        return len(self.items)


@dataclass(frozen=True)
class Strip(Thing):
    """A river, road or runway: a path from edge to edge. `axis` is vertical, horizontal or diagonal."""

    axis: str
    path: tuple[Point, ...]
    width: float


@dataclass(frozen=True)
class Shore(Thing):
    """A sea or a harbor's basin that fills one side (`place`) of the picture; piers reach into it."""

    edge: tuple[Point, ...]  # where the water ends
    piers: tuple[Item, ...] = ()


@dataclass(frozen=True)
class Scene:
    """`ground` is soil, meadow or concrete; `sun` the direction, in degrees, that shadows fall to."""

    ground: str
    sun: float
    strips: tuple[Strip, ...] = ()
    shore: Shore | None = None
    groups: tuple[Group, ...] = ()

    @property
    def things(self) -> tuple[Thing, ...]:
        return (*self.strips, *((self.shore,) if self.shore else ()), *self.groups)


def group_of(kind: str, items: list[Item], colour: str | None) -> Group:
    box = hull((corner for item in items for corner in item.corners()), pad=0.005)
    return Group(kind, box, place_of(box), tuple(items), colour)


@lru_cache(maxsize=16)
def beach_of(shore: Shore) -> Box:
    """The box around the sand between the sea and the land."""
    side = shore.place or ""
    return hull([inland(side, point, step) for point in shore.edge for step in (0.0, BEACH_WIDTH)])


def inland(side: str, point: Point, step: float) -> Point:
    """The point moved by `step` away from the water on this side."""
    dx, dy = {"left": (1, 0), "right": (-1, 0), "top": (0, 1), "bottom": (0, -1)}[side]
    return point[0] + dx * step, point[1] + dy * step


def pick(rng: Rng, names: list[str], weights: list[float]) -> str:
    return names[int(rng.choice(len(names), p=weights))]
