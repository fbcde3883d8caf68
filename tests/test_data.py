"""The split, the order, the chunks and the files of `src.classification.data`."""

import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from src.classification.data import Chunks, ImageData, read_idx, train_val_split
from src.download import FILES, DataUnavailable
from src.seeds import epoch_order, epoch_seed
from tests.command_line import plan
from tests.made_up_data import write_data_set, write_idx

NAMES = list(FILES)


def equals_scikit_learn(size: int, val_size: int, seed: int) -> bool:
    train, val = train_val_split(size, val_size, seed)
    expected = train_test_split(
        np.arange(size), train_size=size - val_size, test_size=val_size, random_state=seed
    )
    return np.array_equal(train, expected[0]) and np.array_equal(val, expected[1])


def test_the_protocols_split_is_scikit_learns() -> None:
    assert equals_scikit_learn(60_000, 10_000, 42)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), size=st.integers(2, 3000), seed=st.integers(0, 2**32 - 1))
def test_every_split_is_scikit_learns(data: st.DataObject, size: int, seed: int) -> None:
    assert equals_scikit_learn(size, data.draw(st.integers(1, size - 1)), seed)


@pytest.mark.parametrize("val_size", [0, 10, 11])
def test_a_split_that_leaves_a_part_empty_is_refused(val_size: int) -> None:
    with pytest.raises(ValueError, match=rf"data.val_size={val_size} of 10 training images leaves none"):
        train_val_split(10, val_size, 42)


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 60), chunk=st.integers(1, 70), seed=st.integers(0, 2**32 - 1))
def test_an_epoch_holds_each_image_once_with_its_label(size: int, chunk: int, seed: int) -> None:
    images = torch.arange(size, dtype=torch.uint8).reshape(size, 1, 1, 1)
    labels = torch.arange(size) + 1000
    for order in (None, lambda: epoch_order(size, seed, 0)):
        chunks = Chunks(images, labels, chunk, order)
        parts = list(chunks)
        assert len(parts) == len(chunks)
        assert [len(part) for _, part in parts[:-1]] == [chunk] * (len(parts) - 1)
        assert 0 < len(parts[-1][1]) <= chunk
        seen = torch.cat([part for part, _ in parts]).flatten().long()
        assert sorted(seen.tolist()) == list(range(size))
        assert torch.equal(torch.cat([part for _, part in parts]), seen + 1000)
        if order is None:
            assert seen.tolist() == list(range(size))


def test_the_order_changes_with_epoch_and_seed_and_comes_again() -> None:
    orders = {(seed, epoch): epoch_order(500, seed, epoch) for seed in (0, 1, 42) for epoch in range(4)}
    assert len({tuple(order.tolist()) for order in orders.values()}) == len(orders)
    torch.manual_seed(9)  # not drawn from the global generator, nor does it disturb it
    state = torch.get_rng_state()
    assert all(torch.equal(epoch_order(500, *key), order) for key, order in orders.items())
    assert torch.equal(torch.get_rng_state(), state)


def test_the_streams_of_seeds_do_not_meet() -> None:
    seeds = {
        epoch_seed(seed, epoch, purpose)
        for seed in (0, 1, 42, 2**32 - 1)
        for epoch in range(50)
        for purpose in ("order", "dropout")
    }
    assert len(seeds) == 400
    assert all(0 <= seed < 2**63 for seed in seeds)  # what torch.manual_seed takes


def data_of(folder: Path, *overrides: str) -> ImageData:
    cfg = plan("data=idx", f"data.root={folder}", "data.val_size=20", *overrides).cfg
    data = ImageData(cfg)
    data.prepare_data()
    data.setup()
    return data


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_data_set(tmp_path / "d", train=100, test=30)


def test_the_parts_of_a_data_set(folder: Path) -> None:
    data = data_of(folder)
    assert {split: tuple(images.shape) for split, (images, _) in data.parts.items()} == {
        "train": (80, 1, 28, 28),
        "val": (20, 1, 28, 28),
        "test": (30, 1, 28, 28),
    }
    assert (data.image_size, data.classes) == ((1, 28, 28), 10)
    stored, labels = read_idx(folder / NAMES[0]), read_idx(folder / NAMES[1])
    train, val = train_val_split(100, 20, 42)
    for split, indices in (("train", train), ("val", val)):
        assert np.array_equal(data.parts[split][0].squeeze(1).numpy(), stored[indices])
        assert np.array_equal(data.parts[split][1].numpy(), labels[indices])


def test_limits_take_the_first_of_each_part(folder: Path) -> None:
    whole, limited = data_of(folder), data_of(folder, "limit_train=7", "limit_val=5", "limit_test=100")
    for split, size in (("train", 7), ("val", 5), ("test", 30)):
        for part, of in zip(limited.parts[split], whole.parts[split], strict=True):
            assert torch.equal(part, of[:size])


def test_gz_files_do_and_a_plain_file_goes_first(folder: Path) -> None:
    plain = data_of(folder)
    for name in NAMES:
        (folder / f"{name}.gz").write_bytes(gzip.compress((folder / name).read_bytes()))
        (folder / name).unlink()
    packed = data_of(folder)
    assert all(torch.equal(plain.parts[s][0], packed.parts[s][0]) for s in ("train", "val", "test"))
    (folder / NAMES[0]).write_bytes(b"")
    with pytest.raises(DataUnavailable, match="not an IDX file"):
        data_of(folder)


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
        data_of(folder)
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


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        (NAMES[1], np.zeros(99), r"train images \(100, 28, 28\) and labels \(99,\) do not belong together"),
        (NAMES[2], np.zeros((29, 28, 28)), "t10k images .* do not belong together"),
        (NAMES[0], np.zeros((100, 784)), "train images .* do not belong together"),
        (NAMES[2], np.zeros((30, 27, 28)), r"training images are \(28, 28\), test images \(27, 28\)"),
    ],
)
def test_files_that_do_not_belong_together(folder: Path, name: str, values: np.ndarray, words: str) -> None:
    write_idx(folder / name, values)
    with pytest.raises(DataUnavailable, match=words):
        data_of(folder)
