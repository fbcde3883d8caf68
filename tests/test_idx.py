"""Own data in IDX files: every usual name, EMNIST's images, labels that cannot be meant."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.classification.datasets import idx
from src.classification.idx import find_idx, read_idx
from src.download import FILES, DataUnavailable
from tests.made_up_data import write_data_set, write_idx

NAMES = list(FILES)


def arrays(folder: Path, **options: Any) -> tuple[np.ndarray, ...]:
    found = idx(str(folder), **options)
    return found.train_images, found.train_labels, found.test_images, found.test_labels


def classes(folder: Path) -> int:
    return len(idx(str(folder)).class_names)


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
        lambda name: f"{name}/{name}",
        str.upper,
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
        (folder / rename(name)).parent.mkdir(exist_ok=True)
        (folder / rename(name)).write_bytes(gzip.compress(content) if packed else content)
    found = arrays(folder)
    assert all(map(np.array_equal, wanted, found))


def test_of_several_sets_one_is_picked(folder: Path) -> None:
    for name in NAMES:
        content = (folder / name).read_bytes()
        (folder / emnist(name)).write_bytes(content)
        (folder / f"{emnist(name).replace('letters', 'digits')}.gz").write_bytes(gzip.compress(content))
    with pytest.raises(
        DataUnavailable, match=r"several data sets: pick one of .*emnist-digits, emnist-letters"
    ):
        arrays(folder)
    assert find_idx(folder, "emnist-letters")[2] == folder / "emnist-letters-test-images-idx3-ubyte"
    assert find_idx(folder, "")[0] == folder / NAMES[0]
    assert len(arrays(folder, prefix="emnist-digits")[0]) == 100
    with pytest.raises(DataUnavailable, match=r"data\.prefix=mnist: .* holds no such data set, it holds"):
        arrays(folder, prefix="mnist")


def test_two_different_files_for_one_part_are_refused(folder: Path) -> None:
    other = folder / "train-images.idx3-ubyte"
    other.write_bytes((folder / NAMES[0]).read_bytes())
    assert len(arrays(folder)[0]) == 100
    write_idx(other, np.zeros((100, 28, 28)))
    with pytest.raises(DataUnavailable, match=r"train-images-idx3-ubyte and train-images\.idx3-ubyte differ"):
        arrays(folder)


def test_emnists_images_are_turned(folder: Path) -> None:
    plain, turned = arrays(folder), arrays(folder, transpose=True)
    for split in (0, 2):
        assert np.array_equal(turned[split], plain[split].swapaxes(1, 2))


def with_label(folder: Path, file: int, index: int, label: int) -> None:
    labels = read_idx(folder / NAMES[file]).copy()
    labels[index] = label
    write_idx(folder / NAMES[file], labels)


@pytest.mark.parametrize(
    ("file", "label", "said"),
    [
        (3, 255, r"the label 255 at index 7 is far above the others, which end at 9"),
        (1, 255, r"the label 255 at index 7 is far above the others"),
        (1, 20, r"the label 20 at index 7 is far above"),
        (3, 10, r"the label 10 at index 7 is above all training labels, which end at 9"),
    ],
)
def test_a_label_that_cannot_be_meant_is_refused(folder: Path, file: int, label: int, said: str) -> None:
    with_label(folder, file, 7, label)
    with pytest.raises(DataUnavailable, match=said) as caught:
        arrays(folder)
    assert str(folder / NAMES[file]) in str(caught.value)


def test_labels_need_not_begin_at_0_nor_be_without_gaps(folder: Path) -> None:
    assert classes(folder) == 10
    for file in (1, 3):
        write_idx(folder / NAMES[file], read_idx(folder / NAMES[file]) + 1)  # as EMNIST's letters
    assert classes(folder) == 11
    for file in (1, 3):
        write_idx(folder / NAMES[file], np.where(read_idx(folder / NAMES[file]) > 5, 9, 3))  # two digits
    assert classes(folder) == 10
    for file in (1, 3):
        write_idx(folder / NAMES[file], read_idx(folder / NAMES[file]) + 100)
    with pytest.raises(DataUnavailable, match=r"the label 1\d\d at index 0 \(and 99 more\) is far from 0"):
        arrays(folder)


def remove(path: Path) -> None:
    path.unlink()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def signed(path: Path) -> None:
    path.write_bytes(b"\0\0\x09" + path.read_bytes()[3:])


def only_a_header(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:6])


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def cut_gz(path: Path) -> None:
    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes())[:-20])
    path.unlink()


@pytest.mark.parametrize("name", [NAMES[0], NAMES[3]])
@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (remove, r"is missing \(and so is .*-ubyte\.gz\)"),
        (cut, r"is damaged: it holds \d+ values, its header says \([\d, ]+\)"),
        (lengthen, "is damaged: it holds"),
        (empty, "is not an IDX file"),
        (signed, "is not an IDX file"),
        (only_a_header, "is not an IDX file"),
        (a_folder, "cannot be read: "),
        (cut_gz, "cannot be read: "),
    ],
)
def test_what_is_wrong_with_a_file_is_said(
    folder: Path, name: str, damage: Callable[[Path], None], words: str
) -> None:
    damage(folder / name)
    with pytest.raises(DataUnavailable, match=words) as caught:
        arrays(folder)
    assert str(folder / name) in str(caught.value)


def test_a_gz_file_with_a_changed_byte_is_damaged(folder: Path) -> None:
    name = NAMES[1]
    packed = bytearray(gzip.compress((folder / name).read_bytes()))
    (folder / name).unlink()
    for position in range(10, len(packed)):  # after the header, which holds a time and the like
        changed = packed.copy()
        changed[position] ^= 0xFF
        (folder / f"{name}.gz").write_bytes(changed)
        with pytest.raises(DataUnavailable):
            read_idx(folder / name)
