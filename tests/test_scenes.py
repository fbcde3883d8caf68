"""The built-in caption data set: its captions are true, its pictures fixed, its files whole or not there."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.entry_point import UserError
from src.scenes import dataset
from src.scenes.captions import NOUNS, NUMBERS, describe, objects_of
from src.scenes.dataset import make_scenes, scene_of
from src.scenes.draw import paint
from src.scenes.scene import MANY, Box, Group, Scene, SceneObject, gap
from src.scenes.truth import is_true

KIND_OF = {noun: kind for kind, nouns in NOUNS.items() for noun in nouns}
COLOURS = "red|blue|gray|brown|white|green|yellow"
COUNTED = re.compile(
    r"\b(an?|one|two|three|four|five|six|several|many|rows of|a row of|some)"
    rf"((?: (?:small|large|colorful|storage|tennis|factory|{COLOURS}))*) "
    r"(boats?|planes?|airplanes?|tanks?|courts?|buildings?|warehouses?|houses|homes|trees)\b"
)
PLACE = re.compile(r"\b(?:in|on|at) the ((?:upper |lower )?(?:left|right)|top|bottom|middle|center)\b")
RELATION = re.compile(
    r"\b((?:on|to) the (?:left|right) of|above|below|beside|near|next to|on|in|at) "
    rf"the ({'|'.join(KIND_OF)})\b"
)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "small"
    make_scenes(folder, count=30, size=128, seed=1)
    return folder


def of_kind(scene: Scene, kind: str) -> SceneObject:
    return next(one for one in objects_of(scene) if one.kind == kind)


def subject(scene: Scene, text: str, at: int) -> Box:
    """The box of what the words at `at` are about: the last noun before them, or else the first after."""
    before, after = ([KIND_OF[w] for w in part.split() if w in KIND_OF] for part in (text[:at], text[at:]))
    return of_kind(scene, before[-1] if before else after[0]).box


def test_captions_are_true() -> None:
    checked = [0, 0, 0]
    scenes = [(scene_of(3, i), np.random.default_rng(i)) for i in range(150)]
    for scene, caption in ((one, text) for one, rng in scenes for text in describe(one, rng)):
        named = {KIND_OF[word] for word in caption.split() if word in KIND_OF}
        assert set() < named <= {one.kind for one in objects_of(scene)}, caption
        assert re.fullmatch(r"[a-z]+( [a-z]+){2,19}", caption), caption
        assert not re.search(r"\b(is|are)( and|$)| (and|with)$|\ba [aeiou]|\ban [^aeiou]", caption), caption
        for number, adjectives, word in COUNTED.findall(caption):
            group = of_kind(scene, KIND_OF[word])
            assert isinstance(group, Group)
            ranges = {"a": (1, 1), "an": (1, 1), "several": (4, MANY), "some": (5, MANY)}
            ranges |= {name: (n, n) for n, name in enumerate(NUMBERS)}
            fewest, most = ranges.get(number, (MANY, 100))
            assert fewest <= len(group.items) <= most, caption
            for colour in re.findall(COLOURS.replace("|green", ""), adjectives):
                assert {item.colour for item in group.items} == {colour}, caption
            checked[0] += 1
        # As seen from the strip ("on its left"), or from another group ("on the left of two tanks").
        strip = scene.strips[0].kind if scene.strips else ""
        text = re.sub(r"on its (left|right)", rf"on the \1 of the {strip}", caption)
        text = re.sub(r"(above|below) it\b", rf"\1 the {strip}", text)
        text = re.sub(rf"(left|right) of (?!the )(?:\w+ )*?(?=({'|'.join(KIND_OF)})\b)", r"\1 of the ", text)
        while match := RELATION.search(text):
            box, other = subject(scene, text, match.start()), of_kind(scene, KIND_OF[match[2]]).box
            apart = gap(box, other)
            sides = {"left": box[2] <= other[0], "right": box[0] >= other[2]}
            sides |= {"above": box[3] <= other[1], "below": box[1] >= other[3]}
            side = next((side for side in sides if side in match[1]), None)
            assert sides[side] if side else apart <= (0 if match[1] in ("on", "in") else 0.15), caption
            text = text[: match.start()] + text[match.end() :]
            checked[1] += 1
        for match in PLACE.finditer(text):
            box = subject(scene, text, match.start())
            x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
            sides = {"left": x < 0.35, "right": x > 0.65, "top|upper": y < 0.35, "bottom|lower": y > 0.65}
            assert all(bool(re.search(side, match[1])) == holds for side, holds in sides.items()), caption
            checked[2] += 1
    assert np.all(np.array(checked) > [400, 130, 500]), checked


def test_what_the_grammar_says_is_true_of_its_scene_and_hardly_ever_of_another() -> None:
    scenes = [scene_of(7, i) for i in range(200)]
    texts = [describe(scene, np.random.default_rng(i)) for i, scene in enumerate(scenes)]
    assert all(
        is_true(scene, text.split()) for scene, five in zip(scenes, texts, strict=True) for text in five
    )
    others = [is_true(scene, five[0].split()) for scene, five in zip(scenes, texts[1:], strict=False)]
    assert sum(others) < 5


def test_one_changed_fact_makes_a_caption_false() -> None:
    pairs = "left right, top bottom, upper lower, above below, middle top, two three, four five, six many, red blue"
    pairs += ", white gray, brown yellow, boats planes, tanks courts, river road, harbor sea, empty full"
    swapped = dict(sorted(pair.split()) for pair in pairs.split(", "))
    swapped |= {second: first for first, second in swapped.items()}
    changed = 0
    for i in range(60):
        scene = scene_of(8, i)
        for words in map(str.split, describe(scene, np.random.default_rng(i))):
            for k in [k for k, word in enumerate(words) if word in swapped]:
                assert not is_true(scene, [*words[:k], swapped[words[k]], *words[k + 1 :]]), (i, words, k)
                changed += 1
    assert changed > 500


def test_what_is_no_caption_is_not_true() -> None:
    scene, text = scene_of(8, 0), describe(scene_of(8, 0), np.random.default_rng(0))[0]
    assert is_true(scene, text.split())
    for wrong in ("", "hello", f"{text} and", f"{text} and {text}", text.replace(" ", "", 1), "?"):
        assert not is_true(scene, wrong.split()), wrong


def test_pictures_show_the_items_in_their_boxes() -> None:
    for index in range(12):
        scene = scene_of(5, index)
        full = paint(scene, 128, np.random.default_rng(index)).astype(int)
        empty = paint(replace(scene, groups=()), 128, np.random.default_rng(index)).astype(int)
        changed = np.abs(full - empty).max(axis=2) > 12  # (size, size)
        for group in scene.groups:
            x0, y0, x1, y1 = (max(0, round(128 * edge)) for edge in group.box)
            assert changed[y0:y1, x0:x1].mean() > 0.2, (index, group.kind)
            changed[max(0, y0 - 6) : y1 + 6, max(0, x0 - 6) : x1 + 6] = False  # shadows and pads
        assert not changed.any(), index


def test_seeds_give_the_same_pictures_and_captions_as_ever(small: Path) -> None:
    """The digests of version 1, in Karpathy's layout: a change of them needs another version."""
    pixels = hashlib.sha256()
    content = json.loads((small / "dataset.json").read_text())
    for image in content["images"]:
        pixels.update(np.asarray(Image.open(small / "images" / image["filename"])).tobytes())
    assert pixels.hexdigest()[:16] == "5815750678ae6ae4"
    assert hashlib.sha256((small / "dataset.json").read_bytes()).hexdigest()[:16] == "1b367af0bab8a100"
    assert [image["split"] for image in content["images"]] == (["train"] * 8 + ["val", "test"]) * 3


def test_sets_are_mended(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    drawn: list[int] = []
    folder, png = tmp_path / "set", dataset._png

    def draw(seed: int, index: int, size: int) -> bytes:
        if index == 7 and len(drawn) == 7:
            drawn.append(-1)
            raise KeyboardInterrupt
        drawn.append(index)
        return png(seed, index, size)

    monkeypatch.setattr(dataset, "_png", draw)
    make_scenes(small, count=30, size=128, seed=1)
    assert not drawn  # it is finished
    with pytest.raises(KeyboardInterrupt):
        make_scenes(folder, count=30, size=128, seed=1)
    assert not (folder / "SHA256SUMS").exists()
    make_scenes(folder, count=30, size=128, seed=1)
    assert drawn == [*range(7), -1, *range(7, 30)]
    (folder / "images" / "00003.png").unlink()
    text = (folder / "dataset.json").read_text()
    (folder / "dataset.json").write_text(text.replace("river", "rover"))
    picture = folder / "images" / "00004.png"
    picture.write_bytes(picture.read_bytes()[:-30] + bytes(30))
    make_scenes(folder, count=30, size=128, seed=1)
    same, mended = ([path.read_bytes() for path in sorted(at.rglob("*.*"))] for at in (small, folder))
    assert same == mended
    assert caplog.text.count("drawn again") == 3


def test_another_set_and_files_of_others_are_not_touched(small: Path, tmp_path: Path) -> None:
    for settings in ((10, 128, 1), (30, 256, 1), (30, 128, 2)):
        with pytest.raises(UserError, match="already holds 30 scenes of 128 pixels, seed 1"):
            make_scenes(small, *settings)
    (tmp_path / "dog.png").touch()
    with pytest.raises(UserError, match="another data set"):
        make_scenes(tmp_path)
    with pytest.raises(UserError, match="9 scenes"):
        make_scenes(tmp_path / "set", count=9)
    assert [path.name for path in tmp_path.iterdir()] == ["dog.png"]
