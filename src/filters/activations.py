"""A network's convolutions and their kernels, what layers answer to images, and which images excite a filter most.

Dimension letters: N images, B batch, C channels, H, W pixels; F filters, h, w a layer's map; K images a
filter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

ACROSS = 8  # kernels a row
BATCH = 500  # images at once


def convolutions(network: nn.Module) -> dict[str, nn.Conv2d]:
    """The network's 2-d convolutions by name, in the order of its modules."""
    return {name: part for name, part in network.named_modules() if isinstance(part, nn.Conv2d)}


def protocol_kernels(weight: Tensor) -> Tensor:
    """The kernels that the report draws: input channel 0 of (F, C, h, w), min-max normalised over the layer.

    Returns:
        (F, h, w) in 0..1. Minimum and maximum are those of all channels; equal weights give zeros.
    """
    found = weight.detach().cpu()
    low, high = found.min(), found.max()
    return (found[:, 0] - low) / (high - low).clamp(min=1e-12)


def layer_outputs(network: nn.Module, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """What the named layers return for images (B, C, H, W), by forward hooks, which serve any nn.Module.

    A layer that is called several times gives its first output.

    Args:
        layers: names as in `network.named_modules()`.
    """
    outputs: dict[str, Tensor] = {}

    def keep(name: str, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        outputs.setdefault(name, output.clone())  # what follows may change it in place

    handles = [network.get_submodule(name).register_forward_hook(partial(keep, name)) for name in layers]
    try:
        network(images)
    finally:
        for handle in handles:
            handle.remove()
    return outputs


@torch.no_grad()
def top_activations(
    network: nn.Module, layer: str, images: Tensor, prepare: Callable[[Tensor], Tensor], count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """The `count` images that excite each filter of a convolution most, the strongest first.

    Args:
        images: (N, C, H, W).
        prepare: makes the network's input of a batch of them.

    Returns:
        The highest values of the filter's maps, (F, K), the indices of their images, (F, K), and where in the
        map, flattened, each of them stands, (F, K).
    """
    highest, places = [], []
    for batch in images.split(BATCH):
        maps = layer_outputs(network, prepare(batch), [layer])[layer]  # (B, F, h, w)
        height, place = maps.flatten(2).max(2)  # (B, F)
        highest.append(height)
        places.append(place)
    values, chosen = torch.cat(highest).T.topk(min(count, len(images)), dim=1)
    return values, chosen, torch.cat(places).T.gather(1, chosen)


def input_window(
    network: nn.Module, layer: str, image: Tensor, filter_index: int, place: int | None = None
) -> list[int]:
    """The pixels on which one value of a layer's map depends: top, left, bottom, right (exclusive).

    Found as the extent of the value's gradient, so within the receptive field: pixels that max-pooling passes
    over have none.

    Args:
        image: the network's input, (1, C, H, W).
        place: in the filter's map, flattened; None: its middle.
    """
    pixels = image.detach().requires_grad_()
    answer = layer_outputs(network, pixels, [layer])[layer][0, filter_index]  # (h, w)
    middle = answer[answer.shape[0] // 2, answer.shape[1] // 2]
    (gradient,) = torch.autograd.grad(middle if place is None else answer.flatten()[place], pixels)
    rows, columns = (gradient[0].abs().amax((0, axis)).nonzero().flatten() for axis in (2, 1))
    if not len(rows):
        return [0, 0, 0, 0]
    return [int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1]
