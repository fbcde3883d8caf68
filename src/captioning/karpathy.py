"""Captioned images in Karpathy's JSON, the form that Sydney, UCM, RSICD, Flickr8k/30k and COCO share.

    {"images": [{"filename": "1.jpg", "split": "train", "sentences": [{"tokens": [...], "raw": "..."}, ...]}]}

Beside it lies the folder `images/`. Optional keys of an image: `filepath` (a folder, as in COCO's), `cocoid`
(COCO's number of it), `class` (its scene) and `objects`, the objects its captions name and where they are, as
the built-in scenes have them: [{"words": ["plane", "planes"], "box": [x0, y0, x1, y1]}], in fractions of
width and height.

NeuralTalk's JSON (cocotalk) is read, too, where it holds the captions:

    {"images": [{"file_path": "val2014/1.jpg", "id": 391895, "split": "train", "captions": ["...", ...]}]}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from src.captioning.captioned import (
    SPLITS,
    CaptionDataError,
    CaptionedImage,
    NamedObject,
    checked,
    image_path,
    read_json,
    value_of,
)
from src.captioning.vocabulary import clean, tokenize
from src.paths import is_file
from src.words import plain, quoted

LAYOUT = "dataset.json and images/"


def read_karpathy(root: str | Path, captions: str | None = None) -> list[CaptionedImage]:
    """Read all images of a data set, in the JSON's order. The image files are not opened: see `preflight`.

    Captions are taken from `tokens`, which data sets corrected by hand (Sydney's `raw` has misspellings
    that its `tokens` have not) and which are words as they stand, else from `raw`, split by `tokenize`.
    Empty ones are dropped; `restval` counts as train.

    Args:
        root: the data set's folder, with `dataset.json` and `images/`.
        captions: another JSON file, relative to `root` or to the working folder.

    Raises:
        CaptionDataError: the JSON is missing or malformed, or an entry cannot be used.
    """
    root = Path(root)
    source = root / "dataset.json" if captions is None else root / captions
    if captions is not None and not is_file(source) and is_file(Path(captions)):
        source = Path(captions)
    name = plain(str(source), 1000)
    content = read_json(source, LAYOUT)
    if "annotations" in content:
        raise CaptionDataError(f"{name} is an annotation file of COCO's: read it with data=coco")
    return checked(images_in(content, root, name), name)


def images_in(content: dict[str, Any], root: Path, name: str) -> list[CaptionedImage]:
    """The images of a JSON object that was read from the file `name`.

    Raises:
        CaptionDataError: an entry cannot be used.
    """
    return [
        _image(entry, root, f"{name}, images[{number}]") for number, entry in enumerate(content["images"])
    ]


def _image(entry: Any, root: Path, where: str) -> CaptionedImage:
    """One entry of the JSON; `where` begins the messages about it."""
    if not isinstance(entry, dict):
        raise CaptionDataError(f"{where} is not an object with filename, split and sentences")
    talk = "file_path" in entry and "filename" not in entry  # cocotalk
    filename = value_of(entry, "file_path" if talk else "filename", str, where)
    where = f"{where} ({quoted(filename, 100)})"
    split = value_of(entry, "split", str, where)
    if split not in SPLITS:
        raise CaptionDataError(
            f"{where} has the unknown split {quoted(split)}: it must be one of {', '.join(SPLITS)}"
        )
    if talk and not {"captions", "sentences"} & entry.keys():
        raise CaptionDataError(
            f"{where} has neither `captions` nor `sentences` (those of a cocotalk.json lie in its "
            "cocotalk_label.h5, which is not read): use the JSON that it was made from (dataset_coco.json)"
        )
    sentences = value_of(entry, "captions" if talk and "captions" in entry else "sentences", list, where)
    captions = (
        _caption(sentence, f"{where}, sentence {number}") for number, sentence in enumerate(sentences)
    )
    folder = value_of(entry, "filepath", str, where) if entry.get("filepath") is not None else ""
    objects = value_of(entry, "objects", list, where) if entry.get("objects") is not None else []
    number = entry.get("id" if talk else "cocoid")
    return CaptionedImage(
        filename=filename,
        path=image_path(root, (f"images/{folder}", folder, "images"), filename, where),
        split=SPLITS[split],
        captions=tuple(caption for caption in captions if caption),
        objects=tuple(_object_of(named, f"{where}, object {number}") for number, named in enumerate(objects)),
        group=None if entry.get("class") is None else plain(entry["class"]),
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


def _object_of(named: Any, where: str) -> NamedObject:
    words = named.get("words") if isinstance(named, dict) else None
    box = named.get("box") if isinstance(named, dict) else None
    if not isinstance(words, list) or not words or not all(map(_is_word, words)):
        raise CaptionDataError(f"{where} has no `words`, a list such as ['plane', 'planes']")
    sides = box if isinstance(box, list) and len(box) == 4 else []
    numbers = [side for side in sides if isinstance(side, int | float) and not isinstance(side, bool)]
    x0, y0, x1, y1 = numbers if len(numbers) == 4 else (0, 0, 0, 0)
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):  # a NaN fails, too; 10**400 has no float
        raise CaptionDataError(
            f"{where} has the box {quoted(box)}, not x0 < x1 and y0 < y1 as fractions from 0 to 1"
        )
    return NamedObject(tuple(words), (float(x0), float(y0), float(x1), float(y1)))


def _is_word(word: Any) -> bool:
    return isinstance(word, str) and bool(word) and word.isprintable()  # it is drawn beside its box
