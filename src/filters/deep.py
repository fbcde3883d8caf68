"""What the filters of a pretrained deep encoder answer to, at an early, a middle and a late layer.

Three questions, each with a number: which kind of image excites a filter (`preference`, `choose`,
`precision`); how much stronger it is inside the boxes of a kind of thing than elsewhere (`Contrast`); and
whether its peak goes along when one object is moved across an image (`follow`). Filters are chosen on one set
of images and judged on another one: of a thousand filters, some look selective on any few images by chance.

Responses are the maps behind a layer's rectifier, without ReLU6's cap, under which places would tie. A place
is the middle of its cell, as if the map covered the image evenly; so it is in the attention maps, too. The
middle of the receptive field lies right and down of it (`Layer.shift`), but that is not where units came to
look: moved objects are found nearer to the cells' middles.

Dimension letters: B or N images, F filters, h, w a layer's map, K kinds, P positions, S an image's side in
pixels.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from src.captioning.captioned import NamedThing
from src.filters.synthesis import layer_outputs

BATCH = 8


@dataclass(frozen=True)
class Layer:
    """A convolution with its batch norm, whose output a rectifier takes.

    Attributes:
        when: early, middle or late.
        name: of the batch norm, as in `named_modules()` of the Encoder.
        place: where it stands, for people.
        filters: F.
        stride: pixels from one place of its map to the next.
        field: side of its receptive field in pixels; None where it holds the whole image.
    """

    when: str
    name: str
    place: str
    filters: int
    stride: int
    field: int | None

    @property
    def shift(self) -> float:
        """From the middle of a map's cell to that of its receptive field, right and down, in cells.

        TensorFlow's "same" pads an even side more at its end, so each halving moves the field's middle by
        half a pixel of its input: (stride - 1) / 2 pixels in all.
        """
        return (self.stride - 1) / 2 / self.stride


# Of efficientnet_lite0, before its ReLU6 (a batch norm's `drop` does nothing).
# A field grows by (k - 1) j a convolution, j the product of the strides before it.
LAYERS = (
    Layer("early", "backbone.bn1.drop", "the first convolution", 32, 2, 3),
    Layer("middle", "backbone.blocks.2.1.bn1.drop", "the fifth of 16 blocks", 240, 8, 35),
    Layer("late", "backbone.bn2.drop", "the last convolution", 1280, 32, None),
)


def responses(network: nn.Module, images: Tensor, layers: Sequence[Layer] = LAYERS) -> dict[str, Tensor]:
    """For each layer's `when` its rectified maps (B, F, h, w) of uint8 images (B, 3, S, S)."""
    with torch.no_grad():
        outputs = layer_outputs(network, images, [layer.name for layer in layers])
    return {layer.when: outputs[layer.name].relu() for layer in layers}


def streamed(
    network: nn.Module, images: Sequence[Tensor] | Tensor, layers: Sequence[Layer] = LAYERS
) -> Iterator[tuple[int, dict[str, Tensor]]]:
    """`responses` in batches, with the index of each batch's first image: many images' maps are gigabytes."""
    for start in range(0, len(images), BATCH):
        yield start, responses(network, torch.stack(list(images[start : start + BATCH])), layers)


@dataclass(frozen=True, eq=False)
class Peaks:
    """The strongest response of each filter on each image.

    Attributes:
        height: (N, F).
        place: (N, F, 2) the middle of its cell, x and y as fractions of the image.
    """

    height: Tensor
    place: Tensor


def peaks_of(maps: Tensor) -> Peaks:
    """Of maps (N, F, h, w); the first place on ties."""
    height, index = maps.flatten(2).max(dim=2)  # (N, F)
    h, w = maps.shape[2:]
    place = torch.stack([(index % w + 0.5) / w, (index // w + 0.5) / h], dim=2)
    return Peaks(height, place)


def joined(parts: Iterable[Peaks]) -> Peaks:
    parts = list(parts)
    return Peaks(torch.cat([part.height for part in parts]), torch.cat([part.place for part in parts]))


def separation(inside: Tensor, outside: Tensor, inside_var: Tensor, outside_var: Tensor) -> Tensor:
    """d' of signal detection: the difference of two means over the root of their mean variance; 0 where both
    are constant and alike."""
    return (inside - outside) / ((inside_var + outside_var) / 2).sqrt().clamp_min(1e-6)


def preference(heights: Tensor, member: Tensor) -> Tensor:
    """How well a filter's peak tells images of a kind from the others: d', (F, K).

    Args:
        heights: (N, F).
        member: (N, K) bool, whether an image is of a kind (it may be of several).

    A kind of which fewer than two images are, or are not, gets minus infinity.
    """
    columns = []
    for mask in member.T:
        if min(int(mask.sum()), int((~mask).sum())) < 2:
            columns.append(torch.full((heights.shape[1],), -torch.inf))
            continue
        ours, others = heights[mask], heights[~mask]
        columns.append(separation(ours.mean(0), others.mean(0), ours.var(0), others.var(0)))
    return torch.stack(columns, dim=1)


def choose(scores: Tensor, count: int) -> list[tuple[int, int]]:
    """The best filters of `count` different kinds, (filter, kind), highest of `scores` (F, K) first."""
    scores = scores.clone()
    chosen: list[tuple[int, int]] = []
    while len(chosen) < min(count, *scores.shape) and scores.max() > -torch.inf:
        filter_, kind = divmod(int(scores.argmax()), scores.shape[1])
        chosen.append((filter_, kind))
        scores[filter_], scores[:, kind] = -torch.inf, -torch.inf
    return chosen


def precision(heights: Tensor, member: Tensor, top: int) -> float:
    """The share of the `top` images that excite a filter most which is of its kind; both arguments (N,)."""
    return float(member[heights.argsort(descending=True, stable=True)[:top]].float().mean())


class Contrast:
    """Responses inside the boxes of each kind of thing and outside of them, over all images given."""

    def __init__(self, filters: int, kinds: Sequence[str]) -> None:
        self.kinds = tuple(kinds)
        self._sums = torch.zeros(2, 2, len(kinds), filters, dtype=torch.float64)  # in/out, power, K, F
        self._counts = torch.zeros(2, len(kinds), 1, dtype=torch.float64)

    def add(self, maps: Tensor, things: Sequence[Sequence[NamedThing]]) -> None:
        """Maps (B, F, h, w) and what each of the images shows."""
        for image, shown in zip(maps, things, strict=True):
            cells = image.flatten(1).T.double()  # (h * w, F)
            h, w = image.shape[1:]
            inside = torch.stack([covered(shown, kind, h, w) for kind in self.kinds])  # (K, h * w)
            for side, mask in enumerate((inside, ~inside)):  # (K, h * w)
                weights = mask.double()
                self._sums[side, 0] += weights @ cells
                self._sums[side, 1] += weights @ cells.square()
                self._counts[side] += weights.sum(1, keepdim=True)

    def means(self) -> tuple[Tensor, Tensor]:
        """Mean response inside and outside, each (F, K)."""
        means = self._sums[:, 0] / self._counts.clamp_min(1)
        return means[0].T, means[1].T

    def scores(self) -> Tensor:
        """d' between cells inside and outside, (F, K); minus infinity for a kind that no image shows."""
        counts = self._counts.clamp_min(1)
        means = self._sums[:, 0] / counts
        variances = (self._sums[:, 1] / counts - means.square()).clamp_min(0)
        scores = separation(means[0], means[1], variances[0], variances[1])
        return scores.masked_fill(self._counts[0] == 0, -torch.inf).T


def covered(things: Sequence[NamedThing], kind: str, height: int, width: int) -> Tensor:
    """Which cells of an h x w map have their middle in a box of that kind, (h * w,); the kind is a thing's
    first word."""
    ys, xs = ((torch.arange(cells) + 0.5) / cells for cells in (height, width))
    inside = torch.zeros(height, width, dtype=torch.bool)
    for x0, y0, x1, y1 in (thing.box for thing in things if thing.name == kind):
        inside |= ((ys >= y0) & (ys <= y1))[:, None] & ((xs >= x0) & (xs <= x1))[None, :]
    return inside.flatten()


@dataclass(frozen=True, eq=False)
class Followed:
    """One filter on one object at P positions.

    Attributes:
        distance: (P,) from the peak to the object's centre, in pixels.
        height: (P,) the peak's response.
        place: (P, 2) of the peak, x and y as fractions of the image.
        chance: mean distance, in pixels, from the object's centre to a place drawn evenly.
    """

    distance: Tensor
    height: Tensor
    place: Tensor
    chance: float

    @property
    def spread(self) -> float:
        """The responses' coefficient of variation: standard deviation over mean; infinite where all are 0."""
        mean = float(self.height.mean())
        return float(self.height.std(correction=0)) / mean if mean > 0 else float("inf")


def follow(maps: Tensor, centres: Tensor, side: int) -> Followed:
    """Where a filter peaks as an object moves.

    Args:
        maps: (P, h, w), the filter's responses with the object at each position.
        centres: (P, 2) of the object, x and y as fractions of the image.
        side: of the image, in pixels.
    """
    peaks = peaks_of(maps[:, None])
    places = (torch.arange(32) + 0.5) / 32
    grid = torch.cartesian_prod(places, places)  # (1024, 2)
    chance = torch.cdist(centres.float(), grid).mean() * side
    distance = (peaks.place[:, 0] - centres).norm(dim=1) * side
    return Followed(distance, peaks.height[:, 0], peaks.place[:, 0], float(chance))
