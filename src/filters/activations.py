"""What the layers of any network answer to images, and which images excite a filter most.

Layers are read by forward hooks, which serve any nn.Module.

Dimension letters: N images, B batch, C channels, H, W pixels; F filters, h, w a layer's map; K images a
filter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

BATCH = 500  # images at once


class _AllReached(Exception):
    """Every layer that was asked for has answered: what comes after it is not computed."""


def layer_outputs(network: nn.Module, images: Tensor, layers: Sequence[str]) -> dict[str, Tensor]:
    """What the named layers return for images (B, C, H, W); layers behind the last of them are not run.

    A layer that is called several times gives its first output.

    Args:
        layers: names as in `network.named_modules()`.

    Raises:
        ValueError: there is no such layer, or the network does not call it.
    """
    outputs: dict[str, Tensor] = {}
    modules = dict(network.named_modules())
    if unknown := [name for name in layers if name not in modules]:
        raise ValueError(
            f"the network has no layer {unknown[0]!r}: it has {', '.join(filter(None, modules))}"
        )

    def keep(name: str) -> Callable[[nn.Module, Any, Tensor], None]:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            outputs.setdefault(name, output.clone())  # what follows may change it in place
            if len(outputs) == len(set(layers)):
                raise _AllReached

        return hook

    handles = [modules[name].register_forward_hook(keep(name)) for name in layers]
    try:
        network(images)
    except _AllReached:
        pass
    finally:
        for handle in handles:
            handle.remove()
    if idle := [name for name in layers if name not in outputs]:
        raise ValueError(f"the network never calls the layer {idle[0]!r}")
    return outputs


@dataclass(frozen=True, eq=False)
class TopActivations:
    """The images that excite each filter of a layer most.

    Attributes:
        images: indices of the images, (F, K), the strongest first.
        values: the highest value of the filter's map in each of them, (F, K).
        places: row and column of that value in the map, (F, K, 2).
    """

    images: Tensor
    values: Tensor
    places: Tensor


@torch.no_grad()
def top_activations(
    network: nn.Module, layer: str, images: Tensor, prepare: Callable[[Tensor], Tensor], count: int
) -> TopActivations:
    """The `count` images that excite each filter of a convolution most.

    Args:
        images: (N, C, H, W).
        prepare: makes the network's input of a batch of them.
    """
    heights, places = [], []
    for batch in images.split(BATCH):
        maps = layer_outputs(network, prepare(batch), [layer])[layer]  # (B, F, h, w)
        height, place = maps.flatten(2).max(2)  # (B, F)
        heights.append(height)
        places.append(torch.stack([place // maps.shape[3], place % maps.shape[3]], 2))
    values, chosen = torch.cat(heights).T.topk(min(count, len(images)), dim=1)  # (F, K)
    where = torch.cat(places).transpose(0, 1)  # (F, N, 2)
    return TopActivations(chosen, values, where.gather(1, chosen.unsqueeze(2).expand(-1, -1, 2)))


def input_window(
    network: nn.Module, layer: str, image: Tensor, filter_index: int, place: Tensor
) -> list[int]:
    """The pixels on which one value of a layer's map depends: top, left, bottom, right (exclusive).

    Found as the extent of the value's gradient, so within the receptive field: pixels that max-pooling passes
    over have none.

    Args:
        image: the network's input, (1, C, H, W).
        place: row and column in the filter's map.
    """
    pixels = image.detach().requires_grad_()
    value = layer_outputs(network, pixels, [layer])[layer][0, filter_index, place[0], place[1]]
    (gradient,) = torch.autograd.grad(value, pixels)
    rows, columns = (gradient[0].abs().amax((0, axis)).nonzero().flatten() for axis in (2, 1))
    if not len(rows):
        return [0, 0, 0, 0]
    return [int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1]
