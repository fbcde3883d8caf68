"""Own data in IDX files: every usual name, EMNIST's images, labels that cannot be meant."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from src.classification.data import ImageData
from src.classification.idx import find_idx, read_idx
from src.download import FILES, DataUnavailable
from tests.command_line import plan
from tests.made_up_data import write_data_set, write_idx

NAMES = list(FILES)


def data_of(folder: Path, *overrides: str) -> ImageData:
    data = ImageData(plan("data=idx", f"data.root={folder}", "data.val_size=20", *overrides).cfg)
    data.setup()
    return data


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
    wanted = data_of(folder)
    for name in NAMES:
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        (folder / rename(name)).parent.mkdir(exist_ok=True)
        (folder / rename(name)).write_bytes(gzip.compress(content) if packed else content)
    found = data_of(folder)
    assert all(torch.equal(wanted.parts[s][0], found.parts[s][0]) for s in ("train", "val", "test"))
    assert all(torch.equal(wanted.parts[s][1], found.parts[s][1]) for s in ("train", "val", "test"))


def test_of_several_sets_one_is_picked(folder: Path) -> None:
    for name in NAMES:
        content = (folder / name).read_bytes()
        (folder / emnist(name)).write_bytes(content)
        (folder / f"{emnist(name).replace('letters', 'digits')}.gz").write_bytes(gzip.compress(content))
    with pytest.raises(
        DataUnavailable, match=r"several data sets: pick one of .*emnist-digits, emnist-letters"
    ):
        data_of(folder)
    assert find_idx(folder, "emnist-letters")[2] == folder / "emnist-letters-test-images-idx3-ubyte"
    assert find_idx(folder, "")[0] == folder / NAMES[0]
    assert data_of(folder, "data.prefix=emnist-digits").examples == 80
    with pytest.raises(DataUnavailable, match=r"data\.prefix=mnist: .* holds no such data set, it holds"):
        data_of(folder, "data.prefix=mnist")


def test_two_different_files_for_one_part_are_refused(folder: Path) -> None:
    other = folder / "train-images.idx3-ubyte"
    other.write_bytes((folder / NAMES[0]).read_bytes())
    assert data_of(folder).examples == 80
    write_idx(other, np.zeros((100, 28, 28)))
    with pytest.raises(DataUnavailable, match=r"train-images-idx3-ubyte and train-images\.idx3-ubyte differ"):
        data_of(folder)


def test_emnists_images_are_turned(folder: Path) -> None:
    plain, turned = data_of(folder), data_of(folder, "data.transpose=true")
    for split in ("train", "test"):
        assert torch.equal(turned.parts[split][0], plain.parts[split][0].transpose(2, 3))


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
        data_of(folder)
    assert str(folder / NAMES[file]) in str(caught.value)


def test_labels_need_not_begin_at_0_nor_be_without_gaps(folder: Path) -> None:
    assert data_of(folder).classes == 10
    for file in (1, 3):
        write_idx(folder / NAMES[file], read_idx(folder / NAMES[file]) + 1)  # as EMNIST's letters
    assert data_of(folder).classes == 11
    for file in (1, 3):
        write_idx(folder / NAMES[file], np.where(read_idx(folder / NAMES[file]) > 5, 9, 3))  # two digits
    assert data_of(folder).classes == 10
    for file in (1, 3):
        write_idx(folder / NAMES[file], read_idx(folder / NAMES[file]) + 100)
    with pytest.raises(DataUnavailable, match=r"the label 1\d\d at index 0 \(and 99 more\) is far from 0"):
        data_of(folder)
