"""Captioned images for `Captioner`: stored features or images, pairs in batches, whole images for scoring.

Dimension letters: B batch, N images, L regions, T steps, D feature, S side in pixels.
"""

from __future__ import annotations

import hashlib
import logging
import math
import multiprocessing
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import lightning as L
import numpy as np
import torch
from torch import Tensor

from src.captioning.captioned import (
    CaptionDataError,
    CaptionedImage,
    digest_of_captions,
    with_every_split,
    without_collector,
)
from src.captioning.encoder import Encoder
from src.captioning.engines import TORCH, available, choose_engine
from src.captioning.features import features_by, means_of
from src.captioning.store import Rows, Stored, digests_of
from src.captioning.vocabulary import PAD, Vocabulary
from src.config.image_range import AUTO
from src.entry_point import UserError
from src.run.environment import epoch_order
from src.run.ranks import shard

logger = logging.getLogger(__name__)
EVALUATION_BATCH = 50  # images
SPLITS = ("train", "val", "test")


class PairBatch(NamedTuple):
    """Captions, each with its image."""

    inputs: Tensor  # (B, L, D) features, or (I, 3, S, S) uint8 where the encoder is trained, each image once
    tokens: Tensor  # (B, T) int64 with both ends, padded
    owners: Tensor | None = None  # (B,) the row of `inputs` that each belongs to; None: its own


class ImageBatch(NamedTuple):
    """Images, each with all its captions."""

    inputs: Tensor  # as in PairBatch
    rows: list[int]  # the images' places in their split
    tokens: Tensor  # (all captions, T)
    owners: Tensor  # (all captions,) the row of `inputs` that each belongs to


class Split:
    """The images of one split: what the model is given of them, and their captions as numbers.

    Args:
        images: of the split, in order.
        inputs: (N, L, D), their means (N, D) or (N, 3, S, S), in memory or memory-mapped.
        vocabulary: turns words into numbers.
    """

    def __init__(self, images: list[CaptionedImage], inputs: Stored, vocabulary: Vocabulary) -> None:
        self.images, self.inputs = images, inputs
        self.owners = np.repeat(np.arange(len(images)), [len(image.captions) for image in images])
        captions = [words for image in images for words in image.captions]
        self.lengths = np.array([len(words) + 2 for words in captions])
        self.starts = np.cumsum(self.lengths) - self.lengths
        # One after the other: padded to the longest they would take several times the memory.
        self.numbers = np.fromiter(chain.from_iterable(map(vocabulary.encode, captions)), np.int32)

    def inputs_of(self, rows: np.ndarray) -> Tensor:
        """The inputs of some images; means (B, D) as one region (B, 1, D)."""
        found = torch.from_numpy(self.inputs[rows])
        return found[:, None] if found.dim() == 2 else found

    def captions(self, pairs: np.ndarray) -> Tensor:
        """The tokens of some pairs, as wide as the longest of them."""
        lengths = self.lengths[pairs]
        places = np.arange(lengths.max())  # (T,)
        inside = places < lengths[:, None]  # (B, T)
        tokens = np.full(inside.shape, PAD, np.int64)
        tokens[inside] = self.numbers[(self.starts[pairs][:, None] + places)[inside]]
        return torch.from_numpy(tokens)


class Loader:
    """A split's batches, drawn anew by `batches` for each epoch."""

    def __init__(self, number: int, batches: Callable[[], Iterator[Any]]) -> None:
        self.number, self.batches = number, batches

    def __len__(self) -> int:
        return self.number

    def __iter__(self) -> Iterator[Any]:
        return self.batches()


class CaptionData(L.LightningDataModule):
    """Captioned images for `Captioner`.

    Args:
        load: reads the captioned images.
        build_encoder: makes the encoder, with its weights.
        batch_size: pairs an optimizer step.
        cache: folder that keeps computed features.
        seed: of the pairs' order, drawn anew each epoch.
        split_seed: draws the splits that the data set lacks; None: it has all.
        min_count: words that occur more rarely in the training captions are unknown.
        max_words: longest caption that will be written, its end included.
        fine_tune: train the encoder, too.
        mean_only: give the decoder the regions' mean (B, 1, D).
        limits: train, val, test: use that many images only; None for all.
        device: where features are computed.
        show_bar: whether to show a progress bar.
        value_range: which values of deep images become black and white (src/pixels.py).
        fast: let the fastest engine compute the features (engines.py).
    """

    def __init__(
        self,
        load: Callable[[], list[CaptionedImage]],
        build_encoder: Callable[[], Encoder],
        *,
        batch_size: int,
        cache: Path,
        seed: int = 42,
        split_seed: int | None = None,
        min_count: int = 1,
        max_words: int = 22,
        fine_tune: bool = False,
        mean_only: bool = False,
        limits: tuple[int | None, int | None, int | None] = (None, None, None),
        device: str | torch.device = "cpu",
        show_bar: bool = False,
        value_range: str = AUTO,
        fast: bool = True,
    ) -> None:
        super().__init__()
        self.load, self.build_encoder = load, build_encoder
        self.batch_size, self.cache, self.seed, self.split_seed = batch_size, cache, seed, split_seed
        self.min_count, self.max_words, self.fast = min_count, max_words, fast
        self.fine_tune, self.mean_only = fine_tune, mean_only
        self.limits, self.device, self.show_bar, self.value_range = limits, device, show_bar, value_range
        self.splits: dict[str, Split] = {}
        self.encoder: Encoder
        self.vocabulary: Vocabulary
        self.means: dict[str, Stored] = {}  # split -> (N, D), of features
        self.sources: dict[str, Any] = {}  # digests of captions, images, encoder; `engine`

    @property
    def examples(self) -> int:
        """Pairs an epoch."""
        return len(self.splits["train"].owners)

    def setup(self, stage: str | None = None) -> None:
        """Read the captions, look at every image, compute or open the features.

        Raises:
            UserError: captions or images cannot be used, or the encoder's weights are not to be had.
            OSError: the features cannot be stored.
        """
        if self.splits:
            return
        with without_collector():
            found = self.load()
        if self.split_seed is not None:
            found = with_every_split(found, self.split_seed)
        of_split = {
            name: [image for image in found if image.split == name][:limit]
            for name, limit in zip(SPLITS, self.limits, strict=True)
        }
        for name, images in of_split.items():
            if not images:
                raise UserError(
                    f"none of {len(found)} images has the split {name}, and all three are needed: data.split_seed=42 "
                    "draws those that a data set lacks, of three images or more"
                )
        every = [image for name in SPLITS for image in of_split[name]]
        captions = [caption for image in of_split["train"] for caption in image.captions]
        self.vocabulary = Vocabulary.from_captions(captions, self.min_count)
        longest = max(len(caption) + 1 for caption in captions)  # with its end
        if longest > self.max_words and multiprocessing.parent_process() is None:  # once, not in each worker
            logger.info(
                "max_words=%s: the longest training caption has %s with its end", self.max_words, longest
            )
        self.encoder = self.build_encoder()
        digests = digests_of([image.path for image in every], self.cache)
        self.sources = {
            "captions": digest_of_captions(every),
            "images": digests,
            "encoder": self.encoder.digest,
        }
        self._encode(of_split, choose_engine(torch.device(self.device), self.fast))

    def _encode(self, of_split: dict[str, list[CaptionedImage]], engine: str) -> None:
        """Make the splits; `sources["engine"]` says what computed the features."""
        inputs, engine = features_by(
            engine,
            [image.path for name in SPLITS for image in of_split[name]],
            self.encoder,
            self.cache,
            pixels=self.fine_tune,
            device=self.device,
            show_bar=self.show_bar,
            digests=self.sources["images"],
            value_range=self.value_range,
        )
        self.sources["engine"] = None if self.fine_tune else engine
        means = None if self.fine_tune else means_of(inputs)
        inputs = inputs if isinstance(inputs, Rows) else Rows([inputs])
        first = 0
        for name in SPLITS:
            rows = slice(first, first + len(of_split[name]))
            first = rows.stop
            if means is not None:
                self.means[name] = means[rows]
            part = self.means[name] if self.mean_only and means is not None else inputs[rows]
            self.splits[name] = Split(of_split[name], part, self.vocabulary)

    @property
    def digest(self) -> str:
        """A short hash of captions, images and the encoder's weights."""
        parts = [self.sources["captions"], *self.sources["images"], self.sources["encoder"]]
        return hashlib.sha256("".join(parts).encode()).hexdigest()[:16]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint keeps of the data, to tell when they are others."""
        images = [int(digest[:16], 16) - 2**63 for digest in self.sources["images"]]
        return {**self.sources, "images": torch.tensor(images)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Compare the data with those that the run began with.

        Raises:
            CaptionDataError: captions, images or the encoder's weights have changed since.
        """
        ours = self.state_dict()
        changed = [name for name in ("captions", "encoder") if state_dict[name] != ours[name]]
        if not torch.equal(state_dict["images"], ours["images"]):
            changed.append("images")
        if changed:
            raise CaptionDataError(
                f"{' and '.join(changed)} changed since this run began: put it back, or start with force=true"
            )
        if (began := state_dict.get("engine", TORCH)) == ours["engine"] or self.fine_tune:
            return
        if available(began):
            self._encode({name: split.images for name, split in self.splits.items()}, began)
        else:
            logger.warning(
                "This run began with features by %s, which is not installed here (extra `export`): it goes on with "
                "%s's, which differ by rounding.",
                *(began, ours["engine"]),
            )

    def train_dataloader(self) -> Loader:
        return Loader(math.ceil(self.examples / self.batch_size), self._pairs)

    def val_dataloader(self) -> Loader:
        return self._images(self.splits["val"])

    def test_dataloader(self) -> Loader:
        return self._images(self.splits["test"])

    def _pairs(self) -> Iterator[PairBatch]:
        split, epoch = self.splits["train"], self.trainer.current_epoch  # type: ignore[union-attr]
        number = len(split.images) if self.fine_tune else self.examples
        order = epoch_order(number, self.seed, epoch).numpy()
        if self.fine_tune:  # an image's captions stand together: it is encoded once for all of them
            order = np.argsort(np.argsort(order)[split.owners], kind="stable")
        for first in range(0, len(order), self.batch_size):
            pairs = shard(order[first : first + self.batch_size])
            rows, owners = split.owners[pairs], None
            if self.fine_tune:
                rows, places = np.unique(rows, return_inverse=True)
                owners = torch.from_numpy(places)
            yield PairBatch(split.inputs_of(rows), split.captions(pairs), owners)

    def _images(self, split: Split) -> Loader:
        mine = shard(np.arange(len(split.images)))

        def batches() -> Iterator[ImageBatch]:
            for first in range(0, len(mine), EVALUATION_BATCH):
                rows = mine[first : first + EVALUATION_BATCH]
                pairs = np.flatnonzero(np.isin(split.owners, rows))
                owners = torch.from_numpy(np.searchsorted(rows, split.owners[pairs]))
                yield ImageBatch(split.inputs_of(rows), rows.tolist(), split.captions(pairs), owners)

        return Loader(math.ceil(len(mine) / EVALUATION_BATCH), batches)
