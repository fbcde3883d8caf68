"""The plots of a sweep: validation metric by setting, curves of the best run, curves of all runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from src import figures
from src.sweep.ranking import Ranking, shown
from src.sweep.runs import RunRecord, sort_key

ENDED_EARLY = ("diverged", "failed")
LOSS = "Training loss\n(cross-entropy, nats)"
MAX_PANELS = 6
LINES = ("-", "--", ":", "-.")
Group = tuple[str, ...]


def draw(folder: Path, ranking: Ranking) -> list[Path]:
    """Write the sweep's plots into `folder` as PNG and SVG and return their paths."""
    plots = (heat_map, best_run, all_runs)
    return [path for plot in plots for path in figures.save(plot(ranking), folder / plot.__name__)]


def variants_of(ranking: Ranking, besides: Sequence[str]) -> dict[Group, list[RunRecord]]:
    """The readable runs by the settings that differ, besides those named; those of the best runs first."""
    keys = [key for key in ranking.named if key not in besides]
    found: dict[Group, list[RunRecord]] = {}
    for _, run in ranking.rows:
        if run.status != "unreadable":
            values = {key: shown(run.settings.get(key)) for key in keys}
            group = tuple(
                f"{key.removesuffix('._target_')} {value}" for key, value in values.items() if value
            )
            found.setdefault(group, []).append(run)
    return found


def heat_map(ranking: Ranking) -> Figure:
    """Validation metric by dropout and learning rate, a panel for each combination of the other settings.

    A cell of several seeds shows mean and sample standard deviation; the best cell is outlined.
    """
    every = variants_of(ranking, besides=("dropout", "lr", "seed")) or {(): []}
    panels = dict(list(every.items())[:MAX_PANELS])
    drawn = [run for runs in panels.values() for run in runs]
    xs = sorted({run.settings.get("dropout") for run in drawn}, key=sort_key)
    ys = sorted({run.settings.get("lr") for run in drawn}, key=sort_key)
    scores: dict[tuple[Group, Any, Any], list[float]] = {}  # by panel, dropout and learning rate
    for group, runs in panels.items():
        for run in runs:
            value = run.number(ranking.task.monitor)
            if run.status == "done" and value is not None:
                scores.setdefault((group, *run.cell), []).append(value)
    means = {cell: fmean(values) for cell, values in scores.items()}
    low, high = (min(means.values()), max(means.values())) if means else (0.0, 1.0)
    scale = mpl.colors.Normalize(low - 1e-3 * (high == low), high)
    width = 2.3 + 0.85 * len(xs)  # inches, of a panel
    across = max(1, min(len(panels), int(12 / width)))
    down = -(-len(panels) // across)
    height = down * (1.7 + 0.62 * max(len(ys), 2))
    with figures.look():
        figure, axes_of = figures.subplots(down, across, width=max(5.5, across * width), height=height)
        for axes in axes_of.flat[len(panels) :]:
            axes.set_axis_off()
        for axes, group in zip(axes_of.flat, panels, strict=False):
            grid = np.array([[means.get((group, x, y), np.nan) for x in xs] for y in ys])
            grid = grid.reshape(len(ys), len(xs))  # also of no runs
            colours = mpl.colormaps[figures.SEQUENTIAL].with_extremes(bad=figures.PALE)
            picture = axes.imshow(np.ma.masked_invalid(grid), cmap=colours, norm=scale, aspect="auto")
            for row, column in np.ndindex(grid.shape):
                values = scores.get((group, xs[column], ys[row]), [])
                text = f"{fmean(values):.4f}" if values else "none"
                text += f"\n± {stdev(values):.4f}" if len(values) > 1 else ""
                ink = figures.ink_on(picture.to_rgba(grid)[row, column]) if values else figures.DARK
                axes.text(column, row, text, ha="center", va="center", fontsize=8, color=ink)
                if values and fmean(values) == high:
                    corner = (column - 0.46, row - 0.46)
                    axes.add_patch(
                        Rectangle(corner, 0.92, 0.92, fill=False, edgecolor="#D00000", linewidth=2)
                    )
            axes.grid(False)
            axes.set_xticks(range(len(xs)), [shown(x) for x in xs])
            axes.set_yticks(range(len(ys)), [shown(y) for y in ys])
            axes.set(xlabel="Dropout probability", ylabel="Learning rate")
            axes.set_title(figures.wrapped(", ".join(group), 14 + 8 * len(xs)))
        bar = mpl.cm.ScalarMappable(scale, mpl.colormaps[figures.SEQUENTIAL])
        figure.colorbar(bar, ax=axes_of, pad=0.02, aspect=20 * down).set_label(ranking.task.heading)
        figures.title(figure, f"{ranking.task.heading} by dropout and learning rate")
    return figure


def best_run(ranking: Ranking) -> Figure:
    """Training loss and validation metric per epoch of the best run, or of the first one that has epochs."""
    run = next((run for _, run in ranking.rows if run.history), None)
    with figures.look():
        figure, ((left, right),) = figures.subplots(1, 2, height=3.6)
        if run is not None:
            left.plot(*run.curve("train_loss"), "-", marker=".", label="mean since the first epoch")
            left.plot(*run.curve("train_loss_epoch"), "--", marker=".", label="mean of the epoch")
            left.legend(loc="best")
            right.plot(*run.curve(ranking.task.monitor), marker=".", color=figures.PALETTE[2])
            for axes in (left, right):
                figures.epoch_axis(axes, int(run.history[-1]["epoch"]))
        left.set_ylabel(LOSS)
        right.set_ylabel(ranking.task.heading)
        figures.title(figure, f"Best run: {run.name if run else 'none'}")
    return figure


def all_runs(ranking: Ranking) -> Figure:
    """Training loss and validation metric per epoch of every run: a column a learning rate, a line a run.

    Colours tell dropouts apart, line styles the first other settings that differ; a cross marks a run that ended
    early.
    """
    runs = [run for _, run in ranking.rows if run.history]
    lrs = sorted({run.settings.get("lr") for run in runs}, key=sort_key)[:MAX_PANELS]
    dropouts = sorted({run.settings.get("dropout") for run in runs}, key=sort_key)
    shades = mpl.colormaps[figures.SEQUENTIAL](np.linspace(0, 0.92, max(len(dropouts), 1)))
    colours = dict(zip(dropouts, shades, strict=False))
    variants = variants_of(ranking, besides=("dropout", "lr", "seed"))
    styles = dict(zip(variants, LINES, strict=False))
    style_of = {run: styles.get(group, "-") for group, of in variants.items() for run in of}
    columns, last = max(len(lrs), 1), max((int(run.history[-1]["epoch"]) for run in runs), default=1)
    with figures.look():
        figure, axes_of = figures.subplots(
            2, columns, width=max(6.5, 2.4 + 2.4 * columns), height=5.6, sharex=True, sharey="row"
        )
        for row, metric in enumerate(("train_loss", ranking.task.monitor)):
            for axes, lr in zip(axes_of[row], lrs, strict=False):
                for run in (run for run in runs if run.settings.get("lr") == lr):
                    x, y = run.curve(metric)
                    look: Any = {"color": colours[run.settings.get("dropout")], "ls": style_of[run]}
                    axes.plot(x, y, marker="." if len(x) < 3 else None, **look)
                    if run.status in ENDED_EARLY:
                        axes.plot(x[-1:], y[-1:], marker="x", markersize=7, mew=2, **look)
                axes.set_title(f"lr {shown(lr)}" if row == 0 else "")
                figures.epoch_axis(axes, last)
                axes.set_xlabel("Epoch" if row else "")
            whole = [y for run in runs if run.status not in ENDED_EARLY for y in run.curve(metric)[1]]
            if whole:  # a run that diverged would squeeze all others
                margin = 0.05 * max(max(whole) - min(whole), 1e-3)
                axes_of[row, 0].set_ylim(min(whole) - margin, max(whole) + margin)
        axes_of[0, 0].set_ylabel(f"{LOSS}\nmean since the first epoch")
        axes_of[1, 0].set_ylabel(ranking.task.heading)
        lines = [Line2D([], [], color=c, label=f"dropout {shown(p)}") for p, c in colours.items()]
        for group, style in styles.items() if len(variants) > 1 else ():
            text = "\n".join(figures.wrapped(setting, 34) for setting in group)
            lines.append(Line2D([], [], color=figures.DARK, ls=style, label=text))
        if any(run.status in ENDED_EARLY for run in runs):
            lines.append(Line2D([], [], color=figures.DARK, marker="x", ls="", label="diverged or failed"))
        figure.legend(handles=lines, loc="outside right center", handlelength=2.6)
        figures.title(figure, "Training loss and validation metric of all runs")
    return figure
