"""Parameters of the report's and the project's networks and of any other: by formula and counted.

Shapes and multiply-adds come from a forward pass.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrize import is_parametrized
from torch.utils.flop_counter import FlopCounterMode

from src.captioning.decoders import AttentionDecoder, LSTMDecoder
from src.classification.networks import ConvNet
from src.findings import Comparison, Section, Statement, Table

# The captioner's sizes in the report: words, features of a region, regions of an image
VOCABULARY, FEATURES, REGIONS = 190, 512, 256
SLIP = (
    "The report prints 23,530 parameters for the first dense layer and so 24,540 in total, an increase of "
    "138.3 % over the CNN. That is a slip of a factor of ten: 100 x 2,352 + 100 = 235,300, with 1,010 of the "
    "second layer 236,310 in total; the increase is (236,310 - 10,298) / 10,298 = 2,194.7 %."
)
GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def parameter_formula(layer: nn.Module) -> int | None:  # noqa: PLR0911  one a type
    """The number of a layer's own parameters, from its sizes; None for a type without a formula here.

    dense: N' (N + 1); convolution in g groups: C' (C / g) k k + C'; norm: 2 C; embedding: V E; recurrent, of
    G gates, in each direction: G U (N + U + 2); attention's projections: 3 E (E + 1).
    """
    bias = int(getattr(layer, "bias", None) is not None)
    match layer:
        case _ if is_parametrized(layer):  # the weight is another module's
            return None
        case nn.Linear():
            return layer.out_features * (layer.in_features + bias)
        case nn.modules.conv._ConvNd():
            pairs = layer.out_channels * layer.in_channels // layer.groups
            return pairs * prod(layer.kernel_size) + bias * layer.out_channels
        case nn.modules.batchnorm._NormBase(num_features=channels) | nn.GroupNorm(num_channels=channels):
            return 2 * channels * layer.affine
        case nn.LayerNorm():
            return prod(layer.normalized_shape) * layer.elementwise_affine * (1 + bias)
        case nn.Embedding():
            return layer.num_embeddings * layer.embedding_dim
        case nn.RNNBase() if not layer.proj_size:
            directions, size = 1 + layer.bidirectional, layer.hidden_size
            inputs = [layer.input_size, *[directions * size] * (layer.num_layers - 1)]
            return sum(directions * GATES[layer.mode] * size * (n + size + 2 * layer.bias) for n in inputs)
        case nn.RNNCellBase():
            gates = {nn.LSTMCell: 4, nn.GRUCell: 3}.get(type(layer), 1)
            return gates * layer.hidden_size * (layer.input_size + layer.hidden_size + 2 * layer.bias)
        case nn.MultiheadAttention() if layer.in_proj_weight is not None and layer.bias_k is None:
            return 3 * layer.embed_dim * (layer.embed_dim + int(layer.in_proj_bias is not None))
    return None if next(layer.parameters(recurse=False), None) is not None else 0


@dataclass
class Layer:
    """One layer: what a formula says beside what was counted."""

    name: str
    module: nn.Module
    parameters: int  # its own, without tensors that an earlier layer shares with it (tied weights)
    formula: int | None
    output: tuple[int, ...] = ()  # shape without the batch; () where it was not called

    def note_shape(self, _module: nn.Module, inputs: Any, output: Any) -> None:
        """A forward hook."""
        while isinstance(output, Sequence) and output:  # an LSTM returns its state beside its output
            output = output[0]
        given = getattr(inputs[0], "shape", None) if inputs else None
        if isinstance(output, Tensor) and (self.parameters or given != output.shape):
            self.output = tuple(output.shape[1:])


@dataclass(frozen=True, eq=False)
class Network:
    """A network's layers, and the totals of the built module."""

    title: str
    layers: tuple[Layer, ...]
    parameters: int
    multiply_adds: int  # of the forward pass, by torch's FLOP counter
    expected: int | None = None  # parameters that are known from elsewhere

    @property
    def by_formula(self) -> int:
        """Parameters; layers without a formula count as they are."""
        return sum(one.parameters if one.formula is None else one.formula for one in self.layers)

    def table(self) -> Table:
        """A row a layer, in the order of their definition."""
        rows: list[tuple[str, ...]] = [
            (
                one.name,
                type(one.module).__name__,
                "x".join(map(str, one.output)),
                "-" if one.formula is None else f"{one.formula:,}",
                f"{one.parameters:,}",
                f"{100 * one.parameters / max(self.parameters, 1):.1f} %",
            )
            for one in self.layers
        ]
        total = ("total", "", "", f"{self.by_formula:,}", f"{self.parameters:,}", "100.0 %")
        columns = ("layer", "type", "output", "formula", "counted", "share")
        note = f"{self.multiply_adds:,} multiply-adds for one input, by torch's FLOP counter."
        return Table(self.title, columns, (*rows, total), note)

    def statement(self) -> Statement:
        """That formulas and built network agree, in each layer and in all."""
        known = [one for one in self.layers if one.formula is not None]
        wrong = [one.name for one in known if one.formula != one.parameters]
        total = self.parameters if self.expected is None else self.expected
        return Statement(
            f"{self.title}: parameters by formula ({len(known)} of {len(self.layers)} layers) and counted",
            f"{self.by_formula:,} and {self.parameters:,}{'; differ: ' * bool(wrong)}{', '.join(wrong)}",
            f"{total:,}",
            not wrong and self.by_formula == self.parameters == total,
        )


def count(title: str, module: nn.Module, run: Callable[[], object], expected: int | None = None) -> Network:
    """Count a network while `run` does one forward pass with it, on its own device (meta: without values).

    A layer is a module with parameters of its own, or one that changes shapes and has no children.
    """
    layers, handles, seen = [], [], set[int]()
    for name, part in module.eval().named_modules():
        own = list(part.parameters(recurse=False))
        if own or next(part.children(), None) is None:
            shared = sum(weight.numel() for weight in own if id(weight) in seen)
            seen.update(map(id, own))
            formula = parameter_formula(part)
            formula = None if formula is None else formula - shared
            parameters = sum(weight.numel() for weight in own) - shared
            layers.append(Layer(name or title, part, parameters, formula))
            handles.append(part.register_forward_hook(layers[-1].note_shape))
    device, onednn = next(module.parameters(), torch.empty(0)).device, torch.backends.mkldnn.enabled
    try:
        torch.backends.mkldnn.enabled = False  # type: ignore[assignment]  # hides LSTMs from the counter
        with device, FlopCounterMode(display=False) as counter:
            run()
    finally:
        torch.backends.mkldnn.enabled = onednn
        for handle in handles:
            handle.remove()
    total = sum(weight.numel() for weight in module.parameters())
    shown = [one for one in layers if one.parameters or one.output]
    return Network(title, tuple(shown), total, counter.get_total_flops() // 2, expected)


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
