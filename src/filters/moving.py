"""One drawn object on one background, at a grid of positions: the same pixels but for where it stands.

Lengths are fractions of the picture's side.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from src.scenes.draw import paint
from src.scenes.groups import RECIPES
from src.scenes.scene import Group, Item, Scene, group_of
from src.scenes.words import NOUNS

# Kinds that stand on any ground as single objects, by the first noun of their captions.
OBJECTS = {NOUNS[kind][0]: kind for kind in ("houses", "buildings", "tanks", "courts", "trees", "planes")}
MARGIN = 0.15  # from the picture's edge to the outermost centres


def positions(number: int) -> Tensor:
    """(number^2, 2) x and y of a square grid, row by row."""
    along = torch.linspace(MARGIN, 1 - MARGIN, number)
    ys, xs = torch.meshgrid(along, along, indexing="ij")
    return torch.stack([xs.flatten(), ys.flatten()], dim=1)


def picture(noun: str | None, at: tuple[float, float], side: int, seed: int) -> Tensor:
    """A meadow with one object, (3, S, S) uint8; `noun` is a key of OBJECTS, or None for the meadow alone.

    Seed and side give the meadow; the object has the middle of its kind's sizes and the first of its colours.
    """
    groups: tuple[Group, ...] = ()
    if noun is not None:
        rule = RECIPES[OBJECTS[noun]]
        length = sum(rule.length) / 2
        width = sum(rule.width) / 2 or length
        colour = rule.colours[0] if rule.colours else ""
        groups = (group_of(OBJECTS[noun], [Item(*at, length, width, 0.0, colour)], colour or None),)
    scene = Scene("meadow", 45.0, groups=groups)
    pixels = paint(scene, side, np.random.default_rng([seed, side]))  # (S, S, 3)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
