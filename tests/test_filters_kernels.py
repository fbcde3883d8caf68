"""Kernels as the protocol draws them, and what a 3x3 kernel consists of."""

import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.filters import frei_chen
from src.filters.kernel_figures import all_channels_figure, protocol_figure
from src.filters.kernels import channel_shares, channels_for_half, mosaic, place, protocol_kernels

WEIGHT = torch.randn(32, 16, 3, 3, generator=torch.Generator().manual_seed(0))


def test_protocol_kernels_are_channel_0_on_the_scale_of_the_whole_layer() -> None:
    weight = WEIGHT.clone()
    weight[5, 3, 1, 1], weight[7, 9, 0, 2] = -10.0, 30.0  # the extremes lie in other channels
    drawn = protocol_kernels(weight)
    assert drawn.shape == (32, 3, 3)
    assert torch.allclose(drawn, (weight[:, 0] + 10) / 40)
    weight[2, 0, 0, 0], weight[3, 0, 2, 2] = -20.0, 60.0
    assert (float(protocol_kernels(weight).min()), float(protocol_kernels(weight).max())) == (0.0, 1.0)
    assert protocol_kernels(torch.full((4, 1, 3, 3), 2.0)).unique().tolist() == [0.0]


def test_sheet_has_eight_kernels_a_row_in_order() -> None:
    figure = protocol_figure(WEIGHT, "kernels")
    panels = [axes for axes in figure.axes if axes.images and axes.get_title(loc="center")]
    assert [axes.get_title(loc="center") for axes in panels] == [str(number) for number in range(32)]
    rows = [axes.get_subplotspec().rowspan.start for axes in panels]  # type: ignore[union-attr]
    assert rows == [number // 8 for number in range(32)]
    for number in (0, 13, 31):
        shown = panels[number].images[0].get_array()
        assert np.allclose(shown, protocol_kernels(WEIGHT)[number])  # type: ignore[arg-type]
        assert panels[number].images[0].get_clim() == (0, 1)


def test_all_channels_stand_at_their_filter_and_channel_on_a_symmetric_scale() -> None:
    (axes, *_) = all_channels_figure(WEIGHT, "kernels").axes
    sheet = axes.images[0].get_array()
    low, high = axes.images[0].get_clim()
    assert low == -high < 0
    assert sheet is not None
    for filter_, channel in ((0, 0), (31, 2), (4, 15)):
        top, left = place(channel * 32 + filter_, 32, (3, 3))
        assert np.array_equal(sheet[top : top + 3, left : left + 3], WEIGHT[filter_, channel])
        assert axes.get_xticklabels()[filter_].get_text() == str(filter_)
        assert axes.get_xticks()[filter_] == left + 1
        assert axes.get_yticks()[channel] == top + 1


@given(count=st.integers(1, 12), across=st.integers(1, 5), gap=st.integers(0, 3))
def test_mosaic_holds_every_tile_and_nothing_else(count: int, across: int, gap: int) -> None:
    tiles = torch.arange(count * 6.0).reshape(count, 2, 3)
    sheet = mosaic(tiles, across, gap)
    assert sheet[~sheet.isnan()].sort().values.tolist() == tiles.flatten().tolist()
    top, left = place(count - 1, across, (2, 3), gap)
    assert torch.equal(sheet[top : top + 2, left : left + 3], tiles[-1])


def test_energy_of_channels() -> None:
    weight = torch.zeros(2, 4, 3, 3)
    weight[0, 1, 0, 0], weight[0, 2, 2, 2], weight[1, 2] = 1.0, 3.0, 1.0  # energies 1, 9 and 9
    assert channel_shares(weight) == pytest.approx([0, 1 / 19, 18 / 19, 0])
    assert channels_for_half(weight) == 1
    assert channels_for_half(torch.ones(2, 4, 3, 3)) == 2


def test_frei_chen_basis_is_orthonormal() -> None:
    flat = frei_chen.basis().flatten(1)
    assert torch.allclose(flat @ flat.T, torch.eye(9, dtype=torch.float64), atol=1e-15)


@given(arrays.arrays(np.float64, (4, 3, 3), elements=st.floats(-1e100, 1e100, allow_subnormal=False)))
def test_energies_sum_to_1_whatever_the_size(kernels: np.ndarray) -> None:
    found = frei_chen.shares(torch.from_numpy(kernels))
    expected = [1.0 if np.any(kernel) else 0.0 for kernel in kernels]
    assert found.sum(1).tolist() == pytest.approx(expected)
    assert float(found.min()) >= 0


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), turns=st.integers(1, 3))
def test_kinds_do_not_change_under_quarter_turns_and_sign(seed: int, turns: int) -> None:
    kernels = torch.randn(20, 3, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    turned = -torch.rot90(kernels, turns, (1, 2))
    for groups in (frei_chen.GROUPS, frei_chen.KINDS):
        here, there = (frei_chen.grouped(frei_chen.shares(k), groups) for k in (kernels, turned))
        for name in groups:
            assert torch.allclose(here[name], there[name])


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [
        ([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], "edge"),  # Sobel
        ([[1, 1, 1], [0, 0, 0], [-1, -1, -1]], "edge"),  # Prewitt
        ([[-1, 2, -1], [-1, 2, -1], [-1, 2, -1]], "line"),
        ([[0, 1, 0], [1, -4, 1], [0, 1, 0]], "line"),  # the Laplacian
        ([[1, 2, 1], [2, 4, 2], [1, 2, 1]], "average"),  # binomial blur
        ([[1, 0, 0], [0, 0, 0], [0, 0, 0]], None),  # a corner: 1/9, 4/9 and 4/9
        ([[0, 0, 0], [0, 0, 0], [0, 0, 0]], None),
    ],
)
def test_kinds_of_known_kernels(kernel: list[list[int]], kind: str | None) -> None:
    assert frei_chen.kinds(torch.tensor([kernel])) == [kind]


def test_contents_beside_random_kernels() -> None:
    initial = torch.rand(16, 3, 3, generator=torch.Generator().manual_seed(1)) - 0.5
    sobel = torch.tensor([[-1.0, 0, 1], [-(2**0.5), 0, 2**0.5], [-1, 0, 1]])
    trained = initial.clone()
    trained[:6] += 9 * sobel
    found = frei_chen.contents(trained, initial, seed=0)
    assert [round(found.shares[name].random, 2) for name in frei_chen.GROUPS] == [
        0.22,
        0.22,
        0.22,
        0.22,
        0.11,
    ]
    assert found.change["gradient"] == pytest.approx(1, abs=1e-6)
    assert sum(beside.trained for beside in found.counts.values()) == 16
    assert found.counts["edge"].trained >= 6
    assert found.cosines[6:] == pytest.approx([1.0] * 10)
    assert max(found.cosines[:6]) < 0.9
    still = frei_chen.contents(initial, initial, seed=0, layers=10)
    assert sum(still.change.values()) == 0
