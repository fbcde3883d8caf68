"""The report's question on self-attention: what the scores depend on, and what leaves them alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.findings import Picture, Section
from src.theory.attention_check import check
from src.theory.attention_plot import draw_example, example, example_alt, example_title

if TYPE_CHECKING:
    from src.report.sources import Sources


def section(sources: Sources) -> Section:
    """The identities over random sizes, counter-examples, one drawn example. Needs nothing but a seed."""
    checked = check(sources.seed)
    drawn = example(sources.seed)
    statements = checked.statements()
    wrong = sum(not statement.holds for statement in statements)
    size, width, found = checked.directions
    return Section(
        key="self-attention",
        title="Self-attention",
        asked="With P = softmax(X W_Q W_K^T X^T), show that P depends on W_Q and W_K only through A = W_Q "
        "W_K^T, of rank at most d, and that a second head with W_Q B and W_K B^{-T} gives the same P for any "
        "invertible B.",
        answer=(
            f"Over {checked.cases} heads of random sizes, "
            + (
                f"the largest difference between both forms of P is {checked.forms.difference:.1e} and "
                f"between the two heads {checked.heads.difference:.1e}, every one within its bound on "
                "rounding in float64; rank(A) never exceeds d, and every counter-example shows."
                if not wrong
                else f"{wrong} of {len(statements)} statements do not hold; see below."
            ),
            "X W_Q (X W_K)^T = X (W_Q W_K^T) X^T, and rank(W_Q W_K^T) is at most that of W_Q, at most d. "
            "With B, A' = W_Q B (W_K B^{-T})^T = W_Q B B^{-1} W_K^T = A. Dividing the scores by sqrt(d), as "
            "is usual, does the same to both heads; half of the cases do so.",
            "Where the conditions fail, P changes: in the case with the smallest change, a probability still "
            f"moves by {checked.broken['B singular']:.1g} with a singular B (its pseudo-inverse for the "
            f"inverse) and by {checked.broken['another W_K']:.1g} with another W_K; rounding stays below "
            f"{checked.heads.limit:.0e}.",
            f"So the 2 n d weights have d^2 directions too many, those of B. At n = {size}, d = "
            f"{width} the derivative of A by {2 * size * width} weights has rank {found}; 2 n d - d^2 = "
            f"{2 * size * width - width**2}.",
        ),
        statements=statements,
        tables=(checked.table(),),
        pictures=(Picture("self-attention", example_title(drawn), example_alt(drawn), draw_example(drawn)),),
        command="python -m src.theory attention",
    )
