"""The plots of a sweep: validation metric by setting, curves of the best run, curves of all runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
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
    paths = []
    for name, figure in (
        ("heat_map", heat_map(ranking)),
        ("best_run", best_run(ranking)),
        ("all_runs", all_runs(ranking)),
    ):
        paths += figures.save(figure, folder / name)
    return paths


def variants_of(ranking: Ranking, besides: Sequence[str]) -> dict[Group, list[RunRecord]]:
    """The readable runs by the settings that differ, besides those named; those of the best runs first."""
    keys = [key for key in ranking.named if key not in besides]
    found: dict[Group, list[RunRecord]] = {}
    for _, run in ranking.rows:
        if run.status != "unreadable":
            group = tuple(f"{key.removesuffix('._target_')} {shown(run.settings.get(key))}" for key in keys)
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
    across = max(1, min(len(panels), int(12 / (2.3 + 0.85 * len(xs)))))
    down = -(-len(panels) // across)
    size = {
        "width": max(5.5, across * (2.3 + 0.85 * len(xs))),
        "height": down * (1.7 + 0.62 * max(len(ys), 2)),
    }
    scores = {
        (group, x, y): [
            value
            for run in runs
            if (run.settings.get("dropout"), run.settings.get("lr")) == (x, y) and run.status == "done"
            if (value := run.number(ranking.task.monitor)) is not None
        ]
        for group, runs in panels.items()
        for x in xs
        for y in ys
    }
    means = {place: fmean(values) for place, values in scores.items() if values}
    low, high = (min(means.values()), max(means.values())) if means else (0.0, 1.0)
    scale = mpl.colors.Normalize(low - 1e-3 * (high == low), high)
    with figures.look():
        figure, axes_of = figures.subplots(down, across, **size)
        for axes, group in zip(axes_of.flat, panels, strict=False):
            for x, y in ((x, y) for x in xs for y in ys):
                values, corner = scores[group, x, y], (xs.index(x), ys.index(y))
                _draw_cell(axes, corner, values, scale, is_best=means.get((group, x, y)) == high)
            _name_cells(axes, xs, ys)
            axes.set_title(figures.wrapped(", ".join(group), 14 + 8 * len(xs)))
        for axes in axes_of.flat[len(panels) :]:
            axes.set_axis_off()
        colours = mpl.cm.ScalarMappable(scale, mpl.colormaps[figures.SEQUENTIAL])
        figure.colorbar(colours, ax=axes_of, pad=0.02, aspect=20 * down).set_label(ranking.task.label)
        figures.title(figure, f"{ranking.task.label.capitalize()} by dropout and learning rate")
    return figure


def _draw_cell(axes: Axes, corner: tuple[int, int], values: list[float], scale: Any, is_best: bool) -> None:
    colour = mpl.colormaps[figures.SEQUENTIAL](float(scale(fmean(values)))) if values else figures.PALE
    x, y = corner
    axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white"))
    if is_best:
        axes.add_patch(
            Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fill=False, edgecolor="#D00000", linewidth=2)
        )
    text = f"{fmean(values):.4f}" if values else "none"
    text += f"\n± {stdev(values):.4f}" if len(values) > 1 else ""
    ink = figures.ink_on(mpl.colors.to_rgba(colour)) if values else figures.DARK
    axes.text(x, y, text, ha="center", va="center", fontsize=8, color=ink)


def _name_cells(axes: Axes, xs: Sequence[Any], ys: Sequence[Any]) -> None:
    axes.grid(False)
    axes.set_xlim(-0.5, len(xs) - 0.5)
    axes.set_ylim(len(ys) - 0.5, -0.5)
    axes.set_xticks(range(len(xs)), [shown(x) for x in xs])
    axes.set_yticks(range(len(ys)), [shown(y) for y in ys])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("Dropout probability")
    axes.set_ylabel("Learning rate")


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
        right.set_ylabel(ranking.task.label.capitalize())
        figures.title(figure, f"Best run: {run.name if run else 'none'}")
    return figure


def all_runs(ranking: Ranking) -> Figure:
    """Training loss and validation metric per epoch of every run: a column a learning rate, a line a run.

    Colours tell dropouts apart, line styles the first other settings that differ; a cross marks a run that ended
    early.
    """
    runs = [run for _, run in ranking.rows if run.history]
    lrs = sorted(dict.fromkeys(run.settings.get("lr") for run in runs), key=sort_key)[:MAX_PANELS]
    dropouts = sorted({run.settings.get("dropout") for run in runs}, key=sort_key)
    styles = list(variants_of(ranking, besides=("dropout", "lr", "seed")))[: len(LINES)]
    variant_of = {
        run.name: group for group, of in variants_of(ranking, ("dropout", "lr", "seed")).items() for run in of
    }
    spread = np.linspace(0, 0.92, max(len(dropouts), 1))
    colours = [mpl.colormaps[figures.SEQUENTIAL](float(value)) for value in spread]
    with figures.look():
        columns = max(len(lrs), 1)
        figure, axes_of = figures.subplots(
            2, columns, width=max(6.5, 2.4 + 2.4 * columns), height=5.6, sharex=True, sharey="row"
        )
        for row, metric in enumerate(("train_loss", ranking.task.monitor)):
            values = [
                value for run in runs if run.status not in ENDED_EARLY for value in run.curve(metric)[1]
            ]
            for axes, lr in zip(axes_of[row], lrs, strict=False):
                for run in (run for run in runs if run.settings.get("lr") == lr):
                    x, y = run.curve(metric)
                    colour = colours[dropouts.index(run.settings.get("dropout"))]
                    group = variant_of[run.name]
                    style = LINES[styles.index(group)] if group in styles else "-"
                    axes.plot(x, y, marker="." if len(x) < 3 else None, color=colour, ls=style)
                    if run.status in ENDED_EARLY and x:
                        axes.plot(x[-1], y[-1], "x", color=colour, markersize=7, mew=2)
                axes.set_title(f"lr {shown(lr)}" if row == 0 else "")
                figures.epoch_axis(axes, max((int(run.history[-1]["epoch"]) for run in runs), default=1))
                axes.set_xlabel("Epoch" if row else "")
            if values:  # a run that diverged would squeeze all others
                margin = 0.05 * max(max(values) - min(values), 1e-3)
                axes_of[row, 0].set_ylim(min(values) - margin, max(values) + margin)
        axes_of[0, 0].set_ylabel(f"{LOSS}\nmean since the first epoch")
        axes_of[1, 0].set_ylabel(ranking.task.label.capitalize())
        lines = [
            Line2D([], [], color=c, label=f"dropout {shown(p)}")
            for p, c in zip(dropouts, colours, strict=False)
        ]
        if len(styles) > 1:
            labels = [figures.wrapped(", ".join(group), 24) for group in styles]
            lines += [
                Line2D([], [], color=figures.DARK, ls=s, label=t) for s, t in zip(LINES, labels, strict=False)
            ]
        if any(run.status in ENDED_EARLY for run in runs):
            lines.append(Line2D([], [], color=figures.DARK, marker="x", ls="", label="diverged or failed"))
        figure.legend(handles=lines, loc="outside right center", handlelength=2.6)
        figures.title(figure, "Training loss and validation metric of all runs")
    return figure
