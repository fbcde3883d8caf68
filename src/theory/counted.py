"""What a built network holds and does, counted beside the formulas: parameters, shapes, multiply-adds.

Multiply-adds are counted by torch's own FLOP counter, which sees the operations themselves (a multiply-add is
two of its operations), so that they, too, come from somewhere else than the formula.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from src.findings import Statement, Table
from src.theory.layers import Layer, LayerList, Row, Shape, sides

MOST_REAL = 50_000_000  # values of weights and outputs; beyond, torch works out shapes without values
MOST_REAL_PRODUCTS = 2_000_000_000


@dataclass
class Counted:
    """What one submodule turned out to hold and do.

    Attributes:
        parameters: their number.
        inputs, output: shapes of its last call without the batch of one, or None where it was not called.
        multiply_adds: of all its calls.
    """

    parameters: int
    inputs: Shape | None = None
    output: Shape | None = None
    multiply_adds: int = 0


@dataclass(frozen=True)
class Network:
    """A network's layers by formula beside the built network.

    Attributes:
        title: its name.
        rows: by formula.
        counted: by the name of the submodule.
        parameters: all of the built module's.
        multiply_adds: all of those that torch counted, by "image" or "word".
        note: what else the table's reader needs to know.
    """

    title: str
    rows: tuple[Row, ...]
    counted: dict[str, Counted]
    parameters: int
    multiply_adds: dict[str, int]
    note: str = ""
    shapes_only: bool = field(default=False)

    @property
    def by_formula(self) -> int:
        """The number of parameters."""
        return sum(row.parameters for row in self.rows)

    def products(self, per: str) -> int:
        """Multiply-adds by formula, for one "image" or one "word"."""
        return sum(row.multiply_adds for row in self.rows if row.per == per)

    def table(self) -> Table:
        """Layer, output shape, kernel (where there is one), parameters by formula and counted, share,
        multiply-adds.
        """
        words = len(self.multiply_adds) > 1
        columns = ("layer", "output", "kernel", "parameters", "counted", "share", "multiply-adds")
        lines = []
        for row in self.rows:
            found = self.counted.get(row.module or "")
            cells = (
                row.layer,
                sides(row.output),
                sides(row.kernel or ()),
                f"{row.parameters:,}",
                f"{found.parameters:,}" if found else "",
                _share(row.parameters, self.by_formula) if row.parameters else "",
                f"{row.multiply_adds:,}",
            )
            lines.append((*cells, row.per) if words else cells)
        for place, per in enumerate(self.multiply_adds):
            totals = [f"{self.by_formula:,}", f"{self.parameters:,}", _share(1, 1)]
            cells = (
                "total" if place == 0 else "",
                *("", "", *(totals if place == 0 else ("", "", ""))),
                f"{self.products(per):,}",
            )
            lines.append((*cells, per) if words else cells)
        note = self.note or "Multiply-adds for one image; biases, activations and pooling do not count."
        if self.shapes_only:
            note += " Run on shapes alone, without values (torch's meta device)."
        named = (*columns, "per") if words else columns
        if not any(row.kernel for row in self.rows):  # the terminal is narrow
            named, lines = (*named[:2], *named[3:]), [(*line[:2], *line[3:]) for line in lines]
        return Table(self.title, named, tuple(lines), note)

    def statements(self) -> tuple[Statement, ...]:
        """That formula and built network agree: parameters, shapes, multiply-adds."""
        found = [(row, self.counted.get(row.module or "")) for row in self.rows]
        wrong = [
            f"{row.layer}: {row.parameters:,} and {of.parameters:,}"
            for row, of in found
            if of is not None and of.parameters != row.parameters
        ]
        same = self.by_formula == self.parameters and not wrong
        told = f"{self.by_formula:,} and {self.parameters:,}" + "".join(f"; {text}" for text in wrong)
        statements = [Statement(f"{self.title}: parameters by formula and counted", told, "equal", same)]
        shapes, bad = self._shapes()
        statements.append(
            Statement(
                f"{self.title}: output shapes by formula and in a forward pass",
                "; ".join(bad) or f"{shapes} compared",
                "equal",
                not bad and shapes > 0,
            )
        )
        ours, theirs = ({per: self.products(per) for per in self.multiply_adds}, self.multiply_adds)
        each = [
            f"{row.layer}: {row.multiply_adds:,} and {of.multiply_adds:,}"
            for row, of in found
            if of is not None and of.multiply_adds != row.multiply_adds
        ]
        told = ", ".join(f"{ours[per]:,} and {theirs[per]:,} a{'n' * (per == 'image')} {per}" for per in ours)
        told += "".join(f"; {text}" for text in each)
        statements.append(
            Statement(
                f"{self.title}: multiply-adds by formula and counted",
                told,
                "equal",
                ours == theirs and not each,
            )
        )
        return tuple(statements)

    def _shapes(self) -> tuple[int, list[str]]:
        """How many shapes were compared, and which differ.

        A layer without a module (pooling as a function) is compared through the input of the module after it.
        """
        compared, bad = 0, []
        for row, after in zip(self.rows, (*self.rows[1:], None), strict=True):
            seen = self.counted[row.module].output if row.module in self.counted else None
            follows = after is not None and row.per == after.per == "image"
            if row.module is None and after is not None and follows and after.module in self.counted:
                seen = self.counted[after.module].inputs
            if seen is None:
                continue
            compared += 1
            if _bare(seen) != _bare(row.output):
                bad.append(f"{row.layer}: {sides(row.output)} and {sides(seen)}")
        return compared, bad


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else ""


def _bare(shape: Shape) -> Shape:
    """Without sides of one: a step hands over (1, 1, L, 1) where the formula says L."""
    return tuple(side for side in shape if side != 1)


def build(layers: LayerList, device: str | None = None) -> nn.Sequential:
    """The list as torch's own modules, one a layer. On `meta` the weights have no values."""
    shape, modules = layers.input, []
    for layer, row in zip(layers.layers, layers.rows(), strict=True):
        modules.append(_module(layer, shape, device))
        shape = row.output
    return nn.Sequential(*modules).eval()


def _module(layer: Layer, shape: Shape, device: str | None) -> nn.Module:
    window: dict[str, Any] = {"stride": layer.stride, "padding": layer.padding}
    if layer.kind == "conv":
        return nn.Conv2d(shape[0], layer.units, layer.kernel, **window, device=device)
    if layer.kind == "linear":
        return nn.Linear(shape[0], layer.units, device=device)
    if layer.kind in ("maxpool", "avgpool"):
        return (nn.MaxPool2d if layer.kind == "maxpool" else nn.AvgPool2d)(layer.kernel, **window)
    if layer.kind == "dropout":
        return nn.Dropout(layer.probability)
    return nn.ReLU() if layer.kind == "relu" else nn.Flatten()


def of_layer_list(layers: LayerList, title: str) -> Network:
    """A list by formula, and the network that is built from it, run on one image of zeros.

    Raises:
        LayerError: a layer does not fit its input.
    """
    rows = layers.rows()
    values = sum(row.parameters + prod(row.output) for row in rows) + prod(layers.input)
    large = values > MOST_REAL or sum(row.multiply_adds for row in rows) > MOST_REAL_PRODUCTS
    device = "meta" if large else "cpu"
    network = build(layers, device)
    counted, products = count(network, lambda: network(torch.zeros(1, *layers.input, device=device)))
    total = sum(weight.numel() for weight in network.parameters())
    return Network(title, rows, counted, total, {"image": products}, shapes_only=large)


@torch.no_grad()
def count(
    module: nn.Module, run: Callable[[], object], names: Sequence[str] = ()
) -> tuple[dict[str, Counted], int]:
    """What the submodules `names` (all direct ones) of `module` hold and do while `run` runs, and all
    multiply-adds of `run`.
    """
    parts = {name: module.get_submodule(name) for name in names} or dict(module.named_children())
    found = {
        name: Counted(sum(weight.numel() for weight in part.parameters())) for name, part in parts.items()
    }
    before: dict[str, int] = {}
    counter = FlopCounterMode(display=False)
    enabled, handles = torch.backends.mkldnn.enabled, []
    for name, part in parts.items():

        def enter(_module: nn.Module, inputs: tuple[Any, ...], name: str = name) -> None:
            found[name].inputs = tuple(_first(inputs).shape[1:])
            before[name] = counter.get_total_flops()

        def leave(_module: nn.Module, _inputs: tuple[Any, ...], output: Any, name: str = name) -> None:
            found[name].output = tuple(_first(output).shape[1:])
            found[name].multiply_adds += (counter.get_total_flops() - before[name]) // 2

        handles += [part.register_forward_pre_hook(enter), part.register_forward_hook(leave)]
    try:
        # oneDNN runs a whole LSTM as one operation, which the counter does not know
        torch.backends.mkldnn.enabled = False  # type: ignore[assignment]
        with counter:
            run()
    finally:
        torch.backends.mkldnn.enabled = enabled
        for handle in handles:
            handle.remove()
    return found, counter.get_total_flops() // 2


def _first(value: Any) -> Tensor:
    """The tensor that counts: an LSTM returns its state beside its output."""
    while not isinstance(value, Tensor):
        value = value[0]
    return value
