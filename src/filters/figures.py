"""Pictures of filters: kernels, activation maps, the images that excite filters most, synthetic inputs.

Dimension letters: N images, C channels, H, W; F filters, h, w a layer's map; K images a filter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from src import figures
from src.filters.kernels import ACROSS, mosaic, protocol_kernels

MAPS_ACROSS, MOST_MAPS = 16, 64  # of a layer
FRAME = "#00E5FF"  # a hue that neither grey images nor the maps' colours hold


def kernel_figure(weight: Tensor, title: str) -> Figure:
    """Kernels (O, I, h, w): input channel 0 in grey, min-max normalised over the layer, 8 a row, numbered."""
    kernels = protocol_kernels(weight)  # (O, h, w)
    rows = -(-len(kernels) // ACROSS)
    with figures.look():
        figure, axes_of = figures.subplots(rows, ACROSS, height=0.75 + 0.98 * rows)
        for axes in axes_of.flat:
            axes.set_axis_off()
        for number, (axes, kernel) in enumerate(zip(axes_of.flat, kernels.numpy(), strict=False)):
            axes.imshow(kernel, cmap="gray", vmin=0, vmax=1)
            axes.set_title(str(number), loc="center", fontsize=8, pad=2)
        scale = mpl.cm.ScalarMappable(Normalize(0, 1), mpl.colormaps["gray"])
        bar = figure.colorbar(scale, ax=axes_of, fraction=0.025, pad=0.01, aspect=20)
        bar.set_ticks([0, 1], labels=[f"{float(weight.min()):.2f}", f"{float(weight.max()):.2f}"])
        bar.set_label("weight", fontsize=8, labelpad=-12)
        figures.title(figure, title)
    return figure


def activation_figure(
    image: Tensor, layers: Mapping[str, Tensor], scores: Tensor, names: Sequence[str], title: str
) -> Figure:
    """An image (C, H, W), layers' maps (F, h, w), each layer on a scale of its own, and the probabilities.

    Args:
        scores: (classes,), before the softmax.
        names: of the classes.
    """
    rows = [-(-min(len(maps), MOST_MAPS) // MAPS_ACROSS) for maps in layers.values()]
    heights = [0.3 + 0.51 * count for count in rows]
    with figures.look():
        figure, _ = figures.subplots(height=2.6 + sum(heights))
        figure.clear()
        grid = figure.add_gridspec(1 + len(rows), 2, height_ratios=[1.9, *heights], width_ratios=[1, 2.2])
        first = figure.add_subplot(grid[0, 0])
        show_image(first, image)
        _draw_probabilities(figure.add_subplot(grid[0, 1]), scores, names)
        for row, (name, maps) in enumerate(layers.items(), start=1):
            axes = figure.add_subplot(grid[row, :])
            sheet = mosaic(maps[:MOST_MAPS].clamp(min=0), MAPS_ACROSS, gap=max(1, maps.shape[2] // 12))
            top = max(float(maps.max()), 1e-12)
            axes.imshow(np.ma.masked_invalid(sheet.numpy()), cmap=figures.HEAT, vmin=0, vmax=top)
            shape = "x".join(map(str, maps.shape[1:]))
            axes.set_title(f"{name}: {min(len(maps), MOST_MAPS)} of {len(maps)} maps of {shape}", pad=2)
            axes.set_anchor("W")
            axes.set_axis_off()
        figure.supxlabel(
            "Black: 0 or less. Brightest: the layer's highest value.", x=0.01, ha="left", fontsize=8
        )
        figures.title(figure, title)
    return figure


def _draw_probabilities(axes: Axes, scores: Tensor, names: Sequence[str]) -> None:
    values = scores.double().softmax(0).numpy()
    order = np.argsort(-values, kind="stable")[:10]
    axes.barh(range(len(order)), values[order], color=figures.PALETTE[0])
    axes.set_yticks(range(len(order)), [names[place] for place in order], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.grid(False, axis="y")
    axes.set_title("probabilities of the classes")


def top_figure(rows: Mapping[str, tuple[Tensor, Sequence[Sequence[int]]]], title: str) -> Figure:
    """A row a filter: images (K, C, H, W), each with a frame around pixels: top, left, bottom, right."""
    most = max((len(images) for images, _ in rows.values()), default=1)
    with figures.look():
        figure, axes_of = image_grid(max(len(rows), 1), most, 0.98)
        for line, (label, (images, frames)) in zip(axes_of, rows.items(), strict=False):
            for axes, image, (top, left, bottom, right) in zip(line, images, frames, strict=False):
                show_image(axes, image)
                frame = Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False)
                frame.set(edgecolor=FRAME, linewidth=1.3)
                axes.add_patch(frame)
            line[0].set_title(label, fontsize=8, pad=2)
        figures.title(figure, title)
    return figure


def synthetic_figure(groups: Sequence[tuple[Sequence[str], Tensor]], title: str) -> Figure:
    """Groups of labelled synthetic inputs (F, C, H, W) in 0..1, 8 a row."""
    lines = [
        (names[start : start + ACROSS], images[start : start + ACROSS])
        for names, images in groups
        for start in range(0, len(names), ACROSS)
    ]
    with figures.look():
        figure, axes_of = image_grid(len(lines), ACROSS, 1.12)
        for line, (names, images) in zip(axes_of, lines, strict=True):
            for axes, name, image in zip(line, names, images, strict=False):
                show_image(axes, 255 * image)
                axes.set_title(name, loc="center", fontsize=8, pad=2)
        figures.title(figure, title)
    return figure


def image_grid(rows: int, columns: int, row_height: float) -> tuple[Figure, np.ndarray]:
    """A figure for images, with fixed margins: constrained layout takes seconds for so many axes."""
    height = 0.55 + row_height * rows
    figure, axes_of = figures.subplots(rows, columns, height=height)
    figure.set_layout_engine("none")
    margins = {"left": 0.01, "bottom": 0.02, "right": 0.99, "top": 1 - 0.55 / height}
    axes_of[0, 0].get_gridspec().update(**margins, wspace=0.05, hspace=0.25)
    for axes in axes_of.flat:
        axes.set_axis_off()
    return figure, axes_of


def show_image(axes: Axes, image: Tensor, **options: Any) -> None:
    """Draw (C, H, W) in 0..255, in grey where C is not 3."""
    pixels = (image.permute(1, 2, 0) if len(image) == 3 else image[0]).clamp(0, 255).byte().numpy()
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest", **options)
    axes.set_axis_off()
