"""The pointing game against a case worked out by hand."""

from pathlib import Path

import pytest
import torch

from src.captioning.captioned import CaptionedImage, NamedObject
from src.captioning.metrics import pointing_game

LEFT_HALF = NamedObject(("plane", "planes"), (0.0, 0.0, 0.5, 1.0))
UPPER_RIGHT = NamedObject(("tree",), (0.5, 0.0, 1.0, 0.5))


def image(*objects: NamedObject) -> CaptionedImage:
    return CaptionedImage("1.png", Path("1.png"), "test", (("a",),), objects)


def weights(*peaks: int) -> torch.Tensor:
    """(T, 4) with the peak of each word's weights at the given region of a grid of 2x2."""
    return torch.eye(4)[list(peaks)]


def test_hits_and_chance_of_a_grid_of_two_by_two() -> None:
    # regions: 0 upper left, 1 upper right, 2 lower left, 3 lower right
    game = pointing_game(
        [image(LEFT_HALF, UPPER_RIGHT), image(LEFT_HALF)],
        [("a", "plane", "beside", "tree"), ("planes", "tree")],
        {0: weights(0, 2, 0, 2), 1: weights(3, 1)},
        (2, 2),
    )
    # plane at 2: hit; tree at 2: miss; planes at 3: miss; the second image's tree names nothing in it
    assert game == {
        "hits": 1,
        "words": 3,
        "rate": pytest.approx(1 / 3),
        "chance": pytest.approx((0.5 + 0.25 + 0.5) / 3),
        "times_chance": pytest.approx((1 / 3) / (1.25 / 3)),
    }


def test_rows_come_before_columns() -> None:
    top = NamedObject(("roof",), (0.0, 0.0, 1.0, 0.3))
    for peak, hits in ((2, 1), (3, 0)):  # a grid of 2 rows, 3 columns: region 2 is the upper right one
        peaked = torch.eye(6)[[peak]]
        game = pointing_game([image(top)], [("roof",)], {0: peaked}, (2, 3))
        assert game is not None
        assert game["hits"] == hits


def test_what_covers_most_of_the_image_or_names_nothing_does_not_count() -> None:
    sea, all_of_it = (NamedObject(("sea",), (0.0, 0.0, 1.0, bottom)) for bottom in (0.8, 1.0))
    game = pointing_game([image(sea, UPPER_RIGHT)], [("sea", "tree")], {0: weights(0, 1)}, (2, 2))
    assert game is not None
    assert game["words"] == 1
    for objects in ((all_of_it,), ()):
        assert pointing_game([image(*objects)], [("sea",)], {0: weights(0)}, (2, 2)) is None
    crumb = NamedObject(("sea",), (0.4, 0.4, 0.6, 0.6))  # between the centres: it can only be missed
    game = pointing_game([image(crumb)], [("sea",)], {0: weights(0)}, (2, 2))
    assert game == {"hits": 0, "words": 1, "rate": 0, "chance": 0, "times_chance": None}
