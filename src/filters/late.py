"""Whether a deep network's late filters answer to one kind of object wherever it stands in the image.

Drawn objects stand at a grid of places on one background. For each kind the filter is chosen there that tells
it best from the other kinds, and judged on another background: of a thousand filters, some look selective on
any few images by chance.

Dimension letters: K kinds, P places, F filters, h, w a layer's map, S an image's side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from src import figures
from src.filters.activations import convolutions, layer_outputs
from src.filters.pictures import FRAME, image_grid, show_image
from src.scenes.draw import paint
from src.scenes.groups import SAMPLED, colours_of
from src.scenes.scene import Item, Scene, group_of

KINDS = ("houses", "buildings", "tanks", "courts", "planes")
PLACES = [(x, y) for y in (0.2, 0.5, 0.8) for x in (0.2, 0.5, 0.8)]
CHOOSING, JUDGING = 0, 1  # seeds of the backgrounds


class Choice(NamedTuple):
    """The filter chosen for a kind of object, judged on images that chose none."""

    kind: str
    filter: int
    share: float  # of the P images that excite it most, those that show the kind
    maps: Tensor  # on the kind's own images, (P, h, w)
    distance: float  # from the object's centre to the map's peak, in pixels, the mean


def object_images(side: int, seed: int) -> Tensor:
    """One object of each kind at each place of a meadow, (K, P, 3, S, S) uint8; the seed gives the meadow."""
    pictures = []
    for kind in KINDS:
        length, width = (sum(SAMPLED[kind][side]) / 2 for side in ("length", "width"))
        for x, y in PLACES:
            item = Item(x, y, length, width or length, colour=colours_of(kind)[0])
            scene = Scene("meadow", 45.0, groups=(group_of(kind, [item], item.colour),))
            pictures.append(paint(scene, side, np.random.default_rng([seed, side])))
    images = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2)
    return images.unflatten(0, (len(KINDS), len(PLACES)))


@torch.no_grad()
def selectivity(network: nn.Module, side: int) -> tuple[list[Choice], list[Choice]]:
    """Of the network's first and of its last convolution; it takes images (B, 3, S, S) in uint8."""
    layers = list(convolutions(network))
    choosing, judging = (
        [layer_outputs(network, batch, [layers[0], layers[-1]]) for batch in object_images(side, seed)]
        for seed in (CHOOSING, JUDGING)
    )
    first, last = (
        _judge(torch.stack([maps[name] for maps in choosing]), torch.stack([m[name] for m in judging]), side)
        for name in (layers[0], layers[-1])
    )
    return first, last


def _judge(choosing: Tensor, judging: Tensor, side: int) -> list[Choice]:
    """Choose on maps (K, P, F, h, w), judge on others."""
    heights = choosing.amax((3, 4))  # (K, P, F)
    centres = torch.tensor(PLACES)  # (P, 2) x, y
    found = []
    for k, kind in enumerate(KINDS):
        own, others = heights[k], torch.cat([*heights[:k], *heights[k + 1 :]])
        spread = ((own.var(0) + others.var(0)) / 2).sqrt().clamp_min(1e-6)
        chosen = int(((own.mean(0) - others.mean(0)) / spread).argmax())  # d' of signal detection
        best = judging[:, :, chosen].amax((2, 3)).flatten().topk(len(PLACES)).indices
        share = float((best // len(PLACES) == k).double().mean())
        maps = judging[k, :, chosen]  # (P, h, w)
        place, (high, wide) = maps.flatten(1).argmax(1), maps.shape[1:]
        peaks = torch.stack([(place % wide + 0.5) / wide, (place // wide + 0.5) / high], 1)
        distance = float((peaks - centres).norm(dim=1).mean()) * side
        found.append(Choice(kind, chosen, share, maps, distance))
    return found


def late_figure(late: Sequence[Choice], side: int, title: str) -> Figure:
    """A row for each of the three kinds told best: objects at five places under the filter's map as heat."""
    images, reach = object_images(side, JUDGING), (-0.5, side - 0.5, side - 0.5, -0.5)
    best = sorted(late, key=lambda choice: -choice.share)[:3]
    with figures.look():
        figure, axes_of = image_grid(len(best), 5, 1.75)
        for line, choice in zip(axes_of, best, strict=True):
            for axes, place in zip(line, (0, 2, 4, 6, 8), strict=True):
                show_image(axes, images[KINDS.index(choice.kind), place].float().mean(0, keepdim=True))
                heat = choice.maps[place].clamp_min(0).numpy()
                axes.imshow(heat, cmap=figures.HEAT, alpha=0.55, extent=reach)
                x, y = PLACES[place]
                axes.plot(side * x, side * y, "o", ms=15, mfc="none", mec=FRAME, mew=1.4)
            line[0].set_title(f"{choice.kind}, filter {choice.filter}", fontsize=8)
        figures.title(figure, title)
    return figure
