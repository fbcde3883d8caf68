"""Captioned images as every reader gives them (karpathy.py, coco.py, captions_csv.py); what readers share."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from reprlib import repr as shown  # of values in messages: one line, shortened
from typing import Any

import numpy as np

from src.entry_point import UserError

SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}
LARGEST_FILE = 2**30  # bytes; COCO's take 0.15 GB, and reading takes ten times as much memory
SHARE = 10  # one image of so many is drawn for a split that a data set lacks
is_file = os.path.isfile  # Path.is_file raises for a name that is too long
LISTED = 20  # names in one message; the others are counted


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


def named_source(root: Path, captions: str) -> Path:
    """A file that `data.captions` names, relative to the data set's folder or to the working folder."""
    inside = root / captions
    return Path(captions) if not is_file(inside) and is_file(captions) else inside


def read_text(source: Path, layout: str) -> str:
    """The content of a data set's file of captions.

    Args:
        layout: what `data.root` should hold, for the message where there is no such file.

    Raises:
        CaptionDataError: it is missing, no file, too large, not in UTF-8, or cannot be read.
    """
    try:
        if source.exists() and not source.is_file():  # reading a pipe would wait for ever
            raise CaptionDataError(f"the caption file {source} cannot be read: it is no file")
        if source.stat().st_size > LARGEST_FILE:
            raise CaptionDataError(
                f"the caption file {source} is larger than {LARGEST_FILE // 2**20:,} MiB: split it"
            )
        return source.read_bytes().decode("utf-8-sig")
    except FileNotFoundError as error:
        raise CaptionDataError(
            f"there is no caption file {source}: data.root names a folder with {layout}"
        ) from error
    except OSError as error:
        raise CaptionDataError(
            f"the caption file {str(source)[:300]} cannot be read: {error.strerror}"
        ) from error
    except UnicodeDecodeError as error:
        raise CaptionDataError(f"the caption file {source} is not in UTF-8: {error}") from error


def read_json(source: Path, layout: str) -> dict[str, Any]:
    """A JSON object with a list `images` that has an entry.

    Raises:
        CaptionDataError: as `read_text`; or it is no JSON, or another.
    """
    try:
        content = json.loads(read_text(source, layout), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise CaptionDataError(f"the caption file {source} is not JSON: {error}") from error
    images = content.get("images") if isinstance(content, dict) else None
    if not isinstance(images, list) or not images:
        raise CaptionDataError(f"the caption file {source} has no list `images` with an entry in it")
    return content


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; Python would take the last of two equal keys, an image change its split unnoticed."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"an object has the key {shown(twice)} twice")
    return found


def value_of(entry: Any, key: str, kind: type, where: str) -> Any:
    """`entry[key]`, which is of a kind. `where` begins the messages.

    Raises:
        CaptionDataError: the entry is no object, has no such key, or the value is of another kind.
    """
    if not isinstance(entry, dict):
        raise CaptionDataError(f"{where} is not an object with a key `{key}`")
    if key not in entry:
        raise CaptionDataError(f"{where} has no key `{key}`")
    if not isinstance(entry[key], kind) or isinstance(entry[key], bool):
        name = {list: "a list", int: "an integer"}.get(kind, "a text")
        raise CaptionDataError(f"{where} has a `{key}` that is not {name}: {shown(entry[key])}")
    return entry[key]


def split_of(name: Any, where: str) -> str:
    """train, val or test.

    Raises:
        CaptionDataError: there is no such split.
    """
    if not isinstance(name, str) or name not in SPLITS:
        raise CaptionDataError(
            f"{where} has the unknown split {shown(name)}: it must be one of {', '.join(SPLITS)}"
        )
    return SPLITS[name]


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
        if ".." in parts or PurePosixPath(part).is_absolute() or PureWindowsPath(part).anchor or "\0" in part:
            raise CaptionDataError(f"{where} leads out of the data set's folder by {shown(part)}: it may not")
    places = [root / folder / filename for folder in folders]
    return next((place for place in places if is_file(place)), places[0])


def checked(images: list[CaptionedImage], name: str) -> list[CaptionedImage]:
    """The images of a whole data set, where they can be used together.

    Raises:
        CaptionDataError: an image or an id is there twice, an image has no caption, none is for training.
    """
    for what, keys in (
        ("image", [str(image.path) for image in images]),
        ("image id", [str(image.id) for image in images if image.id is not None]),
    ):
        if len(set(keys)) < len(keys):
            ((twice, _),) = Counter(keys).most_common(1)
            raise CaptionDataError(
                f"{name} lists the {what} {shown(Path(twice).name)} twice: keep one entry of it"
            )
    if wordless := [shown(image.filename) for image in images if not image.captions]:
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
        draw(*("val", "test", 2) if "val" in split.values() else ("train", "test", SHARE))
    if "val" not in split.values():
        draw("train", "val", SHARE)
    return [dataclasses.replace(image, split=split[image.path]) for image in images]


def listed(names: Sequence[str], separator: str = ", ") -> str:
    """The first twenty of some names, and the number of the others."""
    rest = len(names) - LISTED
    return separator.join(names[:LISTED]) + (f"{separator}and {rest} more" if rest > 0 else "")
