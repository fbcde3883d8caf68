"""How many parameters the report's and the project's networks have, and how many any other network has."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from src.captioning.decoders import AttentionDecoder, LSTMDecoder
from src.classification.networks import ConvNet
from src.findings import Comparison, Section
from src.theory.counts import Network, count

# The captioner's sizes in the report: words, features of a region, regions of an image
VOCABULARY, FEATURES, REGIONS = 190, 512, 256
SLIP = (
    "The report prints 23,530 parameters for the first dense layer and so 24,540 in total, an increase of "
    "138.3 % over the CNN. That is a slip of a factor of ten: 100 x 2,352 + 100 = 235,300, with 1,010 of the "
    "second layer 236,310 in total; the increase is (236,310 - 10,298) / 10,298 = 2,194.7 %."
)


def count_network(
    title: str, network: nn.Module, input_size: Sequence[int], expected: int | None = None
) -> Network:
    """Count a network in a forward pass of one input of zeros (1, *input_size)."""
    return count(title, network, lambda: network(torch.zeros(1, *input_size)), expected)


def count_decoder(
    title: str, decoder: Any, regions: int, features: int, expected: int | None = None
) -> Network:
    """Count a caption decoder as it reads an image of `regions` x `features` and writes its first word."""

    def first_word() -> None:
        memory = decoder.remember(torch.zeros(1, regions, features))
        decoder.step(torch.zeros(1, dtype=torch.long), decoder.start(memory), memory)

    return count(title, decoder, first_word, expected)


def networks() -> tuple[Network, ...]:
    """The report's CNN and dense network, the classifier, the captioner without and with attention."""
    with torch.device("meta"):  # shapes without values
        conv, pool = nn.Conv2d(3, 8, 5), nn.MaxPool2d(4, 2)
        cnn = OrderedDict(conv=conv, pool=pool, flatten=nn.Flatten(), dense=nn.Linear(968, 10))
        dense = OrderedDict(flatten=nn.Flatten(), hidden=nn.Linear(2352, 100), output=nn.Linear(100, 10))
        plain, attention = (kind(VOCABULARY, FEATURES) for kind in (LSTMDecoder, AttentionDecoder))
        return (
            count_network("the report's CNN", nn.Sequential(cnn), (3, 28, 28), 10_298),
            count_network("the report's dense network", nn.Sequential(dense), (3, 28, 28), 236_310),
            count_network("the classifier", ConvNet(dropout=0.3), (1, 28, 28), 769_930),
            count_decoder("the captioner", plain, REGIONS, FEATURES, 697_078),
            count_decoder("the captioner with attention", attention, REGIONS, FEATURES, 1_298_467),
        )


def parameter_findings(counted: Sequence[Network] = ()) -> Section:
    """The counts of `networks()` beside the report's numbers, or those of other networks alone."""
    own = not counted
    counted = counted or networks()
    return Section(
        key="parameters",
        title="Counting parameters",
        asked="How many parameters has a small convolutional network on 28x28 colour images, how many a "
        "fully connected one with a hidden layer of 100, and by how much does the number grow?",
        answer=(
            "A convolution uses each weight at every place of its output, a dense layer once: few parameters "
            "do not mean few multiply-adds.",
        ),
        comparisons=_comparisons(counted) if own else (),
        statements=tuple(one.statement() for one in counted),
        tables=tuple(one.table() for one in counted),
        slip=SLIP if own else "",
        command="python -m src.theory parameters",
    )


def _comparisons(counted: Sequence[Network]) -> tuple[Comparison, ...]:
    cnn, dense, *others = (one.parameters for one in counted)
    hidden = next(one.parameters for one in counted[1].layers if one.name == "hidden")
    grown, follows = round(100 * (dense - cnn) / cnn, 1), "follows from the slip"
    return (
        Comparison("parameters of the CNN", 10_298, cnn),
        Comparison("first dense layer of the dense network", 23_530, hidden, note="a slip in the report"),
        Comparison("parameters of the dense network", 24_540, dense, note=follows),
        Comparison("increase over the CNN, in %", 138.3, grown, digits=1, note=follows),
        Comparison("parameters of the classifier", 769_930, others[0]),
        Comparison("parameters of the captioner without attention", 697_078, others[1]),
        Comparison("parameters of the captioner with attention", 1_298_467, others[2]),
    )
