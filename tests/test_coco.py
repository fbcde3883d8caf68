"""COCO's annotation files are read as they are, and pycocotools takes the captions."""

import contextlib
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from src.captioning.captioned import CaptionDataError, CaptionedImage, with_every_split
from src.captioning.coco import read_coco
from src.captioning.karpathy import read_karpathy
from src.captioning.metrics import corpus_bleu
from tests.command_line import plan, train_here

FIELD = Path(__file__).parents[1].parent / "shared" / "data" / "field"


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def annotated(first: int, count: int, **more: Any) -> dict[str, Any]:
    """An annotation file as COCO's: two captions an image, not in the images' order."""
    numbers = range(first, first + count)
    captions = [f"A {colour} square, number {n}." for colour in ("red", "large") for n in numbers]
    return {
        "info": {"year": 2017},
        "licenses": [{"id": 1}],
        "images": [{"id": n, "file_name": f"{n:012}.png", "coco_url": "u", **more} for n in numbers],
        "annotations": [
            {"id": 7 * n, "image_id": first + n % count, "caption": caption}
            for n, caption in enumerate(captions)
        ],
    }


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """COCO 2017 as its archives unpack, other annotations and all."""
    write(tmp_path / "annotations" / "captions_train2017.json", annotated(391_000, 6))
    write(tmp_path / "annotations" / "captions_val2017.json", annotated(139, 4))
    write(tmp_path / "annotations" / "instances_val2017.json", {"images": []})
    for folder, first, count in (("train2017", 391_000, 6), ("val2017", 139, 4)):
        (tmp_path / folder).mkdir()
        for n in range(first, first + count):
            Image.new("RGB", (32, 32), (n % 256, 9, 9)).save(tmp_path / folder / f"{n:012}.png")
    return tmp_path


def test_cocos_own_files_give_captions_ids_and_splits(root: Path) -> None:
    images = read_coco(root)
    assert Counter(image.split for image in images) == {"train": 6, "val": 4}
    assert images[0] == CaptionedImage(
        filename="000000391000.png",
        path=root / "train2017" / "000000391000.png",
        split="train",
        captions=(("a", "red", "square", "number", "391000"), ("a", "large", "square", "number", "391000")),
        id=391_000,
    )
    assert all(Path(str(image.path)).is_file() for image in images)
    (root / "images").mkdir()
    (root / "val2017").rename(root / "images" / "val2017")
    (root / "train2017").rename(root / "images" / "train2017")
    assert all(Path(str(image.path)).is_file() for image in read_coco(root, "annotations/captions_*.json"))
    only_val = with_every_split(read_coco(root, "annotations/captions_val2017.json"), 42)
    assert Counter(image.split for image in only_val) == {"train": 2, "val": 1, "test": 1}
    write(root / "annotations" / "captions_val2014.json", annotated(139, 4))
    with pytest.raises(CaptionDataError, match="the id 139 2 times"):
        read_coco(root)


def test_missing_splits_are_drawn_by_the_seed_alone(tmp_path: Path) -> None:
    def splits(images: list[CaptionedImage], seed: int = 42) -> dict[str, str]:
        return {image.filename: image.split for image in with_every_split(images, seed)}

    write(tmp_path / "dataset.json", annotated(1, 40))
    images = read_coco(tmp_path)
    drawn = splits(images)
    assert Counter(drawn.values()) == {"train": 33, "val": 3, "test": 4}
    assert splits(images[::-1]) == drawn != splits(images, 7)
    val = [*images[:30], *(CaptionedImage(i.filename, i.path, "val", i.captions) for i in images[30:])]
    halved = splits(val)
    assert Counter(halved.values()) == {"train": 30, "val": 5, "test": 5}
    assert all(halved[image.filename] == "train" for image in images[:30])
    given = annotated(1, 3)
    for entry, split in zip(given["images"], ("restval", "val", "test"), strict=True):
        entry["split"] = split
    write(tmp_path / "dataset.json", given)
    images = read_coco(tmp_path)
    assert splits(images) == {image.filename: image.split for image in images}
    assert [image.split for image in images] == ["train", "val", "test"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"annotations": 7}, "dataset.json: 'int' object is not iterable; expected is"),
        ({"annotations": [{"image_id": 1}]}, r"annotations\[0\]: no key 'caption'"),
        ({"annotations": [{"image_id": "x", "caption": "a"}]}, r"annotations\[0\]: invalid literal"),
        ({"annotations": ["a"]}, r"annotations\[0\]: string indices"),
        ({"images": [{"id": 1}]}, r"images\[0\]: no key 'file_name'"),
        ({"images": [{"file_name": "1.png"}]}, r"images\[0\]: no key 'id'"),
        ({"images": [{"id": 1, "file_name": "1.png"}]}, "does not list, image_id 2"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    write(tmp_path / "dataset.json", {**annotated(1, 2), **change})
    with pytest.raises(CaptionDataError, match=said) as caught:
        read_coco(tmp_path)
    assert "dataset.json" in str(caught.value)


def test_a_folder_without_an_annotation_file_and_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CaptionDataError, match=r"captions_\*\.json: data\.root names a folder with"):
        read_coco(tmp_path)
    write(tmp_path / "dataset.json", annotated(1, 2))
    with pytest.raises(CaptionDataError, match="no key 'filename'"):
        read_karpathy(tmp_path)
    write(tmp_path / "dataset.json", {"images": [{"filename": "1.png"}]})
    with pytest.raises(CaptionDataError, match="no key 'annotations'"):
        read_coco(tmp_path)


def test_pycocotools_takes_what_a_run_writes(
    root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    asked = (
        *("task=caption", "data=coco", f"data.root={root}", "encoder=tiny", "encoder.size=32", "epochs=1"),
        *("accelerator=cpu", "threads=1", f"encoder.cache={tmp_path}/cache", f"output_dir={tmp_path}/out"),
    )
    with caplog.at_level("INFO"):
        done = plan(*asked, "max_words=5")
        train_here(done)
    (notice,) = [line for line in caplog.messages if "max_words" in line]
    assert notice == "max_words=5: the longest training caption has 6 with its end"
    predictions = json.loads((done.run.folder / "captions.json").read_text())
    assert len(predictions) == 2
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco.COCO(root / "annotations" / "captions_val2017.json")
        taken = truth.loadRes(str(done.run.folder / "captions.json"))
    assert {entry["image_id"] for entry in predictions} == set(taken.getImgIds()) <= set(truth.getImgIds())
    for entry in predictions:
        assert taken.imgToAnns[entry["image_id"]][0]["caption"] == entry["caption"]
    cause = train_here(plan(*asked, "data.min_count=13"), "failed")["cause"]
    assert "data.min_count=13 leaves no word" in cause
    assert "more than 12 times" in cause


@pytest.mark.skipif(not FIELD.exists(), reason="the inputs from the field are not here")
def test_the_inputs_from_the_field() -> None:
    for read, name, ids in (
        (read_karpathy, "cap_coco", range(391_895, 391_913)),
        (read_coco, "cap_cocoann", range(18)),
    ):
        images = read(FIELD / name)
        assert [image.id for image in images] == [*ids]
        assert all(Path(str(image.path)).is_file() for image in images)
        assert {image.split for image in with_every_split(images, 42)} == {"train", "val", "test"}
    # split by the rule or by the data set, Chinese captions are the same, with runs of four to score
    raw, told = (read_karpathy(FIELD / name) for name in ("cap_zhraw", "cap_zhtok"))
    assert [image.captions for image in raw] == [image.captions for image in told]
    references = [image.captions for image in raw]
    assert corpus_bleu([captions[1] for captions in references], references)[3] == pytest.approx(1)
