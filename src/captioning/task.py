"""What a run of the captioner consists of: which parts, which columns, which results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig

from src.captioning.baselines import score_baselines
from src.captioning.data import CaptionData
from src.captioning.metrics import distinct_captions, share_seen_in_training, signature
from src.captioning.module import Captioner
from src.captioning.parts import compute_in_parts
from src.captioning.pointing import pointing_game
from src.captioning.show import show_captions
from src.config import FIGURES, RATES

MONITOR, RATE = FIGURES["caption"][0], RATES["caption"]
ATTENTION_ONLY = ("attention_size", "gate", "deep_output")  # arguments of the decoder with attention
SCORES = ("bleu1", "bleu2", "bleu3", "bleu4", "bleu4_sentence", "cider_d", "rouge_l")
COLUMNS = (
    "epoch",
    "step",
    "train_loss",
    "train_loss_epoch",
    "val_loss",
    "val_bleu4",
    "val_bleu4_sentence",
    "val_cider_d",
    "val_rouge_l",
    "seconds",
    RATE,
)
TAGS = {
    "train_loss": "loss/train_running_mean",
    "train_loss_epoch": "loss/train_epoch",
    "val_loss": "loss/validation",
    "val_bleu4": "bleu4/validation",
    "val_bleu4_sentence": "bleu4/validation_sentence_mean",
    "val_cider_d": "cider_d/validation",
    "val_rouge_l": "rouge_l/validation",
    RATE: f"speed/{RATE}",
}


def build_data(cfg: DictConfig, say: Any, show_bar: bool = False) -> CaptionData:
    """The DataModule of a configuration."""
    return CaptionData(cfg, say, show_bar)


def build_module(cfg: DictConfig, data: CaptionData) -> Captioner:
    """The LightningModule of a configuration, its weights drawn from torch's global generator."""
    encoder = data.encoder
    module = Captioner(
        vocabulary=data.vocabulary.to_list(),
        encoder={
            "name": encoder.name,
            "size": encoder.size,
            "dim": encoder.dim,
            "grid": list(encoder.grid),
            "weights": cfg.encoder.weights,
            "digest": encoder.digest,
            "trained": data.encoder_is_trained,
            "position": cfg.encoder.position,
        },
        decoder={
            "name": "attention" if cfg.attention else "lstm",
            "embedding": cfg.decoder.embedding,
            "state": cfg.decoder.state,
            "dropout": cfg.dropout,
            **({name: cfg.decoder[name] for name in ATTENTION_ONLY} if cfg.attention else {}),
        },
        optimizer=cfg.optimizer,
        lr=cfg.lr,
        encoder_lr=cfg.encoder.lr,
        schedule=cfg.schedule,
        momentum=cfg.momentum,
        weight_decay=cfg.weight_decay,
        clip=cfg.clip,
        clip_norm=cfg.clip_norm,
        label_smoothing=cfg.label_smoothing,
        sampling=cfg.sampling,
        attention_penalty=cfg.attention_penalty,
        seed=cfg.seed,
        beam=cfg.beam,
        compare_beam=cfg.compare_beam,
        max_words=cfg.max_words,
        length_penalty=cfg.length_penalty,
    )
    if module.encoder is not None:
        module.encoder.load_state_dict(encoder.state_dict())
    if cfg.batch_parts > 1:
        compute_in_parts(module, cfg.batch_parts, cfg.batch_size)
    return module


def summarize(
    rows: list[dict[str, float]],
    best_epoch: int | None,
    test_last: dict[str, float],
    test_best: dict[str, float],
) -> dict[str, Any]:
    """The measured part of results.json; null where a run did not get that far.

    Args:
        rows: metrics.csv's.
        best_epoch: of the highest validation BLEU-4, the first one on ties.
        test_last: test scores of the last epoch's weights (the protocol's).
        test_best: of the best validation epoch's weights.
    """
    last = rows[-1] if rows else {}
    best = rows[best_epoch - 1] if best_epoch else {}
    of_last = {name: last.get(name) for name in ("train_loss", "train_loss_epoch", "val_loss")}
    searches = [name.removesuffix("_bleu1") for name in test_last if name.endswith("_bleu1")] or ["test"]
    return {
        **of_last,
        **{name: last.get(name) for name in COLUMNS if name.startswith("val_") and name != "val_loss"},
        "best_val_bleu4": best.get("val_bleu4"),
        "best_epoch": best_epoch,
        **{
            f"{search}_{score}": test_last.get(f"{search}_{score}") for search in searches for score in SCORES
        },
        **{
            f"{search}_{score}_best_val": test_best.get(f"{search}_{score}")
            for search in searches
            for score in SCORES
        },
    }


def conclude(
    module: Captioner, data: CaptionData, folder: Path, logger: TensorBoardLogger, epochs: int
) -> dict[str, Any]:
    """Show what the last epoch's weights wrote on the test split; return what results.json says of it.

    Writes captions.json (COCO's results format), gallery.html, gallery.png and attention/ into the folder.
    """
    images = data.splits["test"].images
    written = module.written["test"]
    captions = [written.captions[row] for row in range(len(images))]
    training = [image.captions for image in data.splits["train"].images]
    references = [image.captions for image in images]
    beam, penalty = module.hparams["beam"], module.hparams["length_penalty"]
    found: dict[str, Any] = {
        "signatures": {score: signature(score, references, beam, penalty) for score in SCORES},
        "distinct_captions": distinct_captions(captions),
        "share_seen_in_training": share_seen_in_training(
            captions, [caption for several in training for caption in several]
        ),
        "baselines": score_baselines(
            data.splits["train"].images,
            images,
            train_means=data.means.get("train"),
            means=data.means.get("test"),
        ),
    }
    if written.alphas:
        game = pointing_game(images, captions, written.alphas, module.hparams["encoder"]["grid"])
        if game is not None:
            found["pointing_game"] = game
    show_captions(module, data, folder, logger, epochs)
    return found
