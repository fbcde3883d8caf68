"""The pictures of a classifier's filters, for the command line and for the report. Titles are fixed.

Dimension letters: N images, C channels, H, W.
"""

from __future__ import annotations

import torch
from torch import Tensor

from src.classification.module import Classifier, scaled
from src.filters import figures as draw
from src.filters.activations import input_window, layer_outputs, top_activations
from src.filters.kernels import ACROSS, convolutions
from src.filters.synthesis import gradient_ascent, unit
from src.findings import Picture

MOST_LAYERS = 4  # whose maps are drawn
TOP = 8  # images a filter
SHOWN_FILTERS = 8


def kernel_pictures(module: Classifier) -> list[Picture]:
    """The kernels of the first two convolutions, as the report draws them."""
    return [
        Picture(
            f"kernels-{_slug(name)}",
            f"Kernels of {name}, input channel 0, min-max normalised over the layer",
            f"{part.out_channels} grey tiles, 8 a row.",
            draw.kernel_figure(part.weight.detach(), f"Kernels of {name}, input channel 0"),
        )
        for name, part in list(convolutions(module.network).items())[:2]
    ]


@torch.no_grad()
def map_picture(module: Classifier, image: Tensor, name: str) -> Picture:
    """What the convolutions answer to an image (C, H, W) in uint8."""
    layers = list(convolutions(module.network))
    chosen = torch.linspace(0, len(layers) - 1, min(len(layers), MOST_LAYERS)).round().int().tolist()
    prepared = scaled(image.unsqueeze(0))
    outputs = layer_outputs(module.network, prepared, [layers[place] for place in chosen])
    maps = {layer: output[0] for layer, output in outputs.items()}
    scores, title = module.network(prepared)[0], f"Activation maps of {name}"
    figure = draw.activation_figure(image, maps, scores, class_names(module), title)
    alt = "The image, the probabilities of the classes, and the feature maps of convolutions as heat."
    return Picture(f"activations-{_slug(name)}", title, alt, figure)


def top_picture(module: Classifier, layer: str, images: Tensor) -> Picture:
    """The images of (N, C, H, W), uint8, that excite filters of a convolution most."""
    found = top_activations(module.network, layer, images, scaled, TOP)
    rows = {}
    for number in _spread(len(found.images)):
        best = images[found.images[number]]
        frames = [
            input_window(module.network, layer, scaled(image.unsqueeze(0)), number, place)
            for image, place in zip(best, found.places[number], strict=True)
        ]
        rows[f"filter {number}: up to {float(found.values[number, 0]):.2f}"] = (best, frames)
    title = f"Training images that excite filters of {layer} most"
    alt = f"A row a filter, {TOP} images, with a frame around the pixels on which the highest value depends."
    return Picture(f"top-{_slug(layer)}", title, alt, draw.top_figure(rows, title))


def synthetic_picture(module: Classifier) -> Picture:
    """Inputs that excite filters of the first two convolutions and class scores most."""
    network, size = module.network.requires_grad_(False), module.hparams["image_size"]
    groups = []
    for layer in list(convolutions(network))[:2]:
        filters = _spread(convolutions(network)[layer].out_channels)
        images = gradient_ascent(unit(network, layer, filters), (len(filters), *size), rate=0.3)
        names = [f"{layer} {number}" for number in filters]
        groups.append((names, _cropped(module, layer, filters, images)))
    names = class_names(module)[: 2 * ACROSS]
    scores, shape = unit(network, "", range(len(names))), (len(names), *size)
    groups.append((names, gradient_ascent(scores, shape, variation=0.5, jitter=1)))
    title = "Synthetic inputs that excite filters and class scores most"
    alt = "Images made by gradient ascent: patches for filters, whole images for classes."
    return Picture("synthetic-inputs", title, alt, draw.synthetic_figure(groups, title))


def _cropped(module: Classifier, layer: str, filters: list[int], images: Tensor) -> Tensor:
    """What the middle units see of the images, (F, C, h, w)."""
    windows = []
    for image, number in zip(images, filters, strict=True):
        maps = layer_outputs(module.network, image.unsqueeze(0), [layer])[layer]
        middle = torch.tensor([maps.shape[2] // 2, maps.shape[3] // 2])
        windows.append(input_window(module.network, layer, image.unsqueeze(0), number, middle))
    seen = torch.tensor([window for window in windows if window[2]] or [[0, 0, *images.shape[2:]]])
    (top, left, _, _), (_, _, bottom, right) = seen.amin(0), seen.amax(0)
    return images[:, :, top:bottom, left:right]


def class_names(module: Classifier) -> list[str]:
    """The names of the module's classes; numbers where a checkpoint has none."""
    return list(module.hparams.get("class_names") or map(str, range(10)))


def _spread(count: int) -> list[int]:
    """At most SHOWN_FILTERS of `count` filters, evenly spaced."""
    return torch.linspace(0, count - 1, min(count, SHOWN_FILTERS)).round().int().tolist()


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name).strip("-") or "image"
