"""The captioner's encoders, block by block: by the formulas of their convolutions, beside the built network.

Only the architecture matters here: no weights are read, nothing is computed (torch's `meta` device).

Dimension letters: C channels, H height, W width.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import nn

from src.theory.counted import Network, count
from src.theory.layers import LayerError, Row, Shape

SIZES = {"tiny": 128, "resnet18": 500, "resnet34": 500}  # side of an image; the protocol's for the ResNets
OTHER_SIZE = 224


@dataclass
class _Block:
    """Sums over a block's layers."""

    output: Shape = ()
    parameters: int = 0
    multiply_adds: int = 0
    kernels: list[tuple[int, int]] = field(default_factory=list)


def encoder(name: str, size: int | None = None) -> Network:
    """An encoder of `src.captioning.encoder` for images of size x size.

        convolution in g groups: C' (C / g) h w parameters, and C' more with a bias; batch norm: 2 C

    Raises:
        LayerError: the package that it comes in is not installed.
    """
    from src.captioning.encoder import EncoderError, build_encoder

    size = size or SIZES.get(name, OTHER_SIZE)
    try:
        backbone = build_encoder(name, size, pretrained=False).backbone.to("meta").eval()
    except EncoderError as error:
        raise LayerError(str(error)) from error
    names: list[str] = []
    for child, part in backbone.named_children():
        inner = [f"{child}.{place}" for place, _ in part.named_children()]
        names += inner if isinstance(part, nn.Sequential) else [child]
    blocks = {place: _Block() for place in names}
    handles = []
    for place, block in blocks.items():
        for part in backbone.get_submodule(place).modules():

            def note(part: nn.Module, inputs: tuple[Any, ...], block: _Block = block) -> None:
                _add(part, tuple(inputs[0].shape[1:]), block)

            handles.append(part.register_forward_pre_hook(note))
    try:
        image = torch.zeros(1, 3, size, size, device="meta")
        counted, products = count(backbone, lambda: backbone(image), names)
    finally:
        for handle in handles:
            handle.remove()
    rows = tuple(
        Row(
            *(place, block.output, block.kernels[0] if len(block.kernels) == 1 else None, block.parameters),
            *(block.multiply_adds, "encoder", place),
        )
        for place, block in blocks.items()
    )
    total = sum(weight.numel() for weight in backbone.parameters())
    remark = (
        f"On images of 3x{size}x{size}, without pooling and classifier. Multiply-adds for one image; batch "
        "norms, activations and pooling do not count."
    )
    return Network(f"the encoder {name}", rows, counted, total, {"image": products}, remark, shapes_only=True)


def _add(part: nn.Module, shape: Shape, block: _Block) -> None:
    """What one layer adds to its block. A residual block's shortcut ends in the shape of its main path."""
    if isinstance(part, nn.Conv2d):
        kernel = (part.kernel_size[0], part.kernel_size[1])
        weights = part.out_channels * (part.in_channels // part.groups) * prod(kernel)
        assert not isinstance(part.padding, str)
        places = [
            (side + 2 * padding - dilation * (k - 1) - 1) // stride + 1
            for side, padding, dilation, k, stride in zip(
                shape[1:], part.padding, part.dilation, kernel, part.stride, strict=True
            )
        ]
        if type(part) is not nn.Conv2d:  # timm's, which pads as TensorFlow: "same"
            places = [-(-side // stride) for side, stride in zip(shape[1:], part.stride, strict=True)]
        block.output = (part.out_channels, *places)
        block.parameters += weights + (part.out_channels if part.bias is not None else 0)
        block.multiply_adds += weights * prod(places)
        block.kernels.append(kernel)
    elif isinstance(part, nn.BatchNorm2d):
        block.parameters += 2 * part.num_features
        block.output = shape
    elif isinstance(part, nn.MaxPool2d):
        k, stride, padding = int(part.kernel_size), int(part.stride), int(part.padding)  # type: ignore[arg-type]
        block.output = (shape[0], *((side + 2 * padding - k) // stride + 1 for side in shape[1:]))
        block.kernels.append((k, k))
    elif not block.output:
        block.output = shape  # activations
