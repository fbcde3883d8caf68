"""The captioner as a LightningModule: loss, real decoding in validation and test, scores.

Dimension letters: B batch, L regions, T steps, V vocabulary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor

from src.captioning.data import ImageBatch, PairBatch
from src.captioning.decoder import Decoder
from src.captioning.encoder import build_encoder
from src.captioning.metrics import score_captions
from src.captioning.position import POSITION_DIM, append_positions
from src.captioning.search import decode
from src.captioning.vocabulary import PAD, Vocabulary
from src.optimizers import build_optimizer
from src.run import Diverged
from src.seeds import epoch_seed

LOSSES_A_READ = 32  # training steps

Words = tuple[str, ...]


@dataclass
class Written:
    """The captions of a split, by the images' places in it."""

    captions: dict[int, Words] = field(default_factory=dict)
    alphas: dict[int, Tensor] = field(default_factory=dict)  # (T, L), a row a word, with attention only


class Captioner(L.LightningModule):
    """Trains `Decoder`, and the encoder if asked to, with cross-entropy over the words.

    Args:
        vocabulary: its words in order (`Vocabulary.to_list`), so that a checkpoint is enough to caption.
        encoder: `name`, `size`, `weights`, `digest`, `trained`, `grid` and `dim` (D) of the encoder, and
            `position`: whether the decoder is told where each region lies.
        decoder: keyword arguments of `Decoder` besides the sizes of vocabulary and features.
        optimizer: sgd, adam or adamw.
        lr, encoder_lr: learning rates of the decoder, and of a trained encoder.
        schedule: constant, or cosine, to 0 over all steps.
        momentum: of sgd.
        weight_decay: as torch.optim takes it.
        clip: clamps every element of the gradient; clip_norm scales the whole of it.
        label_smoothing: as torch's cross_entropy takes it.
        sampling: scheduled sampling's probability in the last epoch, rising linearly from 0 in the first.
        attention_penalty: weight of sum_i (1 - sum_t alpha_ti)^2 (Xu et al. 2015, equation 14), the mean
            over captions.
        seed: seeds dropout and sampling, anew each epoch.
        beam, compare_beam: of the test; validation is greedy.
        max_words: longest caption, its end included.
        length_penalty: see `decode`.
    """

    def __init__(
        self,
        *,
        vocabulary: list[str],
        encoder: dict[str, Any],
        decoder: dict[str, Any],
        optimizer: str,
        lr: float,
        encoder_lr: float | None,
        schedule: str,
        momentum: float,
        weight_decay: float,
        clip: float | None,
        clip_norm: float | None,
        label_smoothing: float,
        sampling: float,
        attention_penalty: float,
        seed: int,
        beam: int,
        compare_beam: int | None,
        max_words: int,
        length_penalty: float,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.vocabulary = Vocabulary.from_list(vocabulary)
        self.has_positions = encoder["position"] and decoder["attention"]
        dim = encoder["dim"] + (POSITION_DIM if self.has_positions else 0)
        self.decoder = Decoder(len(self.vocabulary), dim, **decoder)
        self.encoder = None
        if encoder["trained"]:
            # Only the architecture: `build_module` (task.py) brings the weights, or a checkpoint does.
            self.encoder = build_encoder(encoder["name"], encoder["size"], pretrained=False)
            self.encoder.fine_tune(True)
        self.written: dict[str, Written] = {}
        self.references: list[tuple[Words, ...]] = []
        # The protocol's training loss: the mean over every batch since the first epoch, never reset.
        self.running_loss_sum, self.running_batches = 0.0, 0
        self.epoch_loss_sum, self.epoch_batches = 0.0, 0
        self.unread_losses: list[Tensor] = []  # of the last steps, on the device
        self.validation_loss_sum, self.validation_words = 0.0, 0

    def regions(self, seen: Tensor) -> Tensor:
        """Regions (B, L, D) of features, or of images (B, 3, S, S) where the encoder is trained."""
        return self.placed(seen if self.encoder is None else self.encoder(seen))

    def placed(self, regions: Tensor) -> Tensor:
        """Regions with their positions, where the decoder is told them."""
        return append_positions(regions, self.hparams["encoder"]["grid"]) if self.has_positions else regions

    def configure_optimizers(self) -> Any:
        settings = self.hparams
        groups: list[dict[str, Any]] = [{"params": list(self.decoder.parameters())}]
        if self.encoder is not None:
            weights = [weight for weight in self.encoder.parameters() if weight.requires_grad]
            groups.append({"params": weights, "lr": settings["encoder_lr"] or settings["lr"]})
        optimizer = build_optimizer(self, groups)
        if settings["schedule"] == "constant":
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer: torch.optim.Optimizer, *_: Any, **__: Any) -> None:
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        if self.hparams["clip"] is not None:
            torch.nn.utils.clip_grad_value_(weights, self.hparams["clip"])
        if self.hparams["clip_norm"] is not None:
            torch.nn.utils.clip_grad_norm_(weights, self.hparams["clip_norm"])

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(epoch_seed(self.hparams["seed"], self.current_epoch, "dropout"))
        self.epoch_loss_sum, self.epoch_batches = 0.0, 0
        self.unread_losses = []

    def training_step(self, batch: PairBatch, batch_index: int) -> Tensor:
        """The batch's loss."""
        inputs, targets = batch.tokens[:, :-1], batch.tokens[:, 1:]  # (B, T)
        scores, alphas = self.decoder(self.regions(batch.seen), inputs, sampling=self._sampling())
        smoothing = self.hparams["label_smoothing"]
        loss = F.cross_entropy(
            scores.flatten(0, 1), targets.flatten(), ignore_index=PAD, label_smoothing=smoothing
        )
        self.unread_losses.append(loss.detach())
        penalty = self.hparams["attention_penalty"]
        if penalty and alphas is not None:
            spent = (alphas * (targets != PAD).unsqueeze(2)).sum(1)  # (B, T, L) -> (B, L)
            loss = loss + penalty * (1 - spent).square().sum(1).mean()
        return loss

    def on_train_batch_end(self, *_: Any) -> None:
        # Many at a time: reading each would make a GPU wait at every step. All before the validation.
        if len(self.unread_losses) >= LOSSES_A_READ or self.trainer.is_last_batch:
            self._read_losses()

    def _read_losses(self) -> None:
        """Add up the last steps' losses.

        Raises:
            Diverged: one is NaN or infinite.
        """
        values = torch.stack(self.unread_losses).tolist()
        self.unread_losses = []
        for step, value in enumerate(values, self.trainer.global_step - len(values) + 1):
            if not math.isfinite(value):
                raise Diverged(f"the training loss became {value}", self.current_epoch + 1, step)
            self.running_loss_sum += value
            self.epoch_loss_sum += value
        self.running_batches += len(values)
        self.epoch_batches += len(values)

    def _sampling(self) -> float:
        epochs = self.trainer.max_epochs or 1
        return self.hparams["sampling"] * self.current_epoch / max(epochs - 1, 1)

    def on_train_epoch_end(self) -> None:
        self.log("train_loss", self.running_loss_sum / self.running_batches, logger=False)
        self.log("train_loss_epoch", self.epoch_loss_sum / self.epoch_batches, logger=False)

    def on_validation_epoch_start(self) -> None:
        self.written = {"greedy": Written()}
        self.validation_loss_sum, self.validation_words = 0.0, 0

    def validation_step(self, batch: ImageBatch, batch_index: int) -> None:
        """Writes the batch's captions, greedily; the loss of the human ones is under teacher forcing."""
        regions = self.regions(batch.seen)
        self._write(regions, batch.rows, "greedy", beam=1)
        inputs, targets = batch.tokens[:, :-1], batch.tokens[:, 1:]
        scores, _ = self.decoder(regions[batch.owners], inputs)
        loss = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=PAD, reduction="sum")
        self.validation_loss_sum += float(loss)
        self.validation_words += int((targets != PAD).sum())

    def on_validation_epoch_end(self) -> None:
        self.log("val_loss", self.validation_loss_sum / max(self.validation_words, 1), logger=False)
        self._log_scores("val", "greedy")

    def on_test_epoch_start(self) -> None:
        self.written = {name: Written() for name in self._searches()}

    def test_step(self, batch: ImageBatch, batch_index: int) -> None:
        regions = self.regions(batch.seen)
        for name, beam in self._searches().items():
            self._write(regions, batch.rows, name, beam)

    def on_test_epoch_end(self) -> None:
        for name in self._searches():
            self._log_scores(name, name)

    def _searches(self) -> dict[str, int]:
        """The test's name and number of beams, and the other one's where two are compared."""
        other = self.hparams["compare_beam"]
        searches = {"test": self.hparams["beam"]}
        return searches if other in (None, searches["test"]) else {**searches, f"test_beam{other}": other}

    def _write(self, regions: Tensor, rows: list[int], name: str, beam: int) -> None:
        """Caption images.

        Raises:
            Diverged: a caption's log-probability is not finite; among NaN scores, too, some word is first.
        """
        found = decode(
            self.decoder,
            regions,
            beam=beam,
            max_steps=self.hparams["max_words"],
            length_penalty=self.hparams["length_penalty"],
        )
        if not all(map(math.isfinite, found.scores)):
            epoch = min(self.current_epoch + 1, self.trainer.max_epochs or 1)  # a test comes after the last
            raise Diverged(
                "the log-probability of a caption is no longer finite", epoch, self.trainer.global_step
            )
        for place, row in enumerate(rows):
            self.written[name].captions[row] = tuple(self.vocabulary.decode(found.tokens[place]))
            if found.alphas is not None:
                self.written[name].alphas[row] = found.alphas[place].cpu()

    def _log_scores(self, prefix: str, name: str) -> None:
        captions = self.written[name].captions
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        split = "val" if name == "greedy" else "test"
        images = data.splits[split].images
        scores = score_captions(
            [captions[row] for row in sorted(captions)], [image.captions for image in images]
        )
        for metric, value in scores.items():
            if value is not None:
                self.log(f"{prefix}_{metric}", value, logger=False)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["running_loss"] = [self.running_loss_sum, self.running_batches]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.running_loss_sum, self.running_batches = checkpoint["running_loss"]
