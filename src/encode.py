"""Compute and store the features of captioned images before anything is trained: `python -m src.encode`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from src.config.settings import CaptionSettings, setting
from src.entry_point import InvalidCommand, entry_point, logger


@dataclass
class EncodeSettings(CaptionSettings):
    """Settings of `python -m src.encode`: those of `python -m src.train task=caption`, and which part."""

    shard: int | None = setting(
        "encode that shard alone, counted from 0 (null: all)", default=None, at_least=0
    )


@entry_point("encode", EncodeSettings)
def main(cfg: DictConfig) -> None:
    """Store the features of captioned images; the settings are those of `python -m src.train task=caption`.

    What is stored already stays: a command that was stopped goes on with the shard it was at. Several commands, each
    with its `shard`, may share a feature store.
    """
    from src.build import build
    from src.captioning import task
    from src.captioning.features import features_of, means_of
    from src.captioning.shards import read_shards
    from src.run.environment import device_of

    if cfg.shard is None:
        task.build_data(cfg).setup()
        logger.info("All features are in %s", cfg.encoder.cache)
        return
    if cfg.data._target_ != f"{read_shards.__module__}.{read_shards.__name__}":
        raise InvalidCommand(
            [f"shard={cfg.shard}: data={cfg.data.name} is no data set of shards (data=shards)"]
        )
    images = build(task.arguments(cfg, "data"), shard=cfg.shard)
    features = features_of(
        [image.path for image in images],
        task.encoder_of(cfg),
        Path(cfg.encoder.cache).expanduser(),
        pixels=cfg.encoder.fine_tune,
        device=device_of(cfg.accelerator),
        show_bar=cfg.progress,
        value_range=cfg.images.range,
    )
    if not cfg.encoder.fine_tune:
        means_of(features)
    logger.info("%s images of shard %s are in %s", len(images), cfg.shard, cfg.encoder.cache)


if __name__ == "__main__":
    main()
