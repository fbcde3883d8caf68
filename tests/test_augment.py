"""Augmentations change images as they say and nothing else."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src.classification import augment
from src.classification.module import Classifier
from src.config.settings import AUGMENTATIONS

shapes = st.tuples(st.integers(1, 6), st.integers(1, 3), st.integers(4, 12), st.integers(4, 12))


def numbered(shape: tuple[int, int, int, int]) -> Tensor:
    """Images of which no two pixels are equal, and none is 0."""
    return torch.arange(1, 1 + torch.Size(shape).numel()).reshape(shape)


def test_each_choice_of_the_settings_has_its_function() -> None:
    assert tuple(augment.BY_NAME) == AUGMENTATIONS


@pytest.mark.parametrize("name", AUGMENTATIONS)
@settings(max_examples=20, deadline=None)
@given(shape=shapes, dtype=st.sampled_from([torch.uint8, torch.float32]))
def test_shape_and_type_stay_and_the_original_is_left_alone(
    name: str, shape: tuple[int, int, int, int], dtype: torch.dtype
) -> None:
    images = torch.randint(0, 256, shape).to(dtype)
    before = images.clone()
    changed = augment.BY_NAME[name](images)
    assert (changed.shape, changed.dtype) == (images.shape, images.dtype)
    assert torch.equal(images, before)


@settings(max_examples=40, deadline=None)
@given(shape=shapes, seed=st.integers(0, 1000))
def test_flip_gives_each_image_or_its_mirror(shape: tuple[int, int, int, int], seed: int) -> None:
    torch.manual_seed(seed)
    images = numbered(shape)
    for before, after in zip(images, augment.flip(images), strict=True):
        assert torch.equal(after, before) or torch.equal(after, before.flip(2))


def shifts_of(image: Tensor, padding: int) -> dict[tuple[int, int], Tensor]:
    """Every shift (down, right) of an image (C, H, W), zeros moving in: written with loops, to compare."""
    _, H, W = image.shape
    found = {}
    for down in range(-padding, padding + 1):
        for right in range(-padding, padding + 1):
            shifted = torch.zeros_like(image)
            for row in range(H):
                for column in range(W):
                    if 0 <= row - down < H and 0 <= column - right < W:
                        shifted[:, row, column] = image[:, row - down, column - right]
            found[down, right] = shifted
    return found


@settings(max_examples=10, deadline=None)
@given(shape=shapes, padding=st.integers(0, 2), seed=st.integers(0, 1000))
def test_crop_gives_a_shift_of_each_image(shape: tuple[int, int, int, int], padding: int, seed: int) -> None:
    torch.manual_seed(seed)
    images = numbered(shape)
    for before, after in zip(images, augment.crop(images, padding), strict=True):
        assert any(torch.equal(after, shifted) for shifted in shifts_of(before, padding).values())


def test_every_flip_and_every_shift_comes_about_equally_often() -> None:
    torch.manual_seed(0)
    image = numbered((1, 1, 6, 6))
    flipped = augment.flip(image.expand(4000, -1, -1, -1))
    assert 0.45 < (flipped == image).all(dim=3).all(dim=2).float().mean() < 0.55
    cropped = augment.crop(image.expand(5000, -1, -1, -1))
    shares = {
        shift: (cropped == shifted).flatten(1).all(dim=1).float().mean().item()
        for shift, shifted in shifts_of(image[0], 2).items()
    }
    assert sum(shares.values()) == pytest.approx(1)
    assert all(0.025 < share < 0.055 for share in shares.values())  # 1/25 each


def test_images_of_one_batch_are_changed_apart_from_each_other() -> None:
    torch.manual_seed(0)
    images = numbered((1, 1, 8, 8)).expand(64, -1, -1, -1)
    assert len(augment.flip_crop(images).flatten(1).unique(dim=0)) > 20


def test_erase_fills_one_rectangle_of_half_of_the_images() -> None:
    torch.manual_seed(0)
    images = torch.full((4000, 1, 28, 28), 999)  # no value of the noise
    changed = augment.erase(images) != images
    erased = changed.flatten(1).any(dim=1)
    assert 0.47 < erased.float().mean() < 0.53
    rows, columns = changed[erased, 0].any(dim=2), changed[erased, 0].any(dim=1)  # (N, 28) each
    assert torch.equal(changed[erased, 0], rows[:, :, None] & columns[:, None, :])
    for side in (rows, columns):  # in one piece
        assert ((side[:, 1:] != side[:, :-1]).sum(dim=1) <= 2).all()
    share = changed[erased].float().mean(dim=(1, 2, 3))
    assert share.min() > 0.01
    assert share.max() < 0.36
    assert changed[erased, 0, [[0], [-1]], [0]].any(dim=1).all()  # reaches the corners


def test_flip_tta_gives_an_image_and_its_mirror_the_mean_of_their_scores() -> None:
    network = {"_target_": "src.classification.networks.ResNetSmall", "dropout": 0.0, "width": 4}
    network |= {"image_size": [1, 12, 12], "classes": 10}
    sgd = {"_target_": "torch.optim.SGD", "lr": 0.1}
    both, single = (Classifier(network=network, optimizer=sgd, flip_tta=flip) for flip in (True, False))
    single.load_state_dict(both.state_dict())
    images = torch.randint(0, 256, (5, 1, 12, 12), dtype=torch.uint8)
    expected = (single.eval()(images) + single(images.flip(3))) / 2
    assert torch.equal(both.eval()(images), expected)
    assert torch.equal(both.train()(images), single.train()(images))
