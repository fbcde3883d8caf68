"""Images as one uint8 tensor that lives where the model runs, indexed in chunks of many batches.

A DataLoader over single images costs more than the network does at batch 8. Here an epoch's order is
drawn at once and images are gathered for a chunk of batches at a time; the LightningModule takes as
many optimizer steps a chunk as it holds batches.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import lightning as L
import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from src.classification.idx import count_classes, find_idx, read_idx
from src.download import FILES, DataUnavailable, fetch_fashion_mnist
from src.seeds import epoch_order

# Images a chunk: large enough that Lightning's work per chunk vanishes, small enough for the cache.
CHUNK_IMAGES = 512
EVALUATION_BATCH = 250

FASHION_MNIST_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


def train_val_split(size: int, val_size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The indices that scikit-learn's `train_test_split` gives for this `test_size` and `random_state`.

    Returns:
        Indices of the size - val_size training and of the val_size validation images, shuffled.

    Raises:
        ValueError: fewer than one image would remain for training or for validation.
    """
    if not 0 < val_size < size:
        raise ValueError(
            f"data.val_size={val_size} of {size} training images leaves none for one of the two parts"
        )
    order = np.random.RandomState(seed).permutation(size)
    return order[val_size:], order[:val_size]


class Chunks:
    """An epoch over resident images, in chunks of (images (N, 1, H, W) uint8, labels (N,) int64).

    Args:
        order: gives the epoch's order of indices, on the images' device; None for the stored order.
    """

    def __init__(
        self, images: Tensor, labels: Tensor, chunk: int, order: Callable[[], Tensor] | None = None
    ) -> None:
        self.images, self.labels, self.chunk, self.order = images, labels, chunk, order

    def __len__(self) -> int:
        return math.ceil(len(self.labels) / self.chunk)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        if self.order is None:
            yield from zip(self.images.split(self.chunk), self.labels.split(self.chunk), strict=True)
            return
        for indices in self.order().split(self.chunk):
            yield self.images[indices], self.labels[indices]


class ImageData(L.LightningDataModule):
    """Fashion-MNIST, or own data in the same file format (src/classification/idx.py), for `Classifier`.

    Args:
        cfg: the composed settings (src/config.py).
    """

    def __init__(self, cfg: DictConfig) -> None:
        super().__init__()
        self.cfg = cfg
        self.parts: dict[str, tuple[Tensor, Tensor]] = {}  # split -> images (N, 1, H, W) uint8, labels (N,)
        self.image_size = (1, 0, 0)
        self.classes = 0

    def prepare_data(self) -> None:
        """Fetch what is missing.

        Raises:
            DataUnavailable: no source has it.
        """
        if self.cfg.data.name == "fashion_mnist":
            fetch_fashion_mnist(Path(self.cfg.data.root))

    def setup(self, stage: str | None = None) -> None:
        """Read and split the images, on the CPU; they move to the model's device when training starts.

        Raises:
            DataUnavailable: a file is missing or damaged, or a label is far beyond the others.
            ValueError: a split would be empty.
        """
        if self.parts:
            return
        folder = Path(self.cfg.data.root)
        if self.cfg.data.name == "fashion_mnist":
            folder = folder / "FashionMNIST" / "raw"
            files = [folder / name for name in FILES]
        else:
            files = [*find_idx(folder, self.cfg.data.prefix)]
        train_images, train_labels, test_images, test_labels = map(read_idx, files)
        for images, labels, what in (
            (train_images, train_labels, "train"),
            (test_images, test_labels, "t10k"),
        ):
            if images.ndim != 3 or labels.shape != images.shape[:1]:
                raise DataUnavailable(
                    f"{folder}: {what} images {images.shape} and labels {labels.shape} do not belong together"
                )
        if train_images.shape[1:] != test_images.shape[1:]:
            raise DataUnavailable(
                f"{folder}: training images are {train_images.shape[1:]}, test images {test_images.shape[1:]}"
            )
        if not len(train_labels) or not len(test_labels):
            raise DataUnavailable(f"{folder}: the training images or the test images are none")
        self.classes = count_classes({files[1]: train_labels, files[3]: test_labels})
        if self.cfg.data.transpose:
            train_images, test_images = (images.transpose(0, 2, 1) for images in (train_images, test_images))
        train, val = train_val_split(len(train_labels), self.cfg.data.val_size, self.cfg.data.split_seed)
        cfg = self.cfg
        self.parts = {
            "train": _tensors(train_images, train_labels, train[: cfg.limit_train]),
            "val": _tensors(train_images, train_labels, val[: cfg.limit_val]),
            "test": _tensors(test_images, test_labels, np.arange(len(test_labels))[: cfg.limit_test]),
        }
        self.image_size = (1, *train_images.shape[1:])

    def to_device(self, device: torch.device) -> None:
        """Move all images and labels to where the model runs."""
        self.parts = {
            split: (images.to(device), labels.to(device)) for split, (images, labels) in self.parts.items()
        }

    @property
    def examples(self) -> int:
        """Training images an epoch."""
        return len(self.parts["train"][1])

    def train_dataloader(self) -> Chunks:
        images, labels = self._resident("train")
        batch = self.cfg.batch_size
        return Chunks(images, labels, max(1, CHUNK_IMAGES // batch) * batch, self._order)

    def val_dataloader(self) -> Chunks:
        return Chunks(*self._resident("val"), EVALUATION_BATCH)

    def test_dataloader(self) -> Chunks:
        return Chunks(*self._resident("test"), EVALUATION_BATCH)

    def _resident(self, split: str) -> tuple[Tensor, Tensor]:
        if self.trainer is not None:
            self.to_device(self.trainer.strategy.root_device)
        return self.parts[split]

    def _order(self) -> Tensor:
        """The current epoch's order: a function of seed and epoch alone, so that a resumed run repeats it."""
        assert self.trainer is not None
        images, labels = self.parts["train"]
        return epoch_order(len(labels), self.cfg.seed, self.trainer.current_epoch).to(images.device)


def _tensors(images: np.ndarray, labels: np.ndarray, indices: np.ndarray) -> tuple[Tensor, Tensor]:
    chosen = torch.from_numpy(images[indices]).unsqueeze(1)  # (N, H, W) -> (N, 1, H, W)
    return chosen, torch.from_numpy(labels[indices].astype(np.int64))
