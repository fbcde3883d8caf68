"""Captioned images in COCO's own annotation files, such as `annotations/captions_train2017.json`.

    {"images": [{"id": 391895, "file_name": "000000391895.jpg"}, ...],
     "annotations": [{"image_id": 391895, "caption": "A man ..."}, ...]}

Of several files, a file's name tells its images' split (train, val or test), unless an image has a key
`split`; images of a single file, or of one whose name tells none, are for training until splits are drawn
(`captioned.with_every_split`).
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from src.captioning.captioned import (
    CaptionDataError,
    CaptionedImage,
    checked,
    image_path,
    listed,
    named_source,
    read_json,
    shown,
    split_of,
    value_of,
)
from src.captioning.karpathy import images_in
from src.captioning.vocabulary import tokenize

LAYOUT = "annotations/captions_*.json, or dataset.json, and the images"
PATTERNS = ("annotations/captions_*.json", "captions_*.json", "dataset.json", "annotations/*.json")


def read_coco(root: str | Path, captions: str | None = None) -> list[CaptionedImage]:
    """Read all images of a data set, file by file. The image files are not opened: see `preflight`.

    The images of `captions_train2017.json` lie in `train2017/`, `images/train2017/`, `images/` or the folder
    itself. A file in Karpathy's JSON or a cocotalk.json with captions is read as what it is.

    Args:
        root: the data set's folder.
        captions: the annotation file, or a pattern for several (`annotations/captions_*2017.json`), relative
            to `root`, or one file relative to the working folder. By default the captions_*.json in
            `annotations/` or in the folder, else its dataset.json, else all of `annotations/`.

    Raises:
        CaptionDataError: a file is missing or malformed, or an entry cannot be used.
    """
    root = Path(root)
    images: list[CaptionedImage] = []
    sources = _sources(root, captions)
    for source in sources:
        content = read_json(source, LAYOUT)
        if "annotations" in content:
            named = re.search("train|val|test", source.stem) if len(sources) > 1 else None
            images += _annotated(content, root, str(source), named[0] if named else "train")
        else:
            images += images_in(content, root, str(source))
    return checked(images, listed([str(source) for source in sources]))


def _sources(root: Path, captions: str | None) -> list[Path]:
    """The files to read; one that does not exist where there is none."""
    if captions is None:
        found = next(filter(None, (sorted(root.glob(pattern)) for pattern in PATTERNS)), [])
        years = {tuple(re.findall(r"\d{4}", path.stem)) for path in found}
        if len(years) > 1:
            raise CaptionDataError(
                f"{root} holds files of several years ({listed([path.name for path in found])}): pick those"
                f" of one with data.captions='{found[0].parent.name}/captions_*{found[0].stem[-4:]}.json'"
            )
        return found or [root / "annotations" / "captions_train2017.json"]
    pattern = captions if "*" in captions and not Path(captions).is_absolute() else None
    return (sorted(root.glob(pattern)) if pattern else []) or [named_source(root, captions)]


def _annotated(content: dict[str, Any], root: Path, name: str, split: str) -> list[CaptionedImage]:
    """The images of one annotation file, each with its captions in the file's order."""
    tail = Path(name).stem.removeprefix("captions_")  # train2017, the images' folder
    captions: dict[int, list[tuple[str, ...]]] = defaultdict(list)
    for row, annotation in enumerate(value_of(content, "annotations", list, name)):
        where = f"{name}, annotations[{row}]"
        words = tuple(tokenize(value_of(annotation, "caption", str, where)))
        captions[value_of(annotation, "image_id", int, where)] += [words] if words else []
    images = []
    for row, entry in enumerate(content["images"]):
        filename = value_of(entry, "file_name", str, f"{name}, images[{row}]")
        where = f"{name}, images[{row}] ({shown(filename)})"
        images.append(
            CaptionedImage(
                filename=filename,
                path=image_path(root, (f"images/{tail}", tail, "images", ""), filename, where),
                split=split_of(entry.get("split", split), where),
                captions=tuple(captions.pop(value_of(entry, "id", int, where), ())),
                id=entry["id"],
            )
        )
    if captions:
        raise CaptionDataError(
            f"{name} has captions of images that it does not list, image_id {listed([*map(str, captions)])}"
        )
    return images
