"""Self-attention's identities over random sizes, and the counter-examples that break them.

Dimension letters: L positions, n size of an input, d size of a head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from src.findings import Statement, Table
from src.theory.attention import (
    Head,
    apart,
    forms_limit,
    free_directions,
    heads_limit,
    singular,
    with_other_key,
    with_singular_change,
    with_untransposed_change,
)

CONDITIONS = (1e0, 1e2, 1e4, 1e6, 1e8)  # of B, in the table
# Every limit of rounding stays below SMALL, so that it says something; a counter-example counts above LARGE.
SMALL, LARGE = 1e-6, 1e-4


@dataclass(frozen=True)
class Worst:
    """The largest difference over cases, each of which has a limit of its own."""

    difference: float = 0.0
    where: str = ""  # it was found
    share: float = 0.0  # the largest of a case's difference in its limit
    limit: float = 0.0  # the largest

    def and_also(self, difference: float, limit: float, where: str) -> Worst:
        """With one more case."""
        return Worst(
            max(self.difference, difference),
            where if difference > self.difference else self.where,
            max(self.share, difference / limit),
            max(self.limit, limit),
        )


@dataclass(frozen=True)
class Checked:
    """What came out over random sizes.

    Attributes:
        cases: how many.
        over_rank: the largest rank(A) - d.
        full_rank: in how many cases rank(A) = d.
        tail: singular values of A beyond d, as shares of the largest.
        forms, heads: differences of probabilities.
        broken: the smallest difference that each counter-example made.
        by_condition: B's condition number, largest difference, largest limit.
        directions: n, d, rank of A's derivative.
    """

    cases: int
    over_rank: int
    full_rank: int
    tail: Worst
    forms: Worst
    heads: Worst
    broken: dict[str, float]
    by_condition: tuple[tuple[float, float, float], ...]  # condition, difference, limit
    directions: tuple[int, int, int]

    def statements(self) -> tuple[Statement, ...]:
        """The identities and their counter-examples."""
        size, width, found = self.directions
        free = 2 * size * width - width**2
        return (
            Statement(
                f"rank(A) <= d in {self.cases} cases of random sizes",
                f"at most d{self.over_rank:+d}; d itself in {self.full_rank}",
                "at most d",
                self.over_rank <= 0,
            ),
            _within("A's singular values beyond d, as a share of the largest", self.tail),
            _within("softmax(X W_Q W_K^T X^T) against softmax(X A X^T), largest difference", self.forms),
            _within("the head against its twin under an invertible B, largest difference", self.heads),
            *(
                Statement(
                    f"counter-example, {name}: the smallest difference made",
                    f"{value:.2g}",
                    f"at least {LARGE:g}",
                    value >= LARGE,
                )
                for name, value in self.broken.items()
            ),
            Statement(
                f"directions in which W_Q and W_K move A, at n = {size}, d = {width}",
                str(found),
                f"2 n d - d^2 = {free}",
                found == free,
            ),
        )

    def table(self) -> Table:
        """The twin's error by B's condition number."""
        return Table(
            "Two heads under an invertible B, by B's condition number",
            ("condition of B", "largest difference", "limit"),
            tuple((f"{c:.0e}", f"{d:.1e}", f"{limit:.1e}") for c, d, limit in self.by_condition),
            "float64, L = 12, n = 32, d = 8. The limit is a bound on rounding, computed from |L||U| of B's "
            "factors and |W_K B^{-T}|; both grow with the condition number.",
        )


def _within(what: str, worst: Worst) -> Statement:
    return Statement(
        what,
        f"{worst.difference:.1e} ({worst.where or 'nowhere'}); at most {100 * worst.share:.2g} % of a case's "
        "limit",
        f"at most each case's limit, none above {SMALL:g} (the largest: {worst.limit:.1e})",
        worst.share <= 1 and worst.limit <= SMALL,
    )


def draw_head(generator: torch.Generator, positions: int, size: int, head: int, scaled: bool = False) -> Head:
    """Inputs and weights from the normal distribution, of a size that leaves scores around 1."""

    def normal(rows: int, columns: int) -> Tensor:
        return torch.randn(rows, columns, generator=generator, dtype=torch.float64)

    spread = size**-0.5 * head**-0.25
    return Head(normal(positions, size), normal(size, head) * spread, normal(size, head) * spread, scaled)


def draw_change(generator: torch.Generator, size: int, condition: float) -> Tensor:
    """B (d, d) with singular values from 1/sqrt(condition) to sqrt(condition), evenly in their logarithm."""
    turns = [
        torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))[0]
        for _ in range(2)
    ]
    half = 0.5 * math.log10(condition) if size > 1 else 0.0
    values = torch.logspace(half, -half, size, dtype=torch.float64)
    return turns[0] * values @ turns[1]


def check(seed: int = 42, cases: int = 200) -> Checked:
    """Draw cases of random sizes: L and n from 4, to 24 and 48, d to n, B's condition number to 1e4.

    Every second case divides its scores by sqrt(d).
    """
    generator = torch.Generator().manual_seed(seed)

    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=generator))

    over, full = -(10**9), 0
    tail, forms, heads = Worst(), Worst(), Worst()
    broken = dict.fromkeys(("B singular", "another W_K", "W_K B instead of W_K B^{-T}"), math.inf)
    for case in range(cases):
        positions, size = whole(4, 24), whole(4, 48)
        width = whole(1, size)
        condition = 10 ** (4 * float(torch.rand((), generator=generator)))
        head = draw_head(generator, positions, size, width, scaled=bool(case % 2))
        change = draw_change(generator, width, condition)
        where = f"L={positions}, n={size}, d={width}" + (", 1/sqrt(d)" if head.scaled else "")
        values = torch.linalg.svdvals(head.product)
        limit = head.rank_limit()
        rank = int((values > limit).sum())
        over, full = max(over, rank - width), full + (rank == width)
        if width < size:
            tail = tail.and_also(float(values[width] / values[0]), limit / float(values[0]), where)
        own = head.from_weights()
        forms = forms.and_also(apart(own, head.from_product()), forms_limit(head), where)
        twin = head.transformed(change)
        heads = heads.and_also(
            apart(own, twin.from_weights()),
            heads_limit(head, twin, change),
            f"{where}, condition {condition:.0f}",
        )
        others = (
            with_singular_change(head, singular(change)),
            with_other_key(head, generator),
            with_untransposed_change(head, 2 * change),  # twice: an orthogonal B alone would change nothing
        )
        for name, other in zip(broken, others, strict=True):
            broken[name] = min(broken[name], apart(own, other.from_weights()))
    small = draw_head(generator, 1, 8, 3)
    return Checked(
        cases,
        over,
        full,
        tail,
        forms,
        heads,
        broken,
        tuple((condition, *_at_condition(generator, condition)) for condition in CONDITIONS),
        (8, 3, free_directions(small)),
    )


def _at_condition(generator: torch.Generator, condition: float, repeats: int = 10) -> tuple[float, float]:
    """The largest difference and the largest limit over some draws."""
    found = []
    for _ in range(repeats):
        head = draw_head(generator, 12, 32, 8)
        change = draw_change(generator, 8, condition)
        twin = head.transformed(change)
        found.append((apart(head.from_weights(), twin.from_weights()), heads_limit(head, twin, change)))
    return max(difference for difference, _ in found), max(limit for _, limit in found)
