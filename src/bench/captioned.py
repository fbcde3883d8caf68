"""A captioned set of any size and an encoder that costs next to nothing, to measure all but the encoder.

Images are tiny PNG files of one colour, captions are drawn from made-up words; everything else is the real
path: Karpathy's JSON, the look at every file, the feature store in half precision, the DataModule.

Dimension letters: B batch, D feature, H, W, S side in pixels.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from torch import Tensor, nn

from src.captioning import data as captions_data
from src.captioning.data import CaptionData
from src.captioning.encoder import Encoder

SIZE = 224  # pixels: 7 x 7 = 49 regions of 1,280 features
NAME = "efficientnet_lite0"
VALIDATED = 4  # images of validation and of test


class CheapBackbone(nn.Module):
    """Shrinks the image to the grid and gives each region D multiples of its mean colour."""

    def __init__(self, dim: int, stride: int = 32) -> None:
        super().__init__()
        self.stride = stride
        self.weight = nn.Parameter(torch.linspace(-1, 1, 3 * dim).view(dim, 3, 1, 1), requires_grad=False)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B, D, H, W)."""
        return F.conv2d(F.avg_pool2d(images, self.stride, ceil_mode=True), self.weight)


def cheap_encoder(name: str = NAME, size: int = SIZE, *_: object, **__: object) -> Encoder:
    """Takes the place of `build_encoder`."""
    return Encoder(name, CheapBackbone(1280), size)


def write_captioned(
    root: Path, images: int, captions: int = 1, words: int = 10, vocabulary: int = 200
) -> None:
    """dataset.json and images/ in `root`: `images` for training, `VALIDATED` each for validation and test."""
    random = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    splits = ["train"] * images + ["val"] * VALIDATED + ["test"] * VALIDATED
    entries = []
    for number, split in enumerate(splits):
        # Of one colour, each another one: the store's key hashes their bytes.
        colour = tuple(random.integers(0, 256, 3).tolist())
        Image.new("RGB", (8, 8), colour).save(root / "images" / f"{number}.png")
        drawn = random.integers(0, vocabulary, (captions, words))
        sentences = [[f"w{word}" for word in caption] for caption in drawn.tolist()]
        entries.append(
            {
                "filename": f"{number}.png",
                "imgid": number,
                "split": split,
                "sentences": [{"raw": " ".join(tokens), "tokens": tokens} for tokens in sentences],
            }
        )
    (root / "dataset.json").write_text(json.dumps({"images": entries}), encoding="utf-8")


def settings(root: Path, cache: Path, batch: int = 32) -> DictConfig:
    """What `CaptionData` reads of a composed configuration."""
    return OmegaConf.create(
        {
            "data": {
                "name": "karpathy",
                "root": str(root),
                "captions": None,
                "split_seed": None,
                "min_count": 1,
            },
            "limit_train": None,
            "limit_val": None,
            "limit_test": None,
            "encoder": {
                "name": NAME,
                "size": SIZE,
                "weights": None,
                "fine_tune": False,
                "cache": str(cache),
            },
            "accelerator": "cpu",
            "attention": True,
            "batch_size": batch,
            "seed": 42,
            "max_words": 20,
        }
    )


@contextmanager
def caption_data(root: Path, cache: Path, batch: int = 32) -> Iterator[CaptionData]:
    """The real DataModule over `root`, ready for use without a Trainer, with the cheap encoder."""
    with mock.patch.object(captions_data, "build_encoder", cheap_encoder):
        data = CaptionData(settings(root, cache, batch), say=lambda _: None, show_bar=False)
        data.setup()
        strategy = SimpleNamespace(root_device=torch.device("cpu"))
        data.trainer = SimpleNamespace(strategy=strategy, current_epoch=0)  # type: ignore[assignment]
        yield data
