"""Self-attention's scores depend on W_Q and W_K only through A = W_Q W_K^T: the identities, put to the test.

For one head, X (L, n), W_Q and W_K (n, d), d <= n: P = softmax(X W_Q W_K^T X^T) = softmax(X A X^T), of
rank(A) <= d. A twin with W_Q B and W_K B^{-T}, B (d, d) invertible, has the same A and P, also with
scores divided by sqrt(d).

Both are computed in float64 and compared with one tolerance, far above rounding and far below what a broken
condition changes.

Dimension letters: L positions, n size of an input, d size of a head.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace

import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor

from src import figures
from src.findings import Picture, Section, Statement

EQUAL, DIFFERENT = 1e-9, 1e-4  # the same probabilities up to rounding; a counter-example's are further apart
TITLE = "Singular values of A; P of a head, of its twin under an invertible B, and with a singular B"


@dataclass(frozen=True, eq=False)
class Head:
    """What a head computes from, float64: inputs (L, n), query and key weights (n, d)."""

    inputs: Tensor
    query: Tensor
    key: Tensor
    factor: float = 1.0  # of the scores; 1 / sqrt(d) if they are scaled

    def from_weights(self) -> Tensor:
        """P (L, L) as a head computes it: queries against keys."""
        return ((self.inputs @ self.query) @ (self.inputs @ self.key).T * self.factor).softmax(1)

    def from_product(self) -> Tensor:
        """P (L, L) from A alone."""
        return (self.inputs @ (self.query @ self.key.T) @ self.inputs.T * self.factor).softmax(1)

    def twin(self, change: Tensor) -> Head:
        """The head with W_Q B and W_K B^{-T}."""
        return replace(self, query=self.query @ change, key=torch.linalg.solve(change, self.key.T).T)

    def counterexamples(self, change: Tensor, generator: Generator) -> dict[str, Head]:
        """Heads that break one condition each, by that condition; B is `change`."""
        left, values, right = torch.linalg.svd(change)
        values[-1] = 0
        singular = left * values @ right
        inverse = torch.linalg.pinv(singular, rtol=1e-10)  # the best that a singular B allows
        other = torch.randn(self.key.shape, generator=generator, dtype=torch.float64) * self.key.std()
        double = 2 * change  # an orthogonal B alone would change nothing
        return {
            "B singular": replace(self, query=self.query @ singular, key=self.key @ inverse.T),
            "another W_K": replace(self, key=other),
            "W_K B instead of W_K B^{-T}": replace(self, query=self.query @ double, key=self.key @ double),
        }


def apart(first: Tensor, second: Tensor) -> float:
    """The largest difference of two tensors' elements."""
    return float((first - second).abs().max())


def draw_head(generator: Generator, positions: int, size: int, head: int, scaled: bool = False) -> Head:
    """Inputs and weights from the normal distribution, of a size that leaves scores around 1."""
    inputs, query, key = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((positions, size), (size, head), (size, head))
    )
    spread = size**-0.5 * head**-0.25
    return Head(inputs, query * spread, key * spread, head**-0.5 if scaled else 1.0)


def draw_change(generator: Generator, size: int, condition: float) -> Tensor:
    """B (d, d) with singular values from 1/sqrt(condition) to sqrt(condition), evenly in their logarithm."""
    left, right = torch.linalg.qr(torch.randn(2, size, size, generator=generator, dtype=torch.float64))[0]
    half = 0.5 * math.log10(condition) if size > 1 else 0.0
    return left * torch.logspace(half, -half, size, dtype=torch.float64) @ right


def statements(generator: Generator, cases: int) -> list[Statement]:
    """The identities and their counter-examples, every second case scaled.

    Sizes are random: L from 4 to 24, n from 4 to 48, d from 1 to n, B's condition number to 1e4.
    """
    ranks: list[int] = []
    equal: dict[str, list[float]] = defaultdict(list)
    broken: dict[str, list[float]] = defaultdict(list)
    for case in range(cases):
        share = torch.rand(4, generator=generator).tolist()
        size = 4 + int(45 * share[0])
        width = 1 + int(size * share[1])
        head = draw_head(generator, 4 + int(21 * share[2]), size, width, scaled=bool(case % 2))
        change = draw_change(generator, width, 10 ** (4 * share[3]))
        ranks.append(int(torch.linalg.matrix_rank(head.query @ head.key.T)) - width)
        own = head.from_weights()
        equal["P from W_Q, W_K and from A"].append(apart(own, head.from_product()))
        equal["P of a head and its twin"].append(apart(own, head.twin(change).from_weights()))
        for name, other in head.counterexamples(change, generator).items():
            broken[f"counter-example, {name}"].append(apart(own, other.from_weights()))
    found = [Statement("rank(A) - d", f"{min(ranks)} to {max(ranks)}", "at most 0", max(ranks) <= 0)]
    for what, differences in equal.items():
        holds = all(difference <= EQUAL for difference in differences)
        found.append(Statement(f"{what}: difference", f"{max(differences):.1e}", f"at most {EQUAL:g}", holds))
    for what, differences in broken.items():
        least = min(differences)
        found.append(
            Statement(
                f"{what}: smallest difference", f"{least:.2g}", f"at least {DIFFERENT:g}", least >= DIFFERENT
            )
        )
    return found


def attention_findings(seed: int = 42, cases: int = 200) -> Section:
    """Put the identities to the test on heads of random sizes drawn from the seed, and draw one."""
    figure = example_figure(Generator().manual_seed(seed))
    return Section(
        key="self-attention",
        title="Self-attention",
        asked="Show that P = softmax(X W_Q W_K^T X^T) depends on W_Q and W_K only through A = W_Q W_K^T, of "
        "rank at most d, and that W_Q B and W_K B^{-T} give the same P for any invertible B.",
        answer=(
            "X W_Q (X W_K)^T = X A X^T, and rank(W_Q W_K^T) is at most that of W_Q, at most d. With B, "
            "W_Q B (W_K B^{-T})^T = W_Q B B^{-1} W_K^T = A: of the 2 n d weights, d^2 directions are free.",
        ),
        statements=tuple(statements(Generator().manual_seed(seed), cases)),
        pictures=(Picture("self-attention", TITLE, TITLE, figure),),
        command="python -m src.theory attention",
    )


def example_figure(generator: Generator, size: int = 24, width: int = 6) -> Figure:
    """A's singular values at the left; P of a head, of its twin and with a singular B at the right."""
    head, change = draw_head(generator, 8, size, width), draw_change(generator, width, 10)
    broken = head.counterexamples(change, generator)["B singular"]
    maps = {"head": head, "invertible B": head.twin(change), "singular B": broken}
    values = torch.linalg.svdvals(head.query @ head.key.T).clamp_min(math.ulp(0.0))
    with figures.look():
        figure, ((plot, *others),) = figures.subplots(1, 4, height=3.1, width_ratios=(1.45, 1, 1, 1))
        plot.semilogy(range(1, width + 1), values[:width], "o", ms=4)
        plot.semilogy(range(width + 1, size + 1), values[width:], "D", ms=3.5)
        rounding = size * torch.finfo(values.dtype).eps * float(values[0])  # as matrix_rank has it
        plot.axhline(rounding, color=figures.DARK, lw=1, ls="--")
        plot.text(size, rounding * 1.8, "limit of rounding", ha="right", fontsize=8)
        plot.set(xlabel="By size", ylabel="Singular value of A", title=f"n = {size}, d = {width}")
        for axes, (name, each) in zip(others, maps.items(), strict=True):
            image = axes.imshow(each.from_weights().numpy(), vmin=0, vmax=0.5, cmap=figures.SEQUENTIAL)
            axes.grid(False)
            axes.set(title=name, xlabel="Key's position")
        others[0].set_ylabel("Query's position")
        figure.colorbar(image, ax=others, label="Probability", shrink=0.62, pad=0.02, extend="max")
        figures.title(figure, TITLE)
    return figure
