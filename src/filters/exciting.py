"""The images that excite a filter most, where in them it peaks, and which classes they come from.

Dimension letters: N images, O filters, B batch, C channels, H, W of a filter's map, k images a filter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from src.filters.activations import activations

BATCH = 500  # images at once: a layer's maps stay within the cache


@dataclass(frozen=True, eq=False)
class Exciting:
    """What excites the filters of a layer.

    Attributes:
        best: the highest value of each filter's map in each image, (N, O).
        top: indices of the images that excite each filter most, (O, k), the strongest first, the lower
            index first on ties.
        values: of those images, (O, k).
        peaks: row and column of the peak in the filter's map, (O, k, 2); the first one on ties.
    """

    best: Tensor
    top: Tensor
    values: Tensor
    peaks: Tensor

    @property
    def silent(self) -> list[int]:
        """Filters that no image brings above 0: after a ReLU they are dead."""
        return (self.best.amax(0) <= 0).nonzero().flatten().tolist()


@dataclass(frozen=True)
class Window:
    """The part of the input that one position of a layer's map sees, along one axis of a square layer.

    Position p sees the pixels first + p * step to first + p * step + size - 1; those outside are padding.
    """

    first: int
    step: int
    size: int

    def of(self, position: int) -> tuple[int, int]:
        """First pixel and size for a position."""
        return self.first + position * self.step, self.size


def most_exciting(
    module: nn.Module, layer: str, images: Tensor, prepare: Callable[[Tensor], Tensor], k: int
) -> Exciting:
    """Find the k images that bring a filter's map highest, for every filter of a layer.

    Args:
        module: in eval mode.
        layer: its name in `named_modules`; its output is (B, O, H, W).
        images: (N, C, height, width) as stored, uint8 say; N at least k.
        prepare: a batch of them to what the module takes.
        k: images a filter.

    Raises:
        ValueError: there is no such layer, its output is no map, or there are fewer than k images.
    """
    if not 1 <= k <= len(images):
        raise ValueError(f"the {k} most exciting of {len(images)} images cannot be found")
    best = torch.cat(
        [_maps(module, layer, prepare(part)).amax((2, 3)) for part in images.split(BATCH)]
    )  # (N, O)
    values, top = best.sort(stable=True, dim=0, descending=True)  # stable: ties in the images' order
    values, top = values[:k].T.contiguous(), top[:k].T.contiguous()  # (O, k)
    chosen, place = top.flatten().unique(return_inverse=True)  # an image may excite several filters
    peaks_of = []
    for part in chosen.split(BATCH):
        maps = _maps(module, layer, prepare(images[part]))  # (B, O, H, W)
        peaks_of.append(maps.flatten(2).argmax(2))  # (B, O)
        width = maps.shape[3]
    flat = torch.cat(peaks_of)  # (chosen, O)
    filters = torch.arange(len(top))[:, None].expand_as(top)
    peak = flat[place.reshape(top.shape), filters]  # (O, k)
    return Exciting(best, top, values, torch.stack([peak // width, peak % width], 2))


def _maps(module: nn.Module, layer: str, batch: Tensor) -> Tensor:
    maps = activations(module, batch, [layer])[layer]
    if maps.ndim != 4:
        raise ValueError(f"the layer {layer!r} gives {tuple(maps.shape)}, no maps (B, filters, H, W)")
    return maps


def window(network: nn.Sequential, layer: str) -> Window:
    """What a position of a layer's map sees of the input.

    From the layer's kernel sizes, strides and paddings (Dumoulin and Visin 2016, "A guide to convolution
    arithmetic"): each layer adds (kernel - 1) * step to the size and multiplies the step by its stride.

    Raises:
        ValueError: there is no such layer, or something other than square convolutions, poolings and
            element-wise layers stands before it.
    """
    found = Window(0, 1, 1)
    for name, part in network.named_children():
        if isinstance(part, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            kernel, stride, padding = (_one(name, part, of) for of in ("kernel_size", "stride", "padding"))
            if _one(name, part, "dilation") != 1:
                raise ValueError(f"the layer {name!r} has holes; its window is not known here")
            found = Window(
                found.first - padding * found.step,
                found.step * stride,
                found.size + (kernel - 1) * found.step,
            )
        elif not isinstance(part, nn.ReLU | nn.Dropout | nn.BatchNorm2d | nn.Identity):
            raise ValueError(f"{name!r} ({type(part).__name__}) stands before maps that could be traced back")
        if name == layer:
            return found
    raise ValueError(f"there is no layer {layer!r}")


def _one(name: str, part: nn.Module, attribute: str) -> int:
    """The number that an attribute holds for both axes."""
    value = getattr(part, attribute, 1)
    if isinstance(value, tuple) and len(set(value)) == 1:
        value = value[0]
    if not isinstance(value, int):
        raise ValueError(f"the layer {name!r} is not square: {attribute}={value}")
    return value


@dataclass(frozen=True)
class ClassShare:
    """Which classes a filter's most exciting images come from."""

    label: int  # the commonest, the lower one on ties
    share: float  # of the images
    classes: int  # that occur at all


def class_shares(top: Tensor, labels: Tensor) -> list[ClassShare]:
    """The commonest class among the images of each row of `top` (O, k); `labels` (N,) of all images."""
    found = []
    for row in labels[top]:
        counts = row.bincount()
        label = int(counts.argmax())
        found.append(ClassShare(label, float(counts[label]) / len(row), int((counts > 0).sum())))
    return found


def chance_share(k: int, labels: Tensor, seed: int, draws: int = 2000) -> float:
    """The mean share of the commonest class among k images drawn at random, with replacement."""
    generator = torch.Generator().manual_seed(seed)
    drawn = labels[torch.randint(len(labels), (draws, k), generator=generator)]  # (draws, k)
    counts = torch.zeros(draws, int(labels.max()) + 1).scatter_add_(1, drawn, torch.ones(draws, k))
    return float(counts.amax(1).mean()) / k
