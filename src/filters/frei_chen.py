"""What a 3x3 kernel consists of: average, edge and line, measured in Frei and Chen's orthogonal basis.

W. Frei and C.-C. Chen, "Fast Boundary Detection: A Generalization and a New Algorithm", IEEE Transactions on
Computers C-26 (1977), 988-998: four patterns answer to edges (first derivatives), four to lines and points
(second derivatives), one to brightness. They are orthonormal, so a kernel's energy (sum of squares) is the
sum of nine squared projections.

A random kernel has all of these, too. Where its weights are drawn independently from one symmetric
distribution, as PyTorch does, each of the nine directions holds 1/9 of the energy on average: edges 4/9,
lines 4/9, average 1/9. So shares say something only beside that.

Dimension letters: O kernels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_R = math.sqrt(2)
_PATTERNS = (
    # gradients, across and down
    ((1, _R, 1), (0, 0, 0), (-1, -_R, -1)),
    ((1, 0, -1), (_R, 0, -_R), (1, 0, -1)),
    # ripples: a gradient that turns its sign
    ((0, -1, _R), (1, 0, -1), (-_R, 1, 0)),
    ((_R, -1, 0), (-1, 0, 1), (0, 1, -_R)),
    # lines
    ((0, 1, 0), (-1, 0, -1), (0, 1, 0)),
    ((-1, 0, 1), (0, 0, 0), (1, 0, -1)),
    # discrete Laplacians: a spot and its surround
    ((1, -2, 1), (-2, 4, -2), (1, -2, 1)),
    ((-2, 1, -2), (1, 4, 1), (-2, 1, -2)),
    # average
    ((1, 1, 1), (1, 1, 1), (1, 1, 1)),
)
GROUPS = {"gradient": (0, 2), "ripple": (2, 4), "line": (4, 6), "Laplacian": (6, 8), "average": (8, 9)}
KINDS = {"edge": (0, 4), "line": (4, 8), "average": (8, 9)}  # of the patterns, from and to
HALF = 0.5


def basis() -> Tensor:
    """The nine orthonormal patterns, (9, 3, 3) in float64: 4 of edges, 4 of lines, the average."""
    patterns = torch.tensor(_PATTERNS, dtype=torch.float64)  # (9, 3, 3)
    return patterns / patterns.flatten(1).norm(dim=1)[:, None, None]


def shares(kernels: Tensor) -> Tensor:
    """The share of each kernel's energy in each pattern, (O, 9), rows summing to 1; zeros for a zero kernel.

    Args:
        kernels: (O, 3, 3).

    Raises:
        ValueError: they are not 3x3.
    """
    if kernels.ndim != 3 or kernels.shape[1:] != (3, 3):
        raise ValueError(f"Frei and Chen's basis is for kernels (O, 3, 3), not {tuple(kernels.shape)}")
    flat = kernels.detach().double().flatten(1)  # (O, 9)
    flat = flat / flat.abs().amax(1, keepdim=True).clamp(min=1e-300)  # squares must not vanish
    energy = (flat @ basis().flatten(1).T).square()  # (O, 9)
    return energy / energy.sum(1, keepdim=True).clamp(min=1e-300)


def grouped(found: Tensor, groups: dict[str, tuple[int, int]]) -> dict[str, Tensor]:
    """`shares` (O, 9) summed over the patterns of each group, (O,) each."""
    return {name: found[:, first:last].sum(1) for name, (first, last) in groups.items()}


def kinds(kernels: Tensor) -> list[str | None]:
    """Of each kernel (O, 3, 3) the kind that holds more than half of its energy, None where none does."""
    by_kind = grouped(shares(kernels), KINDS)
    mostly = torch.stack([*by_kind.values()], 1)  # (O, 3)
    return [
        [*KINDS][int(row.argmax())] if float(row.max()) > HALF else None  # at most one can
        for row in mostly
    ]


@dataclass(frozen=True)
class Beside:
    """A number of a layer beside those of the layer that training began with and of random layers."""

    trained: float
    initial: float
    random: float  # mean over freshly drawn layers
    low: float  # of the middle 95 % of them
    high: float


@dataclass(frozen=True)
class Contents:
    """What a layer's kernels consist of.

    Attributes:
        counts: how many kernels are mostly of a kind of `KINDS`; "mixed": of none.
        shares: the mean share of energy in each of `GROUPS`.
        change: the share of each of `GROUPS` in the energy of what training added to the layer, i.e. of
            trained - initial, summed over the kernels; zeros where training changed nothing.
        cosines: between each kernel and what it was before training; 1 is the same but for its size.
    """

    counts: dict[str, Beside]
    shares: dict[str, Beside]
    change: dict[str, float]
    cosines: tuple[float, ...]


def contents(trained: Tensor, initial: Tensor, seed: int, layers: int = 2000) -> Contents:
    """Measure a layer's kernels beside those that training began with and those of other draws.

    Args:
        trained: (O, 3, 3).
        initial: the same layer before training.
        seed: of the other draws.
        layers: how many; each has O kernels, uniform in -1..1 (shares do not depend on the width).
    """
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand((layers * len(trained), 3, 3), generator=generator, dtype=torch.float64) * 2 - 1
    found = [shares(kernels) for kernels in (trained, initial, drawn)]
    difference = trained.detach().double() - initial.detach().double()
    energy = difference.square().sum((1, 2))  # (O,)
    weighted = shares(difference) * energy[:, None] / energy.sum().clamp(min=1e-300)  # (O, 9)
    was, now = (kernels.detach().double().flatten(1) for kernels in (initial, trained))
    return Contents(
        counts=_beside([_counts(s, len(trained)) for s in found]),
        shares=_beside([_means(s, len(trained)) for s in found]),
        change={name: float(part.sum()) for name, part in grouped(weighted, GROUPS).items()},
        cosines=tuple(torch.cosine_similarity(now, was).tolist()),
    )


def _counts(found: Tensor, size: int) -> dict[str, Tensor]:
    """Kernels of each kind in each layer of `size` kernels, (layers,); `found` is (layers * size, 9)."""
    mostly = {name: part > HALF for name, part in grouped(found, KINDS).items()}
    mostly["mixed"] = ~torch.stack([*mostly.values()]).any(0)
    return {name: part.reshape(-1, size).sum(1).double() for name, part in mostly.items()}


def _means(found: Tensor, size: int) -> dict[str, Tensor]:
    """The mean share of each group in each layer of `size` kernels, (layers,)."""
    return {name: part.reshape(-1, size).mean(1) for name, part in grouped(found, GROUPS).items()}


def _beside(of: list[dict[str, Tensor]]) -> dict[str, Beside]:
    """`of`: the trained layer, the initial one, the random ones."""
    trained, initial, drawn = of
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    found = {}
    for name, values in drawn.items():
        low, high = torch.quantile(values, ends).tolist()
        mean = float(values.mean())
        found[name] = Beside(float(trained[name]), float(initial[name]), mean, low, high)
    return found
