"""Hydra's side of a sweep: whatever launcher runs it, at its end the runs' folders are ranked."""

from __future__ import annotations

from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig


class RankingCallback(Callback):
    """Ranks and plots a sweep's folder when all its jobs have ended."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Write and print the ranking."""
