"""Karpathy's JSON is read as it is found in the wild; what cannot be used is named in one sentence."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from src.captioning.captioned import CaptionDataError, NamedObject
from src.captioning.features import digests_of
from src.captioning.karpathy import read_karpathy
from src.images import BrokenImage

NESTED: Any = "deep"  # as deep as JSON is still read
for _ in range(900):
    NESTED = [NESTED]
DATA = Path(__file__).parents[1].parent / "shared" / "data"


def entry(filename: str = "1.png", split: str = "train", *captions: str, **more: Any) -> dict[str, Any]:
    sentences = [{"raw": caption, "tokens": caption.split()} for caption in captions or ("A river .",)]
    return {"filename": filename, "split": split, "sentences": sentences, **more}


def write(root: Path, *entries: Any, name: str = "dataset.json") -> Path:
    (root / name).write_text(json.dumps({"images": entries}), encoding="utf-8")
    return root


def draw(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), "green").save(path)
    return path


def test_one_entry_in_full(tmp_path: Path) -> None:
    planes = {"words": ["plane", "planes"], "box": [0, 0.25, 0.5, 1]}
    full = entry(
        "a.png", "restval", "Two planes .", "", " . ", **{"class": 3, "objects": [planes], "imgid": 0}
    )
    full["sentences"] += [{"raw": "Only raw, here"}, {"tokens": [], "raw": "Raw again"}]
    full["sentences"] += [{"tokens": ["Corrected"], "raw": "Misspelt"}]
    (image,) = read_karpathy(write(tmp_path, full))
    assert (image.filename, image.path) == ("a.png", tmp_path / "images" / "a.png")
    assert image.split == "train"
    assert [" ".join(caption) for caption in image.captions] == [
        "two planes",
        "only raw here",
        "raw again",
        "corrected",
    ]
    assert image.objects == (NamedObject(("plane", "planes"), (0.0, 0.25, 0.5, 1.0)),)
    assert image.group == "3"
    (plain,) = read_karpathy(write(tmp_path, entry()))
    assert (plain.objects, plain.group) == ((), None)


def test_where_files_may_lie(tmp_path: Path) -> None:
    coco = draw(tmp_path / "val2014" / "coco.png")
    nested = draw(tmp_path / "images" / "train2014" / "nested.png")
    flat = draw(tmp_path / "images" / "flat.png")
    inside = draw(tmp_path / "images" / "deep" / "1.png")
    write(
        tmp_path,
        entry("coco.png", filepath="val2014"),
        entry("nested.png", filepath="train2014"),
        entry("flat.png", filepath="elsewhere"),
        entry("deep/1.png"),
        entry("nowhere.png"),
    )
    images = read_karpathy(tmp_path)
    assert [image.path for image in images] == [
        coco,
        nested,
        flat,
        inside,
        tmp_path / "images" / "nowhere.png",
    ]


def test_another_caption_file(tmp_path: Path) -> None:
    write(tmp_path, entry("other.png"), name="other.json")
    for given in ("other.json", str(tmp_path / "other.json")):
        (image,) = read_karpathy(tmp_path, given)
        assert image.path == tmp_path / "images" / "other.png"


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "no image with split train"),
        (["text"], r"images\[0\]: string indices must be integers"),
        ([{"split": "train", "sentences": []}], r"images\[0\]: no key 'filename'; expected is {\"images\""),
        ([entry(), {"filename": "b", "split": "train"}], r"images\[1\]: no key 'sentences'"),
        ([{"filename": "b", "sentences": []}], r"images\[0\]: no key 'split'"),
        ([entry(split="dev")], "unknown split 'dev': it must be one of train, restval, val, test"),
        ([entry(), entry(split="test")], r"path .*1\.png 2 times"),
        ([entry(cocoid=7), entry("b.png", cocoid=7)], "the id 7 2 times"),
        (
            [entry(), entry("b.png", "val", ""), entry("c.png", "test", " . ")],
            r"no caption .* for 'b\.png', 'c\.png':",
        ),
        ([entry(sentences=[{"sentid": 1}])], "no caption with a word for '1"),
        ([entry(sentences=[{"tokens": "A river"}])], "'A river' is not a list"),
        ([entry(sentences=[{"raw": 7}])], r"images\[0\]: .* str"),
        ([entry(sentences={"raw": "A river"})], "{'raw': 'A river'} is not a list"),
        ([{**entry(), "filename": 7}], r"images\[0\]: expected str.* not int"),
        ([entry("../../secret.png")], r"'\.\./\.\./secret\.png' leads out of the data set's folder"),
        ([entry("..\\a.png")], "leads out"),
        ([entry(filepath="x/../..")], "leads out"),
        ([entry(objects=[{"box": [0, 0, 1, 1]}])], r"images\[0\]: no key 'words'"),
        ([entry(objects=[{"words": ["a"], "box": [0.5, 0, 0.5, 1]}])], r"box \(0\.5, .* is not x0 < x1"),
        ([entry(objects=[{"words": ["a"], "box": [0, 0, 1]}])], "not enough values"),
        ([entry(objects=[{"words": ["a"], "box": [0, 0, 1, float("nan")]}])], "fractions from 0 to 1"),
        ([entry(objects=[{"words": [], "box": [0, 0, 1, 1]}])], "an object needs words"),
        ([entry(split="x" * 10**6)], "unknown split 'x{10,}\\.\\.\\.x+': it must"),
        ([entry("two\nlines.png", "train", "")], "no caption with a word for 'two"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, entries: list[Any], said: str) -> None:
    write(tmp_path, *entries)
    with pytest.raises(CaptionDataError, match=said) as caught:
        read_karpathy(tmp_path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    assert "dataset.json" in str(caught.value)


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"[1]", b'{"images": {}}', b"[" * 100_000])
def test_other_files_than_the_json(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(CaptionDataError, match=r"dataset\.json: "):
        read_karpathy(tmp_path)


def test_no_file_and_a_folder_and_a_pipe(tmp_path: Path) -> None:
    def refused() -> None:
        with pytest.raises(CaptionDataError, match=r"no caption file .* data\.root names a folder"):
            read_karpathy(tmp_path)

    refused()
    (tmp_path / "dataset.json").mkdir()
    refused()
    (tmp_path / "dataset.json").rmdir()
    os.mkfifo(tmp_path / "dataset.json")
    refused()


def test_names_that_no_file_system_takes_are_named(tmp_path: Path) -> None:
    names = ("x" * 5000, "y" * 300, "a\0.png", "\ud800.png")
    images = read_karpathy(write(tmp_path, *map(entry, names)))
    with pytest.raises(BrokenImage, match="4 of 4 images cannot be used"):
        digests_of([image.path for image in images])


def test_numbers_that_are_none_and_keys_of_others_are_no_matter(tmp_path: Path) -> None:
    odd = entry(imgid=float("nan"), sentids=[float("inf")], **{"class": {"a": [1]}, "x": NESTED})
    (image,) = read_karpathy(write(tmp_path, odd))
    assert image.group == "{'a': [1]}"


@pytest.mark.skipif(not DATA.exists(), reason="the real caption data are not here")
def test_the_real_sets() -> None:
    sydney = read_karpathy(DATA / "sydney_captions")
    ucm = read_karpathy(DATA / "ucm_captions")
    counts = {
        name: [sum(image.split == split for image in images) for split in ("train", "val", "test")]
        for name, images in (("sydney", sydney), ("ucm", ucm))
    }
    assert counts == {"sydney": [497, 58, 58], "ucm": [1680, 210, 210]}
    train = [caption for image in sydney if image.split == "train" for caption in image.captions]
    assert (len(train), len({word for caption in train for word in caption}) + 4) == (2485, 190)
    assert max(map(len, train)) + 2 == 22
    assert len({image.group for image in ucm}) == 21
    assert all(Path(str(image.path)).is_file() for image in ucm)
    with pytest.raises(BrokenImage, match="607 of 613 images"):
        digests_of([image.path for image in sydney])


def test_a_key_that_is_given_twice_is_refused(tmp_path: Path) -> None:
    """Python would take the last one: the image would change its split unnoticed."""
    text = (
        '{"images": [{"filename": "1.png", "split": "train", "split": "test", "sentences": [{"raw": "a"}]}]}'
    )
    (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(CaptionDataError, match="key 'split' twice"):
        read_karpathy(tmp_path)
