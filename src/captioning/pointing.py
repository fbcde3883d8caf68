"""The pointing game: does attention look at what the word names?

Zhang et al. 2016 (Top-down neural attention by excitation backprop, section 4.1), per word of a caption:
a hit is a peak inside a box of the named object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from src.captioning.captioned import CaptionedImage

LARGEST = 0.5  # share of the regions that a word's boxes may cover


def pointing_game(
    images: Sequence[CaptionedImage],
    captions: Sequence[Sequence[str]],
    alphas: Mapping[int, Tensor],
    grid: Sequence[int],
) -> dict[str, Any] | None:
    """How often the strongest region's centre lies in a box of what the word names.

    Chance is the mean, over the same words, of the share of region centres that lie in such a box.
    A word that names nothing in its image does not count, nor does one whose boxes cover most of the grid,
    where a hit would say nothing (a river across the whole image).

    Args:
        images: with the boxes of what they show.
        captions: the generated words of each image.
        alphas: image's index -> (T, L) attention weights, a row a word.
        grid: rows and columns of the regions, L = rows * columns, row by row.

    Returns:
        hits, words, rate, chance and rate / chance as times_chance; None where no word names a known object.
    """
    rows, columns = grid
    y, x = ((torch.arange(side, dtype=torch.double) + 0.5) / side for side in (rows, columns))
    hits, words, chance = 0, 0, 0.0
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        for word, weights in zip(caption, alphas[index], strict=True):
            boxes = [named.box for named in image.objects if word in named.words]
            inside = torch.zeros(rows, columns, dtype=torch.bool)  # the centres in one of the boxes
            for x0, y0, x1, y1 in boxes:
                inside |= ((y0 <= y) & (y <= y1)).unsqueeze(1) & (x0 <= x) & (x <= x1)
            share = int(inside.sum()) / inside.numel()
            if boxes and share <= LARGEST:
                words += 1
                hits += int(inside.flatten()[weights.argmax()])
                chance += share
    if not words:
        return None
    rate, chance = hits / words, chance / words
    times = rate / chance if chance else None
    return {"hits": hits, "words": words, "rate": rate, "chance": chance, "times_chance": times}
