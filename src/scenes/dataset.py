"""The set as files, in the layout of Karpathy's splits: dataset.json and images/00000.png, ...

dataset.json, the first file, says which set the folder is for; SHA256SUMS, the last one, in the format of
sha256sum, makes it a finished one. Damaged files are drawn again.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from src.entry_point import UserError
from src.files import write_atomically
from src.scenes.captions import boxes_of, describe
from src.scenes.draw import paint
from src.scenes.layouts import sample_scene
from src.scenes.scene import Scene

VERSION = 1  # of what the seeds give
SIZES = (128, 256)
FEWEST, MOST = 10, 100_000  # a test and a validation image at least; five digits in a file's name
DATASET, CHECKSUMS = "dataset.json", "SHA256SUMS"

# Image i draws from separate streams: no part of a scene depends on how much another one drew.
_SCENE, _PAINT, _WORDS = range(3)


class ScenesMismatch(UserError):
    """The folder holds something other than the set that was asked for."""


def make_scenes(
    folder: Path,
    count: int = 2000,
    size: int = 256,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Make sure that `folder` holds the first `count` scenes of a seed, `size` pixels wide and high.

    Image i depends on (seed, i, size) alone, its captions on (seed, i). A finished set is left alone, an
    unfinished or damaged one completed. Of several processes one draws and the others wait.

    Args:
        progress: called with the number of images that are there, after each one drawn.

    Raises:
        ValueError: a setting is out of range.
        ScenesMismatch: the folder holds another set, or files of someone else.
    """
    if not FEWEST <= count <= MOST or size not in SIZES or seed < 0:
        raise ValueError(
            f"{count} scenes of {size} pixels with seed {seed} cannot be drawn: "
            f"choose {FEWEST} to {MOST} scenes, {SIZES[0]} or {SIZES[1]} pixels, a seed from 0"
        )
    generator = {"version": VERSION, "seed": seed, "size": size, "count": count}
    if _damaged(folder, generator) == []:  # needs no lock, so a read-only folder will do
        return
    lock = folder.parent / ".locks" / f"{folder.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        damaged = _damaged(folder, generator)
        if damaged == []:
            return
        for name in damaged or ():
            logging.getLogger(__name__).warning("%s is damaged or missing: drawn again", folder / name)
            if name != DATASET:  # it is written over, and says whose folder this is until then
                (folder / name).unlink(missing_ok=True)
        images = [scene_entry(seed, index) for index in range(count)]
        content = {"dataset": "scenes", "synthetic": True, "generator": generator, "images": images}
        write_atomically(folder / DATASET, json.dumps(content, separators=(",", ":")) + "\n")
        for index in range(count):
            path = folder / "images" / file_name(index)
            if not path.exists():
                write_atomically(path, _png(seed, index, size))
                if progress is not None:
                    progress(index + 1)
        sums = [f"{_sha256(folder / name)}  {name}\n" for name in _files(count)]
        write_atomically(folder / CHECKSUMS, "".join(sums))


def scene_of(seed: int, index: int) -> Scene:
    """The scene of image `index`, at any size."""
    return sample_scene(np.random.default_rng([seed, index, _SCENE]))


def scene_entry(seed: int, index: int) -> dict[str, Any]:
    """An image as dataset.json lists it. Of ten in a row, one is for validation and one for the test."""
    scene = scene_of(seed, index)
    captions = describe(scene, np.random.default_rng([seed, index, _WORDS]))
    sentences = [
        {"tokens": caption.split(), "raw": caption, "imgid": index, "sentid": index * 5 + k}
        for k, caption in enumerate(captions)
    ]
    return {
        "filename": file_name(index),
        "imgid": index,
        "split": {8: "val", 9: "test"}.get(index % 10, "train"),
        "sentids": [sentence["sentid"] for sentence in sentences],
        "sentences": sentences,
        "objects": boxes_of(scene),
    }


def file_name(index: int) -> str:
    """The name of a scene's image."""
    return f"{index:05}.png"


def _png(seed: int, index: int, size: int) -> bytes:
    pixels = paint(scene_of(seed, index), size, np.random.default_rng([seed, index, _PAINT, size]))
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _damaged(folder: Path, generator: dict[str, int]) -> list[str] | None:
    """The files of a finished set that are not what was drawn; None for an unfinished set."""
    if not folder.exists() or all(path.name.startswith(".") for path in folder.iterdir()):
        return None
    held = "another data set"
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        there = json.loads((folder / DATASET).read_text(encoding="utf-8"))["generator"]
        held = "{count} scenes of {size} pixels, seed {seed}, version {version}".format(**there)
    if held != "{count} scenes of {size} pixels, seed {seed}, version {version}".format(**generator):
        raise ScenesMismatch(
            f"{folder} already holds {held}: delete it, choose another folder, or ask for what it holds"
        )
    if not (folder / CHECKSUMS).exists():
        return None
    lines = (folder / CHECKSUMS).read_text(encoding="utf-8", errors="replace").splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    paths = {name: folder / name for name in _files(generator["count"])}
    return [name for name, path in paths.items() if not path.exists() or _sha256(path) != sums.get(name)]


def _files(count: int) -> list[str]:
    return [DATASET, *(f"images/{file_name(index)}" for index in range(count))]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
