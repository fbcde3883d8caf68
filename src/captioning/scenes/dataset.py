"""The set as files, in the layout of Karpathy's splits: dataset.json and images/00000.png, ...

`dataset.json` comes last, so that a folder that has one is finished. Until then `unfinished.json` says whose
images those are that already lie there.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from src.captioning.scenes.draw import paint
from src.captioning.scenes.grammar import describe, objects_of
from src.captioning.scenes.things import Scene
from src.captioning.scenes.world import draw_lots
from src.files import write_atomically

VERSION = 1  # of what the seeds give; another one makes other pictures or captions
SIZES = (128, 256)
FEWEST, MOST = 10, 100_000  # a test and a validation image at least; five digits in a file's name
UNFINISHED = "unfinished.json"

# Image i draws from separate streams, so that no part of a scene depends on how much another one drew.
_WORLD, _PAINT, _WORDS = range(3)


class ScenesMismatch(RuntimeError):
    """The folder holds something other than the set that was asked for. The message is meant for the user."""


def make_scenes(
    folder: Path,
    count: int = 2000,
    size: int = 256,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Make sure that `folder` holds the first `count` scenes of a seed, `size` pixels wide and high.

    Image i depends on (seed, i, size) alone, its captions and its split on (seed, i). A finished set is
    left alone, a half-finished one completed. Many processes may call this at once: one draws, the others
    wait.

    Args:
        progress: told the number of images that are there, after each one that is drawn.

    Raises:
        ValueError: a setting is out of range.
        ScenesMismatch: the folder holds a set of other settings, or files that are not ours.
    """
    _check(count, size, seed)
    generator = {"version": VERSION, "seed": seed, "size": size, "count": count}
    if _finished(folder, generator):  # needs no lock, so a read-only folder will do
        return
    lock = folder.parent / ".locks" / f"{folder.name}.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        if _finished(folder, generator):
            return
        _claim(folder, generator)
        for index in range(count):
            path = folder / "images" / file_name(index)
            if not path.exists():
                write_atomically(path, _png(scene_of(seed, index), size, seed, index))
                if progress is not None:
                    progress(index + 1)
        images = [_entry(seed, index) for index in range(count)]
        content = {"dataset": "scenes", "synthetic": True, "generator": generator, "images": images}
        write_atomically(folder / "dataset.json", json.dumps(content, separators=(",", ":")) + "\n")
        (folder / UNFINISHED).unlink(missing_ok=True)


def scene_of(seed: int, index: int) -> Scene:
    """The scene of image `index`, at any size."""
    return draw_lots(np.random.default_rng([seed, index, _WORLD]))


def file_name(index: int) -> str:
    return f"{index:05}.png"


def _png(scene: Scene, size: int, seed: int, index: int) -> bytes:
    pixels = paint(scene, size, np.random.default_rng([seed, index, _PAINT, size]))  # (size, size, 3)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _entry(seed: int, index: int) -> dict[str, Any]:
    """An image as dataset.json lists it. Of ten in a row, one is for validation and one for the test."""
    scene = scene_of(seed, index)
    sentences = []
    for k, caption in enumerate(describe(scene, np.random.default_rng([seed, index, _WORDS]))):
        sentences.append(
            {
                "tokens": list(caption.words),
                "raw": " ".join(caption.words),
                "imgid": index,
                "sentid": index * 5 + k,
            }
        )
    return {
        "filename": file_name(index),
        "imgid": index,
        "split": {8: "val", 9: "test"}.get(index % 10, "train"),
        "sentids": [sentence["sentid"] for sentence in sentences],
        "sentences": sentences,
        "objects": objects_of(scene),
    }


def _check(count: int, size: int, seed: int) -> None:
    if not FEWEST <= count <= MOST:
        raise ValueError(f"{count} scenes are out of range: ask for {FEWEST} to {MOST}")
    if size not in SIZES:
        raise ValueError(f"scenes of {size} pixels cannot be drawn: choose one of {SIZES}")
    if seed < 0:
        raise ValueError(f"the scenes' seed {seed} is negative: choose 0 or more")


def _finished(folder: Path, generator: dict[str, int]) -> bool:
    """Whether the folder holds this set, whole; raises where it holds another one."""
    path = folder / "dataset.json"
    if not path.exists():
        return False
    there = _generator(path)
    if there != generator:
        raise ScenesMismatch(
            f"{folder} already holds {_named(there)}, not {_named(generator)}: "
            "delete it, choose another folder, or ask for what it holds"
        )
    names = {entry.name for entry in (folder / "images").iterdir()} if (folder / "images").is_dir() else set()
    return all(file_name(index) in names for index in range(generator["count"]))


def _claim(folder: Path, generator: dict[str, int]) -> None:
    """Write down whose images come into this folder, or raise where others lie there already."""
    path = folder / UNFINISHED
    same = {key: value for key, value in generator.items() if key != "count"}  # any prefix is the same
    there = _generator(path) if path.exists() else None
    if there is not None and {key: value for key, value in there.items() if key != "count"} != same:
        raise ScenesMismatch(
            f"{folder} holds the unfinished drawing of {_named(there)}, not of {_named(generator)}: "
            "delete it or choose another folder"
        )
    images = folder / "images"
    if there is None and not (folder / "dataset.json").exists() and images.is_dir() and any(images.iterdir()):
        raise ScenesMismatch(f"{images} holds files that are not of the scenes: choose another folder")
    write_atomically(path, json.dumps(generator) + "\n")


def _generator(path: Path) -> dict[str, int] | None:
    """The settings that a dataset.json or unfinished.json was made with; None for one that is not ours."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if path.name == UNFINISHED:
        return content if isinstance(content, dict) else None
    if not isinstance(content, dict) or content.get("dataset") != "scenes":
        return None
    generator = content.get("generator")
    return generator if isinstance(generator, dict) else None


def _named(generator: dict[str, int] | None) -> str:
    if generator is None:
        return "another data set"
    return "{count} scenes of {size} pixels, seed {seed}, version {version}".format_map(
        {"count": "?", "size": "?", "seed": "?", "version": "?"} | generator
    )
