"""Kernels as pictures: the protocol's sheet (grey, 8 a row), and every channel with its signs.

Dimension letters: O filters, I input channels, h and w a kernel's sides.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from torch import Tensor

from src import figures
from src.filters.kernels import ACROSS, checked, mosaic, place, protocol_kernels

SIGNED = "RdBu_r"  # red above 0, blue below, white at 0: colour-blind readers can tell the ends apart
WITHIN = 0.99  # of the weights, between the colours' ends
MOST_ROWS = 64  # input channels in one picture
MOST_COLUMNS = 32  # filters side by side


def protocol_figure(weight: Tensor, title: str, labels: Sequence[str] = ()) -> Figure:
    """The kernels of input channel 0 in grey, min-max normalised over the layer, 8 a row, numbered.

    Args:
        weight: (O, I, h, w).
        title: a sentence that states the finding.
        labels: what to write beside each filter's number, O of them; () for nothing.
    """
    kernels = protocol_kernels(weight)  # (O, h, w)
    low, high = float(checked(weight).min()), float(checked(weight).max())
    rows = -(-len(kernels) // ACROSS)
    with figures.look():
        figure, axes_of = figures.subplots(rows, ACROSS, height=0.75 + 0.98 * rows)
        for axes in axes_of.flat:
            axes.set_axis_off()
        for number, (axes, kernel) in enumerate(zip(axes_of.flat, kernels.numpy(), strict=False)):
            axes.imshow(kernel, cmap="gray", vmin=0, vmax=1)
            text = f"{number} {labels[number]}" if labels else str(number)
            axes.set_title(text, loc="center", fontsize=8, pad=2)
        colours = mpl.cm.ScalarMappable(Normalize(0, 1), mpl.colormaps["gray"])
        bar = figure.colorbar(colours, ax=axes_of, fraction=0.025, pad=0.01, aspect=20)
        # The scale's ends in the layer's own weights, so that grey can be read as a number.
        bar.set_ticks([0, 1], labels=[f"{low:.2f}", f"{high:.2f}"])
        bar.set_label("weight", fontsize=8, labelpad=-12)
        figures.title(figure, title)
    return figure


def all_channels_figure(weight: Tensor, title: str) -> Figure:
    """Every kernel of a layer: a column a filter, a row an input channel, red above 0 and blue below.

    The colours are symmetric around 0; one weight in a hundred lies beyond their ends, so that the others can
    be told apart. Filters go on below where there are more than 32.

    Raises ValueError for more than 64 input channels.
    """
    weights = checked(weight)  # (O, I, h, w)
    filters, channels, height, width = weights.shape
    if channels > MOST_ROWS:
        raise ValueError(
            f"kernels of {channels} input channels are too many for a picture: at most {MOST_ROWS}"
        )
    limit = max(float(np.quantile(weights.abs().numpy(), WITHIN)), 1e-12)
    columns = min(filters, MOST_COLUMNS)
    bands = -(-filters // columns)
    inches = 6.6 * bands * (channels * (height + 1) + 1) / (columns * (width + 1) + 1)
    with figures.look():
        figure, axes_of = figures.subplots(bands, 1, height=min(0.7 + 0.3 * bands + inches, 40))
        for band, axes in enumerate(axes_of.flat):
            part = weights[band * columns : (band + 1) * columns]
            tiles = part.transpose(0, 1).flatten(0, 1)  # (I * O', h, w), a row a channel
            shown = axes.imshow(_array(mosaic(tiles, len(part))), cmap=SIGNED, vmin=-limit, vmax=limit)
            size = (height, width)
            across = [place(n, len(part), size)[1] + (width - 1) / 2 for n in range(len(part))]
            down = [place(n * len(part), len(part), size)[0] + (height - 1) / 2 for n in range(channels)]
            _number(axes, across, down, first=band * columns)
            axes.set_ylabel("Input channel")
        axes.set_xlabel("Filter")
        bar = figure.colorbar(shown, ax=axes_of, fraction=0.025, pad=0.01, aspect=25, extend="both")
        bar.set_label("weight")
        bar.outline.set_visible(False)
        figures.title(figure, title)
    return figure


def _number(axes: Axes, across: Sequence[float], down: Sequence[float], first: int) -> None:
    axes.set_xticks(across, [str(first + number) for number in range(len(across))])
    axes.set_yticks(down, [str(number) for number in range(len(down))])
    axes.tick_params(length=0, labelsize=8, pad=2)
    axes.spines[:].set_visible(False)
    axes.grid(False)


def _array(sheet: Tensor) -> np.ndarray:
    return np.ma.masked_invalid(sheet.numpy())
