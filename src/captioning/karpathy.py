"""Captioned images in Karpathy's JSON, the form that Sydney, UCM, RSICD, Flickr8k/30k and COCO share.

    {"images": [{"filename": "1.jpg", "split": "train", "sentences": [{"tokens": [...], "raw": "..."}, ...]}]}

Beside it lies the folder `images/`. Optional keys of an image: `filepath` (a folder, as in COCO's), `cocoid`
(COCO's number of it), `class` (its scene) and `objects`, what its captions name and where it is, as in the
built-in scenes: [{"words": ["plane", "planes"], "box": [x0, y0, x1, y1]}], in fractions of width and height.

NeuralTalk's JSON (cocotalk) is read, too, where it holds the captions:

    {"images": [{"file_path": "val2014/1.jpg", "id": 391895, "split": "train", "captions": ["...", ...]}]}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from src.captioning.captioned import (
    CaptionDataError,
    CaptionedImage,
    NamedObject,
    checked,
    image_path,
    named_source,
    read_json,
    shown,
    split_of,
    value_of,
)
from src.captioning.vocabulary import clean, tokenize

LAYOUT = "dataset.json and images/"


def read_karpathy(root: str | Path, captions: str | None = None) -> list[CaptionedImage]:
    """Read all images of a data set, in the JSON's order. The image files are not opened: see `preflight`.

    Captions are taken from `tokens`, which data sets corrected by hand and which are words as they stand,
    else from `raw`, split by `tokenize`. Empty ones are dropped; `restval` counts as train.

    Args:
        root: the data set's folder, with `dataset.json` and `images/`.
        captions: another JSON file, relative to `root` or to the working folder.

    Raises:
        CaptionDataError: the JSON is missing or malformed, or an entry cannot be used.
    """
    root = Path(root)
    source = root / "dataset.json" if captions is None else named_source(root, captions)
    content = read_json(source, LAYOUT)
    if "annotations" in content:
        raise CaptionDataError(f"{source} is an annotation file of COCO's: read it with data=coco")
    return checked(images_in(content, root, str(source)), str(source))


def images_in(content: dict[str, Any], root: Path, name: str) -> list[CaptionedImage]:
    """The images of a JSON object that was read from the file `name`.

    Raises:
        CaptionDataError: an entry cannot be used.
    """
    return [_image(entry, root, f"{name}, images[{row}]") for row, entry in enumerate(content["images"])]


def _image(entry: Any, root: Path, where: str) -> CaptionedImage:
    """One entry of the JSON; `where` begins the messages about it."""
    talk = isinstance(entry, dict) and "file_path" in entry and "filename" not in entry  # cocotalk
    filename = value_of(entry, "file_path" if talk else "filename", str, where)
    where = f"{where} ({shown(filename)})"
    split = split_of(value_of(entry, "split", str, where), where)
    if talk and not {"captions", "sentences"} & entry.keys():
        raise CaptionDataError(
            f"{where} has neither `captions` nor `sentences` (those of a cocotalk.json lie in its "
            "cocotalk_label.h5, which is not read): use the JSON that it was made from (dataset_coco.json)"
        )
    sentences = value_of(entry, "captions" if talk and "captions" in entry else "sentences", list, where)
    captions = (_caption(sentence, f"{where}, sentence {row}") for row, sentence in enumerate(sentences))
    folder = value_of(entry, "filepath", str, where) if entry.get("filepath") is not None else ""
    objects = value_of(entry, "objects", list, where) if entry.get("objects") is not None else []
    group, number = entry.get("class"), entry.get("id" if talk else "cocoid")
    return CaptionedImage(
        filename=filename,
        path=image_path(root, (f"images/{folder}", folder, "images"), filename, where),
        split=split,
        captions=tuple(caption for caption in captions if caption),
        objects=tuple(_named(one, f"{where}, object {row}") for row, one in enumerate(objects)),
        group=None if group is None else group if isinstance(group, str) else shown(group),
        id=number if isinstance(number, int) and not isinstance(number, bool) else None,
    )


def _caption(sentence: Any, where: str) -> tuple[str, ...]:
    """The tokens of one sentence; none where it is empty."""
    if isinstance(sentence, str):  # cocotalk's
        sentence = {"raw": sentence}
    if not isinstance(sentence, dict) or not ("tokens" in sentence or "raw" in sentence):
        raise CaptionDataError(f"{where} has neither `tokens` nor `raw`")
    tokens, raw = sentence.get("tokens") or [], sentence.get("raw") or ""
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise CaptionDataError(f"{where} has `tokens` that are not a list of words")
    if not isinstance(raw, str):
        raise CaptionDataError(f"{where} has a `raw` that is no text")
    return tuple(clean(" ".join(tokens)) or tokenize(raw))


def _named(entry: Any, where: str) -> NamedObject:
    words, box = value_of(entry, "words", list, where), value_of(entry, "box", list, where)
    if not words or not all(isinstance(word, str) and word.isprintable() and word for word in words):
        raise CaptionDataError(f"{where} has no `words`, a list such as ['plane', 'planes']")
    numbers = [side for side in box if isinstance(side, int | float)]
    x0, y0, x1, y1 = numbers if len(numbers) == len(box) == 4 else (0, 0, 0, 0)
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):  # a NaN fails, too
        raise CaptionDataError(
            f"{where} has the box {shown(box)}, not x0 < x1 and y0 < y1 as fractions from 0 to 1"
        )
    return NamedObject(tuple(words), (float(x0), float(y0), float(x1), float(y1)))
