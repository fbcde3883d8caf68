"""Compute and store the features of captioned images before anything is trained: `python -m src.encode`.

With `-m`, by a launcher of Hydra's own: `-m shard='range(0,8)' hydra/launcher=joblib`.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from src.config.settings import ACCELERATORS, ImageSettings, setting
from src.config.validation import config_errors
from src.entry_point import CONF, InvalidCommand, entry_point, error_boundary, logger, setup_logging
from src.run import signals
from src.run.environment import device_of, gpu_count, use_gpus


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
def encode(cfg: DictConfig) -> None:
    """Compute and store the features of images in shards, before anything is trained on them.

    Shards that are stored already stay: a command that was stopped goes on with the one it was at. Several commands,
    each with its `shard`, may share a feature store. -m shard='range(0,8)' runs them one after another, with
    hydra/launcher=joblib side by side, a process a GPU.
    """
    encode_shards(cfg)


def encode_shards(cfg: DictConfig) -> None:
    """The command, and one job of `-m`.

    Raises:
        UserError: naming every shard, and the member, that cannot be used; the others are stored.
    """
    from src.build import build
    from src.captioning import task
    from src.captioning.engines import choose_engine
    from src.captioning.features import features_by, means_of
    from src.captioning.shards import read_shards
    from src.images import BrokenImage
    from src.tars import BrokenTar, find_tars

    if cfg.data._target_ != f"{read_shards.__module__}.{read_shards.__name__}":
        raise InvalidCommand(
            [f"data={cfg.data.name} has no shards; python -m src.train encodes it at its start"]
        )
    device, encoder = device_of(cfg.accelerator), task.encoder_of(cfg)
    count, errors = 0, []
    # One after the other: a remote shard is fetched once, for its index and its features.
    for number in range(len(find_tars(cfg.data.root))) if cfg.shard is None else [cfg.shard]:
        try:
            images = build(task.arguments(cfg, "data"), shard=number)
            features, _ = features_by(
                choose_engine(device, cfg.fast),
                [image.path for image in images],
                encoder,
                Path(cfg.encoder.cache).expanduser(),
                pixels=cfg.encoder.fine_tune,
                device=device,
                show_bar=cfg.progress,
                value_range=cfg.images.range,
            )
            if not cfg.encoder.fine_tune:
                means_of(features)
            count += len(images)
        except (BrokenTar, BrokenImage) as error:
            errors.append(error)
    if errors:
        raise type(errors[0])("; ".join(map(str, errors)))
    logger.info("%s images are encoded, in %s", f"{count:,}", cfg.encoder.cache)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="encode")
def job(cfg: DictConfig) -> None:
    """One job of a multirun, perhaps in a process of a launcher."""
    setup_logging()
    if errors := config_errors(cfg):
        raise InvalidCommand(errors)
    if gpus := gpu_count(cfg.accelerator):
        use_gpus([HydraConfig.get().job.num % gpus])
    encode_shards(cfg)


def main() -> None:
    """One command, or with `-m` a sweep over shards."""
    words = [word for word in sys.argv[1:] if word not in ("-m", "--multirun")]
    if len(words) == len(sys.argv[1:]):
        encode()  # and leave
    with error_boundary("Stopped; the same command goes on with the shards that are missing."):
        sys.argv[1:] = ["-m", *words]  # argparse would stumble over it between the settings
        ConfigStore.instance().store("encode_settings", EncodeSettings)
        os.environ["HYDRA_FULL_ERROR"] = "1"  # errors are for the boundary to show
        signals.install_signal_handlers()
        job()


if __name__ == "__main__":
    from src.encode import main  # by its name a launcher's processes find the settings

    main()
