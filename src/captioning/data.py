"""Captioned images for `Captioner`: stored features or images, pairs in batches, whole images for scoring.

Dimension letters: B batch, N images, L regions, T steps, D feature, S side in pixels.
"""

from __future__ import annotations

import math
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor
from tqdm import tqdm

from src.captioning.captioned import CaptionDataError, CaptionedImage, with_every_split
from src.captioning.captions_csv import read_captions_csv
from src.captioning.coco import read_coco
from src.captioning.encoder import Encoder, build_encoder
from src.captioning.features import digests_of, features_of, images_of
from src.captioning.inputs import Inputs
from src.captioning.karpathy import read_karpathy
from src.captioning.preflight import preflight
from src.captioning.vocabulary import PAD, Vocabulary
from src.devices import device_of
from src.scenes import make_scenes
from src.seeds import epoch_order

EVALUATION_BATCH = 50  # images
SPLITS = ("train", "val", "test")
READERS = {
    "scenes": read_karpathy,
    "karpathy": read_karpathy,
    "coco": read_coco,
    "captions_csv": read_captions_csv,
}


class PairBatch(NamedTuple):
    """Captions, each with its own image."""

    seen: Tensor  # (B, L, D) features, or (B, 3, S, S) uint8 where the encoder is trained
    tokens: Tensor  # (B, T) int64 with both ends, padded


class ImageBatch(NamedTuple):
    """Images, each with all its captions."""

    seen: Tensor  # as in PairBatch
    rows: list[int]  # the images' places in their split
    tokens: Tensor  # (all captions, T)
    owners: Tensor  # (all captions,) the row of `seen` that each belongs to


class Split:
    """The images of one split: what the model sees of them, and their captions as numbers.

    Args:
        images: of the split, in order.
        seen: (N, L, D) or (N, 3, S, S), in memory or memory-mapped.
        vocabulary: turns words into numbers.
    """

    def __init__(self, images: list[CaptionedImage], seen: np.ndarray, vocabulary: Vocabulary) -> None:
        self.images, self.seen = images, seen
        coded = [[vocabulary.encode(caption) for caption in image.captions] for image in images]
        self.owners = np.array([row for row, captions in enumerate(coded) for _ in captions], dtype=np.int64)
        flat = [caption for captions in coded for caption in captions]
        self.lengths = np.array([len(caption) for caption in flat], dtype=np.int64)
        self.tokens = torch.full((len(flat), max(self.lengths)), PAD)
        for row, caption in enumerate(flat):
            self.tokens[row, : len(caption)] = torch.tensor(caption)

    def look(self, rows: np.ndarray, device: torch.device) -> Tensor:
        """What the model sees of some images."""
        return torch.from_numpy(np.ascontiguousarray(self.seen[rows])).to(device)

    def captions(self, pairs: np.ndarray, device: torch.device) -> Tensor:
        """The tokens of some pairs, as wide as the longest of them."""
        return self.tokens[torch.from_numpy(pairs), : self.lengths[pairs].max()].to(device)


class Pairs:
    """An epoch of (image, caption) pairs in batches, in the order that `data` draws for it."""

    def __init__(self, data: CaptionData, split: Split) -> None:
        self.data, self.split = data, split
        self.batch = data.cfg.batch_size

    def __len__(self) -> int:
        return math.ceil(len(self.split.owners) / self.batch)

    def __iter__(self) -> Iterator[PairBatch]:
        trainer = self.data.trainer
        assert trainer is not None
        device = trainer.strategy.root_device
        order = epoch_order(len(self.split.owners), self.data.cfg.seed, trainer.current_epoch).numpy()
        for first in range(0, len(order), self.batch):
            pairs = order[first : first + self.batch]
            seen = self.split.look(self.split.owners[pairs], device)
            yield PairBatch(seen, self.split.captions(pairs, device))


class Images:
    """All images of a split in batches, each with its captions."""

    def __init__(self, data: CaptionData, split: Split) -> None:
        self.data, self.split = data, split

    def __len__(self) -> int:
        return math.ceil(len(self.split.images) / EVALUATION_BATCH)

    def __iter__(self) -> Iterator[ImageBatch]:
        trainer = self.data.trainer
        device = trainer.strategy.root_device if trainer is not None else torch.device("cpu")
        for first in range(0, len(self.split.images), EVALUATION_BATCH):
            rows = np.arange(first, min(first + EVALUATION_BATCH, len(self.split.images)))
            pairs = np.arange(*np.searchsorted(self.split.owners, (first, first + EVALUATION_BATCH)))
            yield ImageBatch(
                self.split.look(rows, device),
                rows.tolist(),
                self.split.captions(pairs, device),
                torch.from_numpy(self.split.owners[pairs] - first).to(device),
            )


class CaptionData(L.LightningDataModule):
    """A data set of one of the forms in `READERS`.

    Args:
        cfg: the composed settings (src/settings.py).
        say: takes a line for the user.
        show_bar: whether to show progress bars.
    """

    def __init__(self, cfg: DictConfig, say: Any, show_bar: bool) -> None:
        super().__init__()
        self.cfg, self.say, self.show_bar = cfg, say, show_bar
        self.splits: dict[str, Split] = {}
        self.encoder: Encoder
        self.vocabulary: Vocabulary
        self.means: dict[str, np.ndarray] = {}  # split -> (N, D), of features
        self.inputs: Inputs
        self.remarks: list[str] = []  # what a person should know of the data, once `setup` has read them

    @property
    def encoder_is_trained(self) -> bool:
        """Whether the model sees images, and its encoder learns with the decoder."""
        return self.cfg.encoder.fine_tune or self.encoder.trainable

    @property
    def examples(self) -> int:
        """Pairs an epoch."""
        return len(self.splits["train"].owners)

    def prepare_data(self) -> None:
        """Make the scenes where they are asked for and not there.

        Raises:
            ScenesMismatch: the folder holds scenes of other settings.
        """
        data = self.cfg.data
        if data.name != "scenes":
            return
        with tqdm(total=data.scenes, desc="scenes", disable=None if self.show_bar else True) as bar:
            make_scenes(
                Path(data.root),
                data.scenes,
                data.scene_size,
                data.scene_seed,
                progress=lambda n: _move(bar, n),
            )

    def setup(self, stage: str | None = None) -> None:
        """Read the captions, look at every image, compute or open the features.

        Raises:
            CaptionDataError: captions or images cannot be used.
            EncoderError: its weights are not to be had.
            CannotStore: the features find no place.
        """
        if self.splits:
            return
        cfg = self.cfg
        found = READERS[cfg.data.name](cfg.data.root, cfg.data.captions)
        if cfg.data.split_seed is not None:
            found = with_every_split(found, cfg.data.split_seed)
        limits = {"train": cfg.limit_train, "val": cfg.limit_val, "test": cfg.limit_test}
        images = {name: [image for image in found if image.split == name][: limits[name]] for name in SPLITS}
        for name, of_split in images.items():
            if not of_split:
                raise ValueError(f"{cfg.data.root} has no image with split {name}: all three are needed")
        cache = Path(cfg.encoder.cache)
        every = [image for name in SPLITS for image in images[name]]
        preflight(every, record=cache / "looked_at.json")
        captions = [caption for image in images["train"] for caption in image.captions]
        self.vocabulary = Vocabulary.from_captions(captions, cfg.data.min_count)
        self.remarks = _remarks(captions, cfg.max_words)
        if multiprocessing.parent_process() is None:  # a sweep's parent tells them once, for all its workers
            for remark in self.remarks:
                self.say(remark)
        weights = Path(cfg.encoder.weights) if cfg.encoder.weights else None
        self.encoder = build_encoder(cfg.encoder.name, cfg.encoder.size, weights)
        paths = [image.path for image in every]
        digests = digests_of(paths)
        self.inputs = Inputs.of(every, digests, self.encoder)
        if self.encoder_is_trained:
            seen: np.ndarray = images_of(
                paths, cfg.encoder.size, cache, say=self.say, show_bar=self.show_bar, digests=digests
            )
        else:
            seen = features_of(
                paths,
                self.encoder,
                cache,
                device=device_of(cfg.accelerator),
                say=self.say,
                show_bar=self.show_bar,
                digests=digests,
            )
        first = 0
        for name in SPLITS:
            part = seen[first : first + len(images[name])]
            first += len(part)
            if not self.encoder_is_trained:
                self.means[name] = _mean_region(part)
                if not cfg.attention:  # the decoder sees the mean only: one region instead of L
                    part = self.means[name][:, None]
            self.splits[name] = Split(images[name], part, self.vocabulary)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the data, to tell when they are others."""
        return {
            "captions": self.inputs.captions,
            "images": self.inputs.images,
            "encoder": self.inputs.encoder,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Compare the data with those that the run began with.

        Raises:
            CaptionDataError: captions, images or the encoder's weights have changed since.
        """
        changed = self.inputs.change_since(state_dict)
        if changed:
            raise CaptionDataError(
                f"{changed} since this run began (damaged, or another file by the same name): put back what "
                "was there, or start afresh with force=true"
            )

    def train_dataloader(self) -> Pairs:
        return Pairs(self, self.splits["train"])

    def val_dataloader(self) -> Images:
        return Images(self, self.splits["val"])

    def test_dataloader(self) -> Images:
        return Images(self, self.splits["test"])


def _remarks(captions: list[tuple[str, ...]], max_words: int) -> list[str]:
    lengths = [len(caption) + 1 for caption in captions]  # with its end
    longer = sum(length > max_words for length in lengths)
    if not longer:
        return []
    return [
        f"{longer:,} of {len(captions):,} training captions are longer than max_words={max_words}, the "
        f"longest has {max(lengths)} with its end: none will be written so long, unless max_words is raised"
    ]


def _mean_region(features: np.ndarray, block: int = 256) -> np.ndarray:
    """(N, L, D) -> (N, D) in float32, a block of images at a time."""
    parts = [
        features[first : first + block].mean(1, dtype=np.float32) for first in range(0, len(features), block)
    ]
    return np.concatenate(parts)


def _move(bar: tqdm, done: int) -> None:
    bar.n = done
    bar.refresh()
