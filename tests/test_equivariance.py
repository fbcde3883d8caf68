"""Equivariance: what commutes is at rounding level, what does not is far above interpolation's own error."""

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from src.figures import save
from src.report.equivariance import section
from src.report.sources import Missing, Sources
from src.theory.equivariance import (
    Layer,
    convolution,
    convolved,
    equivariance_error,
    invariance_error,
    largest_error,
    moved_along_error,
    pooled,
    quarter_turn_error,
    relative_error,
    repetition_error,
    sides,
    statements,
)
from src.theory.equivariance_curves import CONVOLUTION, POOLING, error_panels
from src.theory.equivariance_plots import errors_title
from src.theory.invariance import invariance, rate
from src.theory.kernels import drawn_images, edge, gaussian, random_kernels, turned_mean
from src.theory.transforms import Motion, moved, repeated, share_cut_off, shift, turn, zoom
from tests.made_up_data import write_data_set

IMAGES = drawn_images(seed=1, count=6)
NOISE = torch.rand(4, 1, 28, 28, dtype=torch.float64, generator=torch.Generator().manual_seed(5))


@settings(max_examples=25, deadline=None)
@given(
    st.integers(-8, 8),
    st.integers(-8, 8),
    st.sampled_from([1, 3, 5, 7]),
    st.booleans(),
    st.integers(0, 10**6),
)
def test_a_convolution_commutes_with_shifts(
    rows: int, columns: int, side: int, single: bool, seed: int
) -> None:
    precision, limit = (torch.float32, 1e-5) if single else (torch.float64, 1e-12)
    layer = convolution(random_kernels(seed, 3, side).to(precision))
    for motion in (shift(rows, columns), shift(rows / 4, columns / 4)):
        assert largest_error(*sides(layer, NOISE.to(precision), motion)) <= limit


@settings(max_examples=20, deadline=None)
@given(st.integers(-3, 3), st.integers(-3, 3), st.sampled_from([2, 4]), st.integers(0, 10**6))
def test_pooling_commutes_with_whole_strides_only(rows: int, columns: int, window: int, seed: int) -> None:
    layer = pooled(convolution(random_kernels(seed, 3)), window)
    rows, columns = rows * window // 2, columns * window // 2  # half strides and whole ones
    error = equivariance_error(layer, NOISE, shift(rows, columns))
    if rows % window or columns % window:
        assert error > 0.05
    else:
        assert error <= 1e-12


def test_padding_that_leaks_in_is_an_error_at_the_border() -> None:
    kernels = random_kernels(3)
    leaky = Layer("zero-padded", lambda images: F.conv2d(images, kernels, padding=1))
    # The border must differ from padding, or nothing could leak.
    bright = 1 - 0.5 * NOISE
    assert equivariance_error(convolution(kernels), bright, shift(0, 3)) <= 1e-12
    assert equivariance_error(leaky, bright, shift(0, 3)) > 0.05


def test_exactly_the_places_that_saw_the_image_alone_are_compared() -> None:
    left, right = sides(convolution(random_kernels(3, 1, 5)), NOISE, shift(3, -2))
    known = (left.isfinite() & right.isfinite())[0, 0]
    assert known.sum() == (28 - 4 - 3) * (28 - 4 - 2)
    assert known[5:26, 2:24].all()
    assert pooled(convolution(random_kernels(3, 1)), 2).of(NOISE).isfinite()[0, 0].sum() == 12 * 12
    with pytest.raises(ValueError, match="leaves no place"):
        equivariance_error(convolution(random_kernels(3)), NOISE, shift(0, 27))
    with pytest.raises(ValueError, match="constant"):
        equivariance_error(convolution(random_kernels(3)), torch.ones(2, 1, 28, 28), shift(0, 1))


@settings(max_examples=15, deadline=None)
@given(st.floats(20, 70), st.floats(1.3, 1.8), st.integers(0, 10**6))
def test_turns_and_zooms_do_not_commute_beyond_interpolation(angle: float, factor: float, seed: int) -> None:
    layer = convolution(random_kernels(seed, 8))
    for motion in (turn(angle), zoom(factor)):
        control = moved_along_error(gaussian, IMAGES, motion)
        assert control < 0.01
        assert equivariance_error(layer, IMAGES, motion) > 5 * control
        # One kernel, moved along or not: smoothness is the same, only the direction or the width is wrong.
        assert equivariance_error(convolution(edge()), IMAGES, motion) > 5 * moved_along_error(
            edge, IMAGES, motion
        )
    assert equivariance_error(convolution(gaussian()), IMAGES, turn(angle)) < 0.01
    assert equivariance_error(convolution(gaussian()), IMAGES, zoom(factor)) > 0.02


def test_without_interpolation() -> None:
    kernels = random_kernels(7)
    layer = convolution(kernels)
    assert quarter_turn_error(layer, IMAGES) > 0.1
    assert quarter_turn_error(convolution(turned_mean(kernels)), IMAGES) <= 1e-12
    assert quarter_turn_error(pooled(convolution(turned_mean(kernels)), 2), IMAGES) <= 1e-12
    assert repetition_error(layer, IMAGES) > 0.1
    assert repetition_error(convolution(random_kernels(7, side=1)), IMAGES) <= 1e-12
    assert torch.equal(repeated(IMAGES)[..., ::2, 1::2], IMAGES)


def test_known_errors() -> None:
    right = torch.tensor([1.0, 3.0, math.nan, 5.0]).reshape(1, 1, 2, 2)
    left = torch.tensor([2.0, 3.0, 9.0, math.nan]).reshape(1, 1, 2, 2)
    assert relative_error(left, right) == pytest.approx(math.sqrt(1 / 2))  # 1^2 / (1^2 + 1^2)
    assert relative_error(right + 7, right + 7) == 0
    mean = right.nanmean().expand_as(right)
    assert relative_error(mean, right) == pytest.approx(1)
    kernel = torch.zeros(1, 1, 3, 3, dtype=torch.float64)
    kernel[..., 1, 1] = 2
    assert torch.equal(convolved(NOISE, kernel)[..., 1:-1, 1:-1], 2 * NOISE[..., 1:-1, 1:-1])
    assert invariance_error(convolution(kernel), NOISE, shift(0, 0)) == 0


def test_movements_go_where_they_say() -> None:
    assert torch.equal(moved(IMAGES, shift(2, -3), beyond=0)[:, :, 2:, :-3], IMAGES[:, :, :-2, 3:])
    for quarters in range(4):
        assert torch.allclose(moved(IMAGES, turn(90 * quarters), beyond=0), IMAGES.rot90(quarters, (2, 3)))
    steps = torch.arange(28, dtype=torch.float64) - 13.5
    row, column = steps[:, None].expand(28, 28), steps[None].expand(28, 28)

    def quadratic(r: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        return (1 + 0.3 * r - 0.2 * c + 0.05 * r * c + 0.02 * r**2 - 0.04 * c**2)[None, None]

    # Keys' interpolation is exact for polynomials of degree 2.
    for motion in (turn(33), zoom(1.3), zoom(0.8), shift(0.25, -1.5), Motion(turn(20).matrix, (1.5, -0.7))):
        (a, b), (c, d) = motion.inverse().matrix
        down, right = motion.inverse().offset
        source = quadratic(a * row + b * column + down, c * row + d * column + right)
        got = moved(quadratic(row, column), motion)
        assert got.isfinite().sum() > 200
        assert torch.where(got.isfinite(), got - source, 0.0).abs().max() < 1e-9
    with pytest.raises(ValueError, match="zoom by 0 "):
        zoom(0)


def test_what_is_cut_off() -> None:
    image = torch.zeros(1, 1, 28, 28)
    image[..., 10, 25] = 3
    image[..., 10, 5] = 1
    assert share_cut_off(image, shift(0, 2)).item() == 0
    assert share_cut_off(image, shift(0, 3)).item() == pytest.approx(0.75)
    assert share_cut_off(image, zoom(1.5)).item() == pytest.approx(0.75)


def test_the_answers_of_two_classifiers_that_are_known() -> None:
    images = torch.zeros(40, 1, 28, 28)
    labels = torch.arange(40) % 2
    images[torch.arange(40), 0, 14, 7 + 14 * labels] = 1  # left or right of the middle

    def where(moved_images: torch.Tensor) -> torch.Tensor:  # sees the half that is brighter
        return torch.stack([moved_images[..., :14].sum((1, 2, 3)), moved_images[..., 14:].sum((1, 2, 3))], 1)

    def whether(moved_images: torch.Tensor) -> torch.Tensor:  # sees brightness alone
        light = moved_images.sum((1, 2, 3))
        return torch.stack([light, -light], 1)

    still, six, seven = invariance(where, images, labels, "shift", (0.0, 6.0, 7.0))
    assert (still.agreement.value, still.accuracy.value, still.change) == (1, 1, 0)
    assert six.agreement.value == 1
    # By 7, the left ones move over in one direction of four; the right ones, at 21, move to 14 or out, at 28.
    assert seven.agreement.value == pytest.approx((20 * 3 + 20 * 3) / 160)
    assert seven.whole.value == pytest.approx((20 * 3 + 20 * 3) / 140)
    half_turn = invariance(where, images, labels, "turn", (180.0,))[0]
    assert half_turn.agreement.value == half_turn.accuracy.value == 0
    assert half_turn.change == pytest.approx(2)
    assert invariance(whether, images, labels, "shift", (3.0,))[0].agreement.value == 1


def test_the_interval_counts_images_and_not_answers() -> None:
    hits = torch.arange(100) < 80
    one = rate(hits[None], torch.ones(1, 100, dtype=torch.bool))
    assert one.value == pytest.approx(0.8)
    assert one.half == pytest.approx(1.96 * math.sqrt(0.8 * 0.2 / 99))
    four = rate(hits.expand(4, 100), torch.ones(4, 100, dtype=torch.bool))  # the same answers four times over
    assert four.half == pytest.approx(one.half)
    assert str(rate(hits[None], (torch.arange(100) < 29)[None])) == "too few"


def test_statements_hold_and_can_fail() -> None:
    found, table = statements(IMAGES)
    assert [statement.what for statement in found if not statement.holds] == []
    assert statements(IMAGES) == (found, table)
    assert all(len(row) == len(table.columns) for row in table.rows)
    blind, _ = statements(IMAGES, kernels=gaussian())  # commutes with turns
    failed = [statement.what for statement in blind if not statement.holds]
    assert any("90 degrees" in what for what in failed)
    assert any("45 degrees" in what for what in failed)


def test_the_title_says_what_was_measured() -> None:
    panels = error_panels(IMAGES[:2], random_kernels(1, 4))
    assert errors_title(panels).startswith(
        "A convolution commutes with shifts up to rounding, with pooling 2 x 2 only"
    )
    shifts = panels[0]
    broken = tuple(
        replace(curve, errors=(0.4,) * len(curve.sizes)) if curve.name in (CONVOLUTION, POOLING) else curve
        for curve in shifts.curves
    )
    title = errors_title((replace(shifts, curves=broken), *panels[1:]))
    assert title.startswith("A convolution's error at shifts reaches 4.0e-01")
    assert "only with even" not in title


def test_the_section_without_data_and_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.report.equivariance.MAPPED", 3)
    found = section(Sources(sweep=tmp_path / "none", data=tmp_path / "none"))
    assert len(found.missing) == 2
    assert all("make " in sentence for sentence in found.missing)
    assert [picture.name for picture in found.pictures] == [
        "equivariance-errors",
        "equivariance-strip",
        "equivariance-pooling",
    ]
    assert "random kernels" in found.answer[0]
    assert "drawn images" in found.answer[0]
    assert all(statement.holds for statement in found.statements)


class Untrained(Sources):
    """A classifier that no run trained."""

    def classifier(self, run: object = None) -> "object":  # type: ignore[override]
        from src.classification.module import Classifier

        torch.manual_seed(1)
        return Classifier(dropout=0.3, lr=0.1).eval()


def test_the_section_with_data_and_a_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.report.equivariance.MAPPED", 2)
    monkeypatch.setattr("src.report.equivariance.JUDGED", 40)
    write_data_set(tmp_path / "FashionMNIST" / "raw", train=10, test=60)
    sources = Untrained(data=tmp_path)
    found = section(sources)
    assert found.missing == ()
    assert [len(table.rows) for table in found.tables] == [15, 16]
    assert found.tables[1].rows[0][1] == "1.000 ± 0.000"  # unmoved
    assert found.pictures[-1].name == "equivariance-classifier"
    assert re.search(r"unmoved: 0\.\d+", found.answer[1])
    for path in save(found.pictures[-1].figure, tmp_path / "picture"):
        assert path.stat().st_size > 5000
    with pytest.raises(Missing):
        sources.best_run()
