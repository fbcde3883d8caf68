"""The inputs that excite the classifier's filters and class scores most, beside real images.

Dimension letters: N images, F filters, K classes, H, W pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import Tensor

from src.classification.networks import ConvNet
from src.figures import look, subplots, title
from src.filters.synthesis import Synthetic, layer_outputs, maximize, unit

WHITE = 255 / 256  # the brightest pixel: the protocol divides by 256
LAYERS = {"conv1": 3, "conv2": 8}  # receptive field: 3; 3 x 3 of pooled pixels see 2 * 3 + 2


@dataclass(frozen=True, eq=False)
class Filters:
    """One convolution's F filters.

    Attributes:
        found: the whole inputs; the unit in the map's middle was raised.
        patches: (F, 1, field, field), what the unit sees of them.
        real: (F,) the highest activation on the real images, anywhere in the map.
    """

    found: Synthetic
    patches: Tensor
    real: Tensor

    @property
    def above(self) -> int:
        """How many synthetic inputs reach at least as much as the best real image, but for rounding."""
        return int((self.found.reached >= self.real - 1e-5).sum())


@dataclass(frozen=True, eq=False)
class Classes:
    """The K class scores, before the softmax.

    Attributes:
        free, leashed: with the valid range as the only bound, and with total variation and jitter, too.
        real: (K,) the highest score on the real images.
        best: (K, 1, H, W) those images.
        probability: (K,) of the class, for the leashed inputs.
        likeness: (K, K) correlation of the leashed input of a class (row) with a class's mean real image.
    """

    free: Synthetic
    leashed: Synthetic
    real: Tensor
    best: Tensor
    probability: Tensor
    likeness: Tensor

    @property
    def own(self) -> Tensor:
        """(K,) bool: of the mean images the input is most like that of its own class."""
        return self.likeness.argmax(1) == torch.arange(len(self.likeness))


def filter_inputs(network: ConvNet, layer: str, images: Tensor, seed: int) -> Filters:
    """For every filter of a convolution, against real images (N, C, H, W) in 0..WHITE."""
    count = {"conv1": network.conv1, "conv2": network.conv2}[layer].out_channels
    found = maximize(
        unit(network, layer, range(count)),
        (count, *images.shape[1:]),
        steps=100,
        seed=seed,
        rate=0.3,
        high=WHITE,
        restarts=3,
    )
    with torch.no_grad():
        maps = layer_outputs(network, images, [layer])[layer]  # (N, F, h, w)
    field, scale = LAYERS[layer], {"conv1": 1, "conv2": 2}[layer]
    # conv1 pads its input by 1, conv2 does not pad; between them the map is halved.
    top, left = (scale * (side // 2) - 1 for side in (maps.shape[2], maps.shape[3]))
    patches = found.images[:, :, top : top + field, left : left + field]
    return Filters(found, patches, maps.amax((0, 2, 3)))


def exact_optimum(network: ConvNet) -> Tensor:
    """(16,) the highest activation of conv1's filters by any image: white where the kernel is positive."""
    weight, bias = network.conv1.weight.detach(), network.conv1.bias
    assert bias is not None
    return bias.detach() + WHITE * weight.clamp_min(0).sum((1, 2, 3))


def class_inputs(network: ConvNet, images: Tensor, labels: Tensor, seed: int) -> Classes:
    """For every class score, against real images (N, C, H, W) in 0..WHITE with labels (N,)."""
    count = network.dense3.out_features
    raised, shape = unit(network, "dense3", range(count)), (count, *images.shape[1:])
    free = maximize(raised, shape, seed=seed, high=WHITE, restarts=2)
    # Garments lie on black, so that the ascent starts there.
    leashed = maximize(raised, shape, seed=seed, high=WHITE, restarts=2, base=0.0, variation=0.5, jitter=1)
    with torch.no_grad():
        scores = network(images)  # (N, K)
        probability = network(leashed.images).softmax(1).diagonal()
    real, index = scores.max(dim=0)
    means = torch.stack([images[labels == kind].mean(0) for kind in range(count)])
    return Classes(free, leashed, real, images[index], probability, _correlation(leashed.images, means))


def _correlation(ones: Tensor, others: Tensor) -> Tensor:
    """Pearson's, of every image of the one with every image of the other batch."""
    flat = [images.flatten(1) - images.flatten(1).mean(1, keepdim=True) for images in (ones, others)]
    return F.normalize(flat[0]) @ F.normalize(flat[1]).T


def filters_figure(filters: dict[str, Filters], headline: str) -> Figure:
    """What each filter's middle unit sees of its input, with what that reaches and the best real image's."""
    columns = 8
    total = {layer: -(-len(found.patches) // columns) for layer, found in filters.items()}
    with look():
        figure, axes_of = subplots(sum(total.values()), columns, height=1.32 * sum(total.values()) + 0.7)
        for axes in axes_of.flat:
            axes.set(xticks=[], yticks=[])
            axes.grid(False)
            axes.spines[["top", "right"]].set_visible(True)  # white patches on a white page
        row = 0
        for layer, found in filters.items():
            for number, patch in enumerate(found.patches):
                axes = axes_of[row + number // columns, number % columns]
                axes.imshow(patch[0], cmap="gray", vmin=0, vmax=WHITE, interpolation="nearest")
                axes.set_title(
                    f"{layer} {number}\n{float(found.found.reached[number]):.2f} "
                    f"({float(found.real[number]):.2f})",
                    fontsize=8,
                    loc="center",
                    pad=3,
                )
            row += total[layer]
        title(figure, headline)
        figure.supxlabel(
            "Below each name: what the synthetic input reaches (what the best real image reaches).",
            fontsize=8,
        )
    return figure


def classes_figure(classes: Classes, names: tuple[str, ...], headline: str) -> Figure:
    """Three rows: inputs bounded by the range alone, with regularisers, and the best real images."""
    rows = (
        ("clipped only", classes.free.images, classes.free.reached),
        ("also smoothed\nand shifted", classes.leashed.images, classes.leashed.reached),
        ("best real\nimage", classes.best, classes.real),
    )
    with look():
        figure, axes_of = subplots(len(rows), len(names), height=4.3)
        for line, (what, images, scores) in zip(axes_of, rows, strict=True):
            for place, axes in enumerate(line):
                axes.imshow(images[place, 0], cmap="gray", vmin=0, vmax=WHITE, interpolation="nearest")
                axes.set(xticks=[], yticks=[])
                axes.grid(False)
                axes.set_xlabel(f"{float(scores[place]):.1f}", fontsize=8, labelpad=2)
                if what == rows[0][0]:
                    axes.set_title(
                        names[place].replace(" ", "\n").replace("/", "/\n"), fontsize=8, loc="center"
                    )
            line[0].set_ylabel(what, fontsize=8)
        title(figure, headline)
        figure.supxlabel("Below each image: the score of its class, before the softmax.", fontsize=8)
    return figure
