"""The short form: what is damaged is noticed, and no number is wrong in silence."""

import random
import shutil
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from tests.damage.__main__ import table
from tests.damage.cases import BAD, GOOD, Case, Outcome, cases, run_case
from tests.damage.harm import KINDS
from tests.damage.worlds import World, build, train

COUNT, SEED = 16, 1


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> list[World]:
    return build(tmp_path_factory.mktemp("worlds"))


def test_whatever_is_damaged_is_made_again_or_named(worlds: list[World], tmp_path: Path) -> None:
    ended: list[tuple[Case, Outcome]] = []
    for case in cases(worlds, COUNT, SEED):
        ended.append((case, run_case(case, SEED, tmp_path / "case")))
    print(table(ended))
    assert [f"{case}: {outcome.end}: {outcome.said}" for case, outcome in ended if outcome.end in BAD] == []
    counts = Counter(outcome.end for _, outcome in ended)
    assert all(counts[end] for end in GOOD)


def test_another_image_by_the_same_name_stops_a_run_that_goes_on(worlds: list[World], tmp_path: Path) -> None:
    (world,) = [world for world in worlds if world.name == "unfinished captioner"]
    home = Path(shutil.copytree(world.home, tmp_path / "home"))
    image = home / "squares" / "images" / "2.png"
    Image.new("RGB", (64, 64), "red").save(image)  # whole, so that nothing else can notice
    results = train(world.plan(home), lambda _: None)
    assert results["status"] == "failed"
    assert results["cause"].startswith(
        f"CaptionDataError: the image {image} has changed since this run began"
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("data", [b"7", b"0.25", b"\x00" * 1000, b"text without digits"])
def test_harm_always_changes_something(kind: str, data: bytes) -> None:
    rng = random.Random(0)
    assert all(KINDS[kind](data, rng) != data for _ in range(200))
