"""Labelled images that live where the model runs, gathered a batch at a time.

A DataLoader over single images costs more than the network does at batch 8: here an epoch's order is drawn at
once, and a batch is one indexing of a resident tensor.

Dimension letters: N images, B batch, C channels, H height, W width.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import lightning as L
import numpy as np
import torch
from torch import Tensor

from src.entry_point import UserError
from src.run.environment import epoch_order
from src.run.ranks import shard

EVALUATION_BATCH = 250
MOST_UNUSED = 10  # classes without a training image, where the classes have no names


@dataclass(frozen=True, eq=False)
class ImageArrays:
    """A data set in memory, or memory-mapped: what a function named by `data._target_` returns.

    Args:
        train_images: (N, H, W) grey or (N, H, W, 3) colour, uint8.
        train_labels: (N,) whole numbers from 0.
        test_images, test_labels: the same.
        classes: their names, in the order of the labels; None for their numbers.
        val_images, val_labels: None where validation images are set aside from the training images.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: Sequence[str] | None = None
    val_images: np.ndarray | None = None
    val_labels: np.ndarray | None = None

    def __post_init__(self) -> None:
        """Check that all parts fit together.

        Raises:
            UserError: they do not; the sentence names the part, the value and the limit.
        """
        if (self.val_images is None) != (self.val_labels is None):
            raise UserError("val_images and val_labels are given together or not at all")
        for name, (images, labels) in self.parts.items():
            for what, array in (("images", images), ("labels", labels)):
                if not isinstance(array, np.ndarray):
                    raise UserError(f"the {name} {what} are a {type(array).__name__}: a NumPy array is read")
            if labels.ndim != 1 or labels.dtype.kind not in "iu":
                raise UserError(
                    f"the {name} labels are {labels.dtype} of shape {labels.shape}: whole numbers (N,) are read"
                )
        sides, known = self.train_images.shape[1:], len(self.class_names)
        for name, (images, labels) in self.parts.items():
            if images.dtype != np.uint8 or images.ndim < 3 or images.shape[3:] not in ((), (1,), (3,)):
                raise UserError(
                    f"the {name} images are {images.dtype} of shape {images.shape}: uint8 of (N, H, W) or "
                    "(N, H, W, 3) is read"
                )
            if images.shape[1:] != sides or len(images) != len(labels) or not len(labels):
                raise UserError(
                    f"the {name} set has {len(images)} images of {images.shape[1:]} and {len(labels)} labels: as many "
                    f"labels as images, one at least, all of {sides}, are needed"
                )
            wrong = np.flatnonzero((labels < 0) | (labels >= known))
            if len(wrong):
                raise UserError(
                    f"the {name} label {int(labels[wrong[0]])} of image {int(wrong[0])} is none of the classes "
                    f"0 to {known - 1}: mend the label, or name all classes"
                )
        used = len(np.unique(self.train_labels))
        if self.classes is None and known - used > max(MOST_UNUSED, used):
            raise UserError(
                f"the train labels go up to {known - 1}, but only {used} numbers occur: number the classes from 0 and "
                "mend labels that are wrong"
            )

    @property
    def parts(self) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Images and labels of train, test and, where it has images of its own, val."""
        parts = {
            "train": (self.train_images, self.train_labels),
            "test": (self.test_images, self.test_labels),
        }
        if self.val_images is not None and self.val_labels is not None:
            parts["val"] = (self.val_images, self.val_labels)
        return parts

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes' names; their numbers where there are none."""
        numbers = range(int(self.train_labels.max(initial=0)) + 1)
        return tuple(map(str, numbers if self.classes is None else self.classes))

    @cached_property
    def digest(self) -> str:
        """A short hash of all images and labels."""
        found = hashlib.sha256()
        for array in itertools.chain(*self.parts.values()):
            found.update(f"{array.dtype}{array.shape}".encode())
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()[:16]


def train_val_split(size: int, val_size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The indices that scikit-learn's `train_test_split` gives for this `test_size` and `random_state`.

    Returns:
        Indices of the size - val_size training and of the val_size validation images, shuffled.

    Raises:
        UserError: fewer than one image would remain for training or for validation.
    """
    if not isinstance(val_size, int) or not 0 < val_size < size:
        raise UserError(
            f"data.val_size={val_size} must be a whole number, at least 1 and below the {size} training images"
        )
    order = np.random.RandomState(seed).permutation(size)
    return order[val_size:], order[:val_size]


class Batches:
    """An epoch over resident images, in batches of (images (B, C, H, W) uint8, labels (B,) int64).

    Args:
        images: (N, C, H, W) uint8, on the model's device or memory-mapped.
        labels: (N,) int64, on the model's device.
        indices: of this split's images.
        size: images a batch.
        order: permutes this split anew each epoch; None for the stored order.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        indices: Tensor,
        size: int,
        order: Callable[[], Tensor] | None = None,
    ) -> None:
        self.images, self.labels = images, labels
        self.indices = shard(indices) if order is None else indices
        self.size, self.order = size, order

    def __len__(self) -> int:
        return math.ceil(len(self.indices) / self.size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        indices = self.indices if self.order is None else self.indices[self.order()]
        for batch in indices.split(self.size):
            chosen = batch if self.order is None else shard(batch)
            images = self.images[chosen.to(self.images.device)]
            yield images.to(self.labels.device, non_blocking=True), self.labels[chosen]


class ImageData(L.LightningDataModule):
    """A labelled image data set for `Classifier`.

    Args:
        load: reads the images, `ImageArrays`.
        batch_size: images an optimizer step.
        seed: of the training images' order, which is drawn anew each epoch.
        val_size: training images set aside for validation, unless the data set has its own.
        split_seed: of that split.
        limits: train, val, test: use that many images only; None for all.
    """

    def __init__(
        self,
        load: Callable[[], object],
        *,
        batch_size: int,
        seed: int = 42,
        val_size: int = 10_000,
        split_seed: int = 42,
        limits: tuple[int | None, int | None, int | None] = (None, None, None),
    ) -> None:
        super().__init__()
        self.load, self.batch_size, self.seed = load, batch_size, seed
        self.val_size, self.split_seed, self.limits = val_size, split_seed, limits
        self.chunk = 1  # batches that are handed out at a time (src/classification/fast.py)
        self.arrays: ImageArrays  # from `setup` on
        self.splits: dict[str, tuple[Tensor, Tensor, Tensor]] = {}  # images, labels, indices

    def setup(self, stage: str | None = None) -> None:
        """Read and split the images, on the CPU; they move to the model's device when they are first used.

        Raises:
            UserError: the data set cannot be read, or a split would be empty.
        """
        if self.splits:
            return
        loaded = self.load()
        if not isinstance(loaded, ImageArrays):
            kind = type(loaded).__name__
            raise UserError(f"the function of data._target_ returns a {kind}: an ImageArrays is needed")
        self.arrays = loaded
        tensors = {part: _tensors(*arrays) for part, arrays in self.arrays.parts.items()}
        indices = {part: np.arange(len(labels)) for part, (_, labels) in tensors.items()}
        if "val" not in tensors:
            tensors["val"] = tensors["train"]
            size = len(indices["train"])
            indices["train"], indices["val"] = train_val_split(size, self.val_size, self.split_seed)
        for part, limit in zip(("train", "val", "test"), self.limits, strict=True):
            self.splits[part] = (*tensors[part], torch.from_numpy(indices[part][:limit]))

    @property
    def image_size(self) -> tuple[int, int, int]:
        """(C, H, W)."""
        channels, height, width = self.splits["train"][0].shape[1:]
        return channels, height, width

    @property
    def digest(self) -> str:
        """A short hash of the data set."""
        return self.arrays.digest

    def state_dict(self) -> dict[str, str]:
        return {"digest": self.digest}

    def load_state_dict(self, state_dict: dict[str, str]) -> None:
        """Compare the data with those that the run began with.

        Raises:
            UserError: they have changed since.
        """
        if state_dict["digest"] != self.digest:
            raise UserError(
                "the images or labels have changed since this run began: put back what was there, or start afresh "
                "with force=true"
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.arrays.class_names

    @property
    def examples(self) -> int:
        """Training images an epoch."""
        return len(self.splits["train"][2])

    def train_dataloader(self) -> Batches:
        return Batches(*self._resident("train"), self.batch_size * self.chunk, self._order)

    def val_dataloader(self) -> Batches:
        return Batches(*self._resident("val"), EVALUATION_BATCH)

    def test_dataloader(self) -> Batches:
        return Batches(*self._resident("test"), EVALUATION_BATCH)

    def _resident(self, split: str) -> tuple[Tensor, Tensor, Tensor]:
        images, labels, indices = self.splits[split]
        if self.trainer is not None:
            device = self.trainer.strategy.root_device
            is_mapped = isinstance(self.arrays.train_images, np.memmap)
            images = images if is_mapped else images.to(device)
            self.splits[split] = (images, labels.to(device), indices.to(device))
        return self.splits[split]

    def _order(self) -> Tensor:
        """The current epoch's order: a function of seed and epoch alone, so that a resumed run repeats it."""
        assert self.trainer is not None
        indices = self.splits["train"][2]
        return epoch_order(len(indices), self.seed, self.trainer.current_epoch).to(indices.device)


def _tensors(images: np.ndarray, labels: np.ndarray) -> tuple[Tensor, Tensor]:
    """Views (N, C, H, W), in channels_last for colour, and labels (N,) int64."""
    shares = images.flags.writeable and min(images.strides) >= 0  # what torch can take as it lies
    pixels = torch.from_numpy(images if shares else images.copy())
    pixels = pixels.unsqueeze(1) if pixels.ndim == 3 else pixels.permute(0, 3, 1, 2)
    return pixels, torch.from_numpy(labels.astype(np.int64))
