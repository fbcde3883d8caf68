"""What filters answer to, as pictures: activation maps of an image, and the images that excite filters most.

Dimension letters: C channels, H, W, N values of a dense layer, K classes, O filters, k images a filter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from src import figures
from src.filters.exciting import Window
from src.filters.kernels import mosaic, place

MAPS_ACROSS = 16
KEY = "Black: 0. Brightest: the highest value of the layer. Maps are numbered row by row, from 0."
MOST_MAPS = 64  # of a layer, in one picture
FRAME = "#00E5FF"  # a hue that neither grey images nor the maps' colours hold


def activation_figure(
    image: Tensor, stages: Mapping[str, Tensor], title: str, classes: Sequence[str] = ()
) -> Figure:
    """An image, what each layer answers to it, and the classes' probabilities, in one picture.

    Every layer has its own scale, from 0 (black) to its highest value; of maps at most 64 are drawn.

    Args:
        image: (H, W), as the network sees it.
        stages: by the layer's title, in order: maps (C, H, W), or values (N,); the last one is taken for
            class scores (K,) before the softmax.
        title: a sentence that states the finding.
        classes: names of the K classes; () numbers them.
    """
    *inner, (_, scores) = [(name, values.detach().cpu()) for name, values in stages.items()]
    heights = [
        0.27 + 0.51 * -(-min(len(values), MOST_MAPS) // MAPS_ACROSS) if values.ndim == 3 else 0.5
        for _, values in inner
    ]
    with figures.look():
        figure, _ = figures.subplots(height=0.7 + 1.9 + sum(heights))
        figure.clear()
        grid = figure.add_gridspec(1 + len(inner), 2, height_ratios=[1.9, *heights], width_ratios=[1, 2.2])
        axes = figure.add_subplot(grid[0, 0])
        axes.imshow(image.cpu().numpy(), cmap="gray")
        axes.set_title(f"the image, {image.shape[0]}x{image.shape[1]}")
        axes.set_axis_off()
        _probabilities(figure.add_subplot(grid[0, 1]), scores, classes)
        for row, (name, values) in enumerate(inner, start=1):
            axes = figure.add_subplot(grid[row, :])
            (_maps if values.ndim == 3 else _strip)(axes, name, values)
        figure.supxlabel(KEY, x=0.01, ha="left", fontsize=8)
        figures.title(figure, title)
    return figure


def _probabilities(axes: Axes, scores: Tensor, classes: Sequence[str]) -> None:
    values = scores.double().softmax(0).numpy()
    order = np.argsort(-values, kind="stable")[:10]
    names = [classes[place] if classes else str(place) for place in order]
    axes.barh(range(len(order)), values[order], color=figures.PALETTE[0])
    axes.set_yticks(range(len(order)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_axisbelow(True)
    axes.grid(False, axis="y")
    axes.set_xlabel("probability", fontsize=8)
    axes.set_title("the classes")


def _maps(axes: Axes, name: str, every: Tensor) -> None:
    """Maps (C, H, W) beside each other, 16 a row."""
    values = every[:MOST_MAPS]
    count, height, width = values.shape
    top = float(values.max())
    sheet = mosaic(values.clamp(min=0).float(), min(count, MAPS_ACROSS), gap=max(1, width // 12))
    axes.imshow(np.ma.masked_invalid(sheet.numpy()), cmap=figures.HEAT, vmin=0, vmax=max(top, 1e-12))
    silent = int((values.flatten(1).amax(1) <= 0).sum())
    some = f"the first {count} of {len(every)}" if len(every) > count else str(count)
    empty = f"; {silent} empty" if silent else ""
    axes.set_title(f"{name}: {some} maps of {height}x{width}, to {top:.3g}{empty}", pad=2)
    axes.set_anchor("W")
    axes.set_axis_off()


def _strip(axes: Axes, name: str, values: Tensor) -> None:
    """Values (N,) as one strip."""
    top = float(values.max())
    axes.imshow(
        values.clamp(min=0).float()[None].numpy(),
        cmap=figures.HEAT,
        vmin=0,
        vmax=max(top, 1e-12),
        aspect="auto",
        interpolation="nearest",
    )
    active = int((values > 0).sum())
    axes.set_title(f"{name}: {len(values)} values, to {top:.3g}; {active} above 0", pad=2)
    axes.set_axis_off()


@dataclass(frozen=True, eq=False)
class ExcitingRow:
    """What one row of `exciting_figure` shows: a filter's most exciting images, the strongest first."""

    label: str  # "filter 3"
    images: Tensor  # (k, H, W)
    peaks: Tensor  # (k, 2): row and column in the filter's map
    note: str  # what to say of them, beside the images


def exciting_figure(rows: Sequence[ExcitingRow], seen: Window, title: str) -> Figure:
    """A row a filter: the images that excite it most, with a frame around what the filter saw at its peak."""
    with figures.look():
        figure, axes_of = figures.subplots(len(rows), 1, height=0.6 + 0.86 * len(rows))
        for axes, row in zip(axes_of.flat, rows, strict=True):
            count, height, width = row.images.shape
            sheet = mosaic(row.images.float(), count, gap=2)
            axes.imshow(np.ma.masked_invalid(sheet.numpy()), cmap="gray")
            for number, (down, across) in enumerate(row.peaks.tolist()):
                top, left = place(number, count, (height, width), gap=2)
                _frame(axes, (top, left), (height, width), seen, (down, across))
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
            axes.grid(False)
            axes.set_ylabel(row.label, rotation=0, ha="right", va="center", fontsize=9)
            axes.text(1.01, 0.5, row.note, transform=axes.transAxes, va="center", fontsize=8)
        figures.title(figure, title)
    return figure


def _frame(
    axes: Axes, corner: tuple[int, int], size: tuple[int, int], seen: Window, peak: tuple[int, int]
) -> None:
    """Outline what the filter saw at its peak, as far as it lies within the image."""
    sides = []
    for start, length, position in zip(corner, size, peak, strict=True):
        first, extent = seen.of(position)
        begin, end = max(first, 0), min(first + extent, length)
        sides.append((start + begin - 0.5, end - begin))
    (y, tall), (x, wide) = sides
    axes.add_patch(Rectangle((x, y), wide, tall, fill=False, edgecolor=FRAME, linewidth=1.3))
