"""Parameters of any nn.Module by formula and counted in the built network, with shapes and multiply-adds.

Formulas are evaluated from a layer's own sizes (channels, kernel, ...). Parameters are counted in the layer's
tensors, shapes in a forward pass, multiply-adds by torch's FLOP counter, which sees the operations themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from src.findings import Statement, Table

GATES = {"LSTM": 4, "GRU": 3, "RNN_TANH": 1, "RNN_RELU": 1}


def parameter_formula(layer: nn.Module) -> int | None:
    """The number of a layer's own parameters, from its sizes; None for a type without a formula here.

    dense: N' (N + 1); convolution in g groups: C' (C / g) k k + C'; batch, group and layer norm: 2 C;
    embedding: V E; recurrent layer of G gates: G U (N + U + 2) in each direction; attention's projections of
    queries, keys and values: 3 E (E + 1).
    """
    bias = int(getattr(layer, "bias", None) is not None)
    match layer:
        case nn.Linear():
            return layer.out_features * (layer.in_features + bias)
        case nn.modules.conv._ConvNd():
            pairs = layer.out_channels * layer.in_channels // layer.groups
            return pairs * prod(layer.kernel_size) + bias * layer.out_channels
        case nn.modules.batchnorm._NormBase():
            return 2 * layer.num_features * layer.affine
        case nn.GroupNorm():
            return 2 * layer.num_channels * layer.affine
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
    """One layer: what a formula says beside what was counted.

    Attributes:
        parameters, formula: its own, counted and by formula (None: none known). Tensors that an earlier layer
            shares with it (tied weights) count there.
        output: shape after its last call, without the batch; () where it was not called.
        multiply_adds: of the forward pass.
    """

    name: str
    module: nn.Module
    parameters: int
    formula: int | None
    output: tuple[int, ...] = ()
    multiply_adds: int = 0


@dataclass(frozen=True, eq=False)
class Network:
    """A network's layers, and the totals of the built module."""

    title: str
    layers: tuple[Layer, ...]
    parameters: int
    multiply_adds: int  # products outside of the layers included
    expected: int | None = None  # parameters that are known from elsewhere

    @property
    def by_formula(self) -> int:
        """Parameters; layers without a formula count as they are."""
        return sum(one.parameters if one.formula is None else one.formula for one in self.layers)

    def table(self) -> Table:
        """A row a layer, in the order of their definition."""
        rows = [
            (
                one.name,
                type(one.module).__name__,
                "x".join(map(str, one.output)),
                "-" if one.formula is None else f"{one.formula:,}",
                f"{one.parameters:,}",
                f"{100 * one.parameters / max(self.parameters, 1):.1f} %",
                f"{one.multiply_adds:,}" if one.multiply_adds else "",
            )
            for one in self.layers
        ]
        if outside := self.multiply_adds - sum(one.multiply_adds for one in self.layers):
            rows.append(("outside of these layers", *[""] * 5, f"{outside:,}"))
        totals = (f"{self.by_formula:,}", f"{self.parameters:,}", "100.0 %", f"{self.multiply_adds:,}")
        columns = ("layer", "type", "output", "formula", "counted", "share", "multiply-adds")
        return Table(
            self.title, columns, (*rows, ("total", "", "", *totals)), "Shapes and work of one input."
        )

    def statement(self) -> Statement:
        """That formulas and built network agree, in each layer and in all."""
        known = [one for one in self.layers if one.formula is not None]
        wrong = [one.name for one in known if one.formula != one.parameters]
        total = self.parameters if self.expected is None else self.expected
        return Statement(
            f"{self.title}: parameters by formula ({len(known)} of {len(self.layers)} layers have one) and counted",
            f"{self.by_formula:,} and {self.parameters:,}"
            + (f"; differ: {', '.join(wrong)}" if wrong else ""),
            f"{total:,}",
            not wrong and self.by_formula == self.parameters == total,
        )


@torch.no_grad()
def count(title: str, module: nn.Module, run: Callable[[], object], expected: int | None = None) -> Network:
    """Count a network while `run` does one forward pass with it.

    A layer is a module with parameters of its own, or one that changes shapes and has no children.
    """
    layers, handles, seen = [], [], set[int]()
    counter = FlopCounterMode(display=False)
    for name, part in module.eval().named_modules():
        own = list(part.parameters(recurse=False))
        if not own and next(part.children(), None) is not None:
            continue
        shared = sum(weight.numel() for weight in own if id(weight) in seen)
        seen.update(map(id, own))
        formula = parameter_formula(part)
        parameters = sum(weight.numel() for weight in own) - shared
        layer = Layer(name or title, part, parameters, None if formula is None else formula - shared)
        layers.append(layer)
        handles += _hooks(layer, counter)
    try:
        with _plain_operations(), counter:
            run()
    finally:
        for handle in handles:
            handle.remove()
    total = sum(weight.numel() for weight in module.parameters())
    shown = [one for one in layers if one.parameters or one.output]
    return Network(title, tuple(shown), total, counter.get_total_flops() // 2, expected)


def _hooks(layer: Layer, counter: FlopCounterMode) -> list[Any]:
    before = 0
    # A module's count holds its children's; attention's projections are not called, so its own is all.
    counts = next(layer.module.children(), None) is None or isinstance(layer.module, nn.MultiheadAttention)

    def enter(_module: nn.Module, _inputs: tuple[Any, ...]) -> None:
        nonlocal before
        before = counter.get_total_flops()

    def leave(_module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        while not isinstance(output, Tensor):  # an LSTM returns its state beside its output
            output = output[0]
        if layer.parameters or not inputs or getattr(inputs[0], "shape", None) != output.shape:
            layer.output = tuple(output.shape[1:])
        layer.multiply_adds += counts * (counter.get_total_flops() - before) // 2

    return [layer.module.register_forward_pre_hook(enter), layer.module.register_forward_hook(leave)]


@contextmanager
def _plain_operations() -> Iterator[None]:
    """Whole LSTMs and encoder layers as one fused operation would be hidden from the FLOP counter."""
    attention, onednn = torch.backends.mha.get_fastpath_enabled(), torch.backends.mkldnn.enabled
    torch.backends.mha.set_fastpath_enabled(False)
    torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(attention)
        torch.backends.mkldnn.enabled = onednn
