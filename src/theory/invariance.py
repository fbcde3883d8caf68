"""Whether a classifier's answer stays as it is when the image is shifted, turned or zoomed.

Class scores have no place in the image, so a movement g acts on them as the identity, and equivariance means
invariance: f(g(x)) = f(x).

Borders: a classifier takes a whole image, so that what moves in must have a value: black, the background of
Fashion-MNIST. What moves out is lost, and no fair test; so images that lost nothing are counted apart, too.

Dimension letters: N images, H height, W width, K classes, M movements of one size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from src.theory.transforms import Motion, moved, share_cut_off, shift, turn, zoom

KEPT = 0.01  # an image that loses at most this share of its light is whole
FEWEST = 30  # images that a rate of the whole ones is given for
Z = 1.96  # standard errors of a 95 % interval

SHIFTS = tuple(float(size) for size in range(0, 9))  # pixels; up, down, left and right
TURNS = (0.0, 5.0, 10.0, 15.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 150.0, 180.0)  # degrees, both ways
ZOOMS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 1.75, 2.0)  # factors

Scores = Callable[[Tensor], Tensor]  # images (N, 1, H, W) -> class scores (N, K)


@dataclass(frozen=True)
class Rate:
    """A share of images with the half width of its 95 % interval; NaN where there are too few images."""

    value: float
    half: float
    images: int

    def __str__(self) -> str:
        return "too few" if math.isnan(self.value) else f"{self.value:.3f} ± {self.half:.3f}"


@dataclass(frozen=True)
class Invariance:
    """What movements of one size do to a classifier.

    Attributes:
        size: in pixels, degrees, or as a factor.
        agreement: images whose predicted class is that of the unmoved image.
        accuracy: images whose predicted class is right.
        whole: the agreement of images that lost at most `KEPT` of their light.
        change: the root of sum |f(g(x)) - f(x)|^2 / sum |f(x)|^2, the scores of each image less their mean.
    """

    size: float
    agreement: Rate
    accuracy: Rate
    whole: Rate
    change: float


def invariance(
    scores: Scores, images: Tensor, labels: Tensor, kind: str, sizes: Sequence[float] | None = None
) -> tuple[Invariance, ...]:
    """Agreement, accuracy and change of scores at each size of a movement.

    Args:
        scores: the classifier in eval mode.
        images: (N, 1, H, W) in 0..1 with black 0.
        labels: (N,).
        kind: a key of `KINDS`.
        sizes: None for the kind's own.
    """
    own, motions = KINDS[kind]
    with torch.inference_mode():
        still = scores(images)
        return tuple(
            _at(scores, (images, labels, still), size, motions(size))
            for size in (own if sizes is None else sizes)
        )


def _at(
    scores: Scores, unmoved: tuple[Tensor, Tensor, Tensor], size: float, motions: Sequence[Motion]
) -> Invariance:
    images, labels, still = unmoved
    same, right, whole, difference = [], [], [], 0.0
    for motion in motions:
        # Interpolation overshoots at edges, and no image has such pixels.
        answer = scores(moved(images, motion, beyond=0.0).clamp_(0, 1))
        same.append(answer.argmax(1) == still.argmax(1))
        right.append(answer.argmax(1) == labels)
        whole.append(share_cut_off(images, motion) <= KEPT)
        difference += (_centred(answer - still) ** 2).sum().item() / len(motions)
    agree, kept = torch.stack(same), torch.stack(whole)  # (M, N) each
    change = math.sqrt(difference / (_centred(still) ** 2).sum().item())
    every = torch.ones_like(kept)
    return Invariance(size, rate(agree, every), rate(torch.stack(right), every), rate(agree, kept), change)


def _centred(scores: Tensor) -> Tensor:
    """Without each image's mean score, which the softmax does not see."""
    return scores - scores.mean(1, keepdim=True)


def rate(hits: Tensor, counted: Tensor) -> Rate:
    """The share of hits among the counted answers, (M, N) both, with an interval over images.

    An image's M answers are no independent trials, so the standard error is that of a ratio over N clusters
    (Cochran 1977, Sampling Techniques, section 6.4). It is 0 where all answers agree.
    """
    trials = counted.sum(0).double()  # (N,)
    successes = (hits & counted).sum(0).double()
    images = int((trials > 0).sum())
    if images < FEWEST:
        return Rate(math.nan, math.nan, images)
    share = (successes.sum() / trials.sum()).item()
    residual = ((successes - share * trials) ** 2).sum().item() * images / (images - 1)
    return Rate(share, Z * math.sqrt(residual) / trials.sum().item(), images)


def _shifts(size: float) -> tuple[Motion, ...]:
    return (shift(size, 0), shift(-size, 0), shift(0, size), shift(0, -size)) if size else (shift(0, 0),)


def _turns(degrees: float) -> tuple[Motion, ...]:
    return (turn(degrees), turn(-degrees)) if degrees % 180 else (turn(degrees),)


def _zooms(factor: float) -> tuple[Motion, ...]:
    return (zoom(factor),)


KINDS: dict[str, tuple[tuple[float, ...], Callable[[float], tuple[Motion, ...]]]] = {
    "shift": (SHIFTS, _shifts),
    "turn": (TURNS, _turns),
    "zoom": (ZOOMS, _zooms),
}
