"""Optimizers and learning-rate schedules from their configurations, for every task."""

from __future__ import annotations

from typing import Any

import lightning as L
from torch.optim.lr_scheduler import ReduceLROnPlateau

from src.build import build, complete


def configure_optimizers(
    module: L.LightningModule,
    optimizer: dict[str, Any],
    schedule: dict[str, Any] | None,
    groups: list[dict[str, Any]] | None = None,
    monitor: str = "val_loss",
) -> Any:
    """What a LightningModule's `configure_optimizers` returns.

    Args:
        module: attached to its Trainer.
        optimizer: `_target_` and arguments of a torch optimizer.
        schedule: `_target_` and arguments of a torch schedule. One that takes `T_max` or `total_steps` is told the
            number of optimizer steps, and stepped after each; any other is stepped once an epoch.
        groups: parameter groups; all parameters that are trained by default.
        monitor: the metric that ReduceLROnPlateau watches.
    """
    # fused: one pass over all weights; but Lightning does not unscale gradients for a fused optimizer in fp16.
    scaled = getattr(module.trainer.precision_plugin, "scaler", None) is not None
    trained: Any = [weight for weight in module.parameters() if weight.requires_grad]
    built = build(complete(optimizer, fused=not scaled), groups or trained)
    if not schedule:
        return built
    steps = int(module.trainer.estimated_stepping_batches)
    with_steps = complete(schedule, T_max=steps, total_steps=steps)
    scheduler = build(with_steps, built)
    each_step = {"T_max", "total_steps"} & (set(with_steps) - set(schedule))
    entry = {"scheduler": scheduler, "interval": "step" if each_step else "epoch"}
    if isinstance(scheduler, ReduceLROnPlateau):
        entry["monitor"] = monitor
    return {"optimizer": built, "lr_scheduler": entry}
