"""Pictures of equivariance: errors, a classifier's agreement, and one image seen step by step.

Titles are made from the measured values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from src import figures
from src.theory.equivariance import ROUNDING, TIMES, convolution, equivariance_error, sides
from src.theory.equivariance_curves import CONVOLUTION, POOLING, Panel
from src.theory.invariance import Invariance
from src.theory.transforms import moved, shift, turn

FLOOR = 1e-17  # where an error of exactly 0 is drawn
LOOKS = ((("o", "-"), figures.PALETTE[0]), (("s", "-"), figures.PALETTE[1]))
CONTROL_LOOKS = ((("^", "--"), figures.PALETTE[2]), (("v", ":"), figures.PALETTE[3]))
STRIP = (("shift by 4 pixels", shift(0, 4)), ("turn by 45 degrees", turn(45)))
WHAT = ("turn by 45 degrees", "zoom by 1.5")  # what the title tells of
AXES = {"shift": "Shift (pixels)", "turn": "Turn (degrees)", "zoom": "Zoom (factor)"}


def errors_title(panels: Sequence[Panel]) -> str:
    """What the panels of shift, turn and zoom show of convolution and pooling."""
    shifts, *others = panels
    plain, pooling = shifts.curve(CONVOLUTION), shifts.curve(POOLING)
    limit = ROUNDING[torch.float64]
    worst = max(plain.errors)
    first = (
        "A convolution commutes with shifts up to rounding"
        if worst <= limit
        else f"A convolution's error at shifts reaches {worst:.1e}"
    )
    even = max(e for s, e in zip(pooling.sizes, pooling.errors, strict=True) if s % 2 == 0)
    odd = min(e for s, e in zip(pooling.sizes, pooling.errors, strict=True) if s % 2)
    second = (
        "with pooling 2 x 2 only with even ones"
        if even <= limit < odd
        else "pooling 2 x 2 changes that little"
    )
    turns, zooms = (_broken(*each) for each in zip(others, (45.0, 1.5), WHAT, strict=True))
    return f"{first}, {second}; {turns}, {zooms}"


def _broken(panel: Panel, size: float, what: str) -> str:
    """The convolution's error at a size, beside the larger control's."""
    error = panel.curve(CONVOLUTION).at(size)
    control = max(curve.at(size) for curve in panel.curves if curve.control)
    verb = "not with" if error > TIMES * control else "hardly worse than the control with"
    return f"{verb} a {what} (error {error:.2f}, interpolation's {control:.2f})"


def error_figure(panels: Sequence[Panel]) -> Figure:
    """Errors against shift (logarithmic, from rounding to 1), turn and zoom (linear), with the controls."""
    with figures.look():
        figure, axes_of = figures.subplots(1, len(panels), height=4.4)
        first, *others = axes_of[0]
        for axes, panel in zip(axes_of[0], panels, strict=True):
            _draw_curves(axes, panel, joined=axes is not first)
            axes.set_xlabel(panel.axis)
        limit = ROUNDING[torch.float64]
        first.set_yscale("log")
        first.set_ylim(FLOOR / 5, 5)
        powers = (-15, -12, -9, -6, -3, 0)
        first.set_yticks([FLOOR, *(10.0**power for power in powers)])
        first.set_yticklabels(["0", *(f"$10^{{{power}}}$" for power in powers)])
        first.minorticks_off()
        first.set_xticks(range(0, 9, 2))
        first.axhspan(FLOOR / 5, limit, color=figures.PALE, zorder=0)
        first.text(0.3, limit / 4, "rounding", fontsize=8, va="top", color=figures.DARK)
        first.set_ylabel("Error, in standard deviations of g(f(x))")
        top = max(error for panel in panels[1:] for curve in panel.curves for error in curve.errors)
        for axes in others:
            axes.set_ylim(-0.02, 1.08 * top)
        others[0].set_xticks(range(0, 181, 45))
        handles, labels = others[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        figures.title(figure, errors_title(panels))
    return figure


def _draw_curves(axes: Axes, panel: Panel, joined: bool) -> None:
    """The curves; points alone where the error leaps between neighbours, so that no line claims a path."""
    controls = iter(CONTROL_LOOKS)
    for place, curve in enumerate(panel.curves):
        (marker, line), colour = next(controls) if curve.control else LOOKS[place]
        axes.plot(
            curve.sizes,
            list(curve.errors) if joined else [max(error, FLOOR) for error in curve.errors],
            marker=marker,
            ls=line if joined else "none",
            color=colour,
            markerfacecolor="none" if curve.control else colour,
            zorder=4 if curve.control else 3,
            ms=6 if curve.control else 4,
            label=curve.name,
        )


def pooling_title(panel: Panel) -> str:
    """How far pooling damps the change that a shift of 1 pixel makes."""
    plain, widest = panel.curves[0], panel.curves[-1]
    softer = [curve for curve in panel.curves[1:] if curve.at(1.0) < plain.at(1.0)]
    figure = f"from {plain.at(1.0):.2f} to {widest.at(1.0):.2f} ({widest.name})"
    if len(softer) < len(panel.curves) - 1:
        return f"Not every pooling damps what a shift of 1 pixel changes: {figure}"
    return f"Pooling makes a shift of 1 pixel matter less, {figure}: only approximately invariant"


def pooling_figure(panel: Panel) -> Figure:
    """The change of feature maps against the shift, a curve a pooling window."""
    with figures.look():
        figure, axes_of = figures.subplots(height=3.6)
        axes = axes_of[0, 0]
        for curve, style in zip(panel.curves, ("o-", "s-", "^-", "v-", "D-"), strict=False):
            axes.plot(curve.sizes, curve.errors, style, ms=4, label=curve.name)
        axes.set_xlabel(panel.axis)
        axes.set_ylabel("Change, in standard deviations of f(x)")
        axes.set_ylim(bottom=0)
        axes.legend(title="Max-pooling")
        figures.title(figure, pooling_title(panel))
    return figure


def invariance_title(measured: Mapping[str, Sequence[Invariance]]) -> str:
    """Where the classifier's agreement is after the smallest and a larger movement of each kind."""
    parts = []
    for kind, wanted, unit in (
        ("shift", (1, 4), "pixels"),
        ("turn", (5, 30), "degrees"),
        ("zoom", (0.9, 0.7), ""),
    ):
        at = {point.size: point.agreement.value for point in measured[kind]}
        if all(size in at for size in wanted):
            values = " and ".join(f"{100 * at[size]:.0f} %" for size in wanted)
            sizes = " and ".join(f"{size:g}" for size in wanted)
            parts.append(f"{values} after a {kind} by {sizes} {unit}".rstrip())
    return "The classifier keeps its answer for " + "; ".join(parts)


def invariance_figure(measured: Mapping[str, Sequence[Invariance]], classes: int) -> Figure:
    """Agreement and accuracy with their 95 % intervals against shift, turn and zoom."""
    with figures.look():
        figure, axes_of = figures.subplots(1, len(measured), height=4.2, sharey=True)
        for axes, (kind, points) in zip(axes_of[0], measured.items(), strict=True):
            sizes = [point.size for point in points]
            for name, style, colour in (
                ("agreement", "o-", figures.PALETTE[0]),
                ("accuracy", "s-", figures.PALETTE[1]),
                ("whole", "^--", figures.PALETTE[2]),
            ):
                rates = [getattr(point, name) for point in points]
                label = {
                    "agreement": "agreement with the unmoved image's class",
                    "accuracy": "accuracy",
                    "whole": "agreement, of images that lost nothing",
                }[name]
                values = [rate.value for rate in rates]
                low, high = ([r.value + sign * r.half for r in rates] for sign in (-1, 1))
                axes.plot(sizes, values, style, color=colour, ms=4, label=label)
                axes.fill_between(sizes, low, high, color=colour, alpha=0.2, lw=0)
            axes.axhline(1 / classes, color=figures.DARK, ls=":", lw=1, label=f"one of {classes} by chance")
            axes.set_xlabel(AXES[kind])
            axes.set_ylim(0, 1.03)
            if kind == "turn":
                axes.set_xticks(range(0, 181, 45))
        axes_of[0, 0].set_ylabel("Share of test images (95 % interval)")
        handles, labels = axes_of[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        figures.title(figure, invariance_title(measured))
    return figure


def strip_figure(image: Tensor, kernel: Tensor) -> Figure:
    """One image (1, 1, H, W), moved and convolved with (1, 1, k, k) in both orders, and the difference."""
    layer = convolution(kernel.double())
    image = image.double()
    names = ("image x", "moved g(x)", "f(g(x))", "g(f(x))", "difference")
    errors = [equivariance_error(layer, image, motion) for _, motion in STRIP]
    maps = mpl.colormaps["gray"].with_extremes(bad="#7A9CC0")
    signed = mpl.colormaps["PuOr"].with_extremes(bad="#7A9CC0")
    with figures.look():
        figure, axes_of = figures.subplots(len(STRIP), len(names), height=4.3)
        for axes_row, (what, motion), error in zip(axes_of, STRIP, errors, strict=True):
            left, right = sides(layer, image, motion)
            limit = max(side[side.isfinite()].abs().max().item() for side in (left, right))
            shown = (image, moved(image, motion), left, right, left - right)
            for axes, name, picture in zip(axes_row, names, shown, strict=True):
                pixels = name in names[:2]
                low, high = (0.0, 1.0) if pixels else (-limit, limit)
                axes.imshow(picture[0, 0].numpy(), cmap=maps if pixels else signed, vmin=low, vmax=high)
                axes.set_xticks([])
                axes.set_yticks([])
                axes.grid(visible=False)
                for spine in axes.spines.values():
                    spine.set_visible(False)
                axes.set_title(name if name != names[-1] else f"{name}: error {_plain(error)}", fontsize=9)
            axes_row[0].set_ylabel(what)
        figure.supxlabel(
            "f: the kernel whose maps the turn sets apart most (orange below 0, purple above). "
            "Blue: saw beyond the border, not compared.",
            fontsize=8,
        )
        figures.title(figure, strip_title(image, kernel))
    return figure


def strip_title(image: Tensor, kernel: Tensor) -> str:
    """The errors of the strip's two movements."""
    layer = convolution(kernel.double())
    first, second = (equivariance_error(layer, image.double(), motion) for _, motion in STRIP)
    return (
        f"Moving and convolving in either order: error {_plain(first)} for a shift by 4 pixels, "
        f"{_plain(second)} for a turn by 45 degrees"
    )


def _plain(error: float) -> str:
    return "0" if error == 0 else f"{error:.1e}" if error < 1e-3 else f"{error:.2f}"


def clearest(image: Tensor, kernels: Tensor) -> Tensor:
    """The kernel (1, 1, k, k) that shows the strip's turn best: whose two maps of the image differ most."""
    left, right = sides(convolution(kernels.double()), image.double(), STRIP[1][1])
    difference = (left - right).nan_to_num()  # (1, D, H, W), 0 where not compared
    return kernels[int((difference**2).sum((0, 2, 3)).argmax())].unsqueeze(0)
