"""Successive halving on a grid: `hydra/sweeper=halving` (Jamieson and Talwalkar 2016)."""

from __future__ import annotations

import logging
import math

import numpy as np
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from src.config.settings import TASKS
from src.config.validation import with_listed_ranges
from src.sweep.plan import Plan, launched

logger = logging.getLogger(__name__)


class HalvingSweeper(Sweeper):
    """Trains the whole grid for a few epochs, then the best part of it for more, until all epochs are trained.

    A run goes on from its checkpoint, with the numbers of one that was never stopped. Each decision is read from the
    runs' curves up to the decision's own epoch, so that the same command repeats it after any interruption.

    Args:
        first: epochs before the first decision.
        factor: one run in so many stays; epochs grow by as much.
    """

    def __init__(self, first: int, factor: int, params: DictConfig | None) -> None:
        if first < 1 or factor < 2:
            raise ValueError(f"first={first} must be at least 1, and factor={factor} at least 2")
        self.first, self.factor, self.params = first, factor, params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.epochs = int(config.epochs)
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context, task_function, config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run all rungs."""
        params = [f"{key!s}={value}" for key, value in (self.params or {}).items()]
        listed = list(map(with_listed_ranges, [*params, *arguments]))
        overrides = OverridesParser.create().parse_overrides(listed)
        (jobs,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
        stop = self.first
        while jobs:
            is_last = stop >= self.epochs
            asked = jobs if is_last else [[*job, f"stop_after={stop}"] for job in jobs]
            self.launcher.launch(asked, initial_job_idx=0)
            if is_last:
                break
            values = [forecast(plan, stop) for plan in launched[-len(jobs) :]]
            ranked = sorted(range(len(jobs)), key=lambda place: -values[place])
            kept = sorted(ranked[: math.ceil(len(jobs) / self.factor)])
            jobs = [jobs[place] for place in kept if values[place] > -math.inf]
            logger.info("After epoch %s: %s of %s runs go on.", stop, len(jobs), len(values))
            stop *= self.factor


def forecast(plan: Plan, epoch: int) -> float:
    """What a run's monitored metric may become by its last epoch, told from its curve up to `epoch`.

    A line over the epoch's logarithm, through the later half of the curve: the metric itself would favour fast
    starters, such as high learning rates (Domhan, Springenberg and Hutter 2015 extrapolate by richer curves).

    Returns:
        The forecast; the value of a curve of one epoch; minus infinity where the run did not get so far.
    """
    rows = plan.run.rows()[:epoch]
    if len(rows) < epoch and (plan.results() or {}).get("status") != "done":  # done: by early stopping
        return -math.inf
    values = [row[TASKS[plan.cfg.task].monitor] for row in rows]
    later = range(len(values) // 2, len(values))
    if len(later) < 2:
        return values[-1]
    slope, level = np.polyfit([math.log(place + 1) for place in later], [values[place] for place in later], 1)
    return float(level + slope * math.log(plan.cfg.epochs))
