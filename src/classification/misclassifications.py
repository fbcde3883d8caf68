"""What a classifier gets wrong, and whether its probabilities mean what they say.

Dimension letters: N images, K classes, M bins. `probabilities` are (N, K), rows that sum to 1; `labels` (N,).
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import torch
from torch import Tensor, nn

BINS = 15  # Guo et al. 2017, section 5
CONFIDENCE = 0.95  # of every interval


@dataclass(frozen=True, eq=False)
class Calibration:
    """A reliability diagram: images in bins of their highest probability, NaN where a bin is empty.

    Attributes:
        edges: (M + 1,) of bins (low, high].
        counts, hits: images, and images whose most probable class is right, (M,).
        confidence: mean of the highest probabilities, (M,).
        error: expected calibration error, the sum of count / N * |accuracy - confidence| (Guo et al. 2017).
        error_by_chance: 95 % quantile of the error of a calibrated classifier with these confidences.
    """

    edges: np.ndarray
    counts: np.ndarray
    hits: np.ndarray
    confidence: np.ndarray
    error: float
    error_by_chance: float


@dataclass(frozen=True, eq=False)
class Misclassifications:
    """What a classifier gets wrong on N images.

    Attributes:
        confusion: (K, K) counts, rows the true class, columns the predicted one.
        errors: indices of misclassified images, the most confident first.
        probabilities, predicted, labels: of all images.
    """

    confusion: np.ndarray
    errors: Tensor
    probabilities: Tensor
    predicted: Tensor
    labels: Tensor
    calibration: Calibration

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Unordered pairs of classes that are mixed up, those of most images first."""
        both = self.confusion + self.confusion.T
        found = [(a, b) for a in range(len(both)) for b in range(a + 1, len(both)) if both[a, b]]
        return sorted(found, key=lambda pair: -int(both[pair]))


@torch.inference_mode()
def class_probabilities(module: nn.Module, images: Tensor, batch_size: int = 500) -> Tensor:
    """Probabilities (N, K) in float64 of images (N, C, H, W); `module` is in eval mode and gives scores."""
    return torch.cat([module(batch).double().softmax(1) for batch in images.split(batch_size)])


def misclassifications(probabilities: Tensor, labels: Tensor) -> Misclassifications:
    """The errors, the confusion matrix and the calibration of a classifier."""
    classes = probabilities.shape[1]
    highest, predicted = probabilities.max(1)
    counts = torch.bincount(labels * classes + predicted, minlength=classes * classes)
    wrong = (predicted != labels).nonzero().flatten()
    return Misclassifications(
        counts.reshape(classes, classes).numpy(),
        wrong[highest[wrong].argsort(descending=True, stable=True)],
        probabilities,
        predicted,
        labels,
        calibration(highest.numpy(), (predicted == labels).numpy()),
    )


def calibration(highest: np.ndarray, right: np.ndarray, bins: int = BINS, draws: int = 400) -> Calibration:
    """Accuracy beside confidence (Guo et al. 2017, "On calibration of modern neural networks").

    The error by chance is simulated (Broecker and Smith 2007): each image is right with just the probability
    that it was given.

    Args:
        highest: probability of the predicted class, (N,).
        right: whether it is the true one, (N,).
    """
    edges = np.linspace(0, 1, bins + 1)
    place = np.clip(np.searchsorted(edges, highest, side="left") - 1, 0, bins - 1)  # (low, high]
    counts, sums, hits = (np.bincount(place, weights, minlength=bins) for weights in (None, highest, right))
    rng = np.random.default_rng(42)

    def error(drawn: np.ndarray) -> float:
        return float(np.abs(np.bincount(place, drawn, minlength=bins) - sums).sum() / len(highest))

    by_chance = [error(rng.random(len(highest)) < highest) for _ in range(draws)]
    with np.errstate(invalid="ignore"):
        confidence = sums / counts
    return Calibration(
        edges, counts, hits.astype(int), confidence, error(right), float(np.quantile(by_chance, CONFIDENCE))
    )


def wilson(successes: int, total: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a proportion (Brown, Cai and DasGupta 2001); (0, 1) of no trials."""
    if not total:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share, scale = successes / total, 1 + z * z / total
    centre = (share + z * z / (2 * total)) / scale
    half = z / scale * (share * (1 - share) / total + z * z / (4 * total * total)) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)
