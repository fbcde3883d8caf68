"""Sample what is where, before anything is painted or said about it.

A scene has at most one river, road, crossroads, runway, harbor or sea, and groups of items, each kind at most
once and none on top of another: a number or a place in a caption fits one object only.
"""

from __future__ import annotations

import math
from itertools import product

import numpy as np

from src.scenes.groups import SAMPLED, colours_of, sample_group
from src.scenes.scene import OBJECTS, Box, Group, Item, Point, Rng, Scene, Shore, Strip, gap, group_of, hull

_MARGIN = 0.03
_BOAT_COLOURS = colours_of("boats")


def sample_scene(rng: Rng) -> Scene:
    """A scene that depends on the generator's state alone."""
    layouts = OBJECTS["layouts"]
    layout = str(rng.choice(list(layouts), p=list(layouts.values())))
    sun = float(rng.choice([35, 55, 125, 145])) + rng.uniform(-10, 10)
    grounds = ("soil", "meadow", "concrete") if layout in ("runway", "harbor") else ("soil", "meadow")
    ground = str(rng.choice(grounds))
    strips: tuple[Strip, ...] = ()
    shore: Shore | None = None
    groups: list[Group] = []
    if layout in ("river", "road", "runway"):
        axis = str(rng.choice(["vertical", "horizontal", "diagonal"], p=[0.42, 0.42, 0.16]))
        strips = (_strip(rng, layout, axis),)
        if layout == "river" and axis != "diagonal" and rng.random() < 0.4:
            groups.append(_boats_on_river(rng, strips[0]))
    elif layout == "crossroads":
        strips = (_strip(rng, "road", "vertical", "center"), _strip(rng, "road", "horizontal", "center"))
    elif layout:
        shore, groups = (_harbor if layout == "harbor" else _sea)(rng)
    wanted = len(groups) + int(rng.choice([1, 2, 3], p=[0.1, 0.45, 0.45])) + (not layout)
    if layout == "runway":
        _add_group(rng, groups, "planes", strips, shore)
    for _ in range(40):
        if len(groups) >= min(wanted, 4):
            break
        kinds = [kind for kind in SAMPLED if kind not in {group.kind for group in groups}]
        weights = np.array([SAMPLED[kind]["weight"] for kind in kinds])
        kind = str(rng.choice(kinds, p=weights / weights.sum()))
        _add_group(rng, groups, kind, strips, shore)
    return Scene(ground, sun, strips, shore, tuple(groups))


def _add_group(
    rng: Rng, groups: list[Group], kind: str, strips: tuple[Strip, ...], shore: Shore | None
) -> None:
    """Put a group of this kind into a zone that is still free, if there is one."""
    spread = kind in ("houses", "trees") and rng.random() < 0.3
    zones = OBJECTS["sides" if spread else "zones"]
    for index in rng.permutation(len(zones)):
        zone = _free_part(zones[index], strips, shore)
        if zone is None or any(gap(zone, group.box) < 0.02 for group in groups):
            continue
        group = sample_group(rng, kind, zone, spread)
        if group is None or group.place is None:
            continue
        (x0, y0, x1, y1), box = zone, group.box
        if box[0] > x0 - 0.02 and box[1] > y0 - 0.02 and box[2] < x1 + 0.02 and box[3] < y1 + 0.02:
            groups.append(group)
            return


def _free_part(zone: Box, strips: tuple[Strip, ...], shore: Shore | None) -> Box | None:
    """What strips and water leave of a zone, or None where that is too little."""
    x0, y0, x1, y1 = zone
    blocks = [strip.box for strip in strips if strip.axis != "diagonal"]
    if shore:
        blocks += [shore.box, shore.beach.box] if shore.kind == "sea" else [shore.box]
    for block in blocks:
        if block[0] <= 0 and block[2] >= 1:  # lies across: keep the side of the zone's middle
            if (y0 + y1) / 2 < (block[1] + block[3]) / 2:
                y1 = min(y1, block[1] - _MARGIN)
            else:
                y0 = max(y0, block[3] + _MARGIN)
        elif (x0 + x1) / 2 < (block[0] + block[2]) / 2:
            x1 = min(x1, block[0] - _MARGIN)
        else:
            x0 = max(x0, block[2] + _MARGIN)
    if x1 - x0 < 0.24 or y1 - y0 < 0.24:
        return None
    for strip in strips:
        if strip.axis == "diagonal":
            x0, y0 = x0 + 0.02 * (x0 > 0.5), y0 + 0.02 * (y0 > 0.5)
            x1, y1 = x1 - 0.02 * (x1 < 0.5), y1 - 0.02 * (y1 < 0.5)
            points = np.array(strip.path)  # (points, 2)
            points = np.concatenate([points, (points[1:] + points[:-1]) / 2])
            nearest = np.clip(points, (x0, y0), (x1, y1))
            if np.hypot(*(points - nearest).T).min() < strip.width / 2 + _MARGIN:
                return None
    return x0, y0, x1, y1


def _strip(rng: Rng, kind: str, axis: str, place: str | None = None) -> Strip:
    """A strip from edge to edge; rivers wind."""
    diagonal = axis == "diagonal"
    width = rng.uniform(*OBJECTS["strips"][kind]["width"])
    width *= 0.8 if diagonal else 1.0
    middle = 0.5
    if not diagonal:
        ends = ("left", "center", "right") if axis == "vertical" else ("top", "center", "bottom")
        place = place or str(rng.choice(ends))
        middle = (0.2, 0.5, 0.8)[ends.index(place)] + rng.uniform(-0.015, 0.015)
    along, sway = _winding(rng, OBJECTS["strips"][kind]["bend"] * (0.5 if diagonal else 1.0))
    across = middle + sway + (0 if kind == "river" else rng.uniform(-0.015, 0.015)) * (along - 0.5)
    low, high = float(across.min()) - width / 2, float(across.max()) + width / 2
    box: Box = (low, 0.0, high, 1.0) if axis == "vertical" else (0.0, low, 1.0, high)
    if diagonal:
        across = (along if rng.random() < 0.5 else 1 - along) + sway
        box = (0.0, 0.0, 1.0, 1.0)
    columns = (across, along) if axis == "vertical" else (along, across)
    path = tuple(zip(*(column.tolist() for column in columns), strict=True))
    return Strip(kind, box, place, axis, path, width)


def _winding(rng: Rng, bend: float) -> tuple[np.ndarray, np.ndarray]:
    """29 places from edge to edge, and how far a line swings aside there."""
    along = np.linspace(-0.06, 1.06, 29)
    return along, bend * np.sin(2 * math.pi * (along * rng.uniform(0.8, 1.5) + rng.random()))


def _boats_on_river(rng: Rng, river: Strip) -> Group:
    """One to three boats in a line on the water, within one part of the picture."""
    count = int(rng.integers(1, 4))
    middle = float(rng.choice([0.22, 0.5, 0.78]))
    colour = str(rng.choice(_BOAT_COLOURS))
    upright = river.axis == "vertical"
    across, along = np.array(river.path).T if upright else np.array(river.path).T[::-1]
    items = []
    for k in range(count):
        at = middle + (k - (count - 1) / 2) * 0.135
        beside, ahead = (float(np.interp(place, along, across)) for place in (at, at + 0.02))
        angle = math.degrees(math.atan2(ahead - beside, 0.02))
        x, y, turn = (beside, at, 90 - angle) if upright else (at, beside, angle)
        turn += 180 if rng.random() < 0.5 else 0
        items.append(Item(x, y, rng.uniform(0.1, 0.115), 0.04, turn, colour))
    return group_of("boats", items, colour)


def _from_edge(side: str, depth: float, at: float) -> Point:
    """The point `depth` from the picture's edge on this side and `at` along it."""
    points = {"left": (depth, at), "right": (1 - depth, at), "top": (at, depth), "bottom": (at, 1 - depth)}
    return points[side]


def _harbor(rng: Rng) -> tuple[Shore, list[Group]]:
    """A basin with a straight quay and one or two piers, boats lying bow out on both sides of them."""
    side = str(rng.choice(["left", "right", "top", "bottom"]))
    depth = rng.uniform(0.42, 0.46)
    count = int(rng.choice([2, 3, 4, 5, 6, 10]))
    colour = str(rng.choice(_BOAT_COLOURS))
    middles = [0.27, 0.73] if count > 6 else [float(rng.choice([0.22, 0.5, 0.78]))]
    outward = {"left": 180.0, "right": 0.0, "top": -90.0, "bottom": 90.0}[side]
    piers = tuple(
        Item(*_from_edge(side, depth - 0.15, middle), 0.3 + 0.03, 0.03, outward) for middle in middles
    )
    slots = list(product(middles, range(3), (-1, 1)))  # along three boats' lengths, on either side of a pier
    items = []
    for slot in sorted(rng.choice(len(slots), size=count, replace=False).tolist()):
        middle, k, sign = slots[slot]
        bow = (90.0 if side in ("left", "right") else 0.0) + (0 if sign > 0 else 180)
        at = _from_edge(side, depth - 0.06 - 0.085 * k, middle + sign * 0.082)
        items.append(Item(*at, rng.uniform(0.095, 0.115), rng.uniform(0.038, 0.042), bow, colour))
    edge = tuple(_from_edge(side, depth, at) for at in (-0.05, 1.05))
    water = hull([_from_edge(side, 0.0, 0.0), _from_edge(side, depth, 1.0)])
    return Shore("harbor", water, side, edge, piers), [group_of("boats", items, colour)]


def _sea(rng: Rng) -> tuple[Shore, list[Group]]:
    """Open water with a winding beach; sometimes one to three boats off it."""
    side = str(rng.choice(["left", "right", "top", "bottom"]))
    depth = rng.uniform(0.34, 0.4)
    along, sway = _winding(rng, 0.025)
    edge = tuple(_from_edge(side, depth + float(s), float(a)) for a, s in zip(along, sway, strict=True))
    water = hull([_from_edge(side, 0.0, 0.0), _from_edge(side, depth + 0.025, 1.0)])
    shore = Shore("sea", water, side, edge)
    if rng.random() < 0.45:
        return shore, []
    colour = str(rng.choice(_BOAT_COLOURS))
    count = int(rng.integers(1, 4))
    middle = float(rng.choice([0.22, 0.5, 0.78]))
    items = []
    for k in range(count):
        at = middle + (k - (count - 1) / 2) * 0.135
        x, y = _from_edge(side, rng.uniform(0.12, depth - 0.16), at)
        angle = (90 if side in ("left", "right") else 0) + rng.uniform(-25, 25)
        angle += 180 * int(rng.random() < 0.5)
        items.append(Item(x, y, rng.uniform(0.1, 0.115), 0.04, angle, colour))
    return shore, [group_of("boats", items, colour)]
