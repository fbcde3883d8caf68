"""The plots of a sweep: heat map of the grid, curves of the best run, curves of all runs.

Every title states what the drawn numbers say, and is computed from them.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from src import figures
from src.sweep.grid import Cell, curves_title, grid_of, grid_title
from src.sweep.runs import RunFiles, Task
from src.sweep.tables import setting_text

ENDED_EARLY = ("diverged", "failed")
LOSS = "Training loss (cross-entropy, nats)"
_Colour = tuple[float, float, float, float]  # RGBA
LARGEST = 1e30  # beyond it, the arithmetic of an axis overflows
MOST_PANELS = 6  # learning rates side by side; a random search has one a run


def draw(folder: Path, task: Task, runs: Sequence[RunFiles]) -> list[Path]:
    """Write the sweep's plots into `folder` as PNG and SVG and return their paths.

    `runs` stand in the order of their ranking, the best first. Runs may be unfinished. Raises OSError.
    """
    paths = []
    for name, make in (("heat_map", heat_map), ("best_run", best_run), ("all_runs", all_runs)):
        paths += figures.save(make(task, runs), folder / name)
    return paths


def heat_map(task: Task, runs: Sequence[RunFiles]) -> Figure:
    """Validation metric by dropout and learning rate; the best cell outlined, empty ones say why."""
    grid = grid_of(task, runs)
    rows, columns = len(grid.lrs), len(grid.dropouts)
    with figures.look():
        figure, axes_of = figures.subplots(
            width=min(40, max(5.5, 2.3 + 0.85 * columns)), height=min(40, 1.7 + 0.62 * max(rows, 2))
        )
        axes: Axes = axes_of[0, 0]
        means = [cell.mean for cell in grid.cells.values() if cell.mean is not None]
        low, high = (min(means), max(means)) if means else (0.0, 1.0)
        if high - low < 1e-6:  # one colour: the middle of the map
            low, high = low - 0.01, high + 0.01
        colours = mpl.colormaps[figures.SEQUENTIAL]
        scale = Normalize(low, high)
        for (dropout, lr), cell in grid.cells.items():
            x, y = grid.dropouts.index(dropout), grid.lrs.index(lr)
            _draw_cell(axes, x, y, cell, None if cell.mean is None else colours(float(scale(cell.mean))))
        for dropout, lr in grid.best:
            x, y = grid.dropouts.index(dropout), grid.lrs.index(lr)
            axes.add_patch(
                Rectangle(
                    (x - 0.46, y - 0.46), 0.92, 0.92, fill=False, edgecolor="white", linewidth=4, zorder=3
                )
            )
            axes.add_patch(
                Rectangle(
                    (x - 0.46, y - 0.46), 0.92, 0.92, fill=False, edgecolor="#D00000", linewidth=2, zorder=4
                )
            )
        axes.grid(False)
        axes.set_xlim(-0.5, max(columns, 1) - 0.5)
        axes.set_ylim(max(rows, 1) - 0.5, -0.5)
        axes.set_xticks(range(columns), [setting_text(dropout) for dropout in grid.dropouts])
        axes.set_yticks(range(rows), [setting_text(lr) for lr in grid.lrs])
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("Dropout probability")
        axes.set_ylabel("Learning rate")
        if means:
            bar = figure.colorbar(mpl.cm.ScalarMappable(scale, colours), ax=axes, pad=0.02)
            bar.set_label(f"{task.label.capitalize()}\n({task.unit})")
            bar.outline.set_visible(False)
        figures.title(figure, grid_title(task, grid))
    return figure


def _draw_cell(axes: Axes, x: int, y: int, cell: Cell, colour: _Colour | None) -> None:
    axes.add_patch(
        Rectangle(
            (x - 0.5, y - 0.5),
            width=1,
            height=1,
            facecolor=colour or figures.PALE,
            hatch="" if colour else "////",
            edgecolor="white",
        )
    )
    axes.text(
        x,
        y,
        cell.text,
        ha="center",
        va="center",
        fontsize=7.5 if "\n" in cell.text else 9,
        linespacing=1.15,
        color=figures.DARK if colour is None else figures.ink_on(colour),
    )


def best_run(task: Task, runs: Sequence[RunFiles]) -> Figure:
    """Training loss and validation metric per epoch of the best run; before one is done, of the furthest."""
    tied = [run for run in runs if run.status == "done"]
    tied = [run for run in tied if run.numbers[task.validation] == tied[0].numbers[task.validation]]
    running = [run for run in runs if run.status == "running"]
    furthest = max(running, key=lambda run: len(run.history), default=None)
    run = tied[0] if tied else furthest
    with figures.look():
        figure, ((left, right),) = figures.subplots(1, 2, height=3.6)
        history = run.history if run else ()
        last = max((epoch.number for epoch in history), default=run.epochs or 1 if run else 1)
        for axes, columns in (
            (left, (("train_loss", "mean since the first epoch"), ("train_loss_epoch", "mean of the epoch"))),
            (right, ((task.validation, ""),)),
        ):
            for (column, label), line in zip(columns, ("-", "--"), strict=False):
                x, y = _curve(run, column) if run else ([], [])
                colour = figures.PALETTE[2] if axes is right else figures.PALETTE[0 if line == "-" else 1]
                axes.plot(x, y, line, marker=".", color=colour, label=label)
            figures.epoch_axis(axes, last)
            if not any(len(line.get_xdata()) for line in axes.lines):
                _say(axes, "no epochs on file")
        left.set_ylabel(LOSS)
        right.set_ylabel(f"{task.label.capitalize()} ({task.unit})")
        if history:
            left.legend(loc="best")
        figures.title(figure, _best_title(task, run, len(tied), len(runs)))
    return figure


def _best_title(task: Task, run: RunFiles | None, tied: int, total: int) -> str:
    if run is None:
        return "No run is done or running"
    of = f"dropout {setting_text(run.dropout)}, lr {setting_text(run.lr)}"
    if not tied:
        return f"No run is done yet; the furthest ({of}) is at {run.cause}"
    place = "Best run" if tied == 1 else f"One of {tied} best runs, tied"
    text = f"{place} of {total}: {of}, {task.label} {run.numbers[task.validation]:.4f} at the end"
    epochs, values = _curve(run, task.validation)
    if values and max(values) > run.numbers[task.validation] + 5e-5:
        text += f", after {max(values):.4f} in epoch {epochs[int(np.argmax(values))]}"
    return text


def all_runs(task: Task, runs: Sequence[RunFiles]) -> Figure:
    """Training loss and validation metric per epoch of every run: a column a learning rate, a line a run."""
    drawn = [run for run in runs if run.history and run.status != "unreadable"]
    lrs = list(dict.fromkeys(run.lr for run in drawn if run.lr is not None))  # those of the best runs first
    shown = sorted(lrs[:MOST_PANELS])
    drawn = [run for run in drawn if run.lr in shown]
    dropouts = sorted({run.dropout for run in drawn if run.dropout is not None})
    columns = max(len(shown), 1)
    with figures.look():
        figure, axes_of = figures.subplots(
            2, columns, width=max(6.5, 2.4 + 2.4 * columns), height=5.6, sharex=True, sharey="row"
        )
        colours = mpl.colormaps[figures.SEQUENTIAL](np.linspace(0, 0.92, max(len(dropouts), 1)))
        last = max((run.history[-1].number for run in drawn), default=1)
        for row, metric in enumerate(("train_loss", task.validation)):
            window = _window(drawn, metric)
            for axes, lr in zip(axes_of[row], shown, strict=False):
                for run in (run for run in drawn if run.lr == lr):
                    colour = colours[dropouts.index(run.dropout or 0.0)]
                    x, y = _curve(run, metric)
                    axes.plot(x, y, color=colour, marker="." if len(x) < 3 else None)
                    if run.status in ENDED_EARLY and x:
                        end = float(np.clip(y[-1], *window)) if window else y[-1]
                        axes.plot(x[-1], end, "x", color=colour, markersize=7, mew=2, clip_on=False, zorder=5)
            if window:
                axes_of[row, 0].set_ylim(*window)
        for axes, lr in zip(axes_of[0], shown, strict=False):
            axes.set_title(_panel_title(lr, runs))
        for axes in axes_of[1]:
            figures.epoch_axis(axes, last)
        axes_of[0, 0].set_ylabel(f"{LOSS.replace(' (', chr(10) + '(')}\nmean since the first epoch")
        axes_of[1, 0].set_ylabel(f"{task.label.capitalize()}\n({task.unit})")
        if not drawn:
            for axes in axes_of[:, 0]:
                _say(axes, "no epochs on file")
        else:
            pairs = zip(colours, dropouts, strict=True)
            lines = [Line2D([], [], color=colour, label=setting_text(p)) for colour, p in pairs]
            if any(run.status in ENDED_EARLY for run in drawn):
                label = "diverged or failed\n(at an edge: the\nvalue is beyond it)"
                lines.append(Line2D([], [], color=figures.DARK, marker="x", ls="", mew=2, label=label))
            head, legend_columns = "Dropout probability", 1 + len(lines) // 18
            figure.legend(handles=lines, title=head, loc="outside right center", ncols=legend_columns)
        text = curves_title(task, runs)
        if len(lrs) > MOST_PANELS:
            text += f" (drawn: {MOST_PANELS} of {len(lrs)} lr, those of the best runs)"
        figures.title(figure, text)
    return figure


def _panel_title(lr: float, runs: Sequence[RunFiles]) -> str:
    """The learning rate, and what the panel cannot show: runs that ended early."""
    words = [run.status for run in runs if run.lr == lr and run.status in ENDED_EARLY]
    counts = ", ".join(f"{words.count(word)} {word}" for word in sorted(set(words)))
    return f"lr {setting_text(lr)}" + (f" ({counts})" if counts else "")


def _window(runs: Sequence[RunFiles], metric: str) -> tuple[float, float] | None:
    """The y range, which runs that ended early may widen a little only: a diverging one would squeeze all
    others. None where only such runs have numbers.
    """
    sound = [value for run in runs if run.status not in ENDED_EARLY for value in _curve(run, metric)[1]]
    if not sound:
        return None
    every = [value for run in runs for value in _curve(run, metric)[1]]
    low, high = min(sound), max(sound)
    width = max(high - low, 0.05 * abs(high), 1e-3)
    low, high = max(min(every), low - width / 4), min(max(every), high + width / 4)
    return low - 0.05 * width, high + 0.05 * width


def _curve(run: RunFiles, column: str) -> tuple[list[int], list[float]]:
    """The epochs that have a number in `column`, and the numbers."""
    points = [(epoch.number, epoch.values.get(column, math.inf)) for epoch in run.history]
    points = [(number, value) for number, value in points if abs(value) < LARGEST]
    return [number for number, _ in points], [value for _, value in points]


def _say(axes: Axes, text: str) -> None:
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", color=figures.DARK)
    axes.set_yticks([])
