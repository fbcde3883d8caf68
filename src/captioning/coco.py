"""Captioned images in COCO's own annotation files, such as `annotations/captions_train2017.json`.

    {"images": [{"id": 391895, "file_name": "000000391895.jpg"}, ...],
     "annotations": [{"image_id": 391895, "caption": "A man ..."}, ...]}

Of several files, a file's name tells its images' split (train, val or test), unless an image has a key
`split`; images of a single file, or of one whose name tells none, are for training until splits are drawn
(`captioned.with_every_split`).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from pathlib import Path

from src.captioning.captioned import (
    CaptionDataError,
    CaptionedImage,
    checked,
    image_path,
    listed,
    read_text,
    reading,
    split_of,
    unique_keys,
)
from src.captioning.vocabulary import tokenize

LAYOUT = "annotations/captions_*.json, or dataset.json, and the images"
PATTERNS = ("annotations/captions_*.json", "captions_*.json", "dataset.json")
FORMAT = '{"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": [{"image_id": 1, "caption": "A man"}]}'


def read_coco(root: str | Path, captions: str | None = None) -> list[CaptionedImage]:
    """Read all images of a data set, file by file; the image files are not opened.

    The images of `captions_train2017.json` lie in `train2017/`, `images/train2017/`, `images/` or the folder
    itself.

    Args:
        root: the data set's folder.
        captions: the annotation file, or a pattern for several (`annotations/captions_*2017.json`), relative
            to `root`. By default what the first of `PATTERNS` finds.

    Raises:
        CaptionDataError: a file is missing or malformed, or an entry cannot be used.
    """
    root = Path(root)
    if captions is not None and "*" not in captions:
        sources = [root / captions]
    else:
        patterns = PATTERNS if captions is None else (captions,)
        found = (sorted(root.glob(pattern)) for pattern in patterns)
        sources = next(filter(None, found), [root / patterns[0]])
    images: list[CaptionedImage] = []
    for source in sources:
        named = re.search("train|val|test", source.stem) if len(sources) > 1 else None
        images += _annotated(source, root, named[0] if named else "train")
    return checked(images, listed([str(source) for source in sources]))


def _annotated(source: Path, root: Path, split: str) -> list[CaptionedImage]:
    """The images of one annotation file, each with its captions in the file's order."""
    text = read_text(source, LAYOUT)
    with reading(str(source), FORMAT):
        content = json.loads(text, object_pairs_hook=unique_keys)
        entries, annotations = list(content["images"]), list(content["annotations"])
    captions: dict[int, list[tuple[str, ...]]] = defaultdict(list)
    row = 0
    with reading(lambda: f"{source}, annotations[{row}]", FORMAT):
        for row, annotation in enumerate(annotations):  # noqa: B007  for the error's text
            words, of_image = tuple(tokenize(annotation["caption"])), captions[int(annotation["image_id"])]
            if words:
                of_image.append(words)
    tail = source.stem.removeprefix("captions_")  # train2017, the images' folder
    folders = [part for part in (f"images/{tail}", tail, "images", "") if (root / part).is_dir()] or [tail]
    images = []
    with reading(lambda: f"{source}, images[{row}]", FORMAT):
        for row, entry in enumerate(entries):  # noqa: B007
            number, filename = int(entry["id"]), entry["file_name"]
            image = CaptionedImage(
                filename=filename,
                path=image_path(root, folders, filename),
                split=split_of(entry.get("split", split)),
                captions=tuple(captions.pop(number, ())),
                id=number,
            )
            images.append(image)
    if captions:
        unlisted = listed([str(number) for number in captions])
        raise CaptionDataError(f"{source} has captions of images that it does not list, image_id {unlisted}")
    return images
