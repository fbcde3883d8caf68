"""The optimizer of a module's settings, for both tasks."""

from __future__ import annotations

from typing import Any

import lightning as L
import torch

KINDS: dict[str, type[torch.optim.Optimizer]] = {
    "sgd": torch.optim.SGD,
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
}


def build_optimizer(module: L.LightningModule, weights: Any) -> torch.optim.Optimizer:
    """What `module.hparams` ask for: optimizer, lr, weight_decay, and momentum of sgd.

    Args:
        module: of a trainer, or of none yet.
        weights: parameters, or groups of them, as torch.optim takes them.
    """
    settings = module.hparams
    # fused: one pass over all weights instead of one call a tensor. But where fp16's gradients are scaled, a
    # fused optimizer unscales them within its step: after the clipping and whatever a callback reads.
    options: dict[str, Any] = {
        "lr": settings["lr"],
        "weight_decay": settings["weight_decay"],
        "fused": not scales_gradients(module._trainer),
    }
    if settings["optimizer"] == "sgd":
        options["momentum"] = settings["momentum"]
    return KINDS[settings["optimizer"]](weights, **options)


def scales_gradients(trainer: L.Trainer | None) -> bool:
    """Whether the loss is multiplied before the backward pass, as fp16 needs it."""
    return getattr(getattr(trainer, "precision_plugin", None), "scaler", None) is not None
