"""Equivariance: what commutes is at rounding level, what does not is far above interpolation's own error."""

import math
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src.classification.networks import ConvNet
from src.figures import save
from src.theory import equivariance_findings as findings
from src.theory.equivariance import (
    convolution,
    equivariance_error,
    framed,
    moved,
    pooled,
    relative_error,
    shift,
    statements,
    turn,
    zoom,
)

NOISE = torch.rand(2, 1, 24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
SMOOTH = framed(torch.nn.functional.interpolate(NOISE[..., :6, :6], size=(28, 28), mode="bicubic"))


def kernels(seed: int, count: int = 3, side: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, 1, side, side, generator=generator, dtype=torch.float64)


@settings(max_examples=25, deadline=None)
@given(st.integers(-8, 8), st.integers(-8, 8), st.sampled_from([1, 3, 5]), st.integers(0, 10**6))
def test_convolution_commutes_with_shifts(rows: int, columns: int, side: int, seed: int) -> None:
    layer, images = convolution(kernels(seed, side=side)), framed(NOISE, 48)
    for motion in (shift(rows, columns), shift(rows / 4, columns / 4)):
        assert equivariance_error(layer, images, motion) <= 1e-12
    rolled = layer(NOISE.roll((rows, columns), (2, 3)))  # circular: no border anywhere
    assert relative_error(rolled, layer(NOISE).roll((rows, columns), (2, 3))) <= 1e-12


@settings(max_examples=20, deadline=None)
@given(st.integers(-3, 3), st.integers(-3, 3), st.sampled_from([2, 4]), st.integers(0, 10**6))
def test_pooling_commutes_with_whole_strides_only(rows: int, columns: int, window: int, seed: int) -> None:
    layer = pooled(convolution(kernels(seed)), window)
    rows, columns = rows * window // 2, columns * window // 2  # half strides and whole ones
    error = equivariance_error(layer, framed(NOISE, 48), shift(rows, columns))
    assert error > 0.05 if rows % window or columns % window else error <= 1e-12


def test_movements_go_where_they_say() -> None:
    assert torch.allclose(moved(NOISE, shift(2, -3))[:, :, 2:, :-3], NOISE[:, :, :-2, 3:])
    for quarters in range(4):
        assert torch.allclose(moved(NOISE, turn(90 * quarters)), NOISE.rot90(quarters, (2, 3)))
    wide = NOISE[..., :10]  # sides of two lengths
    assert torch.allclose(moved(wide, turn(180)), wide.flip(2, 3))
    dot = torch.zeros(1, 1, 9, 9, dtype=torch.float64)
    dot[..., 4, 6] = 1
    assert moved(dot, zoom(2)).flatten().argmax() == 4 * 9 + 8
    cells = torch.nn.functional.max_pool2d(NOISE, 2)
    assert torch.allclose(moved(cells, shift(4, 0), stride=2)[:, :, 2:], cells[:, :, :-2])


def test_known_errors() -> None:
    right = torch.tensor([1.0, 3.0, 5.0, 3.0]).reshape(1, 1, 2, 2)
    left = right + torch.tensor([2.0, 0.0, 0.0, 0.0]).reshape(1, 1, 2, 2)
    assert relative_error(left, right) == pytest.approx(math.sqrt(4 / 8))
    assert relative_error(right.mean().expand_as(right), right) == pytest.approx(1)
    spot = torch.zeros(1, 1, 16, 16, dtype=torch.float64)
    spot[..., 4, 4] = 1  # in the corner of a window of 4 x 4
    layer = pooled(convolution(torch.ones(1, 1, 1, 1, dtype=torch.float64)), 4)
    changes = [relative_error(layer(spot.roll(step, 3)), layer(spot)) for step in range(5)]
    assert changes[:4] == [0, 0, 0, 0]
    assert changes[4] > 1


def test_the_answers_of_two_classifiers_that_are_known() -> None:
    images = torch.zeros(40, 1, 28, 28)
    labels = torch.arange(40) % 2
    images[torch.arange(40), 0, 14, 7 + 14 * labels] = 1  # left or right of the middle

    def where(given: Tensor) -> Tensor:  # sees the half that is brighter
        return torch.stack([given[..., :14].sum((1, 2, 3)), given[..., 14:].sum((1, 2, 3))], 1)

    shifts = findings.answers_panel(where, images, labels, "shift (pixels)")
    at = dict(zip(shifts.sizes, shifts.curves["same class"], strict=True))
    assert (at[1], at[6]) == (1, 1)
    # By 8, the left ones move over in one direction of four; the right ones, in one, too, and out in another.
    assert at[8] == pytest.approx(0.625)
    turns = findings.answers_panel(where, images, 1 - labels, "turn (degrees)")
    assert (turns.curves["same class"][-1], turns.curves["right class"][-1]) == (0, 1)
    assert turns.bands["same class"][-1] == 0


def test_statements_hold_and_can_fail() -> None:
    images = SMOOTH[:, :, 8:56, 8:56]
    assert [found.what for found in statements(images, kernels(3)) if not found.holds] == []
    blind = torch.ones(1, 1, 3, 3, dtype=torch.float64)  # commutes with turns by 90 degrees
    failed = [found.what for found in statements(images, blind) if not found.holds]
    assert "convolution: a turn by 90 degrees" in failed


def test_findings_with_and_without_a_classifier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "MAPS", 1)
    monkeypatch.setattr(
        findings, "KINDS", {name: (sizes[2:5], motions) for name, (sizes, motions) in findings.KINDS.items()}
    )
    names = ["equivariance-errors", "equivariance-pooling", "equivariance-strip", "equivariance-classifier"]
    without = findings.equivariance_findings()
    assert [picture.name for picture in without.pictures] == names[:3]
    network = ConvNet(dropout=0.3, image_size=(1, 28, 28), classes=10).eval()
    images, labels = torch.rand(40, 1, 28, 28), torch.arange(40) % 10
    found = findings.equivariance_findings(images=images, labels=labels, network=network)
    assert [len(table.rows) for table in found.tables] == [9, 9]
    assert [picture.name for picture in found.pictures] == names
    assert save(found.pictures[-1].figure, tmp_path / "picture")[0].stat().st_size > 5000
