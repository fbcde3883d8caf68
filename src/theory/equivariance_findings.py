"""Equivariance of convolution, pooling and a classifier: errors against the size of a movement, and figures.

Dimension letters: N images, C channels, H height, W width, D kernels, k a kernel's side, M movements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from src import figures
from src.findings import Picture, Section, Table
from src.theory import equivariance as eq

# Of each kind of movement: sizes, and the movements of a size, up, down, left, right or both ways round
KINDS: dict[str, tuple[tuple[float, ...], Callable[[float], Sequence[Tensor]]]] = {
    "shift (pixels)": (
        (0.5, 1, 1.5, 2, 3, 4, 5, 6, 7, 8),
        lambda size: (eq.shift(size, 0), eq.shift(-size, 0), eq.shift(0, size), eq.shift(0, -size)),
    ),
    "turn (degrees)": (
        (5, 10, 15, 30, 45, 60, 90, 120, 150, 180),
        lambda size: (eq.turn(size), eq.turn(-size)),
    ),
    "zoom (factor)": ((0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.25, 1.5, 1.75, 2), lambda size: (eq.zoom(size),)),
}
WHOLE = 0.01  # an image that loses at most this share of its light beyond the border is whole
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
    maps: int = 8,
) -> Section:
    """Errors of equivariance, and with a classifier and labels how often its answers stay.

    Args:
        images: (N, 1, H, W) in 0..1, H and W at most 32; None draws some from the seed.
        labels: (N,).
        network: a classifier in eval mode; its first convolution's kernels are measured, else random ones.
        seed: of random kernels and drawn images.
        maps: images whose feature maps are compared.
    """
    generator = torch.Generator().manual_seed(seed)
    shown = eq.framed(draw_images(generator, maps) if images is None else images[:maps])
    kernels = torch.randn(16, 1, 3, 3, generator=generator, dtype=torch.float64) / 3
    first = next((part for part in (network or nn.Identity()).modules() if isinstance(part, nn.Conv2d)), None)
    if first is not None and first.in_channels == 1 and first.kernel_size[0] % 2:
        kernels = first.weight.detach().double()
    errors = "Error of f(g(x)) against g(f(x)), in standard deviations of g(f(x))"
    pooling = "Change of max-pooled feature maps under a shift, in standard deviations"
    answers = "Share of answers of the classifier to moved images"
    panels = error_panels(shown, kernels)
    tables = [_table(errors, panels, "The controls show what interpolation alone does.")]
    pictures = [
        Picture("equivariance-errors", errors, _ALT, curves_figure(panels, errors, log=True)),
        Picture(
            "equivariance-pooling", pooling, _ALT, curves_figure([pooling_panel(shown, kernels)], pooling)
        ),
        Picture("equivariance-strip", STRIP, STRIP + ".", strip_figure(shown[:1], kernels)),
    ]
    if network is not None and images is not None and labels is not None:
        panels = [invariance_panel(network, images, labels, kind) for kind in KINDS]
        note = f"{len(labels)} images, all directions. Whole: at most 1 % of an image's light is lost."
        tables.append(_table(answers, panels, note))
        pictures.append(Picture("equivariance-classifier", answers, _ALT, curves_figure(panels, answers)))
    return Section(
        key="equivariance",
        title="Equivariance",
        asked="A convolution is equivariant to translation, f(g(x)) = g(f(x)); pooling makes it approximately "
        "invariant to small shifts; it is not equivariant to rotation or to a change of scale. How far does each "
        "of this hold?",
        answer=(
            "Interpolating a shift is itself a convolution, and convolutions commute: shifts by parts of a pixel "
            "are exact, too. Two controls show what interpolation alone does to turns and zooms: a kernel that "
            "moves along with the image, and a movement undone by its inverse.",
            "A classifier's scores have no place in the image, so for it equivariance means f(g(x)) = f(x). "
            "Black, the data's background, moves in at the borders; images that lose nothing are counted apart.",
        ),
        statements=tuple(eq.statements(shown, kernels)),
        tables=tuple(tables),
        pictures=tuple(pictures),
        command="python -m src.theory equivariance",
    )


_ALT = "One panel a kind of movement, a curve a quantity, against the movement's size."
STRIP = "An image moved and convolved in either order, and the difference"


def draw_images(generator: torch.Generator, count: int, side: int = 28) -> Tensor:
    """Images (count, 1, side, side) in 0..1: three overlapping discs and bars with soft edges on black."""
    steps = torch.linspace(-1, 1, side, dtype=torch.float64)
    middle, size = torch.rand(2, count, 3, 2, 1, generator=generator, dtype=torch.float64)
    y, x = ((steps - 1.2 * middle + 0.6).abs() / (0.15 + 0.4 * size)).unbind(2)  # (count, 3, side) each
    power = torch.tensor([2.0, 8, 2]).view(3, 1, 1)  # a disc, a bar, a disc
    far = y[..., :, None] ** power + x[..., None, :] ** power
    return torch.sigmoid(4 * (1 - far)).amax(1, keepdim=True)


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
        Panel(
            axis, sizes, {name: [measure(motions(s)[0]) for s in sizes] for name, measure in measures.items()}
        )
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
def invariance_panel(network: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, kind: str) -> Panel:
    """How often a classifier's answer is that of the unmoved image, and how often right, with 95 % intervals.

    Args:
        network: images (N, 1, H, W) in 0..1 to scores.
        labels: (N,).
        kind: one of `KINDS`.
    """
    sizes, motions = KINDS[kind]
    still = network(images).argmax(1)
    curves: dict[str, list[float]] = {"same class": [], "right class": [], "same class, whole images": []}
    bands: dict[str, list[float]] = {name: [] for name in curves}
    for size in sizes:
        answers = torch.stack([network(eq.moved(images, m).clamp(0, 1)).argmax(1) for m in motions(size)])
        whole = torch.stack([lost_light(images, motion) <= WHOLE for motion in motions(size)])  # (M, N)
        every = torch.ones_like(whole)
        hits = (answers == still, every), (answers == labels, every), (answers == still, whole)
        for name, (hit, counted) in zip(curves, hits, strict=True):
            share, half = rate(hit, counted)
            curves[name].append(share)
            bands[name].append(half)
    return Panel(kind, sizes, curves, bands)


def lost_light(images: Tensor, motion: Tensor) -> Tensor:
    """The share (N,) of each image's light that a movement takes beyond the border."""
    inside = eq.moved(torch.ones_like(images[:1]), torch.linalg.inv(motion)) > 0.5
    return 1 - (images * inside).sum((1, 2, 3)) / images.sum((1, 2, 3)).clamp_min(1e-12)


def rate(hits: Tensor, counted: Tensor) -> tuple[float, float]:
    """The share of hits among the counted answers, (M, N) both, and the half width of its 95 % interval.

    An image's M answers are no independent trials, so the standard error is that of a ratio over N clusters
    (Cochran 1977, Sampling Techniques, section 6.4). NaN where fewer than 30 images count.
    """
    trials, successes = counted.sum(0).double(), (hits & counted).sum(0).double()
    images = int((trials > 0).sum())
    if images < 30:
        return math.nan, math.nan
    share = float(successes.sum() / trials.sum())
    residual = float(((successes - share * trials) ** 2).sum()) * images / (images - 1)
    return share, 1.96 * math.sqrt(residual) / float(trials.sum())


def _table(title: str, panels: Sequence[Panel], note: str) -> Table:
    rows = [
        (f"{panel.axis} {size:g}", *(f"{curve[place]:.3g}" for curve in panel.curves.values()))
        for panel in panels
        for place, size in enumerate(panel.sizes)
    ]
    return Table(title, ("movement", *panels[0].curves), tuple(rows), note)


def curves_figure(panels: Sequence[Panel], title: str, log: bool = False) -> Figure:
    """One panel a kind of movement; `log` has a logarithmic axis with 0 at its foot."""
    with figures.look():
        figure, (row,) = figures.subplots(1, len(panels), height=4.2, sharey=True)
        for axes, panel in zip(row, panels, strict=True):
            for (name, values), style in zip(panel.curves.items(), STYLES, strict=False):
                axes.plot(panel.sizes, values, style, ms=4, label=name)
                if name in panel.bands:
                    center, half = torch.tensor(values), torch.tensor(panel.bands[name])
                    axes.fill_between(panel.sizes, center - half, center + half, alpha=0.2, lw=0)
            axes.set_xlabel(panel.axis.capitalize())
            axes.set_yscale("symlog", linthresh=1e-16) if log else axes.set_ylim(bottom=0)
        figure.legend(*row[0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
        figures.title(figure, title)
    return figure


def strip_figure(image: Tensor, kernels: Tensor) -> Figure:
    """One image (1, 1, H, W) moved and convolved in both orders, by the kernel that a turn sets apart most."""
    motions = {"shift by 4 pixels": eq.shift(0, 4), "turn by 45 degrees": eq.turn(45)}
    turned, layer = motions["turn by 45 degrees"], eq.convolution(kernels)
    difference = layer(eq.moved(image, turned)) - eq.moved(layer(image), turned)  # (1, D, H, W)
    layer = eq.convolution(kernels[[int(difference.square().sum((0, 2, 3)).argmax())]])
    with figures.look():
        figure, grid = figures.subplots(len(motions), 5, height=4.0)
        for row, (name, motion) in zip(grid, motions.items(), strict=True):
            left, right = layer(eq.moved(image, motion)), eq.moved(layer(image), motion)
            shown = {"x": image, "g(x)": eq.moved(image, motion), "f(g(x))": left, "g(f(x))": right}
            top = float(right.abs().max())
            for axes, (what, maps) in zip(row, {**shown, "difference": left - right}.items(), strict=True):
                colours, low, high = ("gray", 0.0, 1.0) if what in ("x", "g(x)") else ("PuOr", -top, top)
                axes.imshow(maps[0, 0].numpy(), cmap=colours, vmin=low, vmax=high)
                axes.set(xticks=[], yticks=[], title=what)
                axes.grid(False)
            row[0].set_ylabel(name)
        figures.title(figure, STRIP)
    return figure
