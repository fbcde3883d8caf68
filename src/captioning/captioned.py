"""Captioned images as every reader gives them (karpathy.py, coco.py, captions_csv.py); what readers share."""

from __future__ import annotations

import dataclasses
import gc
import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from reprlib import repr as shown  # of values in messages: one line, shortened
from typing import Any

import numpy as np

from src.entry_point import UserError, printable
from src.tars import PackedImage

SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}
SHARE = 10  # one image of so many is drawn for a split that a data set lacks
LISTED = 20  # names in one message; the others are counted
_PLAIN = re.compile(r"(\w[\w.-]*(/\w[\w.-]*)*)?").fullmatch  # paths that lead nowhere else
is_file = os.path.isfile  # Path.is_file raises for a name that is too long


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
        path: where the file should be, or where it lies in a shard.
        split: "train", "val" or "test".
        captions: one or more, tokenized, none empty.
        objects: what they name, where that is known.
        group: the image's class, where that is known.
        id: the data set's own number of the image (COCO's), where it has one.
        is_true: whether all that a caption says of the image is right, where the data set can tell.
    """

    filename: str
    path: Path | PackedImage
    split: str
    captions: tuple[tuple[str, ...], ...]
    objects: tuple[NamedObject, ...] = ()
    group: str | None = None
    id: int | None = None
    is_true: Callable[[Sequence[str]], bool] | None = None


@contextmanager
def reading(where: str | Callable[[], str], expected: str) -> Iterator[None]:
    """Name the place in a data set's file where its content is not what a reader takes.

    Args:
        where: the file, or an entry of it, or what tells it once something is wrong.
        expected: what it should look like.

    Raises:
        CaptionDataError: for any error of the block.
    """
    try:
        yield
    except Exception as error:  # a stranger's file can be anything: no such key, a list for a text, ...
        problem = f"no key {error}" if isinstance(error, KeyError) else printable(error)
        place = where if isinstance(where, str) else where()
        raise CaptionDataError(f"{place}: {problem}; expected is {expected}") from error


@contextmanager
def without_collector() -> Iterator[None]:
    """Python's garbage collector pauses: while millions of words are read it goes through them again and again."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def read_text(source: Path, layout: str) -> str:
    """The content of a data set's file of captions.

    Args:
        layout: what `data.root` should hold, for the message where there is no such file.

    Raises:
        CaptionDataError: it is missing, no file, or not in UTF-8.
    """
    if not is_file(source):  # a folder or a pipe, too, which would wait for ever
        raise CaptionDataError(f"there is no caption file {source}: data.root names a folder with {layout}")
    with reading(str(source), "text in UTF-8"):
        return source.read_text(encoding="utf-8-sig")


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; Python would take the last of two equal keys, an image change its split unnoticed."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for place, (key, _) in enumerate(pairs) if key in dict(pairs[:place]))
        raise ValueError(f"an object has the key {shown(twice)} twice")
    return found


def split_of(name: str) -> str:
    """train, val or test; ValueError where there is no such split."""
    if name not in SPLITS:
        raise ValueError(f"unknown split {shown(name)}: it must be one of {', '.join(SPLITS)}")
    return SPLITS[name]


def image_path(root: Path, folders: Sequence[str], filename: str) -> Path:
    """Where an image lies: the first of these folders of the data set that holds it, or the first of all.

    Raises:
        ValueError: the name leads out of the data set's folder.
    """
    for part in (*folders, filename):
        if isinstance(part, str) and _PLAIN(part):
            continue
        # Windows' rules, too: a backslash or a drive must not lead out of the folder there.
        parts = {*PurePosixPath(part).parts, *PureWindowsPath(part).parts}
        if ".." in parts or PurePosixPath(part).is_absolute() or PureWindowsPath(part).anchor:
            raise ValueError(f"{shown(part)} leads out of the data set's folder: names are relative to it")
    places = (f"{root}/{folder}/{filename}" for folder in folders)  # pathlib takes ten times as long
    return Path(next(filter(is_file, places), f"{root}/{folders[0]}/{filename}"))


def checked(images: list[CaptionedImage], name: str) -> list[CaptionedImage]:
    """The images of a whole data set, where they can be used together.

    Raises:
        CaptionDataError: an image is there twice, an image has no caption, none is for training.
    """
    for what in ("path", "id"):
        values = [getattr(image, what) for image in images if getattr(image, what) is not None]
        ((value, count),) = Counter(values).most_common(1) or [(None, 0)]
        if count > 1:
            raise CaptionDataError(f"{name} lists an image with the {what} {value} {count} times: keep one")
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
    return [
        image if image.split == split[image.path] else dataclasses.replace(image, split=split[image.path])
        for image in images
    ]


def listed(names: Sequence[str], separator: str = ", ") -> str:
    """The first twenty of some names, and the number of the others."""
    rest = len(names) - LISTED
    return separator.join(names[:LISTED]) + (f"{separator}and {rest} more" if rest > 0 else "")


def digest_of_captions(images: list[CaptionedImage]) -> str:
    """The SHA-256 of a JSON list of what is known of the images, made a thousand at a time."""
    digest = hashlib.sha256(b"[")
    for first in range(0, len(images), 1000):
        entries = [
            [one.filename, one.split, one.captions, [(named.words, named.box) for named in one.objects]]
            for one in images[first : first + 1000]
        ]
        digest.update(f"{', ' if first else ''}{json.dumps(entries)[1:-1]}".encode())
    digest.update(b"]")
    return digest.hexdigest()
