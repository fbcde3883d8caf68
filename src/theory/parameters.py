"""How many parameters the report's and the project's networks have, and how many any other network has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import nn

from src import figures
from src.captioning.decoder import Decoder
from src.classification.network import ConvNet
from src.findings import Comparison, Picture, Section
from src.theory.counts import Network, count

# The captioner's sizes in the report: words, features of a region, regions of an image
VOCABULARY, FEATURES, REGIONS = 190, 512, 256
SLIP = (
    "The report prints 23,530 parameters for the first dense layer and so 24,540 in total, an increase of "
    "138.3 % over the CNN. That is a slip of a factor of ten: 100 x 2,352 + 100 = 235,300, with 1,010 of the "
    "second layer 236,310 in total; the increase is (236,310 - 10,298) / 10,298 = 2,194.7 %."
)
COLOURS = {
    "convolution": figures.PALETTE[5],
    "dense": figures.PALETTE[0],
    "recurrent": figures.PALETTE[1],
    "embedding": figures.PALETTE[4],
    "other": figures.PALETTE[6],
}


def count_network(
    title: str, network: nn.Module, input_size: Sequence[int], expected: int | None = None
) -> Network:
    """Count a network in a forward pass of one input of zeros (1, *input_size), on the weights' device."""
    weight = next(network.parameters(), torch.empty(0))
    return count(title, network, lambda: network(torch.zeros(1, *input_size, device=weight.device)), expected)


def count_decoder(
    title: str, decoder: Any, regions: int, features: int, expected: int | None = None
) -> Network:
    """Count a caption decoder as it reads an image of `regions` x `features` and writes its first word."""

    def first_word() -> None:
        memory = decoder.remember(torch.zeros(1, regions, features))
        decoder.step(memory, decoder.start(memory), torch.zeros(1, dtype=torch.long))

    return count(title, decoder, first_word, expected)


def networks() -> tuple[Network, ...]:
    """The report's CNN and dense network, the classifier, the captioner without and with attention."""
    with torch.device("meta"):  # shapes without values
        cnn = nn.Sequential(nn.Conv2d(3, 8, 5), nn.MaxPool2d(4, 2), nn.Flatten(), nn.Linear(968, 10))
        dense = nn.Sequential(nn.Flatten(), nn.Linear(2352, 100), nn.Linear(100, 10))
        plain, attention = (Decoder(VOCABULARY, FEATURES, attention=attention) for attention in (False, True))
        return (
            count_network("the report's CNN", cnn, (3, 28, 28), 10_298),
            count_network("the report's dense network", dense, (3, 28, 28), 236_310),
            count_network("the classifier", ConvNet(dropout=0.3), (1, 28, 28), 769_930),
            count_decoder("the captioner without attention", plain, REGIONS, FEATURES, 697_078),
            count_decoder("the captioner with attention", attention, REGIONS, FEATURES, 1_298_467),
        )


def parameter_findings(counted: Sequence[Network] = ()) -> Section:
    """The counts of `networks()` beside the report's numbers, or those of other networks alone."""
    ours = {one.title: one.parameters for one in counted or networks()}
    comparisons: tuple[Comparison, ...] = ()
    if not counted:
        comparisons = _beside_the_report(counted := networks())
    return Section(
        key="parameters",
        title="Counting parameters",
        asked="How many parameters has a small convolutional network on 28x28 colour images, how many a fully "
        "connected one with a hidden layer of 100, and by how much does the number grow?",
        answer=(
            "Every number comes from a formula and from the built network. A convolution's weights are shared: "
            "each is used at every place of its output (column uses), a dense layer's once. So few parameters "
            "do not mean few multiply-adds.",
        ),
        comparisons=comparisons,
        statements=tuple(statement for one in counted for statement in one.statements()),
        tables=tuple(one.table() for one in counted),
        pictures=(
            Picture(
                "parameter-shares",
                "Share of each network's parameters by layer",
                f"Stacked horizontal bars, one a network: {', '.join(ours)}; one part a layer.",
                shares_figure(counted),
            ),
        ),
        slip=SLIP if comparisons else "",
        command="python -m src.theory parameters",
    )


def _beside_the_report(counted: Sequence[Network]) -> tuple[Comparison, ...]:
    cnn, dense, classifier, plain, attention = (one.parameters for one in counted)
    hidden = counted[1].layers[1].parameters
    follows = "follows from the slip"
    return (
        Comparison("parameters of the CNN", 10_298, cnn),
        Comparison("first dense layer of the dense network", 23_530, hidden, note="a slip in the report"),
        Comparison("parameters of the dense network", 24_540, dense, note=follows),
        Comparison(
            "increase over the CNN, in %", 138.3, round(100 * (dense - cnn) / cnn, 1), digits=1, note=follows
        ),
        Comparison("parameters of the classifier", 769_930, classifier),
        Comparison("parameters of the captioner without attention", 697_078, plain),
        Comparison("parameters of the captioner with attention", 1_298_467, attention),
    )


def _kind(layer: nn.Module) -> str:
    kinds: Mapping[str, Any] = {
        "convolution": nn.modules.conv._ConvNd,
        "dense": nn.Linear,
        "recurrent": (nn.RNNBase, nn.RNNCellBase),
        "embedding": nn.Embedding,
    }
    return next((kind for kind, types in kinds.items() if isinstance(layer, types)), "other")


def shares_figure(counted: Sequence[Network]) -> Figure:
    """A stacked bar a network: the layers' shares of its parameters, coloured by the kind of layer."""
    with figures.look():
        figure, ((axes,),) = figures.subplots(height=1.4 + 0.62 * len(counted))
        for y, network in enumerate(counted):
            left = 0.0
            for layer in network.layers:
                share = 100 * layer.parameters / network.parameters
                colour = COLOURS[_kind(layer.module)]
                axes.barh(y, share, left=left, height=0.62, color=colour, edgecolor="white", linewidth=0.5)
                if share >= len(layer.name) + 2:  # in per cent, about a letter's width
                    axes.text(
                        left + share / 2, y, layer.name, ha="center", va="center", fontsize=8, color="white"
                    )
                left += share
        names = [f"{figures.wrapped(one.title, 22)}\n{one.parameters:,}" for one in counted]
        axes.set_yticks(range(len(counted)), names)
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("Share of the network's parameters (%)")
        axes.grid(False, axis="y")
        handles = [Patch(color=colour, label=kind) for kind, colour in COLOURS.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
        figures.title(figure, "Share of each network's parameters by layer")
    return figure
