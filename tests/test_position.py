"""Positions: the right place, for any grid, and nothing else of the regions changed."""

import math

import pytest
import torch

from src.captioning.position import FREQUENCIES, POSITION_DIM, append_positions


@pytest.mark.parametrize("grid", [(2, 3), (1, 1), (8, 8)])
def test_every_region_is_told_from_every_other_and_keeps_its_features(grid: tuple[int, int]) -> None:
    regions = torch.randn(2, grid[0] * grid[1], 5)
    found = append_positions(regions, grid)
    assert found.shape == (2, grid[0] * grid[1], 5 + POSITION_DIM)
    assert torch.equal(found[..., :5], regions)
    assert torch.equal(found[0, :, 5:], found[1, :, 5:])
    assert len({tuple(row) for row in found[0, :, 5:].round(decimals=4).tolist()}) == grid[0] * grid[1]


def test_rows_are_vertical() -> None:
    places = append_positions(torch.zeros(1, 6, 0), (2, 3))[0]
    # sin(pi / 2 * y), sin(pi / 2 * x) of the lower left region of 2 rows and 3 columns: y = 0.5, x = -2/3
    assert FREQUENCIES[0] == 0.5
    expected = [math.sin(math.pi / 4), math.sin(-math.pi / 3)]
    torch.testing.assert_close(places[3, :2], torch.tensor(expected))
