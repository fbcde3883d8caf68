"""The captioner as a task (src/config/settings.py)."""

from __future__ import annotations

import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from omegaconf import DictConfig, OmegaConf

from src.build import build, check_optimizer, complete
from src.captioning.baselines import score_baselines
from src.captioning.captioned import CaptionedImage, with_every_split
from src.captioning.consensus import TrainingCaptions
from src.captioning.data import CaptionData
from src.captioning.encoder import Encoder, build_encoder
from src.captioning.gallery import show_captions
from src.captioning.metrics import pointing_game, signatures
from src.captioning.module import Captioner
from src.entry_point import UserError
from src.run.environment import device_of
from src.run.trained import config_of_run

# Keys of the nodes that their targets are not given.
NOT_ARGUMENTS = {
    "data": ("name", "min_count", "split_seed", "val_size"),
    "encoder": ("size", "fine_tune", "train_norms", "position", "lr", "cache"),
}


def data_key(cfg: DictConfig) -> str:
    """What tells one data set, as a run uses it, from another."""
    limits = (cfg.limit_train, cfg.limit_val, cfg.limit_test)
    seed = cfg.seed if cfg.encoder.fine_tune else None  # of the encoder's weights
    return (
        f"{cfg.data} {limits} {cfg.encoder} {seed} {_mean_only(cfg)} {cfg.max_words} {cfg.images} {cfg.fast}"
    )


def build_data(cfg: DictConfig) -> CaptionData:
    """The DataModule of a configuration."""
    return CaptionData(
        lambda: build(arguments(cfg, "data")),
        lambda: encoder_of(cfg),
        batch_size=cfg.batch_size,
        cache=Path(cfg.encoder.cache).expanduser(),
        seed=cfg.seed,
        split_seed=cfg.data.get("split_seed"),
        min_count=cfg.data.get("min_count", 1),
        max_words=cfg.max_words,
        fine_tune=cfg.encoder.fine_tune,
        mean_only=_mean_only(cfg),
        limits=(cfg.limit_train, cfg.limit_val, cfg.limit_test),
        device=device_of(cfg.accelerator),
        show_bar=cfg.progress,
        value_range=cfg.images.range,
        fast=cfg.fast,
    )


def test_images(folder: Path, trust: Sequence[str]) -> list[CaptionedImage]:
    """The test images that a run's config.yaml names, read anew.

    Raises:
        UserError: the data cannot be read, or need code of another package.
    """
    cfg = config_of_run(folder, trust)
    images = build(arguments(cfg, "data"))
    if (seed := cfg.data.get("split_seed")) is not None:
        images = with_every_split(images, seed)
    return [image for image in images if image.split == "test"][: cfg.limit_test]


def encoder_of(cfg: DictConfig) -> Encoder:
    """The encoder of a configuration, with its weights."""
    return build_encoder(
        arguments(cfg, "encoder"),
        cfg.encoder.size,
        train_norms=cfg.encoder.train_norms,
        seed=cfg.seed if cfg.encoder.fine_tune else 0,
    )


def arguments(cfg: DictConfig, node: str) -> dict[str, Any]:
    """What a node's target is given."""
    plain: Any = OmegaConf.to_container(cfg[node], resolve=True)
    return {key: value for key, value in plain.items() if key not in NOT_ARGUMENTS[node]}


def _mean_only(cfg: DictConfig) -> bool:
    return getattr(pkgutil.resolve_name(cfg.decoder._target_), "mean_only", False)


def build_module(cfg: DictConfig, data: CaptionData, trainer: L.Trainer | None = None) -> Captioner:
    """The LightningModule of a configuration, its weights drawn from torch's global generator."""
    encoder = data.encoder
    remembered = None
    if cfg.consensus is not None:
        remembered = TrainingCaptions.of(data)
        for name, node in cfg.callbacks.items():  # an average of words' numbers is another word's
            if node and "WeightAveraging" in node._target_ and node.get("use_buffers", True):
                raise UserError(f"consensus={cfg.consensus}: needs callbacks.{name}.use_buffers=false")
    module = Captioner(
        vocabulary=list(data.vocabulary.words),
        encoder={
            "config": arguments(cfg, "encoder"),
            "size": encoder.size,
            "dim": encoder.dim,
            "grid": list(encoder.grid),
            "digest": encoder.digest,
            "trained": data.fine_tune,
            "train_norms": cfg.encoder.train_norms,
            "position": cfg.encoder.position and not _mean_only(cfg),
            "lr": cfg.encoder.lr,
            "value_range": cfg.images.range,
        },
        decoder=complete(cfg.decoder, dropout=cfg.dropout),
        optimizer=complete(cfg.optimizer),
        schedule=complete(cfg.schedule) if cfg.schedule else None,
        label_smoothing=cfg.label_smoothing,
        sampling=cfg.sampling,
        attention_penalty=cfg.attention_penalty,
        beam=cfg.beam,
        compare_beam=cfg.compare_beam,
        max_words=cfg.max_words,
        length_penalty=cfg.length_penalty,
        consensus=None if remembered is None else {**remembered.sizes, "weight": cfg.consensus},
    )
    if remembered is not None:
        module.training_captions = remembered
    if module.encoder is not None:
        module.encoder.load_state_dict(encoder.state_dict())
    return module


def check_module(cfg: DictConfig, data: CaptionData) -> None:
    """Build the decoder, score a caption, and build the optimizer.

    Raises:
        UserError: it does not fit the regions or the vocabulary; an optimizer or schedule refuses its arguments.
    """
    module = build_module(cfg, data).eval()
    batch = next(iter(data.val_dataloader()))
    tokens = batch.tokens[:1, :-1]
    needed = (*tokens.shape, len(data.vocabulary))
    try:
        with torch.no_grad():
            scores, _ = module.decoder(module.encode(batch.inputs[:1]), tokens)
        if tuple(scores.shape) != needed:
            raise ValueError(f"scores {tuple(scores.shape)} instead of {needed} (captions, steps, words)")
    except Exception as error:  # whatever a stranger's forward raises
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{cfg.decoder._target_} fails on a caption: {reason}") from error
    check_optimizer(module)


def log_artifacts(
    module: Captioner, data: CaptionData, folder: Path, trainer: L.Trainer, cfg: DictConfig
) -> dict[str, Any]:
    """Show what the last epoch's weights wrote on the test split; return what results.json tells of it.

    Writes captions.json (COCO's results format), gallery.html, gallery.png and attention/ into the folder.
    """
    images = data.splits["test"].images
    predicted = module.predictions["test"]
    captions = [predicted.captions[row] for row in range(len(images))]
    training = {caption for image in data.splits["train"].images for caption in image.captions}
    references = [image.captions for image in images]
    means: Any = {"train_means": data.means.get("train"), "means": data.means.get("test")}
    found: dict[str, Any] = {
        "features_by": data.sources["engine"],
        "signatures": signatures(references, cfg.beam, cfg.length_penalty, cfg.consensus),
        "distinct_captions": len(set(captions)),
        "share_seen_in_training": sum(caption in training for caption in captions) / len(captions),
        "baselines": score_baselines(data.splits["train"].images, images, **means),
    }
    if predicted.alphas:
        game = pointing_game(images, captions, predicted.alphas, module.hparams["encoder"]["grid"])
        if game is not None:
            found["pointing_game"] = game
    show_captions(module, data, folder, trainer.current_epoch, cfg.gallery)
    return found
