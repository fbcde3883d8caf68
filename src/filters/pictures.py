"""The pictures of a classifier's filters, for the command line and for the report. Titles are fixed.

Dimension letters: N images, C channels, H, W; F filters, h, w a layer's map; K images a filter.
"""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor
from torchvision.utils import make_grid

from src import figures
from src.classification.module import Classifier, scaled
from src.filters.activations import (
    ACROSS,
    convolutions,
    input_window,
    layer_outputs,
    protocol_kernels,
    top_activations,
)
from src.filters.synthesis import gradient_ascent, unit
from src.findings import Picture

MOST_LAYERS = 4  # whose maps are drawn
MAPS_ACROSS, MOST_MAPS = 16, 64  # of a layer
TOP = 8  # images a filter
SHOWN_FILTERS = 8
FRAME = "#00E5FF"  # a hue that neither grey images nor the maps' colours hold


def kernel_pictures(module: Classifier) -> list[Picture]:
    """The kernels of the first two convolutions, as the report draws them."""
    return [
        Picture(
            f"kernels-{_slug(name)}",
            f"Kernels of {name}, input channel 0, min-max normalised over the layer",
            f"{part.out_channels} grey tiles, 8 a row.",
            _kernel_figure(part.weight.detach(), f"Kernels of {name}, input channel 0"),
        )
        for name, part in list(convolutions(module.network).items())[:2]
    ]


def _kernel_figure(weight: Tensor, title: str) -> Figure:
    """Input channel 0 of kernels (F, C, h, w) in grey, numbered."""
    kernels = protocol_kernels(weight)  # (F, h, w)
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


@torch.no_grad()
def map_picture(module: Classifier, image: Tensor, name: str) -> Picture:
    """What the convolutions answer to an image (C, H, W) in uint8, each layer on a scale of its own."""
    names = list(convolutions(module.network))
    layers = [names[place] for place in _spread(len(names), MOST_LAYERS)]
    prepared = scaled(image.unsqueeze(0))
    outputs = layer_outputs(module.network, prepared, layers)
    heights = [0.3 + 0.51 * -(-min(outputs[layer].shape[1], MOST_MAPS) // MAPS_ACROSS) for layer in layers]
    title = f"Activation maps of {name}"
    with figures.look():
        figure, _ = figures.subplots(height=2.6 + sum(heights))
        figure.clear()
        grid = figure.add_gridspec(1 + len(layers), 2, height_ratios=[1.9, *heights], width_ratios=[1, 2.2])
        show_image(figure.add_subplot(grid[0, 0]), image)
        _draw_probabilities(figure.add_subplot(grid[0, 1]), module, module.network(prepared)[0])
        for row, layer in enumerate(layers, start=1):
            _draw_maps(figure.add_subplot(grid[row, :]), layer, outputs[layer][0])
        text = "Black: 0 or less. Brightest: the layer's highest value."
        figure.supxlabel(text, x=0.01, ha="left", fontsize=8)
        figures.title(figure, title)
    alt = "The image, the probabilities of the classes, and the feature maps of convolutions as heat."
    return Picture(f"activations-{_slug(name)}", title, alt, figure)


def _draw_maps(axes: Axes, layer: str, maps: Tensor) -> None:
    """Maps (F, h, w) side by side."""
    tiles, gap = maps[:MOST_MAPS].clamp(min=0).unsqueeze(1), max(1, maps.shape[2] // 12)
    sheet = make_grid(tiles, nrow=MAPS_ACROSS, padding=gap, pad_value=torch.nan)[0]
    top = max(float(maps.max()), 1e-12)
    axes.imshow(np.ma.masked_invalid(sheet.numpy()), cmap=figures.HEAT, vmin=0, vmax=top)
    shape = "x".join(map(str, maps.shape[1:]))
    axes.set_title(f"{layer}: {len(tiles)} of {len(maps)} maps of {shape}", pad=2)
    axes.set_anchor("W")
    axes.set_axis_off()


def _draw_probabilities(axes: Axes, module: Classifier, scores: Tensor) -> None:
    """The ten highest of the classes' probabilities, by scores (classes,) before the softmax."""
    names, values = class_names(module), scores.double().softmax(0).numpy()
    order = np.argsort(-values, kind="stable")[:10]
    axes.barh(range(len(order)), values[order], color=figures.PALETTE[0])
    axes.set_yticks(range(len(order)), [names[place] for place in order], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.grid(False, axis="y")
    axes.set_title("probabilities of the classes")


def top_picture(module: Classifier, layer: str, images: Tensor) -> Picture:
    """The images of (N, C, H, W), uint8, that excite filters of a convolution most, a row a filter."""
    values, chosen, places = top_activations(module.network, layer, images, scaled, TOP)
    filters, title = _spread(len(values)), f"Training images that excite filters of {layer} most"
    with figures.look():
        figure, axes_of = image_grid(len(filters), values.shape[1], 0.98)
        for line, number in zip(axes_of, filters, strict=True):
            for axes, index, place in zip(line, chosen[number], places[number], strict=True):
                show_image(axes, images[index])
                network_input = scaled(images[index].unsqueeze(0))
                top, left, bottom, right = input_window(
                    module.network, layer, network_input, number, int(place)
                )
                frame = Rectangle((left - 0.5, top - 0.5), right - left, bottom - top, fill=False)
                frame.set(edgecolor=FRAME, linewidth=1.3)
                axes.add_patch(frame)
            line[0].set_title(f"filter {number}: up to {float(values[number, 0]):.2f}", fontsize=8, pad=2)
        figures.title(figure, title)
    alt = f"A row a filter, {TOP} images, with a frame around the pixels on which the highest value depends."
    return Picture(f"top-{_slug(layer)}", title, alt, figure)


def synthetic_picture(module: Classifier) -> Picture:
    """Inputs that excite filters of the first two convolutions and class scores most, 8 a row."""
    network, size = module.network.requires_grad_(False), module.hparams["image_size"]
    labelled: list[tuple[str, Tensor]] = []
    for layer, part in list(convolutions(network).items())[:2]:
        filters = _spread(part.out_channels)
        images = gradient_ascent(unit(network, layer, filters), (len(filters), *size), rate=0.3)
        images = _cropped(module, layer, filters, images)
        labelled += [(f"{layer} {number}", image) for number, image in zip(filters, images, strict=True)]
        labelled += [("", images[0])] * (-len(labelled) % ACROSS)
    names = class_names(module)[: 2 * ACROSS]
    scores, shape = unit(network, "", range(len(names))), (len(names), *size)
    labelled += zip(names, gradient_ascent(scores, shape, variation=0.05, jitter=1), strict=True)
    title = "Synthetic inputs that excite filters and class scores most"
    with figures.look():
        figure, axes_of = image_grid(-(-len(labelled) // ACROSS), ACROSS, 1.12)
        for axes, (name, image) in zip(axes_of.flat, labelled, strict=False):
            if name:
                show_image(axes, 255 * image)
                axes.set_title(name, loc="center", fontsize=8, pad=2)
        figures.title(figure, title)
    alt = "Images made by gradient ascent: patches for filters, whole images for classes."
    return Picture("synthetic-inputs", title, alt, figure)


def _cropped(module: Classifier, layer: str, filters: list[int], images: Tensor) -> Tensor:
    """What the middle units see of the images, (F, C, h, w)."""
    pairs = zip(images, filters, strict=True)
    windows = [input_window(module.network, layer, image.unsqueeze(0), number) for image, number in pairs]
    seen = torch.tensor([window for window in windows if window[2]] or [[0, 0, *images.shape[2:]]])
    (top, left, _, _), (_, _, bottom, right) = seen.amin(0), seen.amax(0)
    return images[:, :, top:bottom, left:right]


def image_grid(rows: int, columns: int, row_height: float) -> tuple[Figure, np.ndarray]:
    """A figure for images, with fixed margins: constrained layout takes seconds for so many axes."""
    height = 0.55 + row_height * rows
    figure, axes_of = figures.subplots(rows, columns, height=height)
    figure.set_layout_engine("none")
    margins = {"left": 0.01, "bottom": 0.02, "right": 0.99, "top": 1 - 0.55 / height}
    grid = axes_of[0, 0].get_gridspec()
    grid.update(**margins, wspace=0.05, hspace=0.25)
    for axes, place in zip(axes_of.flat, grid, strict=True):
        axes.set_position(place.get_position(figure))
        axes.set_axis_off()
    return figure, axes_of


def show_image(axes: Axes, image: Tensor) -> None:
    """Draw (C, H, W) in 0..255, in grey where C is not 3."""
    pixels = (image.permute(1, 2, 0) if len(image) == 3 else image[0]).clamp(0, 255).byte().numpy()
    axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    axes.set_axis_off()


def class_names(module: Classifier) -> list[str]:
    """The names of the module's classes; numbers where a checkpoint has none."""
    return list(module.hparams.get("class_names") or map(str, range(10)))


def _spread(count: int, most: int = SHOWN_FILTERS) -> list[int]:
    """At most `most` of `count` places, evenly spaced."""
    return torch.linspace(0, count - 1, min(count, most)).round().int().tolist()


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name).strip("-") or "image"
