"""The built-in caption data set: what its captions say is so, and its files are whole or not there."""

from __future__ import annotations

import json
import multiprocessing
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from nltk.translate.bleu_score import corpus_bleu
from PIL import Image

from src.captioning.scenes import ScenesMismatch, make_scenes
from src.captioning.scenes.dataset import scene_of
from src.captioning.scenes.draw import paint
from src.captioning.scenes.grammar import Caption, describe, nameable, objects_of
from src.captioning.scenes.objects import BOATS, COURTS, HALLS, PLANES, ROOFS, TANKS
from src.captioning.scenes.phrases import NOUNS, NUMBERS
from src.captioning.scenes.places import Box
from src.captioning.scenes.things import FOREST, MANY, Group, Scene, Thing

SCENES = 150
KIND_OF = {noun: kind for kind, nouns in NOUNS.items() for noun in nouns}
PALETTES = {
    "houses": ROOFS,
    "buildings": HALLS,
    "tanks": TANKS,
    "courts": COURTS,
    "planes": PLANES,
    "boats": BOATS,
}
COLOURS = ("red", "blue", "gray", "brown", "white", "green", "yellow")
PLACE = re.compile(
    r"\b(?:in|on|at) the ((?:upper|lower) (?:left|right) corner|left|right|top|bottom|middle|center)"
    r"(?: side| of the picture)?\b"
)
BACKGROUND = r"the (river|stream|road|street|runway|airstrip|harbor|port|sea|ocean|beach|pier)"
RELATION = re.compile(
    r"\b((?:on|to) the left of|(?:on|to) the right of|above|below|beside|near|next to|on|in|at) "
    rf"{BACKGROUND}\b"
)
ITS_SIDE = re.compile(r"\b(on its left|on its right|above it|below it)\b")


@pytest.fixture(scope="module")
def told() -> list[tuple[Scene, list[Caption]]]:
    return [(scene_of(3, i), describe(scene_of(3, i), np.random.default_rng(i))) for i in range(SCENES)]


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "small"
    make_scenes(folder, count=20, size=128, seed=1)
    return folder


def sayings(told: list[tuple[Scene, list[Caption]]]) -> Iterator[tuple[Scene, Caption, str]]:
    for scene, captions in told:
        for caption in captions:
            yield scene, caption, " ".join(caption.words)


def of_kind(scene: Scene, kind: str) -> Thing:
    return next(thing for thing in nameable(scene) if thing.kind == kind)


def content(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((folder / "dataset.json").read_text())
    return loaded


def every_byte(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_numbers_are_those_of_the_objects(told: list[tuple[Scene, list[Caption]]]) -> None:
    numbers = {word: count for count, word in enumerate(NUMBERS)}
    noun = "boats?|planes?|airplanes?|tanks?|courts?|buildings?|warehouses?|houses|homes|trees"
    phrase = re.compile(
        rf"\b(an?|one|two|three|four|five|six|several|many|rows of|a row of|some)"
        rf"((?: (?:small|large|colorful|storage|tennis|factory|{'|'.join(COLOURS)}))*) ({noun})\b"
    )
    checked = 0
    for scene, _, text in sayings(told):
        for number, adjectives, word in phrase.findall(text):
            group = of_kind(scene, KIND_OF[word])
            assert isinstance(group, Group)
            count = len(group.items)
            if number in ("a", "an", "one"):
                assert count == 1, text
            elif number in numbers:
                assert count == numbers[number], text
            elif number == "several":
                assert 4 <= count <= MANY, text
            elif number == "some":
                assert 4 < count < FOREST, text
            else:
                assert count >= MANY, text
            for colour in set(adjectives.split()) & set(COLOURS) - {"green"}:
                assert {item.colour for item in group.items} == {colour}, text
            if "colorful" in adjectives:
                assert len({item.colour for item in group.items}) >= 3, text
            checked += 1
    assert checked > 400
    for scene, _, text in sayings(told):
        for said in re.findall(r"\b(empty|full of|many cars|few cars|some cars)", text):
            lot = of_kind(scene, "parking")
            assert isinstance(lot, Group)
            cars = len(lot.cars)
            assert {"empty": cars == 0, "full of": cars >= 7, "many cars": cars >= 7}.get(
                said, 3 <= cars < 7
            ), text


def subject(scene: Scene, text: str, at: int) -> Thing:
    """What the words at this position are about: the last noun before them, or else the first after."""
    before = [KIND_OF[word] for word in text[:at].split() if word in KIND_OF]
    after = [KIND_OF[word] for word in text[at:].split() if word in KIND_OF]
    return of_kind(scene, before[-1] if before else after[0])


def lies(how: str, box: Box, other: Box) -> bool:
    apart = max(box[0] - other[2], other[0] - box[2], box[1] - other[3], other[1] - box[3])
    sides = {
        "left": box[2] <= other[0],
        "right": box[0] >= other[2],
        "above": box[3] <= other[1],
        "below": box[1] >= other[3],
    }
    for side, holds in sides.items():
        if side in how:
            return holds
    if how in ("beside", "near", "next to"):
        return 0 <= apart <= 0.15
    return apart <= (0.15 if how == "at" else 0)  # at the pier; on and in are within


def test_articles_go_with_the_next_word(told: list[tuple[Scene, list[Caption]]]) -> None:
    wrong = [text for _, _, text in sayings(told) if re.search(r"\ba [aeiou]|\ban [^aeiou]", text)]
    assert wrong == []


def test_relations_and_places_are_those_of_the_boxes(told: list[tuple[Scene, list[Caption]]]) -> None:
    relations = places = 0
    for scene, _, text in sayings(told):
        left = text
        while match := RELATION.search(left):
            thing = subject(scene, left, match.start())
            assert lies(match[1], thing.box, of_kind(scene, KIND_OF[match[2]]).box), text
            left = left[: match.start()] + left[match.end() :]
            relations += 1
        for match in ITS_SIDE.finditer(left):
            assert lies(match[1], subject(scene, left, match.start()).box, scene.strips[0].box), text
            relations += 1
        if match := re.search(
            r"(?:on|to) the (left|right) of (?!the )(.*)", left
        ):  # a group as seen from another
            other = of_kind(scene, next(KIND_OF[word] for word in match[2].split() if word in KIND_OF))
            assert lies(match[1], subject(scene, left, match.start()).box, other.box), text
            left = left[: match.start()]
            relations += 1
        for match in PLACE.finditer(left):
            box = subject(scene, left, match.start()).box
            x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            said = match[1]
            assert (x < 0.35) == ("left" in said), (text, box)
            assert (x > 0.65) == ("right" in said), (text, box)
            assert (y < 0.35) == ("top" in said or "upper" in said), (text, box)
            assert (y > 0.65) == ("bottom" in said or "lower" in said), (text, box)
            if "corner" in said:
                assert box[2] <= 0.5 or box[0] >= 0.5, (text, box)
                assert box[3] <= 0.5 or box[1] >= 0.5, (text, box)
            places += 1
    assert relations > 150
    assert places > 500


def test_every_named_thing_has_its_noun_and_no_other_thing_is_named(
    told: list[tuple[Scene, list[Caption]]],
) -> None:
    for scene, caption, text in sayings(told):
        words = set(caption.words)
        assert caption.named, text
        for thing in caption.named:
            assert words & set(NOUNS[thing.kind]), text
        assert {KIND_OF[word] for word in words & KIND_OF.keys()} == {
            thing.kind for thing in caption.named
        }, text
        assert {thing.kind for thing in caption.named} <= {thing.kind for thing in nameable(scene)}
        assert 3 <= len(caption.words) <= 20, text
        assert re.fullmatch(r"[a-z]+( [a-z]+)*", text), text
        assert not re.search(r"\b(is|are)( and|$)| (and|with)$", text), text


def test_captions_overlap_like_those_of_people(told: list[tuple[Scene, list[Caption]]]) -> None:
    one, others, words = [], [], set()
    for _, captions in told:
        lines = [list(caption.words) for caption in captions]
        assert len({tuple(line) for line in lines}) == 5
        for k, line in enumerate(lines):
            one.append(line)
            others.append(lines[:k] + lines[k + 1 :])
            words.update(line)
    assert 0.45 < corpus_bleu(others, one) < 0.7
    assert 100 <= len(words) <= 250


def test_objects_are_whole_apart_and_inside(told: list[tuple[Scene, list[Caption]]]) -> None:
    for scene, _ in told:
        for entry in objects_of(scene):
            x0, y0, x1, y1 = entry["box"]
            assert 0 <= x0 < x1 <= 1, entry
            assert 0 <= y0 < y1 <= 1, entry
        for group in scene.groups:
            x0, y0, x1, y1 = group.box
            for item in group.items:
                assert all(x0 <= x <= x1 and y0 <= y <= y1 for x, y in item.corners()), group
            if group.kind != "trees" or len(group.items) < FOREST:
                for a, one in enumerate(group.items):
                    for two in group.items[a + 1 :]:
                        apart = np.hypot(one.x - two.x, one.y - two.y)
                        assert apart > min(one.width, two.width) * 1.03, group
            for other in scene.groups:
                if other is not group and "boats" not in (group.kind, other.kind):
                    assert not lies("on", group.box, other.box)
            for strip in scene.strips:
                if strip.axis != "diagonal" and group.kind != "boats":
                    assert not lies("on", group.box, strip.box)


@pytest.mark.parametrize("size", [128, 256])
def test_pictures_show_the_objects_in_their_boxes_and_nothing_elsewhere(size: int) -> None:
    for index in range(12):
        scene = scene_of(5, index)
        full = paint(scene, size, np.random.default_rng(index)).astype(int)
        land = paint(replace(scene, groups=()), size, np.random.default_rng(index)).astype(int)
        bare = paint(replace(scene, groups=(), strips=(), shore=None), size, np.random.default_rng(index))
        changed = np.abs(full - land).max(axis=2) > 12  # (size, size)
        elsewhere = changed.copy()
        for group in scene.groups:
            # no more than shadows and pads around the box
            elsewhere[_inside(group.box, size, 0.045)] = False
            assert changed[_inside(group.box, size)].mean() > 0.2, (index, group.kind)
            for item in group.items:
                if group.kind not in ("lawn", "parking"):
                    spot = (item.x - 0.02, item.y - 0.02, item.x + 0.02, item.y + 0.02)
                    assert changed[_inside(spot, size)].mean() > 0.5, (index, group.kind, item)
        assert not elsewhere.any(), index
        for strip in scene.strips:
            water = np.abs(land - bare.astype(int)).max(axis=2) > 12
            points = [point for point in strip.path if min(point) > 0.02 and max(point) < 0.98]
            assert all(water[int(y * size), int(x * size)] for x, y in points), (index, strip.kind)


def _inside(box: Box, size: int, pad: float = 0.0) -> tuple[slice, slice]:
    x0, y0, x1, y1 = (
        max(0, round(edge * size)) for edge in (box[0] - pad, box[1] - pad, box[2] + pad, box[3] + pad)
    )
    return slice(y0, y1), slice(x0, x1)


def test_every_object_shows_its_colour_in_the_picture() -> None:
    right = total = 0
    for index in range(40):
        scene = scene_of(6, index)
        pixels = paint(scene, 128, np.random.default_rng(index))
        for group in scene.groups:
            palette = PALETTES.get(group.kind, {})
            for item in group.items if palette else ():
                spot = (item.x - 0.015, item.y - 0.015, item.x + 0.015, item.y + 0.015)
                seen = np.median(pixels[_inside(spot, 128)].reshape(-1, 3), axis=0)
                distances = {name: float(np.abs(seen - colour).sum()) for name, colour in palette.items()}
                right += min(distances, key=lambda name: distances[name]) == item.colour
                total += 1
    assert total > 200
    assert right / total > 0.98, (right, total)


def test_the_file_is_karpathys_layout(small: Path) -> None:
    loaded = content(small)
    assert loaded["dataset"] == "scenes"
    assert loaded["synthetic"] is True
    assert {key: loaded["generator"][key] for key in ("seed", "size", "count")} == {
        "seed": 1,
        "size": 128,
        "count": 20,
    }
    images = loaded["images"]
    assert [image["split"] for image in images] == (["train"] * 8 + ["val", "test"]) * 2
    assert [image["filename"] for image in images] == sorted(
        path.name for path in (small / "images").iterdir()
    )
    sentids = []
    for imgid, image in enumerate(images):
        assert image["imgid"] == imgid
        assert len(image["sentences"]) == 5
        assert image["sentids"] == [sentence["sentid"] for sentence in image["sentences"]]
        sentids += image["sentids"]
        for sentence in image["sentences"]:
            assert sentence["imgid"] == imgid
            assert sentence["raw"] == " ".join(sentence["tokens"])
        with Image.open(small / "images" / image["filename"]) as picture:
            assert (picture.size, picture.mode) == ((128, 128), "RGB")
    assert sentids == list(range(100))


def test_the_same_settings_give_the_same_bytes_and_a_larger_set_begins_with_a_smaller(
    small: Path, tmp_path: Path
) -> None:
    make_scenes(tmp_path / "again", count=20, size=128, seed=1)
    assert every_byte(tmp_path / "again") == every_byte(small)
    make_scenes(tmp_path / "more", count=30, size=128, seed=1)
    more, less = every_byte(tmp_path / "more"), every_byte(small)
    assert all(more[name] == less[name] for name in less if name.endswith(".png"))
    assert content(tmp_path / "more")["images"][:20] == content(small)["images"]
    make_scenes(tmp_path / "other", count=10, size=128, seed=2)
    assert content(tmp_path / "other")["images"][:10] != content(small)["images"][:10]


def test_a_finished_set_is_left_alone_and_another_is_refused(small: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in small.rglob("*")}
    drawn: list[int] = []
    make_scenes(small, count=20, size=128, seed=1, progress=drawn.append)
    others: tuple[dict[str, Any], ...] = ({"count": 10}, {"size": 256}, {"seed": 2})
    for settings in others:
        with pytest.raises(ScenesMismatch, match="already holds 20 scenes of 128 pixels, seed 1") as error:
            make_scenes(small, **{"count": 20, "size": 128, "seed": 1, **settings})
        assert "\n" not in str(error.value)
    assert drawn == []
    assert {path: path.stat().st_mtime_ns for path in small.rglob("*")} == before


def test_a_killed_drawing_is_not_taken_for_a_finished_one(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"

    def kill(done: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_scenes(folder, count=20, size=128, seed=1, progress=kill)
    assert not (folder / "dataset.json").exists()
    assert len(list((folder / "images").iterdir())) == 7
    with pytest.raises(ScenesMismatch, match="unfinished drawing of 20 scenes of 128 pixels, seed 1"):
        make_scenes(folder, count=20, size=128, seed=2)
    drawn: list[int] = []
    make_scenes(folder, count=20, size=128, seed=1, progress=drawn.append)
    assert drawn == list(range(8, 21))
    assert every_byte(folder) == every_byte(small)


def test_lost_pictures_are_drawn_again(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(small, folder)
    (folder / "images" / "00003.png").unlink()
    make_scenes(folder, count=20, size=128, seed=1)
    assert every_byte(folder) == every_byte(small)


@pytest.mark.parametrize("name", ["dataset.json", "images/dog.png"])
def test_files_of_others_are_not_touched(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "set"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text('{"dataset": "flickr8k", "images": []}')
    with pytest.raises(ScenesMismatch, match=r"another data set|not of the scenes"):
        make_scenes(folder, count=10, size=128)
    assert [path for path in folder.rglob("*") if path.is_file()] == [folder / name]


@pytest.mark.parametrize("settings", [{"count": 9}, {"count": 10**6}, {"size": 200}, {"seed": -1}])
def test_settings_out_of_range_are_named(tmp_path: Path, settings: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(settings.values())))):
        make_scenes(tmp_path / "set", **settings)
    assert list(tmp_path.iterdir()) == []


def test_two_processes_at_once_make_one_set(small: Path, tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in [pool.submit(make_scenes, tmp_path / "set", 20, 128, 1) for _ in range(2)]:
            done.result()
    assert every_byte(tmp_path / "set") == every_byte(small)
