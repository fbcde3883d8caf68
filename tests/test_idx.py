"""Own data in IDX files: their usual names, EMNIST's images, damaged files, labels that cannot be meant."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.classification.datasets import idx, read_idx
from src.download import FILES
from src.entry_point import UserError
from tests.made_up_data import write_data_set, write_idx

NAMES = list(FILES)


def arrays(folder: Path, **options: Any) -> tuple[np.ndarray, ...]:
    found = idx(str(folder), **options)
    return found.train_images, found.train_labels, found.test_images, found.test_labels


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_data_set(tmp_path / "d", train=100, test=30)


def emnist(name: str) -> str:
    return "emnist-letters-" + name.replace("t10k", "test")


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: name.replace("-idx", ".idx"),
        emnist,
        lambda name: name.replace("-idx", ".idx") + ".gz",
        lambda name: emnist(name) + ".gz",
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_every_usual_name_plain_or_packed_whatever_its_ending(
    folder: Path, rename: Callable[[str], str], packed: bool
) -> None:
    wanted = arrays(folder)
    for name in NAMES:
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        (folder / rename(name)).write_bytes(gzip.compress(content) if packed else content)
    assert all(map(np.array_equal, wanted, arrays(folder)))


def test_of_several_sets_one_is_picked(folder: Path) -> None:
    for name in NAMES:
        content = (folder / name).read_bytes()
        (folder / emnist(name)).write_bytes(content)
        (folder / f"{emnist(name).replace('letters', 'digits')}.gz").write_bytes(gzip.compress(content))
    with pytest.raises(
        UserError, match=r"must hold one file .*data\.prefix.* holds .*letters.*, train-images"
    ):
        arrays(folder)
    for prefix in ("", "emnist-letters", "emnist-digits"):
        assert len(arrays(folder, prefix=prefix)[0]) == 100
    with pytest.raises(UserError, match=r"must hold one file mnist-train-images.*; it holds none"):
        arrays(folder, prefix="mnist")


def test_emnists_images_are_turned(folder: Path) -> None:
    plain, turned = arrays(folder), arrays(folder, transpose=True)
    for split in (0, 2):
        assert np.array_equal(turned[split], plain[split].swapaxes(1, 2))


def test_labels_need_not_begin_at_0_nor_be_without_gaps(folder: Path) -> None:
    for file in (1, 3):
        write_idx(folder / NAMES[file], read_idx(folder / NAMES[file]) + 1)  # as EMNIST's letters
    assert len(idx(str(folder)).class_names) == 11
    for file in (1, 3):
        write_idx(folder / NAMES[file], np.where(read_idx(folder / NAMES[file]) > 5, 9, 3))  # two digits
    assert len(idx(str(folder)).class_names) == 10


@pytest.mark.parametrize("name", [NAMES[0], NAMES[3]])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: data[:-1], r"is damaged: its header says \([\d, ]+\), it holds \d+ values"),
        (lambda data: data + b"\0", "is damaged"),
        (lambda data: b"", "cannot be read: error: unpack requires"),
        (lambda data: b"\0\0\x09" + data[3:], "is no IDX file of unsigned bytes"),
        (lambda data: data[:6], "cannot be read: error: unpack requires"),
        (lambda data: gzip.compress(data)[:-20], "cannot be read: EOFError"),
        (lambda data: b"\0\0\x08\x04" + b"\xff" * 16 + b"\0", "cannot be read: OverflowError"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    folder: Path, name: str, damage: Callable[[bytes], bytes], words: str
) -> None:
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    with pytest.raises(UserError, match=words) as caught:
        arrays(folder)
    assert str(folder) in str(caught.value)
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(UserError, match=r"must hold one file .*; it holds none"):
        arrays(folder)


def test_a_gz_file_with_a_changed_byte_is_damaged(folder: Path) -> None:
    packed = bytearray(gzip.compress((folder / NAMES[1]).read_bytes()))
    for position in range(10, len(packed)):  # after the header, which holds a time and the like
        changed = packed.copy()
        changed[position] ^= 0xFF
        (folder / "changed.gz").write_bytes(changed)
        with pytest.raises(UserError):
            read_idx(folder / "changed.gz")
