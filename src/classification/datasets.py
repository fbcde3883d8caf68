"""The data sets that come with a name: each function returns `ImageArrays` (`data=NAME`, conf/data/)."""

from __future__ import annotations

import gzip
import hashlib
import logging
import math
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from torchvision.datasets import FashionMNIST

from src.classification.data import ImageArrays
from src.download import FILES, fetch
from src.entry_point import UserError
from src.files import replacing

IDX_NAMES = (
    ("train-images-idx3-ubyte",),
    ("train-labels-idx1-ubyte",),
    ("t10k-images-idx3-ubyte", "test-images-idx3-ubyte"),
    ("t10k-labels-idx1-ubyte", "test-labels-idx1-ubyte"),
)
MAPPED_BYTES = 2**30  # larger image folders are memory-mapped
FASHION_MNIST_CLASSES = tuple(FashionMNIST.classes)
logger = logging.getLogger(__name__)


def fashion_mnist(root: str = "data") -> ImageArrays:
    """Fashion-MNIST (Xiao, Rasul, Vollgraf 2017), fetched and checked by SHA-256 where it is missing.

    Raises:
        UserError: no source has it.
    """
    raw = fetch("fashion_mnist", root)
    train_images, train_labels, test_images, test_labels = (read_idx(raw / name) for name in FILES)
    return ImageArrays(train_images, train_labels, test_images, test_labels, FASHION_MNIST_CLASSES)


def mnist(root: str = "data") -> ImageArrays:
    """MNIST (LeCun, Cortes, Burges 1998), fetched and checked by SHA-256 where it is missing.

    Raises:
        UserError: no source has it.
    """
    return idx(str(fetch("mnist", root)), prefix="")


def idx(root: str, prefix: str | None = None, transpose: bool = False) -> ImageArrays:
    """Own data in MNIST's four IDX files, plain or packed by gzip.

    Args:
        prefix: picks one of several sets in the folder, e.g. emnist-letters.
        transpose: swap rows and columns (EMNIST's images lie on their side).

    Raises:
        UserError: a file is missing, there are several for one part, or one is damaged.
    """
    arrays = [read_idx(find_idx(Path(root), prefix, names)) for names in IDX_NAMES]
    if transpose:
        arrays[0::2] = [images.swapaxes(1, 2) for images in arrays[0::2]]
    train_images, train_labels, test_images, test_labels = arrays
    return ImageArrays(train_images, train_labels, test_images, test_labels)


def find_idx(folder: Path, prefix: str | None, names: tuple[str, ...]) -> Path:
    """The file of one part of a data set, whose name holds one of `names`; a plain one before a packed one.

    Raises:
        UserError: there is none, or there are several.
    """
    start = "*" if prefix is None else f"{prefix}-" if prefix else ""
    patterns = [f"{start}{name.replace('-idx', '[-.]idx')}*" for name in names]
    found = sorted(path for pattern in patterns for path in folder.glob(pattern) if path.is_file())
    found = [path for path in found if path.suffix != ".gz"] or found
    if len(found) != 1:
        holds = ", ".join(path.name for path in found) or "none"
        raise UserError(
            f"{folder} must hold one file {start}{names[0]}, plain or .gz (data.prefix=... picks one of several sets); "
            f"it holds {holds}"
        )
    return found[0]


def read_idx(path: Path) -> np.ndarray:
    """One of MNIST's IDX files of unsigned bytes, plain or packed by gzip, whatever its name's ending.

    Raises:
        UserError: it cannot be read, is of another format, or does not hold what its header says.
    """
    try:
        with path.open("rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if is_packed else path.open("rb") as stream:
            magic, dimensions = struct.unpack(">3sB", stream.read(4))
            sides = struct.unpack(f">{dimensions}I", stream.read(4 * dimensions))
            promised = math.prod(sides)
            values = stream.read(promised + 1)  # no more is unpacked: a byte too many tells
    except (OSError, EOFError, zlib.error, MemoryError, OverflowError, struct.error) as error:
        raise UserError(f"{path} cannot be read: {type(error).__name__}: {error}") from error
    if magic != b"\0\0\x08" or len(values) != promised:
        raise UserError(
            f"{path} is no IDX file of unsigned bytes, or is damaged: its header says {sides}, it "
            f"holds {len(values)} values"
        )
    return np.frombuffer(values, np.uint8).reshape(sides)


def torchvision_set(
    dataset: str, root: str = "data", split: str | None = None, transpose: bool = False
) -> ImageArrays:
    """A data set of torchvision.datasets, read from `root` or downloaded to it with torchvision's checksums.

    Args:
        dataset: MNIST, KMNIST, EMNIST, CIFAR10, CIFAR100, ...: any class with `train`, `data` and `targets`.
        split: EMNIST's: letters, digits, balanced, ...
        transpose: swap rows and columns (EMNIST's images lie on their side).

    Raises:
        UserError: the files are not there and cannot be downloaded.
    """
    import torchvision.datasets

    kind = getattr(torchvision.datasets, dataset)
    options = {"split": split} if split else {}
    try:
        train, test = (kind(root, train=part, download=True, **options) for part in (True, False))
    except (OSError, RuntimeError) as error:
        raise UserError(
            f"{dataset} is not in {root} and cannot be downloaded ({str(error).splitlines()[0]}): put the files that "
            f"torchvision.datasets.{dataset} reads there (data.root=FOLDER)"
        ) from error
    images = [np.asarray(part.data).astype(np.uint8, copy=False) for part in (train, test)]
    if transpose:
        images = [np.ascontiguousarray(part.swapaxes(1, 2)) for part in images]
    labels = [np.asarray(part.targets, dtype=np.int64) for part in (train, test)]
    first = min(int(part.min()) for part in labels)  # EMNIST's letters begin at 1
    names = tuple(map(str, train.classes))
    classes = names[first:] if len(names) == max(int(part.max()) for part in labels) + 1 else None
    return ImageArrays(images[0], labels[0] - first, images[1], labels[1] - first, classes)


def image_folder(
    root: str, size: int = 64, grey: bool = False, cache: str = "data/image_folders"
) -> ImageArrays:
    """Images sorted into folders: `root/train/CLASS/*`, `root/test/CLASS/*` and, optionally, `root/val/CLASS/*`.

    Each image is resized to a square once and kept in `cache`; more than 1 GiB is memory-mapped.

    Args:
        size: side in pixels.
        grey: one channel instead of three.

    Raises:
        UserError: a folder or a class is missing, or an image cannot be read.
    """
    from torchvision.datasets.folder import find_classes, make_dataset

    from src.images import suffixes

    folder, parts = Path(root), {}
    if not (folder / "train").is_dir():
        raise UserError(f"data.root={root}: there is no folder train/CLASS with images in it")
    classes, label_of = find_classes(folder / "train")
    for part in ("train", "test", "val"):
        if part == "val" and not (folder / part).is_dir():
            continue
        if unknown := set(find_classes(folder / part)[0]) - set(classes):
            names = ", ".join(sorted(unknown))
            raise UserError(f"{folder / part} has the classes {names}, which train has not")
        samples = make_dataset(folder / part, label_of, tuple(suffixes()), allow_empty=True)
        paths, labels = [Path(path) for path, _ in samples], [label for _, label in samples]
        parts[part] = (_resized(paths, size, grey, Path(cache)), np.array(labels))
    return ImageArrays(*parts["train"], *parts["test"], tuple(classes), *parts.get("val", (None, None)))


def _resized(paths: list[Path], size: int, grey: bool, cache: Path) -> np.ndarray:
    """All images as one array (N, size, size[, 3]), made once for these files (by name, size, time of change)."""
    from src.images import read_rgb

    stamps = [f"{path.absolute()} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in paths]
    key = hashlib.sha256("\n".join([f"{size} {grey}", *stamps]).encode()).hexdigest()[:16]
    stored = cache / f"{key}.npy"
    if not stored.exists():
        logger.info("resizing %s images into %s", f"{len(paths):,}", stored)
        shape = (len(paths), size, size) if grey else (len(paths), size, size, 3)
        with replacing(stored) as file:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for path in paths:
                image = read_rgb(path).resize((size, size), Image.Resampling.BILINEAR)
                file.write(np.asarray(image.convert("L") if grey else image).tobytes())
    mapped = stored.stat().st_size > MAPPED_BYTES
    return np.load(stored, mmap_mode="c" if mapped else None)
