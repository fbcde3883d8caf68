"""MNIST's IDX files: found by their usual names, read plain or packed, their labels checked.

Dimension letters: N images, H, W.
"""

from __future__ import annotations

import filecmp
import gzip
import math
import os
import re
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from src.download import FILES, DataUnavailable

LARGEST = 2**36  # bytes where the machine does not tell its memory
MOST_UNUSED = 10  # numbers in a row that no label has, in a set of that many classes or fewer
# train-images-idx3-ubyte, train-images.idx3-ubyte.gz, emnist-letters-test-labels-idx1-ubyte, ...
_NAME = re.compile(
    r"(?P<prefix>.*?)[-_.]?(?P<part>train|t10k|test)[-_.](?P<what>images|labels)[-_.]idx[13][-_.]ubyte(\.gz)?",
    re.IGNORECASE,
)


def read_idx(path: Path) -> np.ndarray:
    """Read one file of MNIST's IDX format (unsigned bytes, big-endian sizes), plain or packed by gzip.

    Whether it is packed is told by its first bytes, not by its name. Where there is no such file, the one
    with `.gz` behind its name is read. No more is unpacked than the header promises.

    Raises:
        DataUnavailable: the file is missing, cut off, of another format, or larger than it says.
    """
    packed = path.with_name(path.name + ".gz")
    if not path.exists() and not packed.exists():
        raise DataUnavailable(f"the data file {path} is missing (and so is {packed.name})")
    path = path if path.exists() else packed
    if path.exists() and not (path.is_file() or path.is_dir()):  # reading a pipe would wait for ever
        raise DataUnavailable(f"the data file {path} cannot be read: it is no file")
    try:
        with path.open("rb") as plain:
            unpacks = plain.read(2) == b"\x1f\x8b"
        with gzip.open(path) if unpacks else path.open("rb") as stream:
            start = stream.read(4)
            sides = stream.read(4 * start[3]) if len(start) == 4 else b""
            if start[:3] != b"\0\0\x08" or len(sides) < 4 * start[3]:
                raise DataUnavailable(
                    f"{path} is not an IDX file of unsigned bytes (http://yann.lecun.com/exdb/mnist)"
                )
            shape = tuple(int.from_bytes(sides[at : at + 4], "big") for at in range(0, len(sides), 4))
            promised = math.prod(shape)
            if promised > _memory():
                raise DataUnavailable(f"{path} says that it holds {promised:,} bytes: more than the memory")
            data = stream.read(promised)
            if unpacks and stream.read(1):
                raise DataUnavailable(f"{path} unpacks to more than the {promised:,} bytes it promises")
    except (OSError, EOFError, zlib.error) as error:
        raise DataUnavailable(f"the data file {path} cannot be read: {error}") from error
    held = len(data) if unpacks else path.stat().st_size - 4 - len(sides)
    if held != promised:
        raise DataUnavailable(f"{path} is damaged: it holds {held} values, its header says {shape}")
    return np.frombuffer(data, np.uint8).reshape(shape)


def _memory() -> int:
    if not hasattr(os, "sysconf"):
        return LARGEST
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def find_idx(folder: Path, prefix: str | None = None) -> tuple[Path, Path, Path, Path]:
    """The four files of a data set: training images and labels, test images and labels.

    A plain file goes before a packed one. A file may lie in a folder of its own name.

    Args:
        prefix: what the files' names begin with, such as "emnist-letters"; "" for names without one.

    Returns:
        The paths; of a file that is not there the path that `read_idx` will name as missing.

    Raises:
        DataUnavailable: the folder holds several sets and none is picked, none of that prefix, or two
            different files for one part.
    """
    sets: dict[str, dict[str, list[Path]]] = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if match := _NAME.fullmatch(path.name):
            inner = path / path.name
            part = "train" if match["part"].lower() == "train" else "test"
            place = sets.setdefault(match["prefix"], {}).setdefault(f"{part} {match['what'].lower()}", [])
            place.append(inner if path.is_dir() and inner.is_file() else path)
    shown = ", ".join(name or "'' (without a prefix)" for name in sets)
    if prefix is None and len(sets) > 1:
        raise DataUnavailable(
            f"{folder} holds several data sets: pick one of {shown} with data.prefix={max(sets)}"
        )
    wanted = next(iter(sets), "") if prefix is None else prefix.rstrip("-_.")
    if sets and wanted not in sets:
        raise DataUnavailable(f"data.prefix={prefix}: {folder} holds no such data set, it holds {shown}")
    found = sets.get(wanted, {})
    first, second, third, fourth = (
        _one(found.get(place, [])) or folder / (f"{wanted}-{name}" if wanted else name)
        for name, place in zip(
            FILES, ("train images", "train labels", "test images", "test labels"), strict=True
        )
    )
    return first, second, third, fourth


def _one(paths: list[Path]) -> Path | None:
    """The file of a part that is there by one name or by several."""
    plain = [path for path in paths if path.suffix.lower() != ".gz"] or paths
    for other in plain[1:]:
        if not filecmp.cmp(plain[0], other, shallow=False):
            raise DataUnavailable(f"{plain[0]} and {other.name} differ: keep the one that is meant")
    return plain[0] if plain else None


def count_classes(labels: Mapping[Path, np.ndarray]) -> int:
    """The number of outputs that labels need: one more than the largest.

    Args:
        labels: (N,) of each file, those of training first.

    Raises:
        DataUnavailable: a label is far beyond the others, or one of the test labels beyond all that can be
            learned. The message has its value and its index.
    """
    train = next(iter(labels.values()))
    used = np.unique(np.concatenate(list(labels.values()))).astype(int)
    unused = np.diff(used, prepend=-1) - 1  # numbers below each that no label has
    (far,) = np.nonzero(unused >= np.maximum(MOST_UNUSED, np.arange(len(used))))
    if not len(far):
        limit, why = int(train.max()), f"above all training labels, which end at {int(train.max())}"
    elif far[0]:
        limit = int(used[far[0] - 1])
        why = f"far above the others, which end at {limit}"
    else:
        limit, why = -1, "far from 0, where labels begin"
    for path, values in labels.items():
        (rows,) = np.nonzero(values.astype(int) > limit)
        if len(rows):
            more = f" (and {len(rows) - 1:,} more)" if len(rows) > 1 else ""
            raise DataUnavailable(
                f"{path}: the label {int(values[rows[0]])} at index {int(rows[0])}{more} is {why}: "
                "number the classes from 0 and mend or take out what is wrong"
            )
    return limit + 1
