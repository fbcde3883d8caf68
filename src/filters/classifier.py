"""The classifier under the glass: its layers as the protocol has them, and what it was before training.

Dimension letters: N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from src.classification.module import Classifier, scaled
from src.classification.networks import ConvNet
from src.filters.activations import activations
from src.filters.exciting import Exciting, Window, most_exciting, window

# Of `protocol_order`: the layers that a reader looks at, each after its ReLU, and what they are called.
STAGES = {
    "relu1": "conv 1 + ReLU",
    "pool1": "max-pool 1",
    "relu2": "conv 2 + ReLU",
    "pool2": "max-pool 2",
    "relu3": "dense 1 + ReLU",
    "relu4": "dense 2 + ReLU",
    "dense3": "class scores",
}


def protocol_order(network: ConvNet) -> nn.Sequential:
    """The classifier as a row of named layers that share its weights, in eval mode.

    Its own forward pools before the ReLU (the same numbers, quicker) and calls both as functions, which no
    hook sees. Here they stand as the protocol has them: conv, ReLU, pool.
    """
    layers: list[tuple[str, nn.Module]] = [
        ("conv1", network.conv1),
        ("relu1", nn.ReLU()),
        ("pool1", nn.MaxPool2d(2)),
        ("conv2", network.conv2),
        ("relu2", nn.ReLU()),
        ("pool2", nn.MaxPool2d(2)),
        ("flatten", nn.Flatten()),
        ("dense1", network.dense1),
        ("relu3", nn.ReLU()),
        ("dropout", network.dropout),
        ("dense2", network.dense2),
        ("relu4", nn.ReLU()),
        ("dense3", network.dense3),
    ]
    return nn.Sequential(OrderedDict(layers)).eval()


def layers_of(module: Classifier, image: Tensor) -> dict[str, Tensor]:
    """What each stage answers to one image (1, C, H, W) in uint8, by its title in `STAGES`, in order.

    Maps are (C, H, W), dense layers (N,), the last stage the scores (K,).
    """
    found = activations(protocol_order(module.network), scaled(image), [*STAGES])
    return {STAGES[name]: values[0] for name, values in found.items()}


def exciting(module: Classifier, layer: str, images: Tensor, k: int) -> Exciting:
    """The k of the images (N, C, H, W) in uint8 that excite each filter of conv1 or conv2 most.

    The convolution's own output is compared, before ReLU and pooling, neither of which changes the order of
    what is above 0. All N images are looked at: 60,000 take 3 to 6 seconds on one CPU thread for conv2.
    """
    return most_exciting(module.network, layer, images, _prepared, k)


def _prepared(images: Tensor) -> Tensor:
    return scaled(images).contiguous(memory_format=torch.channels_last)


def window_of(module: Classifier, layer: str) -> Window:
    """What a position of a layer's map sees of the image: 3x3 pixels for conv1, 8x8 for conv2."""
    return window(protocol_order(module.network), layer)


def untrained(module: Classifier) -> Classifier:
    """The classifier as it was before its first step, in eval mode; torch's generator is left as it was.

    `src.run.fit.py` seeds torch and then builds data, which draw nothing, and module; so this gives the very
    weights that the run began with, as long as torch draws them the same way.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(module.hparams["seed"])
        return Classifier(**module.hparams).eval()
