"""Deep filters: planted detectors whose answers are known, and the packaged encoder's places."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from src.captioning.captioned import NamedThing
from src.filters import deep, deep_study, moving
from src.filters.image_sets import ImageSet


def spots(centres: Tensor, side: int = 64) -> Tensor:
    """Images (P, 1, S, S), black but for a bright square of 5x5 at each centre (fractions)."""
    images = torch.zeros(len(centres), 1, side, side)
    for image, (x, y) in zip(images, (centres * side).long().tolist(), strict=True):
        image[0, y - 2 : y + 3, x - 2 : x + 3] = 1.0
    return images


def test_the_peak_of_a_planted_detector_follows_the_object() -> None:
    centres = moving.positions(4)
    detector = nn.Conv2d(1, 1, 5, padding=2, bias=False)
    nn.init.constant_(detector.weight, 1 / 25)
    with torch.no_grad():
        maps = detector(spots(centres))[:, 0]

    found = deep.follow(maps, centres, 64)

    assert found.distance.max() < 0.75  # half a pixel each way
    torch.testing.assert_close(found.height, torch.ones(16))
    assert found.spread == pytest.approx(0.0, abs=1e-6)
    assert 20 < found.chance < 40

    # One that always fires at the same place does not follow, and one that is silent has no even response.
    fixed = torch.zeros(16, 64, 64)
    fixed[:, 3, 5] = 1.0
    assert deep.follow(fixed, centres, 64).distance.mean() > found.chance
    assert deep.follow(torch.zeros(16, 64, 64), centres, 64).spread == float("inf")


def test_spread_is_the_coefficient_of_variation() -> None:
    maps = torch.zeros(2, 4, 4)
    maps[0, 1, 1], maps[1, 2, 2] = 1.0, 3.0
    found = deep.follow(maps, torch.tensor([[0.375, 0.375], [0.625, 0.625]]), 100)
    assert found.spread == pytest.approx(0.5)  # standard deviation 1 over mean 2
    torch.testing.assert_close(found.distance, torch.zeros(2))


def test_contrast_finds_the_filter_that_answers_inside_the_boxes() -> None:
    generator = torch.Generator().manual_seed(0)
    things = [
        [NamedThing(("plane", "planes"), (0.0, 0.0, 0.5, 0.5)), NamedThing(("road",), (0.5, 0.0, 1.0, 1.0))]
    ]
    maps = torch.rand(1, 3, 8, 8, generator=generator) * 0.1
    maps[0, 1, :4, :4] += 2.0  # filter 1 answers to planes
    maps[0, 2, :, 4:] += 1.0  # filter 2 to roads
    contrast = deep.Contrast(3, ("plane", "road", "river"))
    for _ in range(2):
        contrast.add(maps, things)

    inside, outside = contrast.means()
    assert inside[1, 0] == pytest.approx(float(maps[0, 1, :4, :4].mean()))
    assert outside[1, 0] == pytest.approx(float((maps[0, 1].sum() - maps[0, 1, :4, :4].sum()) / 48))
    assert contrast.scores().argmax(0)[:2].tolist() == [1, 2]
    assert torch.isneginf(contrast.scores()[:, 2]).all()  # no image shows a river
    assert deep.choose(contrast.scores(), 3)[0][0] in (1, 2)


def test_preference_and_precision_of_a_planted_filter() -> None:
    generator = torch.Generator().manual_seed(1)
    member = torch.zeros(40, 3, dtype=torch.bool)
    member[:10, 0], member[10:20, 1] = True, True  # of the third kind there is no image
    heights = torch.rand(40, 50, generator=generator)
    heights[10:20, 7] += 3.0

    scores = deep.preference(heights, member)

    assert deep.choose(scores, 1) == [(7, 1)]
    chosen = deep.choose(scores, 3)
    assert len(chosen) == 2  # the empty kind is not chosen
    assert len({kind for _, kind in chosen}) == len({filter_ for filter_, _ in chosen}) == 2
    assert deep.precision(heights[:, 7], member[:, 1], 10) == 1.0
    assert deep.precision(-heights[:, 7], member[:, 1], 10) == 0.0
    ours, others = heights[10:20, 7], torch.cat([heights[:10, 7], heights[20:, 7]])
    expected = (ours.mean() - others.mean()) / ((ours.var() + others.var()) / 2).sqrt()
    torch.testing.assert_close(scores[7, 1], expected)


def test_pictures_differ_only_where_the_object_stands() -> None:
    empty = moving.picture(None, (0.5, 0.5), 128, seed=3).int()
    for noun in moving.OBJECTS:
        for x, y in ((0.3, 0.3), (0.7, 0.4)):
            changed = ((moving.picture(noun, (x, y), 128, seed=3).int() - empty).abs().amax(0) > 0).nonzero()
            assert len(changed) > 20, noun
            middle = changed.float().mean(0) / 128  # y, x
            assert (middle - torch.tensor([y, x])).abs().max() < 0.03, noun


@pytest.mark.parametrize("layer", deep.LAYERS[:2], ids=lambda layer: layer.when)
def test_the_encoders_places_and_fields_are_those_of_its_gradient(layer: deep.Layer) -> None:
    """The pixels that a unit sees, by its gradient, against stride, shift and field as written down."""
    from src.captioning.encoder import build_encoder

    encoder = build_encoder("efficientnet_lite0", 96)
    images = (torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0)) * 255).requires_grad_()
    maps = deep.layer_outputs(encoder, images, [layer.name])[layer.name]
    assert maps.shape[1:] == (layer.filters, 96 // layer.stride, 96 // layer.stride)
    middle = maps.shape[2] // 2
    (gradient,) = torch.autograd.grad(maps[0, :, middle, middle].square().sum(), images)
    seen = gradient.abs().sum((0, 1)).nonzero()  # (pixels, 2)

    assert layer.field is not None
    assert seen.max() - seen.min() + 1 <= layer.field
    assert seen.max() - seen.min() + 1 >= layer.field - 2  # a rectifier may hide the rim
    pixels = (seen.min() + seen.max()).item() / 2 + 0.5  # the field's middle
    place = (middle + 0.5 + layer.shift) * layer.stride
    assert abs(pixels - place) <= 1


def study_of(late_hits: float, ahead: int) -> deep_study.Study:
    """A study of two kinds with made-up numbers: how it is put into words must follow them."""
    centres = moving.positions(2)
    found = deep.Followed(torch.full((4,), 10.0), torch.ones(4), centres, 90.0)
    whens = [layer.when for layer in deep.LAYERS]
    nouns = ["tank", "plane"]
    rivals = [(0.5, "plane") if place < ahead else (2.0, "tank") for place in range(2)]
    images = ImageSet(
        "made-up images",
        [torch.zeros(3, 192, 192, dtype=torch.uint8)] * 4,
        ("tank", "plane"),
        torch.tensor([[True, False], [True, False], [False, True], [False, False]]),
        torch.ones(4, dtype=torch.bool),
        (),
    )
    favourites = [
        deep_study.Favourites(layer, 0, "tank", [0, 1, 2], torch.full((3, 2), 0.5), [True, True, False], 1.0)
        for layer in deep.LAYERS
    ]
    return deep_study.Study(
        images,
        images,
        deep_study.Preferred(favourites, dict(zip(whens, (0.1, 0.1, late_hits), strict=True)), 0.05),
        deep_study.Boxes(
            ("tank", "plane"), {when: [2.0, 3.0] for when in whens}, {when: [0, 1] for when in whens}, nouns
        ),
        deep_study.Moved(
            nouns,
            {noun: torch.zeros(4, 3, 192, 192, dtype=torch.uint8) for noun in nouns},
            centres,
            {when: [0, 1] for when in whens},
            {when: [found, found] for when in whens},
            {when: torch.rand(4, 6, 6) for when in whens},
            dict.fromkeys(whens, rivals),
        ),
        {when: torch.zeros(1, 3, 8, 8) for when in whens},
        [2.0, 2.0, 0.5],
    )


def test_the_words_follow_the_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    from src.report import deep_filters
    from src.report.sources import Sources

    monkeypatch.setattr("src.filters.image_sets.scenes_set", lambda data: None)
    for hits, ahead, parts in ((0.9, 2, 3), (0.2, 1, 1)):  # late and early boxes are alike: never the fourth
        made = study_of(hits, ahead)
        monkeypatch.setattr(deep_study, "study", lambda *_, made=made: made)
        told = deep_filters.section(Sources())

        assert f"only partly true here: {parts} of its 4 parts" in told.answer[0]
        assert [one.holds for one in told.statements] == [True, False, hits > 0.5, ahead == 2]
        assert f"{hits:.0%} of the" in " ".join(told.answer)
        assert "in 2 of 3 cases" in told.answer[-1]
        names = [picture.name for picture in told.pictures]
        assert names == ["deep-filters-favourites", "deep-filters-moved", "deep-filters-boxes"]


def test_what_is_missing_is_said_and_nothing_is_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from src.report import deep_filters, synthetic_inputs
    from src.report.sources import Sources

    monkeypatch.setattr("src.filters.image_sets.scenes_set", lambda data: None)
    monkeypatch.setattr(deep_filters, "_pictures", lambda done: ())
    monkeypatch.setattr(deep_study, "study", lambda *_: study_of(0.5, 1))
    told = deep_filters.section(Sources(aerial=tmp_path / "nowhere"))
    assert "nowhere" in told.missing[0]
    assert told.answer

    told = synthetic_inputs.section(Sources(sweep=tmp_path / "none", data=tmp_path))
    assert "make sweep" in told.missing[0]
    assert not told.pictures
