"""The plots of a sweep: the final scores (see grid_plots), curves of the best run, curves of all runs.

Every title states what the drawn numbers say, and is computed from them.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from src import figures
from src.sweep.grid import curves_title
from src.sweep.grid_plots import heat_map, is_grid, score_dots
from src.sweep.runs import RunFiles, Task
from src.sweep.tables import setting_text
from src.sweep.variants import Variant, few_variants, variants_of

ENDED_EARLY = ("diverged", "failed")
LOSS = "Training loss (cross-entropy, nats)"
LARGEST = 1e30  # beyond it, the arithmetic of an axis overflows
MOST_PANELS = 6  # learning rates side by side; a random search has one a run
Colour = tuple[float, float, float, float]  # RGBA
LINES = ("-", "--", ":", "-.")


def draw(folder: Path, task: Task, runs: Sequence[RunFiles], extra: Sequence[str] = ()) -> list[Path]:
    """Write the sweep's plots into `folder` as PNG and SVG and return their paths.

    `runs` stand in the order of their ranking, the best first. Runs may be unfinished. `extra` names the
    settings besides dropout and lr that differ between them. Raises OSError.
    """
    grid = is_grid(task, runs)
    paths = figures.save(
        (heat_map if grid else score_dots)(task, runs, extra), folder / ("heat_map" if grid else "scores")
    )
    # A sweep that goes on may outgrow the one or the other: no stale plot stays beside the new one.
    for suffix in (".png", ".svg"):
        (folder / ("scores" if grid else "heat_map")).with_suffix(suffix).unlink(missing_ok=True)
    paths += figures.save(best_run(task, runs, extra), folder / "best_run")
    return paths + figures.save(all_runs(task, runs, extra), folder / "all_runs")


def best_run(task: Task, runs: Sequence[RunFiles], extra: Sequence[str] = ()) -> Figure:
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
        right.set_ylabel(task.axis)
        if history:
            left.legend(loc="best")
        label = next((v.label for v in variants_of(runs, extra) if run in v.runs), "")
        figures.title(figure, _best_title(task, run, label, len(tied), len(runs)))
    return figure


def _best_title(task: Task, run: RunFiles | None, label: str, tied: int, total: int) -> str:
    if run is None:
        return "No run is done or running"
    of = ", ".join(
        filter(None, (label, f"dropout {setting_text(run.dropout)}", f"lr {setting_text(run.lr)}"))
    )
    if not tied:
        return f"No run is done yet; the furthest ({of}) is at {run.cause}"
    place = "Best run" if tied == 1 else f"One of {tied} best runs, tied"
    text = f"{place} of {total}: {of}, {task.label} {run.numbers[task.validation]:.4f} at the end"
    epochs, values = _curve(run, task.validation)
    if values and max(values) > run.numbers[task.validation] + 5e-5:
        text += f", after {max(values):.4f} in epoch {epochs[int(np.argmax(values))]}"
    return text


def all_runs(task: Task, runs: Sequence[RunFiles], extra: Sequence[str] = ()) -> Figure:
    """Training loss and validation metric per epoch of every run: a column a learning rate, a line a run.

    Colours tell dropouts apart, line styles what else differs (`extra`), while there are styles enough.
    """
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
        variants = few_variants(drawn, extra, len(LINES))
        spread = np.linspace(0, 0.92, max(len(dropouts), 1))
        of_dropout = [mpl.colormaps[figures.SEQUENTIAL](float(value)) for value in spread]
        last = max((run.history[-1].number for run in drawn), default=1)
        for row, metric in enumerate(("train_loss", task.validation)):
            window = _window(drawn, metric)
            for axes, lr in zip(axes_of[row], shown, strict=False):
                for run in (run for run in drawn if run.lr == lr):
                    style = next((n for n, variant in enumerate(variants) if run in variant.runs), 0)
                    colour: str | Colour = of_dropout[dropouts.index(run.dropout or 0.0)]
                    if variants and len(dropouts) == 1:
                        colour = figures.PALETTE[style]
                    _draw_run(axes, run, metric, window, color=colour, ls=LINES[style])
            if window:
                axes_of[row, 0].set_ylim(*window)
        for axes, lr in zip(axes_of[0], shown, strict=False):
            axes.set_title(_panel_title(lr, runs))
        for axes in axes_of[1]:
            figures.epoch_axis(axes, last)
        axes_of[0, 0].set_ylabel(f"{LOSS.replace(' (', chr(10) + '(')}\nmean since the first epoch")
        axes_of[1, 0].set_ylabel(task.axis.replace(" (", "\n("))
        if not drawn:
            for axes in axes_of[:, 0]:
                _say(axes, "no epochs on file")
        else:
            _legend(figure, drawn, dict(zip(dropouts, of_dropout, strict=False)), variants)
        text = curves_title(task, runs, variants)
        if len(lrs) > MOST_PANELS:
            text += f" (drawn: {MOST_PANELS} of {len(lrs)} lr, those of the best runs)"
        figures.title(figure, text)
    return figure


def _draw_run(
    axes: Axes, run: RunFiles, metric: str, window: tuple[float, float] | None, **look: Any
) -> None:
    """A run's curve, with a cross where it ended early."""
    x, y = _curve(run, metric)
    axes.plot(x, y, marker="." if len(x) < 3 else None, **look)
    if run.status in ENDED_EARLY and x:
        end = float(np.clip(y[-1], *window)) if window else y[-1]
        colour = look["color"]
        axes.plot(x[-1], end, "x", color=colour, markersize=7, mew=2, clip_on=False, zorder=5)


def _legend(
    figure: Figure,
    drawn: Sequence[RunFiles],
    colours: Mapping[float, Colour],
    variants: Sequence[Variant],
) -> None:
    """Name the colours (RGBA by dropout), the line styles (of `variants`) and the crosses."""
    one = bool(variants) and len(colours) == 1  # the variants have the colours, too
    lines = []
    if not one:
        lines += [Line2D([], [], color=colour, label=setting_text(p)) for p, colour in colours.items()]
    for number, variant in enumerate(variants):
        colour = figures.PALETTE[number] if one else figures.DARK
        label = figures.wrapped(variant.label, 20)
        lines.append(Line2D([], [], color=colour, ls=LINES[number], label=label))
    if any(run.status in ENDED_EARLY for run in drawn):
        label = "diverged or failed\n(at an edge: the\nvalue is beyond it)"
        lines.append(Line2D([], [], color=figures.DARK, marker="x", ls="", mew=2, label=label))
    head = f"Dropout {setting_text(next(iter(colours)))}" if one else "Dropout probability"
    columns = 1 + len(lines) // 18
    # Long enough that a dash and a dot differ.
    length = 2.6 if variants else None
    figure.legend(handles=lines, title=head, loc="outside right center", ncols=columns, handlelength=length)


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
