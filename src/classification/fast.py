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
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.profilers import PassThroughProfiler
from torch import Tensor

from src.classification import augment as augmentations
from src.classification import sgd
from src.classification.module import Batch, Classifier, scaled

CHUNK_IMAGES = 512  # large enough that Lightning's work for a chunk vanishes, small enough for the cache
BATCH_HOOKS = (
    *("on_before_backward", "on_after_backward", "on_before_optimizer_step", "on_before_zero_grad"),
    *("on_train_batch_start", "on_train_batch_end"),
)


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
        pixels = scaled(augmentations.BY_NAME[self.hparams["augment"]](images), self.dtype)
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


def applies(trainer: L.Trainer, schedule: dict[str, Any] | None, own: tuple[type[Callback], ...]) -> bool:
    """Whether nobody can tell chunks from single steps.

    That is: no schedule, clipping, accumulation, loss scaling or profiler, one device, all batches, and no
    callback that listens to single batches.

    Args:
        trainer: with its callbacks.
        schedule: the learning-rate schedule's configuration.
        own: callbacks that know chunks.
    """
    listens = any(
        getattr(type(callback), hook) is not getattr(Callback, hook)
        for callback in trainer.callbacks  # type: ignore[attr-defined]
        if not isinstance(callback, own)
        for hook in BATCH_HOOKS
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
    return plain and not schedule and not listens
