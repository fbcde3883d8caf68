"""Self-attention's scores depend on W_Q and W_K only through A = W_Q W_K^T: the identities, put to the test.

For one head, X (L, n), W_Q and W_K (n, d), d <= n:

    P = softmax(X W_Q W_K^T X^T) = softmax(X A X^T),    rank(A) <= d

and a twin with W_Q' = W_Q B and W_K' = W_K B^{-T}, B (d, d) invertible, has A' = A and the same P. Scores may be
divided by sqrt(d) (Vaswani et al. 2017); that changes P, but none of these statements.

How far two results that are equal on paper may lie apart in float64 is bounded from the matrices. With
u = 2^-53 and gamma(k) = k u / (1 - k u), a product of matrices with inner dimensions that add up to k is off
by at most gamma(k) |A_1| ... |A_m|, element by element, and a solution X of B X = C by LU factors solves it up
to gamma(3 d) |L| |U| |X| (Higham 2002, Accuracy and Stability of Numerical Algorithms, sections 3.5 and 9.3).
Scores that are off by at most e give probabilities that are off by a factor of at most exp(2 e). A singular
value is off by at most the norm of the matrix's error (Weyl).

Dimension letters: L positions, n size of an input, d size of a head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from matplotlib.figure import Figure
from torch import Generator, Tensor

from src import figures
from src.findings import Picture, Section, Statement

UNIT = 2.0**-53  # half the distance of 1 to the next float64
# Every limit of rounding stays below SMALL, so that it says something; a counter-example counts above LARGE.
SMALL, LARGE = 1e-6, 1e-4


@dataclass(frozen=True, eq=False)
class Head:
    """What a head computes from, float64: inputs (L, n), query and key weights (n, d)."""

    inputs: Tensor
    query: Tensor
    key: Tensor
    scaled: bool = False  # scores divided by sqrt(d)

    @property
    def factor(self) -> float:
        """Of the scores: 1, or 1/sqrt(d)."""
        return 1 / math.sqrt(self.query.shape[1]) if self.scaled else 1.0

    @property
    def product(self) -> Tensor:
        """A (n, n)."""
        return self.query @ self.key.T

    def from_weights(self) -> Tensor:
        """P (L, L) as a head computes it: queries against keys."""
        return ((self.inputs @ self.query) @ (self.inputs @ self.key).T * self.factor).softmax(1)

    def from_product(self) -> Tensor:
        """P (L, L) from A alone."""
        return (self.inputs @ self.product @ self.inputs.T * self.factor).softmax(1)

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

    def score_error(self) -> Tensor:
        """Bound (L, L) on what rounding does to the scores of either form, from these weights."""
        inputs, (size, head) = self.inputs.abs(), self.query.shape
        product = inputs @ (self.query.abs() @ self.key.abs().T) @ inputs.T
        # 4 more: the factor, and the row's maximum that softmax takes off, of both forms
        return gamma(2 * size + head + 4) * product * self.factor

    def rank_limit(self) -> float:
        """Below it, a singular value of A is rounding: of A itself, and n eps of the largest, as is usual."""
        error = gamma(self.query.shape[1]) * (self.query.abs() @ self.key.abs().T)
        return float(error.norm() + 2 * UNIT * len(self.query) * torch.linalg.matrix_norm(self.product, 2))


def gamma(operations: int) -> float:
    """k u / (1 - k u)."""
    return operations * UNIT / (1 - operations * UNIT)


def forms_limit(head: Head) -> float:
    """How far both forms of P may lie apart by rounding."""
    return _probability_limit(2 * head.score_error())


def twin_limit(first: Head, second: Head, change: Tensor) -> float:
    """How far P of a head and of its twin may lie apart by rounding; it grows with B's condition number."""
    size = change.shape[0]
    p, lower, upper = torch.linalg.lu(change)
    solution = second.key.T.abs()  # (d, n)
    residual = gamma(3 * size) * (p @ lower.abs() @ upper.abs()) @ solution  # of the solve
    product = gamma(size) * (first.query.abs() @ change.abs()) @ solution
    moved = first.query.abs() @ residual + product  # A' - A
    scores = first.inputs.abs() @ moved @ first.inputs.abs().T * first.factor
    return _probability_limit(first.score_error() + second.score_error() + scores)


def _probability_limit(scores: Tensor) -> float:
    """The largest difference of two softmaxes whose scores differ by at most `scores` (L, L); at most 1."""
    own = 2 * gamma(scores.shape[1] + 4)  # exponential, sum and division of both
    return min(1.0, math.expm1(min(2 * float(scores.max()), 1.0)) + own)


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
    return Head(inputs, query * spread, key * spread, scaled)


def draw_change(generator: Generator, size: int, condition: float) -> Tensor:
    """B (d, d) with singular values from 1/sqrt(condition) to sqrt(condition), evenly in their logarithm."""
    left, right = torch.linalg.qr(torch.randn(2, size, size, generator=generator, dtype=torch.float64))[0]
    half = 0.5 * math.log10(condition) if size > 1 else 0.0
    return left * torch.logspace(half, -half, size, dtype=torch.float64) @ right


def statements(generator: Generator, cases: int) -> list[Statement]:
    """The identities and their counter-examples, every second case scaled.

    Sizes are random: L from 4 to 24, n from 4 to 48, d from 1 to n, B's condition number to 1e4.
    """
    ranks, forms, twins = [], [], []
    broken: dict[str, float] = {}
    for case in range(cases):
        share = torch.rand(4, generator=generator).tolist()
        size = 4 + int(45 * share[0])
        width = 1 + int(size * share[1])
        head = draw_head(generator, 4 + int(21 * share[2]), size, width, scaled=bool(case % 2))
        change = draw_change(generator, width, 10 ** (4 * share[3]))
        ranks.append(int((torch.linalg.svdvals(head.product) > head.rank_limit()).sum()) - width)
        own, twin = head.from_weights(), head.twin(change)
        forms.append((apart(own, head.from_product()), forms_limit(head)))
        twins.append((apart(own, twin.from_weights()), twin_limit(head, twin, change)))
        for name, other in head.counterexamples(change, generator).items():
            broken[name] = min(broken.get(name, math.inf), apart(own, other.from_weights()))
    found = [
        Statement(
            f"rank(A) - d, in {cases} cases", f"{min(ranks)} to {max(ranks)}", "at most 0", max(ranks) <= 0
        )
    ]
    for what, pairs in (("softmax(X W_Q W_K^T X^T) and softmax(X A X^T)", forms), ("P of twins", twins)):
        (difference, limit), share_of = map(max, zip(*pairs, strict=True)), max(d / most for d, most in pairs)
        measured = f"{difference:.1e}, at most {100 * share_of:.2g} % of a case's limit"
        expected = f"rounding, by each case's own limit (up to {limit:.1e})"
        found.append(
            Statement(f"{what}: largest difference", measured, expected, share_of <= 1 and limit <= SMALL)
        )
    return found + [
        Statement(
            f"counter-example, {name}: smallest difference", f"{d:.2g}", f"at least {LARGE:g}", d >= LARGE
        )
        for name, d in broken.items()
    ]


def attention_findings(seed: int = 42, cases: int = 200) -> Section:
    """Put the identities to the test on heads of random sizes drawn from the seed, and draw one."""
    title = "Rank of A; probabilities of a head, its twin and a head with a singular B"
    alt = (
        "Left: singular values of A on a logarithmic axis, with the limit of rounding. Right: attention "
        "probabilities of the head, of its twin under an invertible B, and with a singular B."
    )
    figure = example_figure(Generator().manual_seed(seed), title)
    return Section(
        key="self-attention",
        title="Self-attention",
        asked="With P = softmax(X W_Q W_K^T X^T), show that P depends on W_Q and W_K only through A = W_Q W_K^T, "
        "of rank at most d, and that a twin with W_Q B and W_K B^{-T} has the same P for any invertible B.",
        answer=(
            "X W_Q (X W_K)^T = X (W_Q W_K^T) X^T, and rank(W_Q W_K^T) is at most that of W_Q, at most d. With B, "
            "A' = W_Q B (W_K B^{-T})^T = W_Q B B^{-1} W_K^T = A. So the 2 n d weights have d^2 directions too "
            "many, those of B. Dividing the scores by sqrt(d), as is usual, does the same to both heads.",
        ),
        statements=tuple(statements(Generator().manual_seed(seed), cases)),
        pictures=(Picture("self-attention", title, alt, figure),),
        command="python -m src.theory attention",
    )


def example_figure(generator: Generator, title: str, size: int = 24, width: int = 6) -> Figure:
    """A's singular values at the left; P of a head, of its twin and with a singular B at the right."""
    head, change = draw_head(generator, 8, size, width), draw_change(generator, width, 10)
    broken = head.counterexamples(change, generator)["B singular"]
    maps = {"head": head, "twin, invertible B": head.twin(change), "singular B": broken}
    values = torch.linalg.svdvals(head.product).clamp_min(math.ulp(0.0))
    with figures.look():
        figure, ((plot, *others),) = figures.subplots(
            1, 4, height=3.1, gridspec_kw={"width_ratios": [1.45, 1, 1, 1]}
        )
        plot.semilogy(range(1, width + 1), values[:width], "o", ms=4)
        plot.semilogy(range(width + 1, size + 1), values[width:], "D", ms=3.5)
        plot.axhline(head.rank_limit(), color=figures.DARK, lw=1, ls="--")
        plot.text(size, head.rank_limit() * 1.8, "limit of rounding", ha="right", fontsize=8)
        plot.set(xlabel="Singular value, by size", ylabel="Singular value of A")
        plot.set_title(f"n = {size}, d = {width}, float64", fontsize=9)
        for axes, (name, each) in zip(others, maps.items(), strict=True):
            image = axes.imshow(each.from_weights().numpy(), vmin=0, vmax=0.5, cmap=figures.SEQUENTIAL)
            axes.grid(False)
            axes.set_title(name, fontsize=9)
            axes.set_xlabel("Key's position")
        others[0].set_ylabel("Query's position")
        figure.colorbar(image, ax=others, label="Probability", shrink=0.62, pad=0.02, extend="max")
        figures.title(figure, title)
    return figure
