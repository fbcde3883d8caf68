"""The classifier as a LightningModule.

Dimension letters: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.parameter import is_lazy
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from src.build import build, configure_optimizers, in_channels_last
from src.classification import augment as augmentations
from src.run.ranks import share

Batch = tuple[Tensor, Tensor]  # images (B, C, H, W) uint8, labels (B,) int64


class Classifier(L.LightningModule):
    """Trains a network with cross-entropy on images of K classes.

    Args:
        network: `_target_` and arguments of an nn.Module that maps pixels (B, C, H, W) from 0 to 1 to scores (B, K).
        optimizer: `_target_` and arguments of a torch optimizer.
        schedule: `_target_` and arguments of a learning-rate schedule, or None.
        image_size: (C, H, W), for those who use the checkpoint.
        class_names: K names.
        augment: a name in `src.classification.augment.BY_NAME`.
        label_smoothing: as torch's cross_entropy takes it.
        flip_tta: give an image the mean of its scores and its mirror image's, but in training.
    """

    def __init__(
        self,
        *,
        network: dict[str, Any],
        optimizer: dict[str, Any],
        schedule: dict[str, Any] | None = None,
        image_size: list[int] | None = None,
        class_names: list[str] | None = None,
        augment: str = "none",
        label_smoothing: float = 0.0,
        flip_tta: bool = False,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.network = build(network)
        if any(map(is_lazy, self.network.parameters())):  # an image tells their shapes (nn.LazyLinear)
            with torch.no_grad():
                self.network.eval()(torch.zeros(1, *(image_size or ())))
            self.network.train()
        self.channels_last = in_channels_last(self.network)
        # By default it would leave out a NaN, "disable" leaves out the weights.
        self.loss = MeanMetric(nan_strategy=math.nan)
        self.accuracy = MulticlassAccuracy(len(class_names or range(10)), average="micro")

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (B, K) of images (B, C, H, W) in uint8."""
        pixels = self.pixels(images)
        scores = self.network(pixels)
        if self.hparams["flip_tta"] and not self.training:
            scores = (scores + self.network(pixels.flip(3))) / 2
        return scores

    def pixels(self, images: Tensor) -> Tensor:
        """Images (B, C, H, W) in uint8 as the network takes them: from 0 to 1, in its dtype and layout."""
        pixels = scaled(images, self.dtype)
        return pixels if self.channels_last else pixels.contiguous()

    def training_step(self, batch: Batch, batch_index: int) -> Any:
        images, labels = batch
        scores = self(augmentations.BY_NAME[self.hparams["augment"]](images))
        loss = F.cross_entropy(scores, labels, label_smoothing=self.hparams["label_smoothing"])
        return loss * share(len(labels))

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: Batch, batch_index: int) -> None:
        self._evaluate(batch, "test")

    def _evaluate(self, batch: Batch, split: str) -> None:
        images, labels = batch
        scores = self(images)
        self.accuracy.update(scores, labels)
        self.loss.update(F.cross_entropy(scores, labels), len(labels))
        found: Any = {f"{split}_loss": self.loss, f"{split}_acc": self.accuracy}
        # The Recorder logs them.
        self.log_dict(found, on_step=False, on_epoch=True, batch_size=len(labels), logger=False)

    def configure_optimizers(self) -> Any:
        return configure_optimizers(self, self.hparams["optimizer"], self.hparams["schedule"])


def scaled(images: Tensor, dtype: torch.dtype | str = torch.float32) -> Tensor:
    """Pixels from 0..255 to 0..1 in `dtype`: divided by 256, as the protocol has it."""
    return images.to(dtype).div_(256)
