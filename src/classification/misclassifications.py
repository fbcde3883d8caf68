"""What a classifier gets wrong, and whether its probabilities mean what they say.

Dimension letters: N images, K classes, M bins. `probabilities` are (N, K), rows that sum to 1; `labels` (N,).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor, nn

from src import figures

SHOWN, ACROSS = 24, 6  # errors in the picture
MOST_NUMBERED = 25  # classes of a confusion matrix whose counts can be read
BINS = 15  # Guo et al. 2017, section 5
CONFIDENCE = 0.95  # of every interval


@dataclass(frozen=True, eq=False)
class Calibration:
    """A reliability diagram: images in M bins of their highest probability."""

    edges: np.ndarray  # (M + 1,) of bins (low, high]
    counts: np.ndarray  # (M,) images
    hits: np.ndarray  # (M,) images whose most probable class is right
    confidence: np.ndarray  # (M,) mean of the highest probabilities, NaN where a bin is empty
    error: float  # expected calibration error, the sum of count / N * |accuracy - confidence|
    error_by_chance: float  # 95 % quantile of the error of a calibrated classifier with these confidences


@dataclass(frozen=True, eq=False)
class Misclassifications:
    """What a classifier gets wrong on N images."""

    confusion: np.ndarray  # (K, K) counts, rows the true class, columns the predicted one
    errors: Tensor  # indices of misclassified images, the most confident first
    probabilities: Tensor  # of all images
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


def confusion_figure(found: Misclassifications, names: Sequence[str], title: str) -> Figure:
    """Counts, rows the true class, columns the predicted one; only errors are coloured."""
    classes = len(names)
    errors = np.ma.masked_where(np.eye(classes, dtype=bool), found.confusion)
    colours = mpl.colormaps["Blues"].with_extremes(bad=figures.PALE)  # right ones would drown the errors
    with figures.look():
        figure, ((axes,),) = figures.subplots(height=6.4)
        picture = axes.imshow(errors, cmap=colours, vmin=0, vmax=max(errors.max(), 1), aspect="auto")
        for row, column in np.ndindex(errors.shape) if classes <= MOST_NUMBERED else ():
            ink = figures.ink_on(picture.to_rgba(errors)[row, column])
            text = str(found.confusion[row, column] or "·")
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=9)
        axes.grid(False)
        axes.set_xticks(range(classes), names, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(classes), names)
        axes.set(xlabel="Predicted class", ylabel="True class")
        figure.colorbar(picture, ax=axes, pad=0.02, aspect=30).set_label("Errors (images)")
        figures.title(figure, title)
    return figure


def errors_figure(found: Misclassifications, images: Tensor, names: Sequence[str], title: str) -> Figure:
    """The most confident errors with predicted and true class and probabilities; images (N, C, H, W)."""
    shown = found.errors[:SHOWN].tolist()
    down = max(1, -(-len(shown) // ACROSS))
    with figures.look():
        figure, axes_of = figures.subplots(down, ACROSS, height=0.7 + 1.68 * down)
        for axes in axes_of.flat:
            axes.set_axis_off()
        for axes, index in zip(axes_of.flat, shown, strict=False):
            pixels = images[index].permute(1, 2, 0).squeeze(2).numpy()
            axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            said, true = int(found.predicted[index]), int(found.labels[index])
            text = [f"{names[k]} {found.probabilities[index, k]:.3f}" for k in (said, true)]
            axes.set_title(f"says {text[0]}\nis {text[1]}", fontsize=8, linespacing=1.15, pad=3)
        figures.title(figure, title)
    return figure


def calibration_figure(found: Calibration, title: str) -> Figure:
    """The reliability diagram: accuracy by confidence with 95 % Wilson intervals, above the bins' counts."""
    filled = np.flatnonzero(found.counts)
    counts, hits, width = found.counts[filled], found.hits[filled], found.edges[1]
    accuracy = hits / counts
    ends = np.array([wilson(int(h), int(n)) for h, n in zip(hits, counts, strict=True)])  # (M, 2)
    with figures.look():
        grid = {"height_ratios": [3, 1.1]}
        figure, ((above,), (below,)) = figures.subplots(2, 1, height=5.6, sharex=True, gridspec_kw=grid)
        above.plot([0, 1], [0, 1], "--", color=figures.DARK, lw=1, label="calibrated")
        spread = np.abs(ends.T - accuracy)
        above.errorbar(
            found.confidence[filled], accuracy, spread, fmt="o", ms=4, capsize=3, label="accuracy, 95 %"
        )
        above.set_ylabel("Accuracy")
        above.legend(loc="lower right")
        bars = below.bar(found.edges[filled] + width / 2, counts, 0.9 * width, color=figures.PALETTE[5])
        below.bar_label(bars, fmt="{:,.0f}")
        below.set(yscale="log", ylabel="Images (log scale)", xlim=(found.edges[filled[0]], 1))
        below.margins(y=0.3)
        below.set_xlabel("Confidence: probability of the predicted class")
        for axis in (above.yaxis, below.xaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        figures.title(figure, title)
    return figure
