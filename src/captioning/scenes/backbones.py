"""The backbones of scenes: rivers, roads and runways from edge to edge, harbors and seas with their boats."""

from __future__ import annotations

import math

import numpy as np

from src.captioning.scenes.places import OPPOSITE, Box, Point, hull
from src.captioning.scenes.things import Group, Item, Rng, Shore, Strip, group_of

BOAT_COLOURS = ("white", "red", "blue", "yellow")


def lay_strip(rng: Rng, kind: str, axis: str, place: str | None = None) -> Strip:
    """A strip from edge to edge; rivers wind."""
    width = {"river": (0.13, 0.17), "road": (0.07, 0.09), "runway": (0.11, 0.13)}[kind]
    breadth = rng.uniform(*width) * (0.8 if axis == "diagonal" else 1.0)
    bend = {"river": 0.03, "road": 0.0, "runway": 0.0}[kind] * (0.5 if axis == "diagonal" else 1.0)
    if axis != "diagonal":
        ends = ("left", "center", "right") if axis == "vertical" else ("top", "center", "bottom")
        place = place or str(rng.choice(ends))
        middle = (0.2, 0.5, 0.8)[ends.index(place)] + rng.uniform(-0.015, 0.015)
    else:
        middle = 0.5
    along = np.linspace(-0.06, 1.06, 29)
    sway = bend * np.sin(2 * math.pi * (along * rng.uniform(0.8, 1.5) + rng.random()))
    across = middle + sway + (0 if kind == "river" else rng.uniform(-0.015, 0.015)) * (along - 0.5)
    if axis == "vertical":
        path = tuple(zip(across.tolist(), along.tolist(), strict=True))
    elif axis == "horizontal":
        path = tuple(zip(along.tolist(), across.tolist(), strict=True))
    else:
        falls = bool(rng.random() < 0.5)  # from the upper left to the lower right
        down = (along if falls else 1 - along) + sway
        path = tuple(zip(along.tolist(), down.tolist(), strict=True))
    half = breadth / 2
    if axis == "vertical":
        box = (float(across.min()) - half, 0.0, float(across.max()) + half, 1.0)
    elif axis == "horizontal":
        box = (0.0, float(across.min()) - half, 1.0, float(across.max()) + half)
    else:
        box = (0.0, 0.0, 1.0, 1.0)
    return Strip(kind, box, place, axis, path, breadth)


def boats_on_river(rng: Rng, river: Strip) -> Group:
    """One to three boats in a line on the water, within one part of the picture."""
    count = int(rng.integers(1, 4))
    middle = float(rng.choice([0.22, 0.5, 0.78]))
    colour = str(rng.choice(BOAT_COLOURS))
    upright = river.axis == "vertical"
    items = []
    for k in range(count):
        at = middle + (k - (count - 1) / 2) * 0.135
        beside, there = _on_path(river, at), _on_path(river, at + 0.02)
        angle = math.degrees(math.atan2(there - beside, 0.02))
        x, y, turn = (beside, at, 90 - angle) if upright else (at, beside, angle)
        turn += 180 if rng.random() < 0.5 else 0
        items.append(Item(x, y, rng.uniform(0.1, 0.115), 0.04, turn, colour))
    return group_of("boats", items, colour)


def _on_path(strip: Strip, at: float) -> float:
    main = 1 if strip.axis == "vertical" else 0
    return float(
        np.interp(at, [point[main] for point in strip.path], [point[1 - main] for point in strip.path])
    )


def _turned(side: str, depth: float, at: float) -> Point:
    """A point `depth` from the picture's edge on this side and `at` along it."""
    return {"left": (depth, at), "right": (1 - depth, at), "top": (at, depth), "bottom": (at, 1 - depth)}[
        side
    ]


def _water_box(side: str, depth: float) -> Box:
    return hull([_turned(side, 0.0, 0.0), _turned(side, depth, 1.0)])


def build_harbor(rng: Rng) -> tuple[Shore, list[Group]]:
    """A basin with a straight quay and one or two piers, boats lying bow out on both sides of them."""
    side = str(rng.choice(list(OPPOSITE)))
    depth = rng.uniform(0.42, 0.46)
    count = int(rng.choice([2, 3, 4, 5, 6, 10]))
    colour = str(rng.choice(BOAT_COLOURS))
    middles = [0.27, 0.73] if count > 6 else [float(rng.choice([0.22, 0.5, 0.78]))]
    outward = {"left": 180.0, "right": 0.0, "top": -90.0, "bottom": 90.0}[side]
    reach = 0.3
    piers, slots = [], []
    for middle in middles:
        x, y = _turned(side, depth - reach / 2, middle)
        piers.append(Item(x, y, reach + 0.03, 0.03, outward))
        slots += [
            (depth - 0.06 - 0.085 * k, middle + sign * 0.082, sign) for k in range(3) for sign in (-1, 1)
        ]
    chosen = sorted(rng.choice(len(slots), size=count, replace=False).tolist())
    items = []
    for slot in chosen:
        away, at, sign = slots[slot]
        x, y = _turned(side, away, at)
        bow = (90.0 if side in ("left", "right") else 0.0) + (0 if sign > 0 else 180)
        items.append(Item(x, y, rng.uniform(0.095, 0.115), rng.uniform(0.038, 0.042), bow, colour))
    edge = tuple(_turned(side, depth, float(at)) for at in (-0.05, 1.05))
    shore = Shore("harbor", _water_box(side, depth), side, edge, tuple(piers))
    return shore, [group_of("boats", items, colour)]


def fill_sea(rng: Rng) -> tuple[Shore, list[Group]]:
    """Open water with a winding beach; sometimes one to three boats off it."""
    side = str(rng.choice(list(OPPOSITE)))
    depth = rng.uniform(0.34, 0.4)
    along = np.linspace(-0.06, 1.06, 29)
    sway = 0.025 * np.sin(2 * math.pi * (along * rng.uniform(0.8, 1.5) + rng.random()))
    edge = tuple(_turned(side, depth + float(s), float(a)) for a, s in zip(along, sway, strict=True))
    shore = Shore("sea", _water_box(side, depth + 0.025), side, edge)
    if rng.random() < 0.45:
        return shore, []
    colour = str(rng.choice(BOAT_COLOURS))
    count = int(rng.integers(1, 4))
    middle = float(rng.choice([0.22, 0.5, 0.78]))
    items = []
    for k in range(count):
        at = middle + (k - (count - 1) / 2) * 0.135
        x, y = _turned(side, rng.uniform(0.12, depth - 0.16), at)
        angle = (
            (90 if side in ("left", "right") else 0) + rng.uniform(-25, 25) + 180 * int(rng.random() < 0.5)
        )
        items.append(Item(x, y, rng.uniform(0.1, 0.115), 0.04, angle, colour))
    return shore, [group_of("boats", items, colour)]
