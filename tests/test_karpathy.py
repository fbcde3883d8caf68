"""Karpathy's JSON is read as it is found in the wild; what cannot be used is named in one sentence."""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from src.captioning import preflight as preflight_module
from src.captioning.captioned import CaptionDataError, NamedObject
from src.captioning.karpathy import read_karpathy
from src.captioning.preflight import preflight
from src.images import read_image

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
    preflight([image.path for image in images[:4]])


def test_another_caption_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir()
    write(tmp_path / "data", entry("inside.png"), name="other.json")
    write(tmp_path, entry("outside.png"), name="far.json")
    monkeypatch.chdir(tmp_path)
    for given, filename in {
        "other.json": "inside.png",
        "far.json": "outside.png",
        str(tmp_path / "far.json"): "outside.png",
    }.items():
        (image,) = read_karpathy(Path("data"), given)
        assert image.filename == filename
        assert image.path == Path("data/images") / filename


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ([], "no list `images` with an entry"),
        (["text"], r"images\[0\] is not an object"),
        ([{"split": "train", "sentences": []}], r"images\[0\] has no key `filename`"),
        ([entry(), {"filename": "b", "split": "train"}], r"images\[1\] \('b'\) has no key `sentences`"),
        ([{"filename": "b", "sentences": []}], r"images\[0\] \('b'\) has no key `split`"),
        ([entry("")], "empty file name"),
        ([entry(split="dev")], "unknown split 'dev': it must be one of train, restval, val, test"),
        ([entry(), entry(split="test")], r"lists the image '1\.png' twice"),
        ([entry("a.png", "val"), entry("b.png", "test")], "no image with split train"),
        (
            [entry(), entry("b.png", "val", ""), entry("c.png", "test", " . ")],
            r"no caption .* for 'b\.png', 'c\.png':",
        ),
        ([entry(sentences=[])], "no caption with a word for '1"),
        ([entry(sentences=[{"sentid": 1}])], "sentence 0 has neither `tokens` nor `raw`"),
        ([entry(sentences=[{"tokens": "A river"}])], "not a list of words"),
        ([entry(sentences=[{"raw": 7}])], "`raw` that is no text"),
        ([entry(sentences={"raw": "A river"})], "`sentences` that is not a list"),
        ([{**entry(), "filename": 7}], "`filename` that is not a text: 7"),
        ([entry("../../secret.png")], r"leads out of the data set's folder by '\.\./\.\./secret\.png'"),
        ([entry("..\\a.png")], "leads out"),
        ([entry("a\0.png")], "leads out"),
        ([entry(filepath="x/../..")], "leads out"),
        ([entry(objects=[{"box": [0, 0, 1, 1]}])], "object 0 has no key `words`"),
        (
            [entry(objects=[{"words": ["a"], "box": [0.5, 0, 0.5, 1]}])],
            r"the box \[0\.5, 0, 0\.5, 1\], not x0 < x1",
        ),
        ([entry(objects=[{"words": ["a"], "box": [0, 0, 1]}])], "fractions from 0 to 1"),
        ([entry(objects=[{"words": ["a"], "box": [0, 0, 1, float("nan")]}])], "fractions from 0 to 1"),
        ([entry(objects=[{"words": ["a"], "box": [0, 0, 1, 10**400]}])], "fractions from 0 to 1"),
        ([entry(objects=[{"words": ["a\nb"], "box": [0, 0, 1, 1]}])], "object 0 has no `words`"),
        ([entry(objects=[{"words": ["a"], "box": "x" * 10**6}])], "`box` that is not a list: 'xxx"),
        ([entry("\ud800.png")], "halves of letters in its file name"),
        ([entry(split="x" * 10**6)], "unknown split 'x{10,}\\.\\.\\.x+': it must"),
        ([entry("./1.png"), entry("1.png")], "twice"),
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
    with pytest.raises(CaptionDataError, match=r"dataset\.json (is not|has no list)"):
        read_karpathy(tmp_path)


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(CaptionDataError, match=r"no caption file .* data\.root names a folder"):
        read_karpathy(tmp_path)
    (tmp_path / "dataset.json").mkdir()
    with pytest.raises(CaptionDataError, match="cannot be read"):
        read_karpathy(tmp_path)


def test_names_that_no_file_system_takes_are_left_to_the_preflight(tmp_path: Path) -> None:
    images = read_karpathy(write(tmp_path, entry("x" * 5000), entry("y" * 300)))
    with pytest.raises(CaptionDataError, match="2 of 2 images cannot be used"):
        preflight([image.path for image in images])


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    # Python would take the last: an image of the test split would be trained on, and nobody would know.
    said = json.dumps({"images": [entry(split="test")]}).replace(
        '"split": "test"', '"split": "test", "split": "train"'
    )
    (tmp_path / "dataset.json").write_text(said)
    with pytest.raises(CaptionDataError, match=r"not JSON: an object has the key 'split' twice"):
        read_karpathy(tmp_path)


def test_numbers_that_are_none_and_keys_of_others_are_no_matter(tmp_path: Path) -> None:
    odd = entry(imgid=float("nan"), sentids=[float("inf")], **{"class": {"a": [1]}, "x": NESTED})
    (image,) = read_karpathy(write(tmp_path, odd))
    assert image.group == "{'a': [1]}"


def test_huge_files_and_pipes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "dataset.json").touch()
    os.truncate(tmp_path / "dataset.json", 2**30 + 1)  # takes no room on the disk
    with pytest.raises(CaptionDataError, match=r"is larger than 1,024 MiB: split it"):
        read_karpathy(tmp_path)
    (tmp_path / "dataset.json").unlink()
    os.mkfifo(tmp_path / "dataset.json")
    with pytest.raises(CaptionDataError, match="cannot be read: it is no file"):
        read_karpathy(tmp_path)
    with pytest.raises(CaptionDataError, match="File name too long"):
        read_karpathy(tmp_path, "x" * 5000)


def test_links_out_of_the_folder_are_followed(tmp_path: Path) -> None:
    # Data sets lie on other disks and in stores of links; what a link can bring in is pixels, or a refusal.
    outside = draw(tmp_path / "store" / "1.png")
    root = tmp_path / "set"
    (root / "images").mkdir(parents=True)
    (root / "images" / "1.png").symlink_to(outside)
    (root / "images" / "secret.png").symlink_to("/etc/passwd")
    os.mkfifo(tmp_path / "pipe")
    (root / "images" / "pipe.png").symlink_to(tmp_path / "pipe")
    images = read_karpathy(write(root, entry("1.png"), entry("secret.png"), entry("pipe.png")))
    preflight([image.path for image in images[:1]])
    with pytest.raises(
        CaptionDataError,
        match=r"2 of 3 images .*secret\.png cannot be read.*pipe\.png cannot be read: it is a folder, a pipe",
    ):
        preflight([image.path for image in images])


def test_preflight_names_every_broken_file_at_once(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(30)]
    for name in names:
        draw(tmp_path / "images" / name)
    images = read_karpathy(write(tmp_path, *(entry(name) for name in names)))
    preflight([image.path for image in images])
    (tmp_path / "images/3.png").unlink()
    (tmp_path / "images/5.png").write_bytes((tmp_path / "images/5.png").read_bytes()[:-30])
    (tmp_path / "images/7.png").write_text("no image")
    Image.new("RGB", (99, 99)).save(tmp_path / "images/9.png")
    with pytest.raises(CaptionDataError) as caught:
        preflight([image.path for image in images], max_pixels=5000)
    said = str(caught.value)
    assert said.startswith("4 of 30 images cannot be used: ")
    for name, why in {
        "3.png cannot be read: No such file": "missing",
        "5.png cannot be read": "truncated",
        "7.png cannot be read: it is not one of JPEG": "text",
        "9.png cannot be read: it has 99x99 = 9,801 pixels": "large",
    }.items():
        assert name in said, why
    for name in names:
        (tmp_path / "images" / name).unlink(missing_ok=True)
    with pytest.raises(
        CaptionDataError, match=r"19\.png cannot be read: No such file or directory; and 10 more$"
    ):
        preflight([image.path for image in images])


def test_preflight_opens_good_files_once_and_changed_ones_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [draw(tmp_path / f"{number}.png") for number in range(4)]
    record = tmp_path / "cache" / "checked.json"
    opened: list[Path] = []

    def read(path: Path, *options: Any) -> Any:
        opened.append(path)
        return read_image(path, *options)

    monkeypatch.setattr(preflight_module, "read_image", read)

    def check(**options: Any) -> int:
        opened.clear()
        preflight(paths, record=record, **options)
        return len(opened)

    assert check() == 4
    assert check() == 0
    assert check(max_pixels=100) == check(value_range="full") == 4  # other questions
    assert check() == 4
    good = paths[1].read_bytes()
    paths[1].write_bytes(good[:-30])
    for _ in range(2):  # failure is not remembered as success
        with pytest.raises(CaptionDataError, match="1 of 4 images"):
            check()
    paths[1].write_bytes(good)
    os.utime(paths[2], ns=(time.time_ns(), paths[2].stat().st_mtime_ns + 1))
    assert check() == 2
    record.write_text("[broken")
    assert check() == 4


def test_preflight_names_pixels_that_are_not_as_they_are_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, bits in zip(paths, (12, 12, 14), strict=True):
        Image.fromarray(np.full((8, 8), 2**bits - 1, dtype=np.uint16)).save(path)
    with caplog.at_level("INFO"):
        preflight(paths)
        assert [line.split(" (")[0] for line in caplog.messages] == [
            "0.png and 1 more: 12-bit values in 16 bits, rescaled to 8 bits",
            "2.png: 14-bit values in 16 bits, rescaled to 8 bits",
        ]
        caplog.clear()
        preflight(paths, value_range="0,16383")
        assert caplog.messages == []


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
    assert all(image.path.is_file() for image in ucm)
    with pytest.raises(CaptionDataError, match="607 of 613 images"):
        preflight([image.path for image in sydney])
