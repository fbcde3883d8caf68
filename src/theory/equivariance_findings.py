"""Equivariance of convolution, pooling and a classifier: errors against the size of a movement, and figures.

Dimension letters: N images, H height, W width, D kernels, k a kernel's side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor, nn

from src import figures
from src.findings import Picture, Section, Table
from src.theory import equivariance as eq

SHIFTS, TURNS = (0.5, 1, 1.5, 2, 3, 4, 6, 8), (5, 10, 15, 30, 45, 60, 90, 120, 150, 180)
ZOOMS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.25, 1.5, 1.75, 2)
# Of each kind of movement: sizes, and the movements of a size, in all directions
KINDS: dict[str, tuple[tuple[float, ...], Callable[[float], Sequence[Tensor]]]] = {
    "shift (pixels)": (SHIFTS, lambda s: (eq.shift(s, 0), eq.shift(-s, 0), eq.shift(0, s), eq.shift(0, -s))),
    "turn (degrees)": (TURNS, lambda angle: (eq.turn(angle), eq.turn(-angle))),
    "zoom (factor)": (ZOOMS, lambda factor: (eq.zoom(factor),)),
}
ERRORS = "Error of f(g(x)) against g(f(x)), in standard deviations of g(f(x))"
POOLING = "Change of max-pooled feature maps under a shift, in standard deviations"
STRIP = "An image moved and convolved in either order, and the difference"
ANSWERS = "Share of the classifier's answers to moved images"
CURVES = "One panel a kind of movement, a curve a quantity, against the movement's size."
MAPS = 8  # images whose feature maps are compared
STYLES = ("o-", "s-", "^--", "v:")


@dataclass(frozen=True)
class Panel:
    """Curves against the size of one kind of movement, by their names; bands are half widths of intervals."""

    axis: str
    sizes: tuple[float, ...]
    curves: dict[str, list[float]]
    bands: dict[str, list[float]] = field(default_factory=dict)


def equivariance_findings(
    images: Tensor | None = None,
    labels: Tensor | None = None,
    network: nn.Module | None = None,
    seed: int = 42,
) -> Section:
    """Errors of equivariance, and with a classifier and labels (N,) how often its answers stay.

    Args:
        images: (N, 1, H, W) in 0..1, H and W at most 32; None draws some from the seed.
        network: a classifier in eval mode; its first convolution's kernels are measured, else random ones.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = F.pad(torch.rand(MAPS, 1, 7, 7, generator=generator), [2] * 4)
    drawn = F.interpolate(noise, size=(28, 28), mode="bicubic").clamp(0, 1)
    shown = eq.framed(drawn if images is None else images[:MAPS])
    kernels = torch.randn(16, 1, 3, 3, generator=generator, dtype=torch.float64) / 3
    first = next((part for part in (network or nn.Identity()).modules() if isinstance(part, nn.Conv2d)), None)
    if first is not None and first.in_channels == 1 and first.kernel_size[0] % 2:
        kernels = first.weight.detach().double()
    panels, pooling = error_panels(shown, kernels), [pooling_panel(shown, kernels)]
    tables = [_table(ERRORS, panels, "The controls show what interpolation alone does.")]
    pictures = [
        Picture("equivariance-errors", ERRORS, CURVES, curves_figure(panels, ERRORS, log=True)),
        Picture("equivariance-pooling", POOLING, CURVES, curves_figure(pooling, POOLING)),
        Picture("equivariance-strip", STRIP, STRIP, strip_figure(shown[:1])),
    ]
    if network is not None and images is not None and labels is not None:
        panels = [answers_panel(network, images, labels, kind) for kind in KINDS]
        tables.append(_table(ANSWERS, panels, f"{len(labels)} images, shares over all directions."))
        pictures.append(Picture("equivariance-classifier", ANSWERS, CURVES, curves_figure(panels, ANSWERS)))
    return Section(
        key="equivariance",
        title="Equivariance",
        asked="A convolution commutes with translation, f(g(x)) = g(f(x)), pooling approximately; neither "
        "does with rotation or a change of scale. How far does each of this hold?",
        answer=(
            "Interpolating a shift is itself a convolution, and convolutions commute: shifts by parts of a "
            "pixel are exact, too. Two controls show what interpolation alone does: a kernel that moves with "
            "the image, and a movement undone. For a classifier's scores equivariance means f(g(x)) = f(x).",
        ),
        statements=tuple(eq.statements(shown, kernels)),
        tables=tuple(tables),
        pictures=tuple(pictures),
        command="python -m src.theory equivariance",
    )


def error_panels(images: Tensor, kernels: Tensor) -> list[Panel]:
    """Errors of a convolution, of it with pooling 2 and of both controls, at the first movement of a size."""
    layer = eq.convolution(kernels)
    measures: dict[str, Callable[[Tensor], float]] = {
        "convolution": lambda motion: eq.equivariance_error(layer, images, motion),
        "convolution + pooling": lambda motion: eq.equivariance_error(eq.pooled(layer, 2), images, motion),
        "control: edge filter, moved along": lambda motion: eq.moved_along_error(images, motion),
        "control: there and back": lambda motion: eq.there_and_back_error(images, motion),
    }
    return [
        Panel(axis, sizes, {name: [of(motions(size)[0]) for size in sizes] for name, of in measures.items()})
        for axis, (sizes, motions) in KINDS.items()
    ]


def pooling_panel(images: Tensor, kernels: Tensor) -> Panel:
    """The change of a convolution's max-pooled maps under a shift, by the pooling's window."""
    axis, (sizes, motions) = next(iter(KINDS.items()))
    curves: dict[str, list[float]] = {}
    for window in (1, 2, 4, 8):
        layer = eq.pooled(eq.convolution(kernels), window)
        moved = (layer(eq.moved(images, motions(size)[0])) for size in sizes)
        curves[f"window {window} x {window}"] = [eq.relative_error(maps, layer(images)) for maps in moved]
    return Panel(axis, sizes, curves)


@torch.inference_mode()
def answers_panel(network: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, kind: str) -> Panel:
    """How often a classifier's answer is that of the unmoved image, and how often right, with 95 % intervals.

    Images are (N, 1, H, W) in 0..1, labels (N,); `kind` is one of `KINDS`.
    """
    sizes, motions = KINDS[kind]
    panel = Panel(kind, sizes, {"same class": [], "right class": []}, {"same class": [], "right class": []})
    still = network(images).argmax(1)
    for size in sizes:
        answers = torch.stack([network(eq.moved(images, m).clamp(0, 1)).argmax(1) for m in motions(size)])
        for name, expected in (("same class", still), ("right class", labels)):
            share = (answers == expected).double().mean(0)  # of an image's movements: no trials of their own
            panel.curves[name].append(float(share.mean()))
            panel.bands[name].append(1.96 * float(share.std()) / len(share) ** 0.5)
    return panel


def _table(title: str, panels: Sequence[Panel], note: str) -> Table:
    rows = [
        (f"{panel.axis} {size:g}", *(f"{curve[place]:.3g}" for curve in panel.curves.values()))
        for panel in panels
        for place, size in enumerate(panel.sizes)
    ]
    return Table(title, ("movement", *panels[0].curves), tuple(rows), note)


def curves_figure(panels: Sequence[Panel], title: str, log: bool = False) -> Figure:
    """One panel a kind of movement; with `log`, the first has a logarithmic axis with 0 at its foot."""
    with figures.look():
        figure, (row,) = figures.subplots(1, len(panels), height=4.2)
        top = max(value for panel in panels for curve in panel.curves.values() for value in curve)
        for axes, panel in zip(row, panels, strict=True):
            logarithmic = log and axes is row[0]
            for (name, values), style in zip(panel.curves.items(), STYLES, strict=False):
                axes.plot(panel.sizes, values, style[0] if logarithmic else style, ms=4, label=name)
                if name in panel.bands:
                    middle, half = torch.tensor(values), torch.tensor(panel.bands[name])
                    axes.fill_between(panel.sizes, middle - half, middle + half, alpha=0.2, lw=0)
            axes.set(xlabel=panel.axis.capitalize(), ylabel=title.split(maxsplit=1)[0], ylim=(0, 1.08 * top))
            if logarithmic:
                axes.set_yscale("symlog", linthresh=1e-16)
        figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        figures.title(figure, title)
    return figure


def strip_figure(image: Tensor) -> Figure:
    """One image (1, 1, H, W) moved and convolved with an edge filter in both orders; a row a movement."""
    layer = eq.convolution(eq.edge())
    with figures.look():
        figure, grid = figures.subplots(2, 5, height=4.0)
        motions = {"shift by 4 pixels": eq.shift(0, 4), "turn by 45 degrees": eq.turn(45)}
        for row, (name, motion) in zip(grid, motions.items(), strict=True):
            left, right = layer(eq.moved(image, motion)), eq.moved(layer(image), motion)
            shown = {"x": image, "g(x)": eq.moved(image, motion), "f(g(x))": left, "g(f(x))": right}
            top = float(right.abs().max())
            for axes, (what, maps) in zip(row, {**shown, "difference": left - right}.items(), strict=True):
                colours, low, high = ("gray", 0.0, 1.0) if what in ("x", "g(x)") else ("PuOr", -top, top)
                axes.imshow(maps[0, 0].numpy(), cmap=colours, vmin=low, vmax=high)
                axes.set(xticks=[], yticks=[], title=what)
            row[0].set_ylabel(name)
        figures.title(figure, STRIP)
    return figure
