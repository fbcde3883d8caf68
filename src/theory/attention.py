"""Self-attention's scores depend on W_Q and W_K only through A = W_Q W_K^T: the identities, put to the test.

For one head, X (L, n), W_Q and W_K (n, d), d <= n:

    P = softmax(X W_Q W_K^T X^T) = softmax(X A X^T),    rank(A) <= d

and a second head with W_Q' = W_Q B and W_K' = W_K B^{-T}, B (d, d) invertible, has A' = A and the same P.
Scores may be divided by sqrt(d) (Vaswani et al. 2017); that changes P, but none of these statements.

How far two results that are equal on paper may lie apart in float64 is bounded from the matrices, not
guessed. With u = 2^-53 and gamma(k) = k u / (1 - k u), a product of matrices with inner dimensions that add
up to k is off by at most gamma(k) |A_1| ... |A_m|, element by element, and a solution X of B X = C by LU
factors solves it up to gamma(3 d) |L| |U| |X| (Higham 2002, Accuracy and Stability of Numerical Algorithms,
sections 3.5 and 9.3). Scores that are off by at most e in a row give probabilities that are off by a factor
of at most exp(2 e). A singular value is off by at most the norm of the matrix's error (Weyl).

Dimension letters: L positions, n size of an input, d size of a head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

UNIT = 2.0**-53  # half the distance of 1 to the next float64


@dataclass(frozen=True)
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
        return _softmax((self.inputs @ self.query) @ (self.inputs @ self.key).T * self.factor)

    def from_product(self) -> Tensor:
        """P (L, L) from A alone."""
        return _softmax(self.inputs @ self.product @ self.inputs.T * self.factor)

    def transformed(self, change: Tensor) -> Head:
        """The head with W_Q B and W_K B^{-T}.

        Raises:
            torch.linalg.LinAlgError: B is singular to the last digit.
        """
        key = torch.linalg.solve(change, self.key.T).T
        return Head(self.inputs, self.query @ change, key, self.scaled)

    def score_error(self) -> Tensor:
        """Bound (L, L) on what rounding does to the scores of either form, from these weights."""
        positions_in, (size, head) = self.inputs.abs(), self.query.shape
        product = positions_in @ (self.query.abs() @ self.key.abs().T) @ positions_in.T
        # 2 more: the factor, and the row's maximum that softmax takes off
        return gamma(2 * size + head + 4) * product * self.factor

    def rank_limit(self) -> float:
        """Below it, a singular value of the computed A is rounding: of A itself, and of its decomposition,
        for which n eps of the largest is usual.
        """
        error = gamma(self.query.shape[1]) * (self.query.abs() @ self.key.abs().T)
        largest = torch.linalg.matrix_norm(self.product, 2)
        return float(error.norm() + 2 * UNIT * self.query.shape[0] * largest)


def gamma(operations: int) -> float:
    """k u / (1 - k u)."""
    return operations * UNIT / (1 - operations * UNIT)


def forms_limit(head: Head) -> float:
    """How far both forms of P may lie apart by rounding."""
    return _probability_limit(2 * head.score_error())


def heads_limit(first: Head, second: Head, change: Tensor) -> float:
    """How far P of a head and of its `transformed` twin may lie apart by rounding.

    It grows with B's condition number, through W_K B^{-T}.
    """
    size = change.shape[0]
    p, lower, upper = torch.linalg.lu(change)
    solution = second.key.T.abs()  # (d, n)
    residual = gamma(3 * size) * (p @ lower.abs() @ upper.abs()) @ solution  # of the solve
    moved = (
        first.query.abs() @ residual + gamma(size) * (first.query.abs() @ change.abs()) @ solution
    )  # A' - A
    positions = first.inputs.abs()
    scores = positions @ moved @ positions.T * first.factor
    return _probability_limit(first.score_error() + second.score_error() + scores)


def _probability_limit(scores: Tensor) -> float:
    """The largest difference of two softmaxes whose scores differ by at most `scores` (L, L); at most 1."""
    worst = float(scores.max())
    own = 2 * gamma(scores.shape[1] + 4)  # exponential, sum and division of both
    return min(1.0, math.expm1(min(2 * worst, 1.0)) + own)


def _softmax(scores: Tensor) -> Tensor:
    return scores.softmax(1)


def singular(change: Tensor) -> Tensor:
    """B with its smallest singular value set to 0."""
    left, values, right = torch.linalg.svd(change)
    values[-1] = 0
    return left * values @ right


def with_singular_change(head: Head, change: Tensor) -> Head:
    """W_Q B and W_K (B^+)^T: the pseudo-inverse is the best that a singular B allows."""
    inverse = torch.linalg.pinv(change, rtol=1e-10)
    return Head(head.inputs, head.query @ change, head.key @ inverse.T, head.scaled)


def with_other_key(head: Head, generator: torch.Generator) -> Head:
    """The head with a W_K drawn anew, of the same spread."""
    other = torch.randn(head.key.shape, generator=generator, dtype=torch.float64) * head.key.std()
    return Head(head.inputs, head.query, other, head.scaled)


def with_untransposed_change(head: Head, change: Tensor) -> Head:
    """W_Q B and W_K B, the inverse forgotten: A' = W_Q B B^T W_K^T is A for an orthogonal B only."""
    return Head(head.inputs, head.query @ change, head.key @ change, head.scaled)


def apart(first: Tensor, second: Tensor) -> float:
    """The largest difference of two tensors' elements."""
    return float((first - second).abs().max())


def free_directions(head: Head) -> int:
    """In how many directions W_Q and W_K together move A: rank of A's derivative, 2 n d - d^2 in general.

    The other d^2 are the choice of B.
    """
    size, width = head.query.shape
    eye = torch.eye(size, dtype=torch.float64)
    # A_ij = sum_k Q_ik K_jk: rows of the derivative by Q_ab are delta_ia K_jb, by K_ab are Q_ib delta_ja
    by_query = torch.einsum("ia,jb->ijab", eye, head.key).reshape(size * size, size * width)
    by_key = torch.einsum("ib,ja->ijab", head.query, eye).reshape(size * size, size * width)
    return int(torch.linalg.matrix_rank(torch.cat([by_query, by_key], 1)))
