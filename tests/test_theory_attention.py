"""Self-attention's identities hold over random sizes, within bounds on rounding; counter-examples break."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src.report.self_attention import section
from src.report.sources import Sources
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
from src.theory.attention_check import LARGE, check, draw_change, draw_head
from src.theory.attention_plot import example, example_title

sizes = st.integers(4, 40).flatmap(lambda n: st.tuples(st.integers(4, 24), st.just(n), st.integers(1, n)))
seeds = st.integers(0, 2**31)
conditions = st.floats(0, 4).map(lambda power: 10**power)
many = settings(deadline=None, max_examples=60)


def drawn(seed: int, size: tuple[int, int, int], scaled: bool = False) -> tuple[torch.Generator, Head]:
    generator = torch.Generator().manual_seed(seed)
    return generator, draw_head(generator, *size, scaled=scaled)


@many
@given(seeds, sizes, st.booleans())
def test_probabilities_depend_on_the_product_alone(
    seed: int, size: tuple[int, int, int], scaled: bool
) -> None:
    _, head = drawn(seed, size, scaled)
    limit = forms_limit(head)
    assert apart(head.from_weights(), head.from_product()) <= limit < 1e-9
    torch.testing.assert_close(head.from_weights().sum(1), torch.ones(size[0], dtype=torch.float64))
    values = torch.linalg.svdvals(head.product)
    assert int((values > head.rank_limit()).sum()) == size[2]  # <= d, and d itself for drawn weights
    assert int(torch.linalg.matrix_rank(head.product)) == size[2]


@many
@given(seeds, sizes, conditions, st.booleans())
def test_an_invertible_change_leaves_the_probabilities_alone(
    seed: int, size: tuple[int, int, int], condition: float, scaled: bool
) -> None:
    generator, head = drawn(seed, size, scaled)
    change = draw_change(generator, size[2], condition)
    twin = head.transformed(change)
    assert apart(head.from_weights(), twin.from_weights()) <= heads_limit(head, twin, change) < 1e-6
    torch.testing.assert_close(head.product, twin.product, rtol=1e-9, atol=1e-9)


@many
@given(seeds, sizes)
def test_counter_examples_break_it(seed: int, size: tuple[int, int, int]) -> None:
    generator, head = drawn(seed, size)
    change = draw_change(generator, size[2], 100)
    for broken in (
        with_singular_change(head, singular(change)),
        with_other_key(head, generator),
        with_untransposed_change(head, 2 * change),
    ):
        assert apart(head.from_weights(), broken.from_weights()) > max(LARGE, 1e5 * forms_limit(head))


def test_only_an_orthogonal_change_may_forget_the_inverse() -> None:
    generator, head = drawn(3, (10, 12, 5))
    turn = draw_change(generator, 5, 1)
    same = with_untransposed_change(head, turn)
    assert apart(head.from_weights(), same.from_weights()) < 1e-14


def test_a_change_that_is_singular_to_the_last_digit_is_refused() -> None:
    _, head = drawn(0, (4, 6, 2))
    with pytest.raises(torch.linalg.LinAlgError):
        head.transformed(torch.zeros(2, 2, dtype=torch.float64))


def test_probabilities_are_those_of_the_formula_written_out() -> None:
    _, head = drawn(1, (5, 7, 3), scaled=True)
    x, q, k = head.inputs.tolist(), head.query.tolist(), head.key.tolist()

    def times(row: list[float], weights: list[list[float]]) -> list[float]:
        return [sum(a * weights[i][j] for i, a in enumerate(row)) for j in range(3)]

    for i, row in enumerate(x):
        scores = [
            sum(a * b for a, b in zip(times(row, q), times(other, k), strict=True)) / math.sqrt(3)
            for other in x
        ]
        total = sum(map(math.exp, scores))
        assert head.from_weights()[i].tolist() == pytest.approx(
            [math.exp(s) / total for s in scores], abs=1e-14
        )
    query, key = head.inputs @ head.query, head.inputs @ head.key
    values = torch.eye(5, dtype=torch.float64)
    expected = torch.nn.functional.scaled_dot_product_attention(query[None], key[None], values[None])
    assert apart(head.from_weights(), expected[0]) < 1e-14


def test_scaling_changes_the_probabilities_but_not_the_statements() -> None:
    _, head = drawn(2, (6, 8, 4))
    scaled = Head(head.inputs, head.query, head.key, scaled=True)
    assert apart(head.from_weights(), scaled.from_weights()) > LARGE


@many
@given(seeds, st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(2), st.just(n), st.integers(1, n))))
def test_weights_move_the_product_in_as_many_directions_as_there_are(
    seed: int, size: tuple[int, int, int]
) -> None:
    _, n, d = size
    assert free_directions(drawn(seed, size)[1]) == 2 * n * d - d * d


def test_the_whole_check_holds_and_repeats_itself() -> None:
    checked = check(seed=7, cases=40)
    assert [statement for statement in checked.statements() if not statement.holds] == []
    assert check(seed=7, cases=40) == checked
    assert checked.cases == checked.full_rank == 40


def test_a_head_that_computes_something_else_does_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Head.from_product

    def off(self: Head) -> Tensor:
        return honest(self) + 1e-10

    monkeypatch.setattr(Head, "from_product", off)
    failed = [statement.what for statement in check(cases=20).statements() if not statement.holds]
    assert len(failed) == 1
    assert "softmax(X A X^T)" in failed[0]


def test_the_title_follows_the_numbers() -> None:
    drawn_example = example(seed=5)
    assert "of rank 6 = d; an invertible B leaves the probabilities alone" in example_title(drawn_example)
    other = type(drawn_example)(**{**vars(drawn_example), "twin": drawn_example.broken})
    assert "an invertible B changes the probabilities" in example_title(other)


def test_section_needs_nothing_but_a_seed() -> None:
    found = section(Sources())
    assert found.missing == ()
    assert all(statement.holds for statement in found.statements)
    assert found.tables[0].rows[0][0] == "1e+00"
