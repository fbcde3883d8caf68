"""The curves of `growth.py` as small multiples."""

from __future__ import annotations

import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from src import figures
from src.bench.growth import LEAST_MB, Curve, verdict

ACROSS = 3
COLOURS = {"time": figures.PALETTE[0], "memory": figures.PALETTE[1]}


def growth_figure(curves: Sequence[Curve]) -> Figure:
    """A panel a curve, time and added memory against size, each in shares of its value at the largest size.

    Raises:
        ValueError: there are no curves.
    """
    if not curves:
        raise ValueError("there are no curves to draw: measure at least one subject")
    rows = math.ceil(len(curves) / ACROSS)
    with figures.look():
        figure, grid = figures.subplots(rows, min(ACROSS, len(curves)), height=2.3 * rows + 0.9)
        for axes, curve in zip(grid.flat, curves, strict=False):
            largest = curve.sizes[-1]
            axes.plot(
                [curve.sizes[0], largest],
                [curve.sizes[0] / largest, 1],
                "--",
                color="#888888",
                linewidth=1,
                label="linear",
            )
            memory = [max(value, LEAST_MB) for value in curve.megabytes]
            for name, values, marker in (("time", curve.seconds, "o"), ("memory", memory, "s")):
                shares = [value / values[-1] for value in values]
                axes.plot(curve.sizes, shares, marker=marker, markersize=3, color=COLOURS[name], label=name)
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.set_xticks(_ticks(curve.sizes))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_formatter(NullFormatter())
            axes.yaxis.set_minor_formatter(NullFormatter())
            axes.set_xlabel(curve.subject.axis)
            what = "\n".join(figures.lines(curve.subject.what.capitalize(), 36))
            axes.set_title(
                f"{what}\n{_amount(curve.seconds[-1])}, {curve.megabytes[-1]:,.0f} MB at {largest:,}",
                fontsize=8.5,
            )
        for axes in grid[:, 0]:
            axes.set_ylabel("Share of the largest")
        for axes in grid.flat[len(curves) :]:
            axes.set_visible(False)
        grid.flat[0].legend(fontsize=8, loc="lower right")
        figures.title(figure, verdict(curves))
    return figure


def _ticks(sizes: Sequence[int]) -> list[int]:
    """The smallest, the largest, and one or two between them that leave room for their numbers."""
    return sorted({sizes[0], sizes[len(sizes) // 2], sizes[-1]})


def _amount(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1000 * seconds:.3g} ms"
