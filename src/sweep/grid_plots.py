"""The plots of a sweep's final scores: a heat map of the grid, or, where there is no grid, a dot a run."""

from collections.abc import Sequence
from statistics import fmean, stdev

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from src import figures
from src.sweep.grid import Cell, Grid, grid_of, grid_title, panels_title, scores_title
from src.sweep.runs import RunFiles, Task
from src.sweep.tables import setting_text
from src.sweep.variants import Variant, first_variants, variants_of

MOST_PANELS = 6  # heat maps in one figure
MOST_ROWS = 16  # of the dots
WIDEST = 12.0  # inches, of panels side by side
_Colour = tuple[float, float, float, float]  # RGBA


def is_grid(task: Task, runs: Sequence[RunFiles]) -> bool:
    """Whether a heat map shows more than dots would: several cells, or a single run."""
    placed = _placed(runs)
    return len(grid_of(task, placed).cells) != 1 or len(placed) == 1


def heat_map(task: Task, runs: Sequence[RunFiles], extra: Sequence[str] = ()) -> Figure:
    """Validation metric by dropout and learning rate; the best cell outlined, empty ones say why.

    Runs that differ in other settings (`extra`) than the seed never share a cell: each combination has a
    panel, all with one colour scale.
    """
    placed = _placed(runs)
    every = variants_of(placed, extra) or (Variant("", (), 0),)
    shown = first_variants(every, MOST_PANELS)
    among = [run for variant in shown for run in variant.runs]
    panels = [(variant.label, grid_of(task, variant.runs, among)) for variant in shown]
    rows, columns = len(panels[0][1].lrs), len(panels[0][1].dropouts)
    width, height = 2.3 + 0.85 * columns, 1.7 + 0.62 * max(rows, 2)
    across = max(1, min(len(panels), int(WIDEST / width)))
    down = -(-len(panels) // across)
    with figures.look():
        figure, axes_of = figures.subplots(
            down, across, width=min(40, max(5.5, across * width)), height=min(40, down * height)
        )
        means = [cell.mean for _, grid in panels for cell in grid.cells.values() if cell.mean is not None]
        low, high = (min(means), max(means)) if means else (0.0, 1.0)
        if high - low < 1e-6:  # one colour: the middle of the map
            low, high = low - 0.01, high + 0.01
        scale = Normalize(low, high)
        for axes, (label, grid) in zip(axes_of.flat, panels, strict=False):
            _draw_panel(axes, grid, scale, max(means, default=0.0))
            if len(panels) > 1:
                axes.set_title(figures.wrapped(label, 14 + 8 * columns))
        for axes in axes_of.flat[len(panels) :]:
            axes.set_axis_off()
        if means:
            colours = mpl.cm.ScalarMappable(scale, mpl.colormaps[figures.SEQUENTIAL])
            bar = figure.colorbar(colours, ax=axes_of, pad=0.02, aspect=20 * down)
            bar.set_label(task.axis.replace(" (", "\n("))
            bar.outline.set_visible(False)
        text = grid_title(task, panels[0][1]) if len(panels) == 1 else panels_title(task, panels)
        if len(every) > len(shown):
            text += f" (drawn: {len(shown)} of {len(every)} combinations of settings, those of the best runs)"
        figures.title(figure, text)
    return figure


def _placed(runs: Sequence[RunFiles]) -> list[RunFiles]:
    return [run for run in runs if run.dropout is not None and run.lr is not None]


def _draw_panel(axes: Axes, grid: Grid, scale: Normalize, best: float) -> None:
    """A heat map; cells whose mean is `best` are outlined."""
    colours = mpl.colormaps[figures.SEQUENTIAL]
    for (dropout, lr), cell in grid.cells.items():
        x, y = grid.dropouts.index(dropout), grid.lrs.index(lr)
        _draw_cell(axes, x, y, cell, None if cell.mean is None else colours(float(scale(cell.mean))))
        if cell.mean == best:
            for colour, line, above in (("white", 4, 3), ("#D00000", 2, 4)):
                corner, side = (x - 0.46, y - 0.46), 0.92
                axes.add_patch(
                    Rectangle(corner, side, side, fill=False, edgecolor=colour, linewidth=line, zorder=above)
                )
    axes.grid(False)
    axes.set_xlim(-0.5, max(len(grid.dropouts), 1) - 0.5)
    axes.set_ylim(max(len(grid.lrs), 1) - 0.5, -0.5)
    axes.set_xticks(range(len(grid.dropouts)), [setting_text(dropout) for dropout in grid.dropouts])
    axes.set_yticks(range(len(grid.lrs)), [setting_text(lr) for lr in grid.lrs])
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set_xlabel("Dropout probability")
    axes.set_ylabel("Learning rate")


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


def score_dots(task: Task, runs: Sequence[RunFiles], extra: Sequence[str] = ()) -> Figure:
    """Validation and test metric of runs that share dropout and learning rate: a row for each combination of
    the other settings, a dot a run, the mean with the sample standard deviation over the seeds.
    """
    placed = _placed(runs)
    every = variants_of(placed, extra)
    shown = first_variants(every, MOST_ROWS)
    with figures.look():
        figure, ((axes,),) = figures.subplots(height=1.7 + 0.75 * len(shown))
        series = (
            (task.validation, "o", figures.PALETTE[0], "validation", -0.17),
            (task.test, "D", figures.PALETTE[1], "test (has no say in the rank)", 0.17),
        )
        for row, variant in enumerate(shown):
            for key, marker, colour, _, offset in series:
                done = [run.numbers.get(key) for run in variant.runs if run.status == "done"]
                values = [value for value in done if value is not None]
                if values:
                    _draw_dots(axes, row + offset, values, marker, colour)
        axes.set_yticks(range(len(shown)), [_row_label(variant) for variant in shown])
        axes.set_ylim(max(len(shown), 1) - 0.45, -0.55)
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
        axes.margins(x=0.12)
        axes.set_xlabel(task.unit[:1].upper() + task.unit[1:])
        handles = [
            Line2D([], [], ls="", marker=marker, color=colour, label=label)
            for _, marker, colour, label, _ in series
        ]
        if any(sum(run.status == "done" for run in variant.runs) > 1 for variant in shown):
            label = "a run (bars: mean ± standard deviation)"
            handles.append(
                Line2D([], [], ls="", marker="o", color=figures.DARK, alpha=0.35, ms=4, label=label)
            )
        figure.legend(handles=handles, loc="outside lower right", ncols=3)
        text = scores_title(task, shown)
        if placed:
            text += f" (all at dropout {setting_text(placed[0].dropout)}, lr {setting_text(placed[0].lr)})"
        if len(every) > len(shown):
            text += f" (drawn: {len(shown)} of {len(every)}, those of the best runs)"
        figures.title(figure, text)
    return figure


def _draw_dots(axes: Axes, y: float, values: Sequence[float], marker: str, colour: str) -> None:
    text = f"{fmean(values):.4f}"
    if len(values) > 1:
        text += f" ± {stdev(values):.4f}"
        axes.plot(values, [y] * len(values), "o", color=figures.DARK, alpha=0.35, ms=4, mec="none", zorder=4)
        axes.errorbar(fmean(values), y, xerr=stdev(values), color=colour, capsize=3, lw=1.6)
    axes.plot(fmean(values), y, marker, color=colour, ms=7, zorder=3)
    axes.annotate(
        text, (fmean(values), y), (0, 6), textcoords="offset points", ha="center", va="bottom", fontsize=8
    )


def _row_label(variant: Variant) -> str:
    """The variant, how many runs are done, and what became of the others."""
    statuses = [run.status for run in variant.runs]
    counts = ", ".join(
        f"{statuses.count(s)} {s}" for s in sorted(set(statuses), key=lambda s: (s != "done", s))
    )
    return "\n".join(filter(None, (figures.wrapped(variant.label, 26), counts)))
