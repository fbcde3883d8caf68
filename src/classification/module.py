"""The classifier as a LightningModule: loss, optimizer steps, accuracy."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.core.optimizer import LightningOptimizer
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy

from src.classification import augment, sgd
from src.classification.network import ConvNet
from src.optimizers import build_optimizer, scales_gradients
from src.run import Diverged
from src.seeds import epoch_seed

Chunk = tuple[Tensor, Tensor]  # images (N, C, H, W) uint8, labels (N,) int64


class Classifier(L.LightningModule):
    """Trains `ConvNet` with cross-entropy.

    One Lightning step is a chunk of many batches and takes one optimizer step a batch (manual
    optimization): Lightning's own work per step, about a millisecond, would be a third of a step at
    batch 8. `trainer.global_step` still counts optimizer steps.

    Args:
        dropout: probability that dropout zeroes a unit.
        lr: learning rate.
        batch_size: images an optimizer step.
        seed: seeds dropout and augmentation, anew each epoch, so that a resumed run repeats the epoch.
        optimizer: sgd, adam or adamw.
        momentum: of sgd.
        weight_decay: as torch.optim takes it.
        augment: a name in `augment.BY_NAME`.
        image_size: (C, H, W).
        classes: K.
    """

    def __init__(
        self,
        *,
        dropout: float,
        lr: float,
        batch_size: int = 8,
        seed: int = 42,
        optimizer: str = "sgd",
        momentum: float = 0.0,
        weight_decay: float = 0.0,
        augment: str = "none",
        image_size: tuple[int, int, int] = (1, 28, 28),
        classes: int = 10,
    ) -> None:
        super().__init__()
        image_size = (image_size[0], image_size[1], image_size[2])
        self.save_hyperparameters()
        self.automatic_optimization = False
        # channels_last: pooling runs 5 to 7 times as fast on a CPU, convolution needs no reordering.
        self.network = ConvNet(dropout, image_size, classes)
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.accuracy = MulticlassAccuracy(classes, average="micro")
        self.steps_are_watched = True
        # The protocol's training loss: the mean over every batch since the first epoch, never reset.
        self.running_loss_sum = 0.0
        self.running_batches = 0
        self.epoch_loss_sum = 0.0
        self.epoch_batches = 0

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (B, K) of images (B, C, H, W) in uint8."""
        return self.network(scaled(images, self.dtype))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return build_optimizer(self, self.parameters())

    def on_train_start(self) -> None:
        self.steps_are_watched = _steps_are_watched(self.trainer, self)

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(epoch_seed(self.hparams["seed"], self.current_epoch, "dropout"))
        self.epoch_loss_sum, self.epoch_batches = 0.0, 0

    def training_step(self, chunk: Chunk, chunk_index: int) -> None:
        """One optimizer step a batch of the chunk.

        Raises:
            Diverged: a batch's loss is NaN or infinite.
        """
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        images, labels = chunk
        pixels = scaled(augment.BY_NAME[self.hparams["augment"]](images), self.dtype)
        batch = self.hparams["batch_size"]
        first_step = self.global_step
        by_hand = not self.steps_are_watched and sgd.applies(self.network, optimizer.optimizer, batch)
        take = self._steps_by_hand if by_hand else self._steps
        # One read a chunk: reading each loss would make a GPU wait at every step.
        values = take(optimizer, pixels, labels, batch).tolist()
        total = math.fsum(values) if all(map(math.isfinite, values)) else math.nan
        if not math.isfinite(total):
            wrong = next(index for index, value in enumerate(values) if not math.isfinite(value))
            raise Diverged(
                f"the training loss became {values[wrong]}", self.current_epoch + 1, first_step + wrong + 1
            )
        self.running_loss_sum += total
        self.running_batches += len(values)
        self.epoch_loss_sum += total
        self.epoch_batches += len(values)

    def _steps(self, optimizer: LightningOptimizer, pixels: Tensor, labels: Tensor, batch: int) -> Tensor:
        """One optimizer step a batch; the losses (S,) before each."""
        losses = []
        for x, y in zip(pixels.split(batch), labels.split(batch), strict=True):
            loss = F.cross_entropy(self.network(x), y)
            optimizer.zero_grad()
            if self.steps_are_watched:
                self.manual_backward(loss)
                optimizer.step()
            else:
                loss.backward()
                optimizer._on_before_step()  # counts trainer.global_step
                optimizer.optimizer.step()
                optimizer._on_after_step()
            losses.append(loss.detach())
        return torch.stack(losses)

    def _steps_by_hand(
        self, optimizer: LightningOptimizer, pixels: Tensor, labels: Tensor, batch: int
    ) -> Tensor:
        """The same without autograd, for plain SGD."""
        losses = sgd.sgd_steps(self.network, pixels, labels, batch, optimizer.param_groups[0]["lr"])
        for _ in losses:
            optimizer._on_before_step()
            optimizer._on_after_step()
        return losses

    def on_train_epoch_end(self) -> None:
        self.log("train_loss", self.running_loss_sum / self.running_batches, logger=False)
        self.log("train_loss_epoch", self.epoch_loss_sum / self.epoch_batches, logger=False)

    def validation_step(self, batch: Chunk, batch_index: int) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: Chunk, batch_index: int) -> None:
        self._evaluate(batch, "test")

    def _evaluate(self, batch: Chunk, split: str) -> None:
        images, labels = batch
        scores = self(images)  # (B, K)
        self.accuracy(scores, labels)
        options: dict[str, Any] = {
            "on_step": False,
            "on_epoch": True,
            "logger": False,
            "batch_size": len(labels),
        }
        self.log(f"{split}_loss", F.cross_entropy(scores, labels), **options)
        self.log(f"{split}_acc", self.accuracy, **options)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["running_loss"] = [self.running_loss_sum, self.running_batches]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.running_loss_sum, self.running_batches = checkpoint["running_loss"]


def _steps_are_watched(trainer: L.Trainer, module: Classifier) -> bool:
    """Whether a callback or a subclass's hook listens to single steps, or fp16's gradients are scaled.

    Only then must a step go through Lightning's own backward and optimizer step, which cost about a
    tenth of a step at batch 8.
    """
    listeners = [(L.Callback, callback) for callback in trainer.callbacks]  # type: ignore[attr-defined]
    listens = any(
        getattr(type(listener), hook) is not getattr(base, hook)
        for base, listener in [*listeners, (L.LightningModule, module)]
        for hook in ("on_before_backward", "on_after_backward", "on_before_optimizer_step")
    )
    overridden = any(
        getattr(type(module), name) is not getattr(L.LightningModule, name)
        for name in ("backward", "manual_backward", "optimizer_step")
    )
    return listens or overridden or scales_gradients(trainer)


def scaled(images: Tensor, dtype: torch.dtype | str = torch.float32) -> Tensor:
    """Pixels from 0..255 to 0..1 in `dtype`: divided by 256, as the protocol has it."""
    return images.to(dtype).div_(256)
