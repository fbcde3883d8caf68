"""Attention as pictures: for each word of a caption, where in the image the decoder looked.

Dimension letters: L regions (row by row, L = rows x columns of the grid), T words, H and W pixels. The grid
is taken to cover the whole image evenly, whatever size and shape the encoder worked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike
from PIL import Image, ImageDraw

from src import figures

GAMMA = 0.8  # lifts small weights out of the dark a little
DIMMED = 0.6  # of the image's brightness, below the light
FRAME = "#00E5FF"  # of the strongest region: a hue that neither the colours nor aerial images hold
COLUMNS = 6  # panels side by side
PANEL, GAP, TITLE = 300, 16, 64  # pixels: a panel's longer side, between panels, above each
KEY = (
    "Brighter: more attention; the weights of all regions sum to 1. Frame: the strongest region. "
    "Line in the scale: an even spread."
)


def top_of_scale(alphas: ArrayLike) -> float:
    """The weight that is drawn brightest: the highest of `alphas` (T, L).

    At least 4 times an even spread over the regions, so that attention that looks everywhere looks like it.
    """
    weights = np.asarray(alphas, dtype=np.float64)
    return float(max(weights.max(initial=0.0), min(1.0, 4 / max(weights.shape[-1], 1))))


def upsampled(alphas_row: ArrayLike, grid: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The weights of one word, (L,), as a smooth (H, W) map for an image of `size` (W, H).

    Bicubic, and kept within the weights' own range: a region's centre has the region's weight.
    """
    weights = checked(np.asarray(alphas_row)[None], grid, 1)[0].reshape(grid)  # (L,) -> (rows, columns)
    image = Image.fromarray(weights.astype(np.float32))
    smooth = np.asarray(image.resize(size, Image.Resampling.BICUBIC), dtype=np.float64)  # (H, W)
    return np.clip(smooth, weights.min(), weights.max())


def overlay(
    image: Image.Image,
    alphas_row: ArrayLike,
    grid: tuple[int, int],
    size: tuple[int, int],
    *,
    top: float | None = None,
    frame: bool = True,
) -> Image.Image:
    """The image, grey and dimmed, with one word's attention as light upon it.

    Args:
        image: of any size and mode.
        alphas_row: the word's weights, (L,).
        grid: rows and columns of the regions.
        size: (W, H) of the picture to make.
        top: the weight that is drawn brightest; the highest in the row by default.
        frame: whether to frame the strongest region.
    """
    weights = upsampled(alphas_row, grid, size)  # (H, W)
    scale = _scale(float(weights.max()) if top is None else top)
    light = mpl.colormaps[figures.HEAT](scale(weights))[..., :3]  # (H, W, 3)
    grey = image.convert("RGB").resize(size, Image.Resampling.LANCZOS).convert("L")
    dimmed = np.asarray(grey, dtype=np.float64)[..., None] / 255 * DIMMED  # (H, W, 1)
    # "Screen": more attention is never darker, and the image stays visible below it.
    screened = 1 - (1 - dimmed) * (1 - light)
    picture = Image.fromarray((screened * 255).round().astype(np.uint8))
    if frame:
        row, column = divmod(int(np.argmax(np.asarray(alphas_row))), grid[1])
        width, height = size[0] / grid[1], size[1] / grid[0]
        x, y = column * width, row * height
        corners = [round(corner) for corner in (x, y, x + width - 1, y + height - 1)]
        ImageDraw.Draw(picture).rectangle(corners, outline=FRAME, width=max(1, round(min(size) / 70)))
    return picture


def attention_figure(
    image: Image.Image, words: Sequence[str], alphas: ArrayLike, grid: tuple[int, int]
) -> Figure:
    """The image, then a panel a word: where the decoder looked as it wrote the word.

    All panels lie in one axes, which is drawn many times faster than axes of their own.

    Args:
        image: the captioned image, of any size.
        words: of the caption, T of them.
        alphas: their weights, (T, L).
        grid: rows and columns of the regions.
    """
    weights = checked(alphas, grid, len(words))  # (T, L)
    down = -(-(len(words) + 1) // COLUMNS)
    across = max(3, -(-(len(words) + 1) // down))
    scale = PANEL / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    top = top_of_scale(weights)
    pictures = [image.convert("RGB").resize(size, Image.Resampling.LANCZOS)]
    pictures += [overlay(image, row, grid, size, top=top) for row in weights]
    inches = 7.2 / (max(across, 4) * (PANEL + GAP))  # of a pixel
    width, height = across * (size[0] + GAP), down * (size[1] + TITLE)
    page = (width * inches + 1.2, height * inches + 0.75)
    with figures.look():
        figure, _ = figures.subplots(width=page[0], height=page[1])
        figure.clear()
        figure.set_layout_engine("none")
        axes = figure.add_axes(
            (0.1 / page[0], 0.3 / page[1], width * inches / page[0], height * inches / page[1])
        )
        for place, (picture, title) in enumerate(zip(pictures, ["the image", *words], strict=True)):
            x = place % across * (size[0] + GAP)
            y = place // across * (size[1] + TITLE) + TITLE
            axes.imshow(picture, extent=(x, x + size[0], y + size[1], y), interpolation="antialiased")
            points = min(9.0, size[0] * inches * 72 / (0.62 * max(len(title), 1)))
            style: Any = {"ha": "center", "va": "bottom", "style": "normal" if place else "italic"}
            axes.text(x + size[0] / 2, y - 12, title, fontsize=points, parse_math=False, **style)
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.set_axis_off()
        spot = (
            (0.2 + width * inches) / page[0],
            axes.get_position().y0,
            0.12 / page[0],
            axes.get_position().height,
        )
        _colour_bar(figure, figure.add_axes(spot), top, even=1 / weights.shape[1])
        figure.supxlabel(KEY, x=0.1 / page[0], y=0.05 / page[1], ha="left", va="bottom", fontsize=7.5)
        figures.title(figure, "Attention of each word")
    return figure


def checked(alphas: ArrayLike, grid: tuple[int, int], words: int) -> np.ndarray:
    """`alphas` as floats of shape (T, L).

    Raises ValueError unless there is a row a word and a weight a region.
    """
    weights = np.asarray(alphas, dtype=np.float64)
    rows, columns = grid
    if weights.shape != (words, rows * columns):
        raise ValueError(
            f"attention of shape {weights.shape} does not fit {words} words on a grid of {rows}x{columns}: "
            f"it must be {(words, rows * columns)}"
        )
    return weights


def _scale(top: float) -> PowerNorm:
    return PowerNorm(GAMMA, 0, top if top > 0 else 1, clip=True)


def _colour_bar(figure: Figure, axes: Axes, top: float, even: float) -> None:
    """What the colours mean, with the weight that every region would have if all had the same."""
    bar = figure.colorbar(ScalarMappable(_scale(top), mpl.colormaps[figures.HEAT]), cax=axes)
    ticks = [value for value in MaxNLocator(4).tick_values(0, top) if 0 <= value <= top]
    bar.set_ticks(ticks, labels=[f"{value:.3g}" for value in ticks])
    bar.ax.tick_params(labelsize=7, length=2)
    bar.set_label("attention weight", fontsize=8)
    bar.outline.set_visible(False)
    bar.ax.axhline(even, color=FRAME, lw=1.5)
