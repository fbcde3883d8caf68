"""Groups of items, in rows and columns inside a free zone of the picture."""

from __future__ import annotations

import math
from dataclasses import replace

from src.scenes.scene import CAR_PITCH, FOREST, MANY, OBJECTS, Box, Group, Item, Rng, group_of

SAMPLED = {kind: look["sample"] for kind, look in OBJECTS["groups"].items() if "sample" in look}


def colours_of(kind: str) -> list[str]:
    """The colours that captions name, of items of this kind."""
    return list(OBJECTS["groups"][kind].get("colours", ()))


def sample_group(rng: Rng, kind: str, zone: Box, spread: bool) -> Group | None:
    """A group of this kind inside the zone, or None where the zone is too small.

    Args:
        spread: whether the group has many items, which fill a whole side.
    """
    recipe, colours = SAMPLED[kind], colours_of(kind)
    spacing = recipe["spacing"]
    colour = str(rng.choice(colours)) if colours else ""
    count = int(rng.choice(recipe["counts"]))
    if spread:
        count = 30 if kind == "trees" else int(rng.choice([9, 12]))
    length, width = rng.uniform(*recipe["length"]), rng.uniform(*recipe["width"])
    width = width or length
    room = (zone[2] - zone[0], zone[3] - zone[1])
    if kind in ("lawn", "parking"):
        length, width = min(length, room[0]), min(width, room[1])
    mixed = kind == "houses" and count >= MANY and rng.random() < 0.35
    upright = kind not in ("lawn", "parking") and rng.random() < 0.5
    tilt = 0.0 if kind in ("tanks", "trees", "parking", "lawn") else rng.uniform(-5, 5)
    if kind == "trees" and count >= FOREST:
        return _forest(rng, zone)
    across, down = (width, length) if upright else (length, width)
    pitch = (across + spacing, down + spacing)
    most = (int((room[0] + spacing) / pitch[0]), int((room[1] + spacing) / pitch[1]))
    count = min(count, most[0] * most[1])
    if count < min(recipe["counts"]) or (4 < count < 9 and kind == "houses"):
        return None
    shapes = [(c, -(-count // c)) for c in range(1, most[0] + 1) if -(-count // c) <= most[1]]
    columns, rows = shapes[int(rng.integers(len(shapes)))]
    size = (columns * pitch[0] - spacing, rows * pitch[1] - spacing)
    left = zone[0] + rng.random() * (room[0] - size[0])
    top = zone[1] + rng.random() * (room[1] - size[1])
    middle = (left + size[0] / 2, top + size[1] / 2)
    cos, sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    items = []
    for k in range(count):
        dx = left + (k % columns) * pitch[0] + across / 2 - middle[0]
        dy = top + (k // columns) * pitch[1] + down / 2 - middle[1]
        angle = (90.0 if upright else 0.0) + tilt
        if kind == "planes" and rng.random() < 0.5:
            angle += 180.0
        paint = str(rng.choice(colours)) if mixed else colour
        x = middle[0] + dx * cos - dy * sin + rng.uniform(-0.2, 0.2) * spacing
        y = middle[1] + dx * sin + dy * cos + rng.uniform(-0.2, 0.2) * spacing
        items.append(Item(x, y, length, width, angle, paint))
    if kind == "parking":
        return replace(group_of(kind, items, None), cars=_cars(rng, items[0]))
    if mixed and len({item.colour for item in items}) < 3:
        return None
    return group_of(kind, items, None if mixed else colour or None)


def _cars(rng: Rng, lot: Item) -> tuple[Item, ...]:
    """Two rows of parked cars, or none: a caption says "many", "a few" or "empty"."""
    places = int((lot.length - 0.02) / CAR_PITCH)
    slots = [(k, row) for row in (-1, 1) for k in range(places)]
    share = (0.0, 0.25, 0.85)[int(rng.choice(3, p=[0.15, 0.35, 0.5]))]
    number = max(3, round(share * len(slots))) if share else 0
    cars = []
    for index in sorted(rng.choice(len(slots), size=number, replace=False).tolist()):
        k, row = slots[index]
        x, y = lot.x + (k - (places - 1) / 2) * CAR_PITCH, lot.y + row * (lot.width / 2 - 0.04)
        paint = str(rng.choice(["white", "white", "gray", "black", "red", "blue"]))
        cars.append(Item(x, y, 0.053, 0.027, 90.0 * row, paint))
    return tuple(cars)


def _forest(rng: Rng, zone: Box) -> Group:
    """Crowns close together, with hardly any ground between them."""
    room, pitch = (zone[2] - zone[0], zone[3] - zone[1]), 0.058
    items = []
    ragged = rng.uniform(0.8, 1.25, 2)
    for row in range(int(room[1] / pitch)):
        for column in range(int(room[0] / pitch)):
            x = zone[0] + (column + 0.5 + rng.uniform(-0.2, 0.2)) * pitch
            y = zone[1] + (row + 0.5 + rng.uniform(-0.2, 0.2)) * pitch
            u, v = 2 * (x - zone[0]) / room[0] - 1, 2 * (y - zone[1]) / room[1] - 1
            if abs(u) ** 4 * ragged[0] + abs(v) ** 4 * ragged[1] + rng.uniform(0, 0.35) <= 1.0:  # no corners
                size = rng.uniform(0.06, 0.08)
                items.append(Item(x, y, size, size))
    return group_of("trees", [items[k] for k in rng.permutation(len(items))], None)
