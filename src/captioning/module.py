"""The captioner as a LightningModule: loss, real decoding in validation and test, scores.

Dimension letters: B batch, L regions, T steps, V vocabulary, D region feature, S side in pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import MeanMetric

from src.build import build, configure_optimizers
from src.captioning.consensus import TrainingCaptions, decode_by_consensus
from src.captioning.data import ImageBatch, PairBatch
from src.captioning.encoder import POSITION_DIM, Encoder, append_positions, build_encoder
from src.captioning.metrics import correctness, score_captions
from src.captioning.search import Decoded, decode
from src.captioning.vocabulary import PAD, Vocabulary
from src.run.folder import Diverged
from src.run.ranks import gathered, share

Words = tuple[str, ...]


@dataclass
class Predictions:
    """The captions of a split, by the images' places in it."""

    captions: dict[int, Words] = field(default_factory=dict)
    alphas: dict[int, Tensor] = field(default_factory=dict)  # (T, L), a row a word, with attention only


class Captioner(L.LightningModule):
    """Trains a decoder, and the encoder if asked to, with cross-entropy over the words.

    Args:
        vocabulary: its words in order (`Vocabulary.words`), so that a checkpoint is enough to caption.
        encoder: `config` (`_target_` and arguments), `size`, `digest`, `grid` (rows, columns), `dim` (D),
            `train_norms` (see `Encoder`); `trained`: whether it learns with the decoder; `position`: whether
            the decoder is told where each region lies; `lr`: its learning rate, None for the decoder's;
            `value_range`: of deep images.
        decoder: `_target_` and arguments of a decoder (src/captioning/decoders/), besides the sizes of
            vocabulary and features.
        optimizer, schedule: `_target_` and arguments.
        label_smoothing: as torch's cross_entropy takes it.
        sampling: scheduled sampling's probability in the last epoch, rising linearly from 0 in the first.
        attention_penalty: weight of sum_i (1 - sum_t alpha_ti)^2 (Xu et al. 2015, equation 14), the mean
            over captions.
        beam, compare_beam: of the test; validation is greedy.
        max_words: longest caption, its end included.
        length_penalty: see `decode`.
        consensus: `weight` of `decode_by_consensus`, and sizes of `TrainingCaptions`; None: the test's captions are the
            decoder's own, as those of `compare_beam` and of validation always are.
    """

    def __init__(
        self,
        *,
        vocabulary: list[str],
        encoder: dict[str, Any],
        decoder: dict[str, Any],
        optimizer: dict[str, Any],
        schedule: dict[str, Any] | None = None,
        label_smoothing: float = 0.0,
        sampling: float = 0.0,
        attention_penalty: float = 0.0,
        beam: int = 1,
        compare_beam: int | None = None,
        max_words: int = 22,
        length_penalty: float = 0.0,
        consensus: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)
        self.vocabulary = Vocabulary(vocabulary)
        dim = encoder["dim"] + (POSITION_DIM if encoder["position"] else 0)
        self.decoder = build(decoder, vocabulary_size=len(self.vocabulary), region_dim=dim)
        # Only the architecture: `build_module` (task.py) brings the weights, or a checkpoint does.
        self.encoder: Encoder | None = None
        if encoder["trained"]:
            self.encoder = build_encoder(
                encoder["config"], encoder["size"], train_norms=encoder["train_norms"], with_weights=False
            )
            self.encoder.fine_tune()
        self.training_captions: TrainingCaptions | None = None
        if consensus is not None:
            sizes = {name: size for name, size in consensus.items() if name != "weight"}
            self.training_captions = TrainingCaptions(dim=encoder["dim"], **sizes)
        # Of validation, a word. By default it would leave out a NaN, "disable" leaves out the weights.
        self.loss = MeanMetric(nan_strategy=math.nan)
        self.predictions: dict[str, Predictions] = {}

    def encode(self, inputs: Tensor) -> Tensor:
        """Regions (B, L, D) of stored features, or of images (B, 3, S, S) where the encoder is trained."""
        return self.placed(inputs if self.encoder is None else self.encoder(inputs))

    def placed(self, regions: Tensor) -> Tensor:
        """Regions with their positions, where the decoder is told them."""
        encoder = self.hparams["encoder"]
        return append_positions(regions, encoder["grid"]) if encoder["position"] else regions

    def configure_optimizers(self) -> Any:
        groups: list[dict[str, Any]] = [{"params": list(self.decoder.parameters())}]
        if self.encoder is not None:
            weights = [weight for weight in self.encoder.parameters() if weight.requires_grad]
            lr = self.hparams["encoder"]["lr"]
            groups.append({"params": weights, **({"lr": lr} if lr else {})})
        return configure_optimizers(self, self.hparams["optimizer"], self.hparams["schedule"], groups)

    def training_step(self, batch: PairBatch, batch_index: int) -> dict[str, Tensor]:
        """`loss`, and `losses` (1,) without the attention's penalty."""
        inputs, targets = batch.tokens[:, :-1], batch.tokens[:, 1:]  # (B, T)
        epochs = self.trainer.max_epochs or 1
        sampling = self.hparams["sampling"] * self.current_epoch / max(epochs - 1, 1)
        regions = self.encode(batch.inputs)
        if batch.owners is not None:
            regions = regions[batch.owners]
        scores, alphas = self.decoder(regions, inputs, sampling=sampling)
        smoothing = self.hparams["label_smoothing"]
        loss = F.cross_entropy(
            scores.flatten(0, 1), targets.flatten(), ignore_index=PAD, label_smoothing=smoothing
        )
        loss = loss * share(int((targets != PAD).sum()))
        losses = loss.detach()[None]
        penalty = self.hparams["attention_penalty"]
        if penalty and alphas is not None:
            spent = (alphas * (targets != PAD).unsqueeze(2)).sum(1)  # (B, T, L) -> (B, L)
            loss = loss + penalty * (1 - spent).square().sum(1).mean()
        return {"loss": loss, "losses": losses}

    def on_validation_epoch_start(self) -> None:
        self.predictions = {"val": Predictions()}

    def validation_step(self, batch: ImageBatch, batch_index: int) -> None:
        """Captions the batch greedily; the loss of the human captions is under teacher forcing."""
        regions = self.encode(batch.inputs)
        self._predict(regions, batch.rows, "val", beam=1)
        inputs, targets = batch.tokens[:, :-1], batch.tokens[:, 1:]
        scores, _ = self.decoder(regions[batch.owners], inputs)
        loss = F.cross_entropy(scores.flatten(0, 1), targets.flatten(), ignore_index=PAD)
        self.loss.update(loss, int((targets != PAD).sum()))
        self.log("val_loss", self.loss, logger=False)

    def on_validation_epoch_end(self) -> None:
        self._log_scores("val", split="val")

    def on_test_epoch_start(self) -> None:
        self.predictions = {name: Predictions() for name in self._searches()}

    def test_step(self, batch: ImageBatch, batch_index: int) -> None:
        regions = self.encode(batch.inputs)
        for name, beam in self._searches().items():
            self._predict(regions, batch.rows, name, beam)

    def on_test_epoch_end(self) -> None:
        for name in self._searches():
            self._log_scores(name, split="test")

    def _searches(self) -> dict[str, int]:
        """The test's name and number of beams, and the other one's where two are compared."""
        other = self.hparams["compare_beam"]
        searches = {"test": self.hparams["beam"]}
        return searches if other in (None, searches["test"]) else {**searches, f"test_beam{other}": other}

    def search(self, regions: Tensor, *, consensus: bool, **search: Any) -> Decoded:
        """Captions of regions (B, L, D) with their positions.

        Args:
            regions: of `encode` or `placed`.
            consensus: choose by consensus where this captioner is made for it.
            search: `beam`, and what is not as in training.
        """
        options = {"max_steps": self.hparams["max_words"], "length_penalty": self.hparams["length_penalty"]}
        options |= search
        if not consensus or self.training_captions is None:
            return decode(self.decoder, regions, **options)
        remembered, dim = self.training_captions, self.hparams["encoder"]["dim"]
        keys = remembered.project(regions[:, :, :dim].mean(1, dtype=torch.float32))
        weight = self.hparams["consensus"]["weight"]
        return decode_by_consensus(
            self.decoder, remembered.regression, regions, keys, weight=weight, **options
        )

    def _predict(self, regions: Tensor, rows: list[int], name: str, beam: int) -> None:
        """Caption images.

        Raises:
            Diverged: a caption's log-probability is not finite; among NaN scores, too, some word is first.
        """
        found = self.search(regions, beam=beam, consensus=name == "test")
        if not all(map(math.isfinite, found.scores)):
            epoch = min(self.current_epoch + 1, self.trainer.max_epochs or 1)  # a test comes after the last
            raise Diverged(
                "the log-probability of a caption is no longer finite", epoch, self.trainer.global_step
            )
        for place, row in enumerate(rows):
            self.predictions[name].captions[row] = tuple(self.vocabulary.decode(found.tokens[place]))
            if found.alphas is not None:
                self.predictions[name].alphas[row] = found.alphas[place].float().cpu()  # of bf16

    def _log_scores(self, name: str, split: str) -> None:
        found = self.predictions[name]
        found.captions, found.alphas = gathered(found.captions), gathered(found.alphas)
        captions = [found.captions[row] for row in sorted(found.captions)]
        images = self.trainer.datamodule.splits[split].images  # type: ignore[attr-defined]
        scores = score_captions(captions, [image.captions for image in images])
        scores |= correctness(captions, images)
        self.log_dict({f"{name}_{metric}": value for metric, value in scores.items()}, logger=False)
