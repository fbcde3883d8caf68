"""Captioned images as every reader gives them (karpathy.py, coco.py, captions_csv.py); what readers share."""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from src.entry_point import UserError
from src.paths import exists, is_file
from src.words import plain, quoted

SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}
LARGEST_FILE = (
    2**30
)  # bytes; COCO's, the largest in use, take 0.15 GB, and reading takes ten times as much memory
DRAWN = 10  # one image of so many is drawn for a split that a data set lacks
_LISTED = 20  # names in one message; the others are counted


class CaptionDataError(UserError):
    """Caption data that cannot be used, and why."""


@dataclass(frozen=True)
class NamedObject:
    """What a caption can name, and where it is.

    Attributes:
        words: the tokens that stand for it ("plane", "planes").
        box: x0, y0, x1, y1 as fractions of the image's width and height, from its upper left corner.
    """

    words: tuple[str, ...]
    box: tuple[float, float, float, float]

    @property
    def name(self) -> str:
        """The first of its words."""
        return self.words[0]


@dataclass(frozen=True)
class CaptionedImage:
    """One image with its captions.

    Attributes:
        filename: as in the data set.
        path: where the file should be (`preflight` looks).
        split: "train", "val" or "test".
        captions: one or more, tokenized, none empty.
        objects: what they name, where that is known.
        group: the image's class, where that is known.
        id: the data set's own number of the image (COCO's), where it has one.
    """

    filename: str
    path: Path
    split: str
    captions: tuple[tuple[str, ...], ...]
    objects: tuple[NamedObject, ...] = ()
    group: str | None = None
    id: int | None = None


def read_bytes(source: Path, layout: str) -> bytes:
    """The content of a data set's file of captions.

    Args:
        layout: what `data.root` should hold, for the message where there is no such file.

    Raises:
        CaptionDataError: it is missing, no file, too large, or cannot be read.
    """
    name = plain(str(source), 1000)
    try:
        if exists(source) and not source.is_file():  # reading a pipe would wait for ever
            raise CaptionDataError(f"the caption file {name} cannot be read: it is no file")
        if source.stat().st_size > LARGEST_FILE:
            raise CaptionDataError(
                f"the caption file {name} is larger than {LARGEST_FILE // 2**20:,} MiB: split it"
            )
        return source.read_bytes()
    except FileNotFoundError as error:
        raise CaptionDataError(
            f"there is no caption file {name}: data.root names a folder with {layout}"
        ) from error
    except OSError as error:
        raise CaptionDataError(
            f"the caption file {name} cannot be read: {error.strerror or error}"
        ) from error


def read_json(source: Path, layout: str) -> dict[str, Any]:
    """A JSON object with a list `images` that has an entry.

    Raises:
        CaptionDataError: as `read_bytes`; or it is no JSON, or another.
    """
    name = plain(str(source), 1000)
    data = read_bytes(source, layout)
    try:
        content = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8
        raise CaptionDataError(f"the caption file {name} is not JSON: {plain(str(error))}") from error
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not images:
        raise CaptionDataError(f"the caption file {name} has no list `images` with an entry in it")
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Python would take the last of two equal keys: an image would change its split unseen."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"an object has the key {quoted(twice)} twice")
    return found


def value_of(entry: dict[str, Any], key: str, kind: type, where: str) -> Any:
    """`entry[key]`, which is of a kind. `where` begins the messages.

    Raises:
        CaptionDataError: there is none, or it is of another kind.
    """
    if key not in entry:
        raise CaptionDataError(f"{where} has no key `{key}`")
    if not isinstance(entry[key], kind) or isinstance(entry[key], bool):
        name = {list: "a list", int: "an integer"}.get(kind, "a text")
        raise CaptionDataError(f"{where} has a `{key}` that is not {name}: {quoted(entry[key])}")
    return entry[key]


def image_path(root: Path, folders: Sequence[str], filename: str, where: str) -> Path:
    """Where an image lies: the first of these folders of the data set that holds it, or the first of all.

    Raises:
        CaptionDataError: the name is empty, no Unicode text, or leads out of the data set's folder.
    """
    if not filename:
        raise CaptionDataError(f"{where} has an empty file name")
    if any("\ud800" <= letter <= "\udfff" for letter in filename):
        raise CaptionDataError(f"{where} has halves of letters in its file name: rename the file in UTF-8")
    for part in (*folders, filename):
        # Windows' rules, too: a backslash or a drive must not lead out of the folder there.
        parts = {*PurePosixPath(part).parts, *PureWindowsPath(part).parts}
        rooted = PurePosixPath(part).is_absolute() or PureWindowsPath(part).anchor
        if ".." in parts or rooted or "\0" in part:
            raise CaptionDataError(
                f"{where} leads out of the data set's folder by {quoted(part)}: it may not"
            )
    places = [root / folder / filename for folder in folders]
    return next((place for place in places if is_file(place)), places[0])


def checked(images: list[CaptionedImage], name: str) -> list[CaptionedImage]:
    """The images of a whole data set, where they can be used together.

    Raises:
        CaptionDataError: an image or an id is there twice, an image has no caption, none is for training.
    """
    for what, key in (("image", lambda image: image.path), ("image id", lambda image: image.id)):
        seen: set[Any] = set()
        for image in images:
            if key(image) in seen:
                shown = quoted(image.filename) if what == "image" else f"{image.id}"
                raise CaptionDataError(f"{name} lists the {what} {shown} twice: keep one entry of it")
            seen |= {key(image)} - {None}
    if wordless := [plain(image.filename, 100) for image in images if not image.captions]:
        raise CaptionDataError(
            f"{name} has no caption with a word for {listed(wordless)}: caption them or take them out"
        )
    if not any(image.split == "train" for image in images):
        raise CaptionDataError(f"{name} has no image with split train or restval: nothing could be learned")
    return images


def with_every_split(images: list[CaptionedImage], seed: int) -> list[CaptionedImage]:
    """Draw the splits that a data set lacks; those that it has stay as they are.

    Without a test split, half of a validation split becomes one; else one image of ten, at least one, is
    drawn from the training split, for validation and for test alike. The draw depends on the seed and the
    file names, not on the order of the images.
    """
    split = {image.path: image.split for image in images}

    def draw(origin: str, target: str, share: int) -> None:
        pool = sorted(path for path, name in split.items() if name == origin)
        order = np.random.RandomState(seed).permutation(len(pool))
        for row in order[: max(1, len(pool) // share)]:
            split[pool[row]] = target

    if "test" not in split.values():
        draw(*("val", "test", 2) if "val" in split.values() else ("train", "test", DRAWN))
    if "val" not in split.values():
        draw("train", "val", DRAWN)
    return [dataclasses.replace(image, split=split[image.path]) for image in images]


def listed(names: Sequence[str], separator: str = ", ") -> str:
    """The first twenty of some names, and the number of the others."""
    rest = len(names) - _LISTED
    return separator.join(names[:_LISTED]) + (f"{separator}and {rest} more" if rest > 0 else "")
