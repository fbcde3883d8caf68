"""Captioned images in Karpathy's JSON, the form that Sydney, UCM, RSICD, Flickr8k/30k and COCO share.

    {"images": [{"filename": "1.jpg", "split": "train", "sentences": [{"tokens": [...], "raw": "..."}, ...]}]}

Beside it lies the folder `images/`. Optional keys of an image: `filepath` (a folder, as in COCO's), `cocoid`
(COCO's number of it), `class` (its scene) and `objects`, what its captions name and where it is, as in the
built-in scenes: [{"words": ["plane", "planes"], "box": [x0, y0, x1, y1]}], in fractions of width and height.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from src.captioning.captioned import (
    CaptionedImage,
    NamedObject,
    checked,
    image_path,
    read_text,
    reading,
    shown,
    split_of,
    unique_keys,
)
from src.captioning.vocabulary import clean, tokenize

LAYOUT = "dataset.json and images/"
FORMAT = '{"images": [{"filename": "1.jpg", "split": "train", "sentences": [{"raw": "A river."}]}]}'


def read_karpathy(root: str | Path, captions: str | None = None) -> list[CaptionedImage]:
    """Read all images of a data set, in the JSON's order; the image files are not opened.

    Captions are taken from `tokens`, which data sets corrected by hand and which are words as they stand,
    else from `raw`, split by `tokenize`. Empty ones are dropped; `restval` counts as train.

    Args:
        root: the data set's folder, with `dataset.json` and `images/`.
        captions: another JSON file, relative to `root`.

    Raises:
        CaptionDataError: the JSON is missing or malformed, or an entry cannot be used.
    """
    root = Path(root)
    source = root / (captions or "dataset.json")
    text = read_text(source, LAYOUT)
    with reading(str(source), FORMAT):
        entries = _list(json.loads(text, object_pairs_hook=unique_keys)["images"])
    images = []
    for row, entry in enumerate(entries):
        with reading(f"{source}, images[{row}]", FORMAT):
            images.append(_image(entry, root))
    return checked(images, str(source))


def _image(entry: dict[str, Any], root: Path) -> CaptionedImage:
    filename, folder = entry["filename"], entry.get("filepath") or ""
    captions = [_caption(sentence) for sentence in _list(entry["sentences"])]
    group, number = entry.get("class"), entry.get("cocoid")
    return CaptionedImage(
        filename=filename,
        path=image_path(root, (f"images/{folder}", folder, "images"), filename),
        split=split_of(entry["split"]),
        captions=tuple(caption for caption in captions if caption),
        objects=tuple(_named(one) for one in entry.get("objects") or ()),
        group=None if group is None else str(group),
        id=None if number is None else int(number),
    )


def _caption(sentence: dict[str, Any]) -> tuple[str, ...]:
    """The tokens of one sentence; none where it is empty."""
    tokens, raw = sentence.get("tokens") or [], sentence.get("raw") or ""
    return tuple(clean(" ".join(_list(tokens))) or tokenize(raw))


def _named(entry: dict[str, Any]) -> NamedObject:
    words = _list(entry["words"])
    if not words or not all(isinstance(word, str) and word for word in words):
        raise ValueError(f"an object needs words, such as ['plane', 'planes'], not {shown(words)}")
    x0, y0, x1, y1 = map(float, entry["box"])
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):  # a NaN fails, too
        raise ValueError(f"the box {(x0, y0, x1, y1)} is not x0 < x1 and y0 < y1 as fractions from 0 to 1")
    return NamedObject(tuple(words), (x0, y0, x1, y1))


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):  # a text would be taken as its letters
        raise TypeError(f"{shown(value)} is not a list")
    return value
