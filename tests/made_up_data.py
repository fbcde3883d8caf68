"""Small made-up data sets in MNIST's file layout."""

from pathlib import Path

import numpy as np

from src.download import FILES


def write_idx(path: Path, values: np.ndarray) -> None:
    """One file of unsigned bytes in the IDX format."""
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    path.write_bytes(header + values.astype(np.uint8).tobytes())


def bright_squares(size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images (size, 28, 28) and labels (size,): noise, and a bright square whose place tells the class."""
    random = np.random.RandomState(seed)
    labels = random.permutation(np.arange(size) % 10)
    images = random.randint(0, 50, (size, 28, 28))
    for image, label in zip(images, labels, strict=True):
        top, left = 2 + 13 * (label // 5), 1 + 5 * (label % 5)
        image[top : top + 10, left : left + 5] += 200
    return images.astype(np.uint8), labels.astype(np.uint8)


def write_data_set(folder: Path, train: int, test: int) -> Path:
    """The four files of a data set that a network learns within an epoch or two."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = (*bright_squares(train, seed=1), *bright_squares(test, seed=2))
    for name, values in zip(FILES, parts, strict=True):
        write_idx(folder / name, values)
    return folder
