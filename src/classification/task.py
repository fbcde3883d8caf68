"""What a run of the classifier consists of: which parts, which columns, which results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from omegaconf import DictConfig
from torch import Tensor
from torch.nn.functional import interpolate
from torchvision.utils import make_grid

from src.classification.data import ImageData
from src.classification.module import Classifier
from src.classification.parts import compute_in_parts
from src.config import FIGURES, RATES
from src.filters.kernels import ACROSS, protocol_kernels

MONITOR, RATE = FIGURES["classify"][0], RATES["classify"]
COLUMNS = (
    "epoch",
    "step",
    "train_loss",
    "train_loss_epoch",
    "val_loss",
    "val_acc",
    "seconds",
    "images_per_second",
)
TAGS = {
    "train_loss": "loss/train_running_mean",
    "train_loss_epoch": "loss/train_epoch",
    "val_loss": "loss/validation",
    "val_acc": "accuracy/validation",
    "images_per_second": "speed/images_per_second",
}


def build_data(cfg: DictConfig, say: Any = None, show_bar: bool = False) -> ImageData:
    """The DataModule of a configuration; this one has nothing to say."""
    return ImageData(cfg)


def build_module(cfg: DictConfig, data: ImageData) -> Classifier:
    """The LightningModule of a configuration, its weights drawn from torch's global generator."""
    module = Classifier(
        dropout=cfg.dropout,
        lr=cfg.lr,
        batch_size=cfg.batch_size,
        seed=cfg.seed,
        optimizer=cfg.optimizer,
        momentum=cfg.momentum,
        weight_decay=cfg.weight_decay,
        augment=cfg.augment,
        image_size=data.image_size,
        classes=data.classes,
    )
    if cfg.batch_parts > 1:
        compute_in_parts(module, cfg.batch_parts)
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
        best_epoch: of the highest validation accuracy, the first one on ties.
        test_last: test metrics of the last epoch's weights (the protocol's).
        test_best: of the best validation epoch's weights.
    """
    last = rows[-1] if rows else {}
    best = rows[best_epoch - 1] if best_epoch else {}
    return {
        "train_loss": last.get("train_loss"),
        "train_loss_epoch": last.get("train_loss_epoch"),
        "val_acc": last.get("val_acc"),
        "val_loss": last.get("val_loss"),
        "best_val_acc": best.get("val_acc"),
        "best_epoch": best_epoch,
        "test_acc": test_last.get("test_acc"),
        "test_loss": test_last.get("test_loss"),
        "test_acc_best_val": test_best.get("test_acc"),
    }


def conclude(
    module: Classifier, data: ImageData, folder: Path, logger: TensorBoardLogger, epochs: int
) -> dict[str, Any]:
    """Show in TensorBoard what the finished run learned; adds nothing to results.json."""
    for title, image in pictures(module).items():
        logger.experiment.add_image(title, image, epochs)
    return {}


def pictures(module: Classifier) -> dict[str, Tensor]:
    """Images (3, H, W) for TensorBoard: the kernels of both convolutions as the report draws them.

    Min-max normalised per layer, 8 a row; of layer 2 the kernels of input channel 0.
    """
    kernels = {"kernels/conv1": "conv1", "kernels/conv2_input_channel_0": "conv2"}
    found = {}
    for title, layer in kernels.items():
        weight = getattr(module.network, layer).weight  # (out, in, 3, 3)
        scaled = protocol_kernels(weight).unsqueeze(1)  # (out, 1, 3, 3)
        found[title] = make_grid(interpolate(scaled, scale_factor=16), nrow=ACROSS, padding=4, pad_value=1.0)
    return found
