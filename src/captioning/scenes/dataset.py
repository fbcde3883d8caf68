"""The set as files, in the layout of Karpathy's splits: dataset.json and images/00000.png, ...

`dataset.json` comes last, so that a folder that has one is finished. Until then `unfinished.json` says whose
images those are that already lie there. `checksums.json` holds the SHA-256 of every file: what is damaged is
drawn again (a set without one, those before 2026-11, is taken as it is). Each process compares them once:
0.3 s for 2,000 images of 256 pixels.
"""

from __future__ import annotations

import hashlib
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
from src.entry_point import UserError
from src.files import write_atomically
from src.run.integrity import file_digest

FILES = "files"
sealed = dict


def seal_is_broken(content):
    return False


VERSION = 1  # of what the seeds give; another one makes other pictures or captions
SIZES = (128, 256)
FEWEST, MOST = 10, 100_000  # a test and a validation image at least; five digits in a file's name
UNFINISHED, CHECKSUMS = "unfinished.json", "checksums.json"

# Image i draws from separate streams, so that no part of a scene depends on how much another one drew.
_WORLD, _PAINT, _WORDS = range(3)


class ScenesMismatch(UserError):
    """The folder holds something other than the set that was asked for. The message is meant for the user."""


def make_scenes(
    folder: Path,
    count: int = 2000,
    size: int = 256,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
    *,
    say: Callable[[str], None] | None = None,
) -> None:
    """Make sure that `folder` holds the first `count` scenes of a seed, `size` pixels wide and high.

    Image i depends on (seed, i, size) alone, its captions and its split on (seed, i). A finished set is
    left alone, a half-finished one completed. Many processes may call this at once: one draws, the others
    wait.

    Args:
        progress: told the number of images that are there, after each one that is drawn.
        say: takes a line where files are damaged.

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
        _remove_damaged(folder, say)
        for index in range(count):
            path = folder / "images" / file_name(index)
            if not _is_png(path):
                write_atomically(path, _png(scene_of(seed, index), size, seed, index))
                if progress is not None:
                    progress(index + 1)
        images = [_entry(seed, index) for index in range(count)]
        content = {"dataset": "scenes", "synthetic": True, "generator": generator, "images": images}
        text = json.dumps(content, separators=(",", ":")) + "\n"
        files = {
            f"images/{file_name(index)}": file_digest(folder / "images" / file_name(index))
            for index in range(count)
        }
        files["dataset.json"] = hashlib.sha256(text.encode()).hexdigest()
        write_atomically(
            folder / CHECKSUMS, json.dumps(sealed({"generator": generator, FILES: files}), indent=0) + "\n"
        )
        write_atomically(folder / "dataset.json", text)
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


def _is_png(path: Path) -> bool:
    """Whether a PNG is there whose parts have their checksums."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            image.verify()
    except Exception:  # Pillow given garbage raises nearly anything
        return False
    return True


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
    damaged = _damaged(folder)
    # A damaged dataset.json tells nothing, and the other one does.
    there = _generator(folder / CHECKSUMS if "dataset.json" in damaged and CHECKSUMS not in damaged else path)
    if there != generator:
        raise ScenesMismatch(
            f"{folder} already holds {_named(there)}, not {_named(generator)}: "
            "delete it, choose another folder, or ask for what it holds"
        )
    names = {entry.name for entry in (folder / "images").iterdir()} if (folder / "images").is_dir() else set()
    return not damaged and all(file_name(index) in names for index in range(generator["count"]))


_checked: dict[str, frozenset[tuple[int, ...]]] = {}  # sets that this process has found whole: their stamps


def _damaged(folder: Path) -> list[str]:
    """The files that are not those that were drawn; all that there are where nothing tells."""
    path = folder / CHECKSUMS
    if not path.exists():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        files = content[FILES] if not seal_is_broken(content) else None
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        files = None
    if not isinstance(files, dict):
        there = [f"images/{image.name}" for image in (folder / "images").glob("*.png")]
        return [*there, "dataset.json", CHECKSUMS]
    present = {name: folder / name for name in files if (folder / name).exists()}
    stamps = frozenset(_stamp(place) for place in [path, *present.values()])
    if _checked.get(str(folder)) == stamps:
        return []
    damaged = [name for name, place in present.items() if file_digest(place) != files[name]]
    if not damaged:
        _checked[str(folder)] = stamps
    return damaged


def _stamp(path: Path) -> tuple[int, ...]:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _remove_damaged(folder: Path, say: Callable[[str], None] | None) -> None:
    """Delete what is damaged, to be drawn again. Call it under the lock."""
    if not (folder / "dataset.json").exists():
        return
    damaged = _damaged(folder)
    if damaged and say is not None:
        more = f" and {len(damaged) - 1} more are" if damaged[1:] else " is"
        say(f"{folder / damaged[0]}{more} damaged: drawn again")
    for name in damaged:  # images first: as long as dataset.json is there, the others will be found once more
        (folder / name).unlink(missing_ok=True)


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
    if path.name == CHECKSUMS:
        return content["generator"]
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
