"""Compute and store the features of captioned images before anything is trained: `python -m src.encode`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from src.config.settings import ACCELERATORS, ImageSettings, setting
from src.entry_point import InvalidCommand, entry_point, logger


@dataclass
class EncodeSettings:
    """Settings of `python -m src.encode`."""

    data: dict[str, Any] = setting("data set of shards: data=shards data.root=...", default={})
    encoder: dict[str, Any] = setting("encoder=NAME with its arguments, as for training", default={})
    images: ImageSettings = field(default_factory=ImageSettings)
    shard: int | None = setting("that shard alone, counted from 0 (null: all)", default=None, at_least=0)
    seed: int = setting("of an encoder that is trained", default=42, at_least=0)
    accelerator: str = setting(
        "where to compute; auto takes a GPU if there is one", default="auto", choices=ACCELERATORS
    )
    fast: bool = setting("the fastest engine that is installed, as for training", default=True)
    progress: bool = setting("show progress bars on a terminal", default=True)


@entry_point("encode", EncodeSettings)
def main(cfg: DictConfig) -> None:
    """Compute and store the features of images in shards, before anything is trained on them.

    Shards that are stored already stay: a command that was stopped goes on with the one it was at. Several commands,
    each with its `shard`, may share a feature store.
    """
    from src.build import build
    from src.captioning import task
    from src.captioning.engines import choose_engine
    from src.captioning.features import features_by, means_of
    from src.captioning.shards import read_shards
    from src.run.environment import device_of

    if cfg.data._target_ != f"{read_shards.__module__}.{read_shards.__name__}":
        raise InvalidCommand(
            [f"data={cfg.data.name} has no shards; python -m src.train encodes it at its start"]
        )
    images = build(task.arguments(cfg, "data"), shard=cfg.shard)
    device = device_of(cfg.accelerator)
    features, _ = features_by(
        choose_engine(device, cfg.fast),
        [image.path for image in images],
        task.encoder_of(cfg),
        Path(cfg.encoder.cache).expanduser(),
        pixels=cfg.encoder.fine_tune,
        device=device,
        show_bar=cfg.progress,
        value_range=cfg.images.range,
    )
    if not cfg.encoder.fine_tune:
        means_of(features)
    logger.info("%s images are encoded, in %s", f"{len(images):,}", cfg.encoder.cache)


if __name__ == "__main__":
    main()
