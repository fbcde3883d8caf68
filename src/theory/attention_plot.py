"""A's singular values, and the probabilities of a head, of its twin and of a broken twin.

Dimension letters: L positions, n size of an input, d size of a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from src import figures
from src.theory.attention import Head, apart, heads_limit, singular, with_singular_change
from src.theory.attention_check import draw_change, draw_head

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Example:
    """One drawn head with its twins.

    Attributes:
        size, width: n and d.
        values: A's singular values (n,), largest first.
        rank_limit: below it a singular value is rounding.
        limit: of the difference between head and twin.
        head, twin, broken: probabilities (L, L); broken has a singular B.
    """

    size: int
    width: int
    values: Tensor
    rank_limit: float
    limit: float
    head: Tensor
    twin: Tensor
    broken: Tensor

    @property
    def rank(self) -> int:
        """Of A."""
        return int((self.values > self.rank_limit).sum())

    @property
    def twin_difference(self) -> float:
        """The largest, of probabilities."""
        return apart(self.head, self.twin)

    @property
    def broken_difference(self) -> float:
        """The largest, of probabilities."""
        return apart(self.head, self.broken)


def example(seed: int = 42, positions: int = 8, size: int = 24, width: int = 6) -> Example:
    """Draw it: B has condition number 10; the broken head's B has one singular value set to 0."""
    generator = torch.Generator().manual_seed(seed)
    head: Head = draw_head(generator, positions, size, width)
    change = draw_change(generator, width, 10)
    twin = head.transformed(change)
    broken = with_singular_change(head, singular(change))
    return Example(
        *(size, width, torch.linalg.svdvals(head.product), head.rank_limit()),
        heads_limit(head, twin, change),
        *(each.from_weights() for each in (head, twin, broken)),
    )


def example_title(of: Example) -> str:
    """What the picture says."""
    rank = f"A is {of.size} x {of.size} but of rank {of.rank}" + (" = d" if of.rank == of.width else "")
    same = of.twin_difference <= of.limit
    twin = (
        "an invertible B leaves the probabilities alone"
        if same
        else "an invertible B changes the probabilities"
    )
    broken = "a singular B does not" if of.broken_difference > of.limit else "so does a singular B"
    if not same:
        broken = f"a singular B by up to {of.broken_difference:.2f}"
    return f"{rank}; {twin}, {broken}"


def example_alt(of: Example) -> str:
    """The picture in words."""
    beyond = float(of.values[of.width]) if of.width < of.size else 0.0
    return (
        f"Left: {of.size} singular values of A on a logarithmic axis, {of.width} from "
        f"{float(of.values[0]):.2g} to {float(of.values[of.width - 1]):.2g}, the next {beyond:.0e}. Right: "
        f"attention probabilities of {len(of.head)} positions as heat maps; the twin differs from the head "
        f"by up to {of.twin_difference:.0e}, the head with a singular B by up to {of.broken_difference:.2f}."
    )


def draw_example(of: Example) -> Figure:
    """Singular values at the left, three heat maps of probabilities at the right."""
    with figures.look():
        figure, axes = figures.subplots(1, 4, height=3.1, gridspec_kw={"width_ratios": [1.45, 1, 1, 1]})
        plot, *maps = axes[0]
        places = torch.arange(1, of.size + 1)
        inside = places <= of.width
        floor = float(torch.finfo(torch.float64).tiny)
        values = of.values.clamp_min(floor)
        plot.semilogy(places[inside], values[inside], "o", ms=4, color=figures.PALETTE[0])
        plot.semilogy(places[~inside], values[~inside], "D", ms=3.5, color=figures.PALETTE[1])
        plot.axhline(of.rank_limit, color=figures.DARK, lw=1, ls="--")
        plot.text(of.size, of.rank_limit * 1.8, "limit of rounding", ha="right", va="bottom", fontsize=8)
        plot.axvline(of.width + 0.5, color="#888888", lw=0.8)
        plot.text(of.width + 1, float(values[0]), f"d = {of.width}", va="center", fontsize=8)
        plot.set_xlabel("Singular value, by size")
        plot.set_ylabel("Singular value of A")
        plot.set_title(f"n = {of.size}, float64", fontsize=9)
        highest = float(torch.stack([of.head, of.twin, of.broken]).max())
        named = (
            ("head", of.head, "query"),
            (f"twin, invertible B\ndiffers by {of.twin_difference:.0e}", of.twin, ""),
            (f"singular B\ndiffers by {of.broken_difference:.2f}", of.broken, ""),
        )
        ticks = range(0, len(of.head), 2)
        for place, (name, probabilities, label) in zip(maps, named, strict=True):
            image = place.imshow(probabilities.numpy(), vmin=0, vmax=highest, cmap=figures.SEQUENTIAL)
            place.grid(False)
            place.set_title(name, fontsize=9)
            place.set_xlabel("Key's position")
            place.set_ylabel("Query's position" if label else "")
            place.set_xticks(ticks, [str(tick + 1) for tick in ticks])
            place.set_yticks(ticks, [str(tick + 1) for tick in ticks] if label else [])
        figure.colorbar(image, ax=maps, label="Probability", shrink=0.62, pad=0.02)
        figures.title(figure, example_title(of))
    return figure
