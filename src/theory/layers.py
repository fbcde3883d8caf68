"""A small network as a list of layers: the shapes, parameters and multiply-adds that follow, by formula.

Dimension letters: C channels, H height, W width, N numbers of a vector. No torch here:
`src.theory.layer_list` reads a list, `src.theory.counted` builds it and counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

Shape = tuple[int, ...]  # (C, H, W) of an image, (N,) of a vector; without the batch

KINDS = ("conv", "maxpool", "avgpool", "relu", "dropout", "flatten", "linear")
MOST_VALUES = 10**12  # of a layer's parameters and of its outputs


class LayerError(ValueError):
    """A list of layers that makes no network. The message is a sentence for the user."""


@dataclass(frozen=True)
class Layer:
    """One layer of a list; what a kind does not have keeps its default.

    Attributes:
        kind: one of `KINDS`.
        units: filters of conv, outputs of linear.
        kernel, stride, padding: (height, width).
        probability: of dropout.
    """

    kind: str
    units: int = 0
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    probability: float = 0.5

    def __str__(self) -> str:
        """As it is typed."""
        if self.kind == "linear":
            return f"linear {self.units}"
        if self.kind == "dropout":
            return f"dropout {self.probability:g}"
        if self.kind in ("relu", "flatten"):
            return self.kind
        text = f"conv {self.units} {sides(self.kernel)}" if self.kind == "conv" else self.kind
        text += "" if self.kind == "conv" else f" {sides(self.kernel)}"
        usual = (1, 1) if self.kind == "conv" else self.kernel
        text += f" stride {_short(self.stride)}" if self.stride != usual else ""
        return text + (f" padding {_short(self.padding)}" if any(self.padding) else "")


@dataclass(frozen=True)
class Row:
    """What a formula says of one layer.

    Attributes:
        layer: its name in tables.
        output: shape without the batch.
        kernel: (height, width), or None.
        parameters: weights and biases.
        multiply_adds: products of a weight or a region with an input that are added up, for one image or,
            where `per` says so, for one written word. Biases, activations and pooling do not count.
        kind: what sort of layer it is, for colours.
        module: the name of the submodule that holds the parameters, or None.
        per: "image" or "word".
    """

    layer: str
    output: Shape
    kernel: tuple[int, int] | None
    parameters: int
    multiply_adds: int
    kind: str
    module: str | None = None
    per: str = "image"


@dataclass(frozen=True)
class LayerList:
    """An input's shape and the layers it goes through."""

    input: Shape
    layers: tuple[Layer, ...]

    def rows(self) -> tuple[Row, ...]:
        """Shapes, parameters and multiply-adds, layer by layer.

            conv: C' (C h w + 1) parameters, each weight used once for every place of the output
            linear: N' (N + 1) parameters, each weight used once
            sides of conv and pooling: floor((H + 2 padding - h) / stride) + 1

        Raises:
            LayerError: a layer does not fit its input.
        """
        rows, shape = [], self.input
        for place, layer in enumerate(self.layers, start=1):
            row = _row(layer, shape, f"layer {place} ({layer})", str(place - 1))
            rows.append(row)
            shape = row.output
        return tuple(rows)


def sides(shape: Iterable[int]) -> str:
    """`8x24x24`."""
    return "x".join(map(str, shape))


def _short(pair: tuple[int, int]) -> str:
    return str(pair[0]) if pair[0] == pair[1] else sides(pair)


def _row(layer: Layer, shape: Shape, name: str, module: str) -> Row:
    """One layer on an input of `shape`."""
    parameters = products = 0
    kernel = None
    if layer.kind in ("conv", "maxpool", "avgpool"):
        if len(shape) != 3:
            raise LayerError(
                f"{name} needs an image, but its input is a vector of {shape[0]:,} numbers: put it before "
                "flatten and give the input as CHANNELSxHEIGHTxWIDTH"
            )
        kernel = layer.kernel
        output = (layer.units if layer.kind == "conv" else shape[0], *_places(layer, shape, name))
        if layer.kind == "conv":
            parameters = layer.units * (shape[0] * math.prod(kernel) + 1)
            products = math.prod(output) * shape[0] * math.prod(kernel)
    elif layer.kind == "linear":
        if len(shape) != 1:
            raise LayerError(
                f"{name} needs a vector, but its input is an image of {sides(shape)}: put flatten before it"
            )
        output = (layer.units,)
        parameters, products = layer.units * (shape[0] + 1), layer.units * shape[0]
    else:
        output = (math.prod(shape),) if layer.kind == "flatten" else shape
    for what, count in {"parameters": parameters, "outputs": math.prod(output)}.items():
        if count > MOST_VALUES:
            raise LayerError(
                f"{name} has {count:,} {what}, more than the limit of {MOST_VALUES:,}: make it smaller"
            )
    return Row(str(layer), tuple(output), kernel, parameters, products, layer.kind, module)


def _places(layer: Layer, shape: Shape, name: str) -> list[int]:
    """Height and width after a kernel has gone over an image."""
    found = []
    for side, kernel, stride, padding in zip(
        shape[1:], layer.kernel, layer.stride, layer.padding, strict=True
    ):
        if layer.kind != "conv" and 2 * padding > kernel:
            raise LayerError(
                f"{name}: padding {padding} is more than half of the kernel's {kernel}, so that a window "
                f"would see padding alone: give it at most {kernel // 2}"
            )
        if kernel > side + 2 * padding:
            padded = tuple(s + 2 * p for s, p in zip(shape[1:], layer.padding, strict=True))
            with_padding = f", {sides(padded)} with its padding" if any(layer.padding) else ""
            raise LayerError(
                f"{name}: the kernel {sides(layer.kernel)} is larger than its input of {sides(shape[1:])}"
                f"{with_padding}: take a kernel of at most {sides(padded)}"
                + (", or add padding" if layer.kind == "conv" else "")
            )
        found.append((side + 2 * padding - kernel) // stride + 1)
    return found
