"""Attention as pictures: for each word of a caption, where in the image the decoder looked.

Dimension letters: L regions (row by row, L = rows x columns of the grid), T words, H and W pixels. The grid
is taken to cover the whole image evenly, whatever size and shape the encoder worked at.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
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
PANEL, GAP, TITLE = 210, 12, 44  # pixels: a panel's longer side, between panels, above each
KEY = (
    "Brighter: more attention; the weights of all regions sum to 1. Frame: the strongest region. "
    "Line in the scale: an even spread."
)


def top_of_scale(alphas: ArrayLike) -> float:
    """The weight that is drawn brightest: the highest of `alphas` (T, L).

    At least 4 times an even spread over the regions, so that attention that looks everywhere looks like it.
    """
    weights = np.asarray(alphas, dtype=np.float64)
    return float(max(weights.max(initial=0.0), min(1.0, 4 / weights.shape[-1])))


def upsampled(alphas_row: ArrayLike, grid: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
    """The weights of one word, (L,), as a smooth (H, W) map for an image of `size` (W, H).

    Bicubic, and kept within the weights' own range: a region's centre has the region's weight.
    """
    weights = np.asarray(alphas_row, dtype=np.float32).reshape(grid)  # (L,) -> (rows, columns)
    smooth = np.asarray(Image.fromarray(weights).resize(size, Image.Resampling.BICUBIC))  # (H, W)
    return np.clip(smooth, weights.min(), weights.max())


def overlay(
    image: Image.Image, alphas_row: ArrayLike, grid: tuple[int, int], top: float, *, frame: bool = True
) -> Image.Image:
    """The image, grey and dimmed, with one word's attention as light upon it.

    Args:
        image: of any size.
        alphas_row: the word's weights, (L,).
        grid: rows and columns of the regions.
        top: the weight that is drawn brightest.
        frame: whether to frame the strongest region.
    """
    weights = upsampled(alphas_row, grid, image.size)  # (H, W)
    light = mpl.colormaps[figures.HEAT](_scale(top)(weights))[..., :3]  # (H, W, 3)
    dimmed = np.asarray(image.convert("L"))[..., None] / 255 * DIMMED  # (H, W, 1)
    # "Screen": more attention is never darker, and the image stays visible below it.
    screened = 1 - (1 - dimmed) * (1 - light)
    picture = Image.fromarray((screened * 255).round().astype(np.uint8))
    if frame:
        row, column = divmod(int(np.argmax(alphas_row)), grid[1])
        width, height = image.width / grid[1], image.height / grid[0]
        x, y = column * width, row * height
        corners = [round(corner) for corner in (x, y, x + max(width, 1) - 1, y + max(height, 1) - 1)]
        ImageDraw.Draw(picture).rectangle(corners, outline=FRAME, width=max(1, round(min(image.size) / 70)))
    return picture


def attention_figure(
    image: Image.Image, words: Sequence[str], alphas: ArrayLike, grid: tuple[int, int]
) -> Figure:
    """The image, then a panel a word: where the decoder looked as it wrote the word.

    All panels are one picture in one axes, which is drawn many times faster than axes of their own.

    Args:
        image: the captioned image, of any size.
        words: of the caption, T of them.
        alphas: their weights, (T, L).
        grid: rows and columns of the regions.
    """
    weights = np.asarray(alphas)  # (T, L)
    top = top_of_scale(weights)
    small = scaled(image, PANEL)
    panels = [small, *(overlay(small, row, grid, top) for row in weights)]
    down = -(-len(panels) // COLUMNS)
    across = max(4, -(-len(panels) // down))
    cell = (small.width + GAP, small.height + TITLE)
    sheet = Image.new("RGB", (across * cell[0], down * cell[1]), "white")
    inches = 7.2 / sheet.width  # of a pixel
    with figures.look():
        figure, ((axes,),) = figures.subplots(width=8.2, height=sheet.height * inches + 0.8)
        for place, (panel, title) in enumerate(zip(panels, ["the image", *words], strict=True)):
            x, y = place % across * cell[0], place // across * cell[1] + TITLE
            sheet.paste(panel, (x, y))
            points = min(9.0, cell[0] * inches * 72 / (0.62 * len(title) + 1))
            style = "normal" if place else "italic"
            where = {"ha": "center", "va": "bottom", "style": style, "parse_math": False}
            axes.text(x + small.width / 2, y - 6, title, fontsize=points, **where)
        axes.imshow(sheet, interpolation="bilinear")
        axes.set_axis_off()
        colours = ScalarMappable(_scale(top), mpl.colormaps[figures.HEAT])
        bar = figure.colorbar(colours, ax=axes, label="attention weight", fraction=0.05, aspect=35, pad=0.01)
        bar.set_ticks([tick for tick in MaxNLocator(4).tick_values(0, top) if tick <= top])
        bar.ax.axhline(1 / weights.shape[1], color=FRAME, lw=1.5)
        figure.supxlabel(KEY, x=0.01, ha="left", fontsize=7.5)
        figures.title(figure, "Attention of each word")
    return figure


def scaled(image: Image.Image, side: int) -> Image.Image:
    """The image with a longer side of `side` pixels."""
    factor = side / max(image.size)
    size = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    return image.resize(size, Image.Resampling.LANCZOS)


def _scale(top: float) -> PowerNorm:
    return PowerNorm(GAMMA, 0, top, clip=True)
