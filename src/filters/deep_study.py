"""The study of a pretrained encoder's filters: chosen, judged, climbed for, and put to a moving object.

Dimension letters: N images, F filters, K kinds, P positions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from src.captioning.encoder import Encoder, build_encoder
from src.filters import moving
from src.filters.deep import (
    LAYERS,
    Contrast,
    Followed,
    Layer,
    Peaks,
    choose,
    follow,
    joined,
    peaks_of,
    precision,
    preference,
    streamed,
)
from src.filters.image_sets import SIDE, ImageSet
from src.filters.synthesis import Synthetic, maximize, unit

ENCODER = "efficientnet_lite0"
SHOWN = 2  # filters a layer
BEST = 4  # images a filter
POSITIONS = 4  # a side of the moved object's grid


@dataclass(frozen=True, eq=False)
class Favourites:
    """One filter, the kind it was chosen for, and the judging images that excite it most, best first.

    Attributes:
        images: their indices in the set.
        places: (BEST, 2) of its peaks, x and y as fractions.
        hits: for each image, whether it is of the kind.
        highest: the peak on the first of them.
    """

    layer: Layer
    filter: int
    kind: str
    images: list[int]
    places: Tensor
    hits: list[bool]
    highest: float


@dataclass(frozen=True, eq=False)
class Preferred:
    """How the filters chosen for each kind do on images that chose none: one entry a layer.

    Attributes:
        favourites: SHOWN a layer, in the layers' order.
        share: of the BEST images of a filter, those of its kind; the mean over the kinds' best filters.
        chance: the share by a filter that knows nothing.
    """

    favourites: list[Favourites]
    share: dict[str, float]
    chance: float


def preferred(encoder: Encoder, images: ImageSet) -> Preferred:
    """Choose for each kind the filter of the highest d' on one half, and judge it on the other."""
    parts: dict[str, list[Peaks]] = {layer.when: [] for layer in LAYERS}
    for _, maps in streamed(encoder, images.pixels):
        for layer in LAYERS:
            parts[layer.when].append(peaks_of(maps[layer.when]))
    judging = images.judging.nonzero().flatten()
    favourites, share = [], {}
    for layer in LAYERS:
        peaks = joined(parts[layer.when])
        scores = preference(peaks.height[~images.judging], images.member[~images.judging])
        chosen = choose(scores, len(images.kinds))
        heights, member = peaks.height[judging], images.member[judging]
        shares = [precision(heights[:, one], member[:, kind], BEST) for one, kind in chosen]
        share[layer.when] = sum(shares) / len(shares)
        for one, kind in chosen[:SHOWN]:
            top = judging[heights[:, one].argsort(descending=True, stable=True)[:BEST]]
            favourites.append(
                Favourites(
                    layer,
                    one,
                    images.kinds[kind],
                    top.tolist(),
                    peaks.place[top, one],
                    images.member[top, kind].tolist(),
                    float(peaks.height[top[0], one]),
                )
            )
    return Preferred(favourites, share, float(images.member[judging].float().mean()))


@dataclass(frozen=True, eq=False)
class Boxes:
    """Inside and outside the boxes of things, on the scenes that did not choose the filters.

    Attributes:
        kinds: those that both halves show inside some cell of every layer.
        ratio: a layer's `when` -> for each kind, the mean response inside over that outside.
        chosen: a layer's `when` -> for each kind, the filter.
        clearest: kinds of single objects, by the late layer's d', best first.
    """

    kinds: tuple[str, ...]
    ratio: dict[str, list[float]]
    chosen: dict[str, list[int]]
    clearest: list[str]

    def median(self, when: str) -> float:
        return float(torch.tensor(self.ratio[when]).median())


def in_boxes(encoder: Encoder, scenes: ImageSet) -> Boxes:
    """For each kind the filter of the highest d' on one half, its responses on the other."""
    halves = [{layer.when: Contrast(layer.filters, scenes.kinds) for layer in LAYERS} for _ in range(2)]
    for start, maps in streamed(encoder, scenes.pixels):
        for offset in range(len(maps[LAYERS[0].when])):
            half = halves[int(scenes.judging[start + offset])]
            for layer in LAYERS:
                half[layer.when].add(maps[layer.when][offset : offset + 1], [scenes.things[start + offset]])
    scores = [{layer.when: half[layer.when].scores() for layer in LAYERS} for half in halves]
    known = torch.stack([torch.isfinite(one[layer.when][0]) for one in scores for layer in LAYERS]).all(0)
    columns = known.nonzero().flatten().tolist()
    ratio, chosen = {}, {}
    for layer in LAYERS:
        inside, outside = halves[1][layer.when].means()
        filters = [int(scores[0][layer.when][:, kind].argmax()) for kind in columns]
        chosen[layer.when] = filters
        ratio[layer.when] = [
            float(inside[one, kind] / outside[one, kind].clamp_min(1e-6))
            for one, kind in zip(filters, columns, strict=True)
        ]
    late = scores[0][LAYERS[-1].when].amax(0)  # (K,)
    order = sorted(columns, key=lambda kind: -float(late[kind]))
    clearest = [scenes.kinds[kind] for kind in order if scenes.kinds[kind] in moving.OBJECTS]
    return Boxes(tuple(scenes.kinds[kind] for kind in columns), ratio, chosen, clearest)


@dataclass(frozen=True, eq=False)
class Moved:
    """Single objects of some kinds, each at P positions of one background.

    Attributes:
        nouns: what they are, the kind that the late layer tells best first.
        pictures: noun -> (P, 3, S, S) uint8.
        centres: (P, 2) as fractions.
        filters: a layer's `when` -> for each noun, the filter that was chosen for it.
        followed: a layer's `when` -> for each noun, its filter on it.
        maps: a layer's `when` -> (P, h, w), the first noun's.
        rivals: a layer's `when` -> for each noun, its filter's highest mean peak on another noun, and which.
    """

    nouns: list[str]
    pictures: dict[str, Tensor]
    centres: Tensor
    filters: dict[str, list[int]]
    followed: dict[str, list[Followed]]
    maps: dict[str, Tensor]
    rivals: dict[str, list[tuple[float, str]]]

    def margin(self, when: str, place: int) -> float:
        """Mean peak of the noun's filter on it, over that on the other noun that excites it most."""
        return float(self.followed[when][place].height.mean()) / max(self.rivals[when][place][0], 1e-6)

    def mean_distance(self, when: str) -> float:
        """In pixels, over all nouns and positions."""
        return float(torch.stack([found.distance for found in self.followed[when]]).mean())

    def ahead(self, when: str) -> int:
        """Of how many nouns the filter answers more to them than to any other noun."""
        return sum(self.margin(when, place) > 1 for place in range(len(self.nouns)))


def moved(encoder: Encoder, boxes: Boxes, seed: int) -> Moved:
    """Move an object of each kind, and look through the filters that were chosen for it."""
    nouns, centres = boxes.clearest, moving.positions(POSITIONS)
    filters = {when: [boxes.chosen[when][boxes.kinds.index(noun)] for noun in nouns] for when in boxes.chosen}
    pictures = {
        noun: torch.stack([moving.picture(noun, (x, y), SIDE, seed) for x, y in centres.tolist()])
        for noun in nouns
    }
    seen: dict[str, list[Tensor]] = {when: [] for when in filters}  # for each noun (P, chosen filters, h, w)
    for noun in nouns:
        parts = [part for _, part in streamed(encoder, pictures[noun])]
        for when, chosen in filters.items():
            seen[when].append(torch.cat([part[when][:, chosen] for part in parts]))
    followed: dict[str, list[Followed]] = {}
    rivals: dict[str, list[tuple[float, str]]] = {}
    for when, maps in seen.items():
        count = range(len(nouns))
        followed[when] = [follow(maps[place][:, place], centres, SIDE) for place in count]
        means = torch.stack([one.amax((2, 3)).mean(0) for one in maps])  # (nouns shown, nouns' filters)
        rivals[when] = [
            max(
                ((float(means[other, place]), nouns[other]) for other in count if other != place),
                default=(0.0, ""),
            )
            for place in count
        ]
    return Moved(
        nouns,
        pictures,
        centres,
        filters,
        followed,
        {when: maps[0][:, 0] for when, maps in seen.items()},
        rivals,
    )


def synthetic_inputs(layer: Layer, filters: Sequence[int], seed: int) -> tuple[Synthetic, Tensor]:
    """The inputs that excite the middle unit of these filters most, in 0..255.

    Returns:
        The whole inputs, and what of them lies in the unit's receptive field, (filters, 3, field, field).
    """
    side = 128 if layer.field is None else max(32, 32 * math.ceil(1.5 * layer.field / 32))
    encoder = build_encoder(ENCODER, side).requires_grad_(False)
    # The regularisers are for fields that hold many pixels: of three each way nothing needs smoothing.
    leash = {"early": (0, 0.0, 0.0), "middle": (0, 0.1, 0.5), "late": (8, 0.1, 1.0)}[layer.when]
    found = maximize(
        unit(encoder, layer.name, filters),
        (len(filters), 3, side, side),
        steps=72 if layer.field is None else 64,
        seed=seed,
        rate=0.05 if layer.field is None else 0.3,
        high=255.0,
        jitter=leash[0],
        variation=leash[1],
        smoothing=leash[2],
    )
    if layer.field is None:
        return found, found.images
    middle = (side // layer.stride // 2 + 0.5 + layer.shift) * layer.stride
    corner = round(middle - layer.field / 2)
    return found, found.images[:, :, corner : corner + layer.field, corner : corner + layer.field]


@dataclass(frozen=True, eq=False)
class Study:
    """All of it.

    Attributes:
        images: what the filters of `preferred` were chosen and judged on.
        scenes: what those of `boxes` were.
        inputs: a layer's `when` -> synthetic inputs of its shown filters, as far as these see them.
        reached: for each of `preferred.favourites`, what its synthetic input reaches.
    """

    images: ImageSet
    scenes: ImageSet
    preferred: Preferred
    boxes: Boxes
    moved: Moved
    inputs: dict[str, Tensor]
    reached: list[float]


def study(images: ImageSet, scenes: ImageSet, seed: int) -> Study:
    """About 17 seconds of one CPU thread with 210 images and 64 scenes.

    Raises:
        EncoderError: the encoder's packages are not installed.
    """
    encoder = build_encoder(ENCODER, SIDE).requires_grad_(False)
    best = preferred(encoder, images)
    boxes = in_boxes(encoder, scenes)
    inputs: dict[str, Tensor] = {}
    reached: list[float] = []
    for layer in LAYERS:
        shown = [one.filter for one in best.favourites if one.layer is layer]
        found, inputs[layer.when] = synthetic_inputs(layer, shown, seed)
        reached += found.reached.tolist()
    return Study(images, scenes, best, boxes, moved(encoder, boxes, seed), inputs, reached)
