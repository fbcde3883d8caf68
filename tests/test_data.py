"""Images in memory: the split, the order, the batches, image folders."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.model_selection import train_test_split

from src.classification import datasets
from src.classification.data import Batches, ImageArrays, ImageData, train_val_split
from src.classification.datasets import image_folder
from src.entry_point import UserError
from src.run.environment import epoch_order, epoch_seed


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
    with pytest.raises(
        UserError, match=rf"data.val_size={val_size} must be a whole number, at least 1 and below the 10"
    ):
        train_val_split(10, val_size, 42)


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 60), chunk=st.integers(1, 70), seed=st.integers(0, 2**32 - 1))
def test_an_epoch_holds_each_image_once_with_its_label(size: int, chunk: int, seed: int) -> None:
    images = torch.arange(size, dtype=torch.uint8).reshape(size, 1, 1, 1)
    labels = torch.arange(size) + 1000
    for order in (None, lambda: epoch_order(size, seed, 0)):
        batches = Batches(images, labels, torch.arange(size), chunk, order)
        parts = list(batches)
        assert len(parts) == len(batches)
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


def arrays(count: int = 60, colour: bool = False, **changes: Any) -> ImageArrays:
    random = np.random.RandomState(0)
    sides = (9, 8, 3) if colour else (9, 8)
    parts: dict[str, Any] = {
        "train_images": random.randint(0, 256, (count, *sides)).astype(np.uint8),
        "train_labels": np.arange(count) % 4,
        "test_images": random.randint(0, 256, (20, *sides)).astype(np.uint8),
        "test_labels": np.arange(20) % 4,
    }
    return ImageArrays(**{**parts, **changes})


@pytest.mark.parametrize("colour", [False, True])
def test_the_splits_of_a_data_set(colour: bool) -> None:
    whole = arrays(colour=colour)
    data = ImageData(lambda: whole, batch_size=8, val_size=15, limits=(30, None, 7))
    data.setup()
    assert (data.image_size, data.class_names) == ((3 if colour else 1, 9, 8), ("0", "1", "2", "3"))
    assert data.examples == 30
    train, val = train_val_split(60, 15, 42)
    for batches, images, labels in (
        (data.val_dataloader(), whole.train_images[val], whole.train_labels[val]),
        (data.test_dataloader(), whole.test_images[:7], whole.test_labels[:7]),
    ):
        found = [torch.cat(part) for part in zip(*batches, strict=True)]
        expected = torch.from_numpy(images)
        expected = expected.permute(0, 3, 1, 2) if colour else expected.unsqueeze(1)
        assert torch.equal(found[0], expected)
        assert found[1].tolist() == labels.tolist()
    assert data.splits["train"][2].tolist() == train[:30].tolist()


def test_a_data_sets_own_validation_images_are_used() -> None:
    other = arrays(5)
    whole = arrays(val_images=other.train_images, val_labels=other.train_labels)
    data = ImageData(lambda: whole, batch_size=8, val_size=15)
    data.setup()
    assert (data.examples, len(data.val_dataloader().indices)) == (60, 5)


def test_a_resumed_run_notices_other_data() -> None:
    one, same, other = (ImageData(partial(arrays, n), batch_size=8, val_size=9) for n in (60, 60, 61))
    for data in (one, same, other):
        data.setup()
    same.load_state_dict(one.state_dict())
    with pytest.raises(UserError, match="have changed since this run began"):
        other.load_state_dict(one.state_dict())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train_labels": np.zeros(59, int)}, r"the train set has 60 images of \(9, 8\) and 59 labels"),
        ({"test_images": np.zeros((20, 9, 9), np.uint8)}, r"the test set has 20 images of \(9, 9\)"),
        ({"train_labels": np.zeros((60, 4), int)}, r"the train labels are int64 of shape \(60, 4\)"),
        ({"test_labels": np.full(20, 1.5)}, "the test labels are float64"),
        ({"test_labels": [0] * 20}, "the test labels are a list"),
        ({"val_images": np.zeros((5, 9, 8), np.uint8)}, "are given together"),
        ({"test_images": np.zeros((20, 9, 8))}, r"the test images are float64 of shape \(20, 9, 8\)"),
        ({"test_labels": np.full(20, 4)}, "the test label 4 of image 0 is none of the classes 0 to 3"),
        ({"train_labels": np.arange(60) % 4 * 85}, "the train labels go up to 255, but only 4 numbers occur"),
        ({"classes": ("a", "b")}, "the train label 2 of image 2 is none of the classes 0 to 1"),
        ({"train_labels": np.zeros(0, int), "train_images": np.zeros((0, 9, 8), np.uint8)}, "one at least"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        arrays(**changes)


def test_an_image_folder_is_resized_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for part, count in (("train", 3), ("test", 2)):
        for name, level in (("cat", 40), ("dog", 200)):
            (tmp_path / part / name).mkdir(parents=True)
            for number in range(count):
                image = Image.new("RGB", (20 + number, 30), (level, 0, 0))
                image.save(tmp_path / part / name / f"{number}.png")
    options: Any = {"size": 8, "cache": str(tmp_path / "cache")}
    found = image_folder(str(tmp_path), **options)
    assert (found.train_images.shape, found.class_names) == ((6, 8, 8, 3), ("cat", "dog"))
    assert found.train_images[:, 0, 0, 0].tolist() == [40] * 3 + [200] * 3
    assert found.test_labels.tolist() == [0, 0, 1, 1]
    monkeypatch.setattr("src.images.read_rgb", None)  # a second time nothing is read
    monkeypatch.setattr(datasets, "MAPPED_BYTES", 10)
    mapped = image_folder(str(tmp_path), **options)
    assert isinstance(mapped.train_images, np.memmap)
    assert mapped.digest == found.digest
    (tmp_path / "test" / "bird").mkdir()
    with pytest.raises(UserError, match="has the classes bird, which train has not"):
        image_folder(str(tmp_path), **options)
    with pytest.raises(UserError, match="there is no folder train/CLASS"):
        image_folder(str(tmp_path / "none"))
