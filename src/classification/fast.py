"""The classifier's fast path: many optimizer steps for each step of Lightning's loop.

Lightning's own work a step, about a millisecond, is a third of a step at batch 8. `ChunkedClassifier` gets a chunk
of many batches at a time and takes one optimizer step for each batch itself. It is chosen only where nobody
could see the difference (`applies`); its numbers are `Classifier`'s up to rounding, `fast=false` turns it off.
"""

from __future__ import annotations

from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, ModelSummary, RichModelSummary
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.profilers import PassThroughProfiler
from torch import Tensor

from src.classification import augment as augmentations
from src.classification import sgd
from src.classification.module import Batch, Classifier

CHUNK_IMAGES = 512  # large enough that Lightning's work for a chunk vanishes, small enough for the cache
KNOWN = (EarlyStopping, ModelCheckpoint, ModelSummary, RichModelSummary)  # change nothing within an epoch


class ChunkedClassifier(Classifier):
    """`Classifier` on chunks: images (N, C, H, W) uint8 and labels (N,), N a multiple of the batch size.

    `trainer.global_step` counts optimizer steps, as ever.
    """

    batch_size = 8  # images an optimizer step; set it before training

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.automatic_optimization = False

    def training_step(self, batch: Batch, batch_index: int) -> dict[str, Tensor]:
        """One optimizer step for each batch of the chunk; returns the loss (S,) before each of the S steps."""
        optimizer = self.optimizers()
        assert isinstance(optimizer, LightningOptimizer)
        images, labels = batch
        pixels = self.pixels(augmentations.BY_NAME[self.hparams["augment"]](images))
        smoothing = self.hparams["label_smoothing"]
        if not smoothing and sgd.applies(self.network, optimizer.optimizer, self.batch_size):
            lr = optimizer.param_groups[0]["lr"]
            losses = sgd.sgd_steps(self.network, pixels, labels, self.batch_size, lr)
            for _ in losses:
                self._count(optimizer)
            return {"losses": losses}
        found = []
        for x, y in zip(pixels.split(self.batch_size), labels.split(self.batch_size), strict=True):
            with self.trainer.precision_plugin.forward_context():
                loss = F.cross_entropy(self.network(x), y, label_smoothing=smoothing)
            optimizer.zero_grad()
            loss.backward()
            optimizer.optimizer.step()
            self._count(optimizer)
            found.append(loss.detach())
        return {"losses": torch.stack(found)}

    @staticmethod
    def _count(optimizer: LightningOptimizer) -> None:
        """Let `trainer.global_step` count a step that was taken without Lightning's wrapper."""
        optimizer._on_before_step()
        optimizer._on_after_step()


def applies(trainer: L.Trainer, schedule: dict[str, Any] | None) -> bool:
    """Whether nobody can tell chunks from single steps.

    That is: no schedule, clipping, accumulation, loss scaling or profiler, one device, all batches, and no
    callbacks but this project's and those of KNOWN: another one might listen to single batches or change weights.

    Args:
        trainer: with its callbacks.
        schedule: the learning-rate schedule's configuration.
    """
    known = all(
        type(callback) in KNOWN or type(callback).__module__.startswith("src.")
        for callback in trainer.callbacks  # type: ignore[attr-defined]
    )
    plain = (
        trainer.accumulate_grad_batches == 1
        and trainer.gradient_clip_val is None
        and trainer.world_size == 1
        and trainer.limit_train_batches == 1.0
        and trainer.val_check_interval == 1.0
        and trainer.max_steps == -1
        and not trainer.overfit_batches  # type: ignore[attr-defined]
        and not trainer._detect_anomaly
        and isinstance(trainer.profiler, PassThroughProfiler)  # type: ignore[attr-defined]
        and getattr(trainer.precision_plugin, "scaler", None) is None
    )
    return plain and known and not schedule
