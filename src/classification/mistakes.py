"""Where a classifier errs, and whether its probabilities mean what they say.

Dimension letters: N images, K classes, M bins. `probabilities` are (N, K), rows that sum to 1; `labels` are
(N,).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from torch import nn

BINS = 15  # Guo et al. 2017, section 5
CONFIDENCE = 0.95  # of every interval


@dataclass(frozen=True)
class Proportion:
    """Successes out of trials, with Wilson's interval."""

    successes: int
    total: int

    @property
    def value(self) -> float:
        """NaN of no trials."""
        return self.successes / self.total if self.total else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.successes, self.total)

    @property
    def text(self) -> str:
        low, high = self.interval
        return f"{self.value:.3f} ({low:.3f} to {high:.3f})"


@dataclass(frozen=True)
class Error:
    """An image whose most probable class is wrong."""

    index: int  # of the image
    true: int
    predicted: int
    probability: float  # of the predicted class
    probability_of_true: float


@dataclass(frozen=True)
class Bin:
    """The images whose highest probability lies in (low, high]."""

    low: float
    high: float
    correct: Proportion
    confidence: float  # mean of their highest probabilities; NaN of none


@dataclass(frozen=True)
class Calibration:
    """A reliability diagram and its expected calibration error.

    Attributes:
        bins: M of equal width.
        error: sum over the bins of count / N * |accuracy - confidence| (Guo et al. 2017, equation 3).
        error_by_chance: mean error of a classifier with these confidences that is calibrated: finite bins
            never agree exactly.
        error_by_chance_high: its 95 % quantile.
    """

    bins: tuple[Bin, ...]
    accuracy: float
    confidence: float  # mean over all images
    error: float
    error_by_chance: float
    error_by_chance_high: float


@dataclass(frozen=True, eq=False)
class Mistakes:
    """What a classifier gets wrong on a set of images.

    Attributes:
        confusion: (K, K) counts, rows the true class, columns the predicted one.
        classes: of each class, the share of its images that is recognised (recall).
        precision: of each class, the share of images given it that belong to it.
    """

    confusion: np.ndarray
    overall: Proportion
    classes: tuple[Proportion, ...]
    precision: tuple[Proportion, ...]
    errors: tuple[Error, ...]  # the most confident first
    calibration: Calibration

    @property
    def pairs(self) -> list[tuple[int, int, int]]:
        """Unordered pairs of classes (a, b) and how many images were mixed up either way, most first."""
        both = self.confusion + self.confusion.T
        found = [(a, b, int(both[a, b])) for a in range(len(both)) for b in range(a + 1, len(both))]
        return sorted(found, key=lambda pair: -pair[2])


@torch.inference_mode()
def probabilities_of(module: nn.Module, images: Tensor, batch_size: int = 500) -> Tensor:
    """Class probabilities (N, K), float64, of images (N, C, H, W) in uint8; `module` gives class scores."""
    was_training = module.training
    module.eval()
    scores = torch.cat([module(batch) for batch in images.split(batch_size)])  # (N, K)
    module.train(was_training)
    return scores.double().softmax(1)


def mistakes_of(probabilities: Tensor, labels: Tensor, seed: int = 42) -> Mistakes:
    """All of it. `seed` draws the calibrated classifier that the calibration error is compared with.

    Raises:
        ValueError: no images, shapes that do not go together, or labels that are no classes.
    """
    count, classes = _checked(probabilities, labels)
    predicted = probabilities.argmax(1)
    confusion = confusion_matrix(predicted, labels, classes)
    hits, per_class, given = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    return Mistakes(
        confusion,
        Proportion(int(hits.sum()), count),
        tuple(Proportion(int(h), int(n)) for h, n in zip(hits, per_class, strict=True)),
        tuple(Proportion(int(h), int(n)) for h, n in zip(hits, given, strict=True)),
        confident_errors(probabilities, labels),
        calibration(probabilities, labels, seed=seed),
    )


def confusion_matrix(predicted: Tensor, labels: Tensor, classes: int) -> np.ndarray:
    """(K, K) counts, rows the true class, columns the predicted one."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    return multiclass_confusion_matrix(predicted, labels, num_classes=classes).numpy()


def confident_errors(probabilities: Tensor, labels: Tensor) -> tuple[Error, ...]:
    """Every error, the most confident first; equal ones in the order of the images."""
    _checked(probabilities, labels)
    highest, predicted = probabilities.max(1)  # (N,), (N,)
    wrong = (predicted != labels).nonzero().flatten()
    order = wrong[highest[wrong].argsort(descending=True, stable=True)]
    return tuple(
        Error(
            int(index),
            int(labels[index]),
            int(predicted[index]),
            float(highest[index]),
            float(probabilities[index, labels[index]]),
        )
        for index in order
    )


def calibration(
    probabilities: Tensor, labels: Tensor, bins: int = BINS, seed: int = 42, draws: int = 400
) -> Calibration:
    """How often the most probable class is right, beside how probable it is said to be.

    Guo, Pleiss, Sun and Weinberger 2017, "On calibration of modern neural networks", section 2: bins of equal
    width over (0, 1], an image in the bin of its highest probability. The error of a calibrated classifier is
    simulated (Broecker and Smith 2007, "Increasing the reliability of reliability diagrams"): each image is
    right with just the probability that it was given, `draws` times.
    """
    count, _ = _checked(probabilities, labels)
    highest, predicted = (value.numpy() for value in probabilities.max(1))  # (N,), (N,)
    right = predicted == labels.numpy()
    edges = np.linspace(0, 1, bins + 1)
    # (low, high]: the first edge that is not below the probability closes its bin.
    place = np.clip(np.searchsorted(edges, highest, side="left") - 1, 0, bins - 1)  # (N,)
    counts = np.bincount(place, minlength=bins)  # (M,)
    sums = np.bincount(place, weights=highest, minlength=bins)

    def error_of(hits: np.ndarray) -> float:
        return float(np.abs(np.bincount(place, weights=hits, minlength=bins) - sums).sum() / count)

    rng = np.random.default_rng(seed)
    by_chance = [error_of(rng.random(count) < highest) for _ in range(draws)]
    hits = np.bincount(place, weights=right, minlength=bins)
    return Calibration(
        tuple(
            Bin(
                float(edges[m]),
                float(edges[m + 1]),
                Proportion(int(hits[m]), int(counts[m])),
                float(sums[m] / counts[m]) if counts[m] else math.nan,
            )
            for m in range(bins)
        ),
        float(right.mean()),
        float(highest.mean()),
        error_of(right),
        float(np.mean(by_chance)),
        float(np.quantile(by_chance, CONFIDENCE)),
    )


def wilson(successes: int, total: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927; Brown, Cai and DasGupta 2001, section 3.1.1).

    It stays within 0 and 1 and does not shrink to nothing at 0 or at all successes. (0, 1) of no trials.

    Raises:
        ValueError: more successes than trials, a negative number, or a confidence outside (0, 1).
    """
    if not 0 <= successes <= total:
        raise ValueError(f"{successes} successes of {total}: must be from 0 to {total}")
    if not 0 < confidence < 1:
        raise ValueError(f"a confidence of {confidence} must lie between 0 and 1")
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / total
    scale = 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    half = z / scale * math.sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    # At the ends the formula gives 0 and 1 up to rounding.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    return low, 1.0 if successes == total else min(1.0, centre + half)


def _checked(probabilities: Tensor, labels: Tensor) -> tuple[int, int]:
    """N and K."""
    if probabilities.ndim != 2 or labels.shape != probabilities.shape[:1] or not len(labels):
        raise ValueError(
            f"probabilities {tuple(probabilities.shape)} and labels {tuple(labels.shape)} must be (N, K) and "
            "(N,), N at least 1"
        )
    count, classes = probabilities.shape
    if not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise ValueError(
            f"labels from {int(labels.min())} to {int(labels.max())} must be from 0 to {classes - 1}"
        )
    return count, classes
