"""Figures of a classifier's mistakes; every title is computed from the drawn numbers."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from src import figures
from src.classification.mistakes import Calibration, Error, Mistakes

SHOWN = 24  # errors in the picture
ACROSS = 6


def confusion_figure(mistakes: Mistakes, names: Sequence[str]) -> Figure:
    """The confusion matrix: rows the true class, columns the predicted one, counts; errors are coloured."""
    counts, classes = mistakes.confusion, len(names)
    errors = np.where(np.eye(classes, dtype=bool), 0, counts)
    with figures.look():
        figure, ((axes,),) = figures.subplots(height=6.4)
        colours = mpl.colormaps["Blues"]
        scale = mpl.colors.Normalize(0, max(int(errors.max()), 1))
        picture = axes.imshow(errors, cmap=colours, norm=scale, aspect="auto")
        for row in range(classes):
            for column in range(classes):
                same = row == column
                if same:  # right ones have no colour: they would drown the errors
                    axes.add_patch(
                        mpl.patches.Rectangle(
                            (column - 0.5, row - 0.5), 1, 1, facecolor=figures.PALE, edgecolor="white"
                        )
                    )
                ink = figures.DARK if same else figures.ink_on(colours(scale(errors[row, column])))
                text = str(counts[row, column]) if counts[row, column] else "·"
                axes.text(column, row, text, ha="center", va="center", color=ink, fontsize=9)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.set_xticks(range(classes), names, rotation=35, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(classes), names)
        axes.tick_params(length=0)
        axes.set_xlabel("Predicted class")
        axes.set_ylabel("True class")
        bar = figure.colorbar(picture, ax=axes, pad=0.02, aspect=30)
        bar.set_label("Errors (images)")
        bar.outline.set_visible(False)
        figures.title(figure, confusion_title(mistakes, names))
    return figure


def confusion_title(mistakes: Mistakes, names: Sequence[str]) -> str:
    """Which pair of classes is mixed up most."""
    wrong = mistakes.overall.total - mistakes.overall.successes
    if not wrong:
        return f"No error among {mistakes.overall.total:,} images"
    (a, b, both), *others = mistakes.pairs
    text = f"{names[a]} and {names[b]} are mixed up most: {both:,} of {wrong:,} errors"
    if others and others[0][2]:
        a, b, both = others[0]
        text += f"; then {names[a]} and {names[b]} ({both:,})"
    return text


def classes_figure(mistakes: Mistakes, names: Sequence[str]) -> Figure:
    """Accuracy of each class with Wilson's 95 % interval, the worst at the top."""
    order = np.argsort([-share.value for share in mistakes.classes], kind="stable")
    shares = [mistakes.classes[k] for k in order]
    with figures.look():
        figure, ((axes,),) = figures.subplots(height=3.9)
        values = np.array([share.value for share in shares])
        ends = np.array([share.interval for share in shares])  # (K, 2)
        rows = np.arange(len(shares))
        axes.errorbar(
            values, rows, xerr=np.abs(ends.T - values), fmt="o", color=figures.PALETTE[0], capsize=3
        )
        for row, share, end in zip(rows, shares, ends, strict=True):
            axes.annotate(
                f"{share.value:.3f}",
                (end[0], row),
                (-6, 0),
                textcoords="offset points",
                va="center",
                ha="right",
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
            )
        axes.axvline(mistakes.overall.value, color=figures.PALETTE[1], ls="--", lw=1.2)
        axes.annotate(
            f"all classes {mistakes.overall.value:.4f}",
            (mistakes.overall.value, 1),
            (-4, -2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="right",
            va="top",
            color=figures.PALETTE[1],
        )
        axes.set_yticks(rows, [names[k] for k in order])
        axes.set_ylim(-0.6, len(shares) - 0.2)
        low, high = float(np.nanmin(ends)), float(np.nanmax(ends))
        axes.set_xlim(low - 0.16 * max(high - low, 0.02), min(1.005, high + 0.04))
        axes.set_xlabel("Share of the class's test images that is recognised (95 % Wilson interval)")
        axes.grid(axis="y", visible=False)
        figures.title(figure, classes_title(mistakes, names))
    return figure


def classes_title(mistakes: Mistakes, names: Sequence[str]) -> str:
    """The hardest class, and whether its interval lies below all others."""
    known = [k for k, share in enumerate(mistakes.classes) if share.total]
    order = sorted(known, key=lambda k: mistakes.classes[k].value)
    worst, best = order[0], mistakes.classes[order[-1]].value
    easiest = " and ".join(names[k] for k in known if mistakes.classes[k].value == best)
    text = f"{names[worst]} is the hardest class ({mistakes.classes[worst].value:.3f} recognised)"
    if len(order) > 1:
        apart = mistakes.classes[worst].interval[1] < mistakes.classes[order[1]].interval[0]
        text += f", {'clearly' if apart else 'but not clearly'} behind {names[order[1]]}"
        text += f"; easiest: {easiest} ({best:.3f})"
    return text


def errors_figure(errors: Sequence[Error], images: np.ndarray, names: Sequence[str], total: int) -> Figure:
    """The most confident errors as images, with the true class, the predicted one and its probability.

    Args:
        errors: the most confident first; `SHOWN` are drawn.
        images: (N, H, W), those that `Error.index` counts.
        names: of the classes.
        total: how many errors there are.
    """
    shown = errors[:SHOWN]
    down = max(1, -(-len(shown) // ACROSS))
    with figures.look():
        figure, axes_of = figures.subplots(down, ACROSS, height=0.7 + 1.68 * down)
        for axes in axes_of.flat:
            axes.set_axis_off()
        for axes, error in zip(axes_of.flat, shown, strict=False):
            axes.imshow(images[error.index], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            axes.set_title(
                f"says {names[error.predicted]} {shown_probability(error.probability)}\n"
                f"is {names[error.true]} {shown_probability(error.probability_of_true)}",
                fontsize=8,
                linespacing=1.15,
                pad=3,
            )
        figures.title(figure, errors_title(errors, names, total))
    return figure


def errors_title(errors: Sequence[Error], names: Sequence[str], total: int) -> str:
    """How sure the surest errors are, and what they mostly are."""
    shown = errors[:SHOWN]
    if not shown:
        return f"No error among {total:,} images"
    counts: dict[tuple[int, int], int] = {}
    for error in shown:
        pair = (error.true, error.predicted)
        counts[pair] = counts.get(pair, 0) + 1
    (true, predicted), most = max(counts.items(), key=lambda entry: entry[1])
    sure = sum(error.probability > 0.99 for error in errors)
    text = f"The {len(shown)} most confident of {len(errors):,} errors"
    if most > 1:
        text += f": {most} take {names[true]} for {names[predicted]}"
    return f"{text}; {sure:,} of all errors had more than 99 % probability"


def shown_probability(value: float) -> str:
    """Never rounded to 0 or 1, which it is not."""
    if value > 0.9995:
        return "> .999"
    if value < 0.0005:
        return "< .001"
    return f"{value:.3f}".lstrip("0")


def calibration_figure(found: Calibration) -> Figure:
    """The reliability diagram: accuracy by confidence with 95 % Wilson intervals, above the bins' counts."""
    filled = [one for one in found.bins if one.correct.total]
    width = found.bins[0].high - found.bins[0].low
    with figures.look():
        figure, axes_of = figures.subplots(
            2, 1, height=5.6, sharex=True, gridspec_kw={"height_ratios": [3, 1.1]}
        )
        above, below = axes_of[:, 0]
        above.plot([0, 1], [0, 1], "--", color=figures.DARK, lw=1, label="calibrated: accuracy = confidence")
        x = np.array([one.confidence for one in filled])
        y = np.array([one.correct.value for one in filled])
        ends = np.array([one.correct.interval for one in filled])  # (M, 2)
        above.errorbar(
            x,
            y,
            yerr=np.abs(ends.T - y),
            fmt="o",
            ms=4,
            capsize=3,
            color=figures.PALETTE[0],
            label=f"a bin of {width:.3f}: accuracy, 95 % Wilson interval",
        )
        above.set_ylabel("Accuracy")
        above.set_ylim(-0.02, 1.02)
        above.legend(loc="lower right")
        below.bar(
            [(one.low + one.high) / 2 for one in filled],
            [one.correct.total for one in filled],
            width=0.9 * width,
            color=figures.PALETTE[5],
            zorder=2,
        )
        below.set_yscale("log")
        most = max(one.correct.total for one in filled)
        below.set_ylim(0.7, 6 * most)
        for one in filled:
            below.text(
                (one.low + one.high) / 2,
                one.correct.total * 1.15,
                f"{one.correct.total:,}",
                ha="center",
                fontsize=8,
            )
        below.set_ylabel("Images (log scale)")
        below.set_xlabel("Confidence: probability of the predicted class")
        below.set_xlim(min(one.low for one in filled), 1)
        for axis in (above.yaxis, below.xaxis):
            axis.set_major_formatter(PercentFormatter(1, decimals=0))
        figures.title(figure, calibration_title(found))
    return figure


def calibration_title(found: Calibration) -> str:
    """Whether the classifier is too sure of itself, and by how much."""
    calibrated = found.error <= found.error_by_chance_high
    gap = found.confidence - found.accuracy
    error = f"expected calibration error {found.error:.4f}"
    if calibrated:
        return f"Calibrated as far as can be seen: {error}, by chance up to {found.error_by_chance_high:.4f}"
    side = "Too sure" if gap > 0 else "Not sure enough"
    return (
        f"{side} on average: confidence {found.confidence:.3f}, accuracy {found.accuracy:.3f}; {error}, "
        f"by chance {found.error_by_chance:.4f}"
    )
