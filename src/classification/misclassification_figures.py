"""Figures of what a classifier gets wrong."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from torch import Tensor

from src import figures
from src.classification.misclassifications import Calibration, Misclassifications, wilson

SHOWN, ACROSS = 24, 6  # errors in the picture
MOST_NUMBERED = 25  # classes of a confusion matrix whose counts can be read


def confusion_figure(found: Misclassifications, names: Sequence[str], title: str) -> Figure:
    """Counts, rows the true class, columns the predicted one; only errors are coloured."""
    counts, classes = found.confusion, len(names)
    errors = np.where(np.eye(classes, dtype=bool), 0, counts)
    colours, scale = mpl.colormaps["Blues"], mpl.colors.Normalize(0, max(int(errors.max()), 1))
    with figures.look():
        figure, ((axes,),) = figures.subplots(height=6.4)
        picture = axes.imshow(errors, cmap=colours, norm=scale, aspect="auto")
        for row, column in np.ndindex(counts.shape) if classes <= MOST_NUMBERED else ():
            if row == column:  # right ones have no colour: they would drown the errors
                corner = (column - 0.5, row - 0.5)
                axes.add_patch(mpl.patches.Rectangle(corner, 1, 1, fc=figures.PALE, ec="white"))
            ink = figures.DARK if row == column else figures.ink_on(colours(scale(errors[row, column])))
            text = str(counts[row, column]) if counts[row, column] else "·"
            axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=9)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.set_xticks(range(classes), names, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(classes), names)
        axes.tick_params(length=0)
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
    middles = found.edges[filled] + width / 2
    ends = np.array([wilson(int(h), int(n)) for h, n in zip(hits, counts, strict=True)])  # (M, 2)
    with figures.look():
        grid = {"height_ratios": [3, 1.1]}
        figure, axes_of = figures.subplots(2, 1, height=5.6, sharex=True, gridspec_kw=grid)
        above, below = axes_of[:, 0]
        above.plot([0, 1], [0, 1], "--", color=figures.DARK, lw=1, label="calibrated")
        spread = np.abs(ends.T - hits / counts)
        above.errorbar(
            *(found.confidence[filled], hits / counts, spread),
            fmt="o",
            ms=4,
            capsize=3,
            label="accuracy, 95 %",
        )
        above.set(ylabel="Accuracy", ylim=(-0.02, 1.02))
        above.legend(loc="lower right")
        below.bar(middles, counts, width=0.9 * width, color=figures.PALETTE[5], zorder=2)
        below.set_yscale("log")
        below.set(ylim=(0.7, 6 * counts.max()), xlim=(found.edges[filled[0]], 1))
        for x, count in zip(middles, counts, strict=True):
            below.text(x, count * 1.15, f"{count:,}", ha="center", fontsize=8)
        below.set(ylabel="Images (log scale)", xlabel="Confidence: probability of the predicted class")
        for axis in (above.yaxis, below.xaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        figures.title(figure, title)
    return figure
