"""Captioned images in tar shards, as webdataset and img2dataset write them (`data=shards`).

    train-000000.tar    0001.jpg  0001.txt      a caption a line
                        0002.png  0002.json     {"captions": ["A river.", "A bend of a river."]}

Further keys of the JSON: `caption` (one), `split`, `class`, `id`. A shard is read once; what is in it is kept in a
small index in the feature store, so that training opens no shard but for the gallery's pictures.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from src.captioning.captioned import CaptionedImage, checked, reading, shown, split_of, unique_keys
from src.captioning.store import sum_of
from src.captioning.vocabulary import tokenize
from src.entry_point import UserError
from src.files import write_atomically
from src.images import suffixes
from src.locks import lock_at
from src.tars import BrokenTar, Member, PackedImage, Tar, find_tars

FORMAT = '{"captions": ["A river."]}'
INDEX = 1  # counts up with the index's form
logger = logging.getLogger(__name__)


def read_shards(
    root: str, cache: str, splits: Mapping[str, str] | None = None, shard: int | None = None
) -> list[CaptionedImage]:
    """Read all images of all shards, in the shards' order; the images are not decoded.

    Args:
        root: a folder, or a pattern of tar files, on this machine or at an address that fsspec opens.
        cache: the feature store's folder, which keeps the index.
        splits: patterns of shards' names by split, {"val": "*-0000[01].tar"}; other shards' names tell it (train,
            val or test), or they are for training. An image's own `split` goes before.
        shard: that one alone, counted from 0.

    Raises:
        UserError: naming every shard that cannot be used, and the member to blame.
    """
    tars = find_tars(root)
    if shard is not None:
        if shard >= len(tars):
            raise UserError(f"shard={shard}: {root} has {len(tars)} shards, 0 to {len(tars) - 1}")
        tars = tars[shard : shard + 1]
    images: list[CaptionedImage] = []
    errors = []
    for tar in tars:  # all broken ones are named at once, and the others indexed
        try:
            images += _images(tar, Path(cache), split_of(_split_of_shard(tar.name, splits or {})))
        except BrokenTar as error:
            errors.append(str(error))
    if errors:
        raise BrokenTar("; ".join(errors))
    return images if shard is not None else checked(images, root)


def _split_of_shard(name: str, splits: Mapping[str, str]) -> str:
    given = [split for split, pattern in splits.items() if fnmatch.fnmatchcase(name, pattern)]
    named = re.search("train|val|test", name)
    return (given or [named[0] if named else "train"])[0]


def _images(tar: Tar, cache: Path, split: str) -> list[CaptionedImage]:
    """The images of one shard, which is opened only if its index is not there."""
    stamp = tar.stamp()
    target = cache / f"shard-{hashlib.sha256(f'{INDEX} {stamp}'.encode()).hexdigest()[:20]}.json"
    entries = _kept(target)
    if entries is None:
        with lock_at(target.with_name(f".{target.name}.lock")):
            # Another process may have read the shard meanwhile.
            entries = _kept(target) or _keep(list(_entries(tar)), tar, stamp, target)
    found = []
    for row, (member, digest, texts, own) in enumerate(entries):
        packed = PackedImage(str(tar), row, Member(*member), digest, tar)
        tar.images.append(packed)
        found.append(
            CaptionedImage(
                filename=packed.name,
                path=packed,
                split=own.get("split", split),
                captions=tuple(words for text in texts if (words := tuple(tokenize(text)))),
                group=own.get("class"),
                id=own.get("id"),
            )
        )
    return found


def _kept(index: Path) -> Any:
    """What an index holds; None where it is missing or damaged."""
    with suppress(OSError, ValueError):
        content = index.read_bytes()
        if sum_of(index).read_text()[:64] == hashlib.sha256(content).hexdigest():
            return json.loads(content)
    return None


def _keep(entries: list[Any], tar: Tar, stamp: str, index: Path) -> list[Any]:
    if tar.stamp() != stamp:
        raise BrokenTar(f"the shard {tar} changed while it was read: run the command again")
    text = json.dumps(entries)
    write_atomically(index, text)
    write_atomically(sum_of(index), f"{hashlib.sha256(text.encode()).hexdigest()}  {index.name}\n")
    return entries


def _entries(tar: Tar) -> Iterator[tuple[Member, str, list[str], dict[str, Any]]]:
    """Of each image of a shard: its place, digest, captions, and what else its JSON tells.

    Raises:
        BrokenTar: naming the member: captions without an image, an image without captions, a name there twice.
    """
    tar.hold()
    samples: dict[str, dict[str, Member]] = {}
    for member in tar.members():
        folder, _, file = member.name.rpartition("/")
        key, _, kind = file.partition(".")
        kind = "image" if f".{kind.lower()}" in suffixes() else kind.lower()
        sample = samples.setdefault(f"{folder}/{key}", {})
        if kind in sample:
            raise tar.error(
                member.name, f"there is {sample[kind].name} already: give each sample its own key"
            )
        if kind in ("image", "txt", "json"):
            sample[kind] = member
    if not any(samples.values()):
        raise BrokenTar(
            f"the shard {tar} has no image beside captions (a sample's key ends at the first dot)"
        )
    for sample in samples.values():
        if not sample:  # of other kinds
            continue
        if "image" not in sample:
            raise tar.error(next(iter(sample.values())).name, "it has no image beside it")
        image = sample["image"]
        texts: list[str] = []
        own: dict[str, Any] = {}
        if "json" in sample:
            texts, own = _of_json(tar, sample["json"])
        if "txt" in sample and not texts:
            with tar.reading(sample["txt"].name):
                texts = tar.read(sample["txt"]).decode("utf-8-sig").splitlines()
        if not any(map(tokenize, texts)):
            raise tar.error(image.name, "it has no caption with a word, in a .txt or .json of its name")
        yield image, hashlib.sha256(tar.read(image)).hexdigest(), texts, own


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) else None  # names, as of web images, are no ids of COCO's


def _of_json(tar: Tar, member: Member) -> tuple[list[str], dict[str, Any]]:
    """Captions and further keys of a sample's JSON."""
    try:
        with reading(f"the shard {tar}, member {member.name}", FORMAT):
            content = json.loads(tar.read(member), object_pairs_hook=unique_keys)
            texts = content.get("captions") or [content[key] for key in ("caption",) if content.get(key)]
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise TypeError(f"{shown(texts)} is not a list of texts")
            own: dict[str, Callable[[Any], Any]] = {"split": split_of, "class": str, "id": _whole}
            return texts, {
                key: kind(content[key]) for key, kind in own.items() if content.get(key) is not None
            }
    except UserError as error:
        raise BrokenTar(str(error)) from error
