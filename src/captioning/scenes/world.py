"""What is where: a scene is drawn by lot from a seed, before anything is painted or said about it.

A scene has at most one backbone (river, road, crossroads, runway, harbor or sea) and groups of objects,
each kind at most once and none on top of another, so that a number or a place that a caption gives is the
only one that fits.
"""

from __future__ import annotations

import numpy as np

from src.captioning.scenes.backbones import boats_on_river, build_harbor, fill_sea, lay_strip
from src.captioning.scenes.groups import RECIPES, fill
from src.captioning.scenes.places import BELTS, ZONES, Box, inside, overlap
from src.captioning.scenes.things import Group, Rng, Scene, Shore, Strip, beach_of, pick

_BACKBONES = {"river": 0.2, "road": 0.18, "crossroads": 0.07, "runway": 0.17, "harbor": 0.13, "sea": 0.07}


def draw_lots(rng: Rng) -> Scene:
    """A scene that depends on the generator's state alone."""
    backbone = pick(rng, [*_BACKBONES, ""], [*_BACKBONES.values(), 1 - sum(_BACKBONES.values())])
    sun = float(rng.choice([35, 55, 125, 145])) + rng.uniform(-10, 10)
    grounds = ("soil", "meadow", "concrete") if backbone in ("runway", "harbor") else ("soil", "meadow")
    ground = str(rng.choice(grounds))
    strips: tuple[Strip, ...] = ()
    shore: Shore | None = None
    groups: list[Group] = []
    if backbone in ("river", "road", "runway"):
        strips = (
            lay_strip(rng, backbone, pick(rng, ["vertical", "horizontal", "diagonal"], [0.42, 0.42, 0.16])),
        )
        if backbone == "river" and strips[0].axis != "diagonal" and rng.random() < 0.4:
            groups.append(boats_on_river(rng, strips[0]))
    elif backbone == "crossroads":
        strips = (
            lay_strip(rng, "road", "vertical", "center"),
            lay_strip(rng, "road", "horizontal", "center"),
        )
    elif backbone in ("harbor", "sea"):
        shore, boats = (build_harbor if backbone == "harbor" else fill_sea)(rng)
        groups.extend(boats)
    wanted = len(groups) + int(pick(rng, ["1", "2", "3"], [0.1, 0.45, 0.45])) + (not backbone)
    wanted = min(wanted, 4)
    if backbone == "runway":
        _add(rng, groups, "planes", strips, shore)
    for _ in range(40):
        if len(groups) >= wanted:
            break
        taken = {group.kind for group in groups}
        kinds = [kind for kind in RECIPES if kind not in taken]
        weights = np.array([RECIPES[kind].weight for kind in kinds])
        _add(rng, groups, pick(rng, kinds, list(weights / weights.sum())), strips, shore)
    return Scene(ground, sun, strips, shore, tuple(groups))


def _add(rng: Rng, groups: list[Group], kind: str, strips: tuple[Strip, ...], shore: Shore | None) -> None:
    """Put a group of this kind into a zone that is still free; nothing where it does not fit."""
    spread = kind in ("houses", "trees") and rng.random() < 0.3
    zones = list((BELTS if spread else ZONES).values())
    for index in rng.permutation(len(zones)):
        zone = _clipped(zones[index], strips, shore)
        if zone is None or any(overlap(zone, group.box, 0.02) for group in groups):
            continue
        group = fill(rng, kind, zone, spread)
        if group is not None and group.place is not None and inside(group.box, zone, 0.02):
            groups.append(group)
            return


def _clipped(zone: Box, strips: tuple[Strip, ...], shore: Shore | None) -> Box | None:
    """What a strip or the water leaves of a zone, or None where that is too little."""
    margin = 0.03
    x0, y0, x1, y1 = zone
    blocks = [strip.box for strip in strips if strip.axis != "diagonal"]
    if shore:
        blocks.append(shore.box)
        if shore.kind == "sea":
            blocks.append(beach_of(shore))
    for block in blocks:
        if block[0] <= 0 and block[2] >= 1:  # lies across: keep the side of the zone's middle
            if (y0 + y1) / 2 < (block[1] + block[3]) / 2:
                y1 = min(y1, block[1] - margin)
            else:
                y0 = max(y0, block[3] + margin)
        elif (x0 + x1) / 2 < (block[0] + block[2]) / 2:
            x1 = min(x1, block[0] - margin)
        else:
            x0 = max(x0, block[2] + margin)
    if x1 - x0 < 0.24 or y1 - y0 < 0.24:
        return None
    for strip in strips:
        if strip.axis == "diagonal":
            shrunk = (
                x0 + 0.02 * (x0 > 0.5),
                y0 + 0.02 * (y0 > 0.5),
                x1 - 0.02 * (x1 < 0.5),
                y1 - 0.02 * (y1 < 0.5),
            )
            if _distance(shrunk, strip) < strip.width / 2 + margin:
                return None
            x0, y0, x1, y1 = shrunk
    return x0, y0, x1, y1


def _distance(box: Box, strip: Strip) -> float:
    """From the strip's middle line to the box: 0 where the line enters it."""
    points = np.array(strip.path)  # (points, 2)
    points = np.concatenate([points, (points[1:] + points[:-1]) / 2])
    nearest = np.clip(points, box[:2], box[2:])
    return float(np.hypot(*(points - nearest).T).min())
