"""The classifier as a task (src/config/settings.py)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig, OmegaConf
from torch import nn
from torch.nn.functional import interpolate
from torchvision.utils import make_grid

from src.build import build, check_optimizer, complete
from src.classification import fast
from src.classification.data import ImageData
from src.classification.module import Classifier
from src.entry_point import UserError
from src.filters.activations import ACROSS, protocol_kernels
from src.run.trained import config_of_run

NOT_ARGUMENTS = {"data": ("name", "val_size", "split_seed")}  # keys of `data` that its function is not given


def data_key(cfg: DictConfig) -> str:
    """What tells one data set from another."""
    return f"{cfg.data} {cfg.limit_train} {cfg.limit_val} {cfg.limit_test}"


def build_data(cfg: DictConfig) -> ImageData:
    """The DataModule of a configuration."""
    source: Any = OmegaConf.to_container(cfg.data, resolve=True)
    read = {key: value for key, value in source.items() if key not in NOT_ARGUMENTS["data"]}
    options = {key: source[key] for key in ("val_size", "split_seed") if key in source}
    return ImageData(
        lambda: build(read),
        batch_size=cfg.batch_size,
        seed=cfg.seed,
        limits=(cfg.limit_train, cfg.limit_val, cfg.limit_test),
        **options,
    )


def data_of_run(folder: Path, trust: Sequence[str] = ()) -> ImageData:
    """The data that the run in `folder` was trained on, set up.

    Raises:
        UserError: they cannot be had, or the run's config.yaml asks for code that is not trusted.
    """
    data = build_data(config_of_run(folder, trust))
    data.setup()
    return data


def build_module(cfg: DictConfig, data: ImageData, trainer: L.Trainer | None = None) -> Classifier:
    """The LightningModule of a configuration, its weights drawn from torch's global generator.

    Args:
        trainer: with it, the fast path is taken where it applies.
    """
    classes = len(data.class_names)
    is_fast = cfg.fast and trainer is not None and fast.applies(trainer, cfg.schedule)
    schedule = OmegaConf.to_container(cfg.schedule, resolve=True) or None
    module = (fast.ChunkedClassifier if is_fast else Classifier)(
        network=complete(
            cfg.network,
            dropout=cfg.dropout,
            image_size=list(data.image_size),
            in_channels=data.image_size[0],
            classes=classes,
            num_classes=classes,
        ),
        optimizer=OmegaConf.to_container(cfg.optimizer, resolve=True),  # type: ignore[arg-type]
        schedule=schedule,  # type: ignore[arg-type]
        image_size=list(data.image_size),
        class_names=list(data.class_names),
        augment=cfg.augment,
        label_smoothing=cfg.label_smoothing,
        flip_tta=cfg.flip_tta,
    )
    if isinstance(module, fast.ChunkedClassifier):
        module.batch_size = cfg.batch_size
        data.chunk = max(1, fast.CHUNK_IMAGES // cfg.batch_size)
    return module


def check_module(cfg: DictConfig, data: ImageData) -> None:
    """Build the network, send two images through it, and build the optimizer.

    Raises:
        UserError: it does not fit the images or the classes; an optimizer or schedule refuses its arguments.
    """
    images = data.splits["train"][0][:2]
    name, shape = cfg.network._target_, (len(images), len(data.class_names))
    try:
        module = build_module(cfg, data).eval()
        with torch.no_grad():
            scores = module(images)
    except UserError:
        raise
    except Exception as error:  # whatever a stranger's forward raises
        text = f"{name} fails on images {tuple(images.shape)}: {type(error).__name__}: {error}"
        raise UserError(text) from error
    given = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
    if given != shape:
        raise UserError(f"{name} gives scores {given} where {shape} (images, classes) are needed")
    check_optimizer(module)


def log_artifacts(
    module: Classifier, data: ImageData, folder: Path, trainer: L.Trainer, cfg: DictConfig
) -> dict[str, Any]:
    """Show the kernels of the first two convolutions in TensorBoard; adds nothing to results.json."""
    convolutions = {n: layer for n, layer in module.network.named_modules() if isinstance(layer, nn.Conv2d)}
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):
            for name, layer in list(convolutions.items())[:2]:
                kernels = protocol_kernels(layer.weight).unsqueeze(1)  # (out, 1, h, w)
                grid = make_grid(interpolate(kernels, scale_factor=16), ACROSS, padding=4, pad_value=1.0)
                logger.experiment.add_image(f"kernels/{name}", grid, trainer.current_epoch)
    return {}
