"""The set as files, in the layout of Karpathy's splits: dataset.json and images/00000.png, ...

dataset.json, the first file, says which set the folder is for; SHA256SUMS, the last one, makes it a finished one.
Damaged files are drawn again.
"""

from __future__ import annotations

import io
import json
import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from src.entry_point import UserError
from src.files import modified_files, write_atomically, write_sums
from src.locks import lock_at
from src.scenes.captions import NOUNS, describe, objects_of
from src.scenes.draw import paint
from src.scenes.layouts import sample_scene
from src.scenes.scene import Scene

VERSION = 1  # of what the seeds give
SIZES = (128, 256)
DATASET = "dataset.json"

# Image i draws from separate streams: no part of a scene depends on how much another one drew.
_SCENE, _PAINT, _WORDS = range(3)


def make_scenes(folder: Path, count: int = 2000, size: int = 256, seed: int = 0) -> None:
    """Make sure that `folder` holds the first `count` scenes of a seed, `size` pixels wide and high.

    Image i depends on (seed, i, size) alone, its captions on (seed, i). A finished set is left alone, an
    unfinished or damaged one completed. Of several processes one draws and the others wait.

    Raises:
        UserError: a setting is out of range, or the folder holds another set or files of someone else.
    """
    if not 10 <= count <= 100_000 or size not in SIZES:  # an image of each split; five digits in a name
        raise UserError(f"{count} scenes of {size} pixels: choose 10 to 100000 scenes, 128 or 256 pixels")
    generator = {"version": VERSION, "seed": seed, "size": size, "count": count}
    if _damaged(folder, generator) == []:  # needs no lock, so a read-only folder will do
        return
    lock = folder.parent / ".locks" / f"{folder.name}.lock"
    with lock_at(lock):
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
        paths = [f"images/{image['filename']}" for image in images]
        for index, path in enumerate(tqdm(paths, desc="scenes", disable=None, leave=False)):
            if not (folder / path).exists():
                write_atomically(folder / path, _png(seed, index, size))
        write_sums(folder, [DATASET, *paths])


@lru_cache(1000)  # each epoch's captions are compared with the same ones
def scene_of(seed: int, index: int) -> Scene:
    """The scene of image `index`, at any size."""
    return sample_scene(np.random.default_rng([seed, index, _SCENE]))


def scene_entry(seed: int, index: int) -> dict[str, Any]:
    """An image as dataset.json lists it. Of ten in a row, one is for validation and one for the test."""
    scene = scene_of(seed, index)
    captions = describe(scene, np.random.default_rng([seed, index, _WORDS]))
    sentences = [
        {"tokens": caption.split(), "raw": caption, "imgid": index, "sentid": index * len(captions) + k}
        for k, caption in enumerate(captions)
    ]
    return {
        "filename": f"{index:05}.png",
        "imgid": index,
        "split": {8: "val", 9: "test"}.get(index % 10, "train"),
        "sentids": [sentence["sentid"] for sentence in sentences],
        "sentences": sentences,
        "objects": [
            {"words": NOUNS[one.kind], "box": [round(edge, 4) for edge in one.box]}
            for one in objects_of(scene)
        ],
    }


def draw_scene(seed: int, index: int, size: int) -> np.ndarray:
    """The pixels of image `index`, (size, size, 3) uint8."""
    return paint(scene_of(seed, index), size, np.random.default_rng([seed, index, _PAINT, size]))


def _png(seed: int, index: int, size: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(draw_scene(seed, index, size)).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _damaged(folder: Path, generator: dict[str, int]) -> list[str] | None:
    """The files of a finished set that are not what was drawn; None for an unfinished set.

    Raises:
        UserError: the folder holds something else.
    """
    if not folder.exists() or all(path.name.startswith(".") for path in folder.iterdir()):
        return None
    kind = "{count} scenes of {size} pixels, seed {seed}, version {version}"
    try:
        held = kind.format(**json.loads((folder / DATASET).read_text(encoding="utf-8"))["generator"])
    except (OSError, ValueError, LookupError, TypeError):
        held = "another data set"
    if held != kind.format(**generator):
        raise UserError(
            f"{folder} already holds {held}: delete it, choose another folder, or ask for what it holds"
        )
    return modified_files(folder)
