"""Successive halving on a grid: `hydra/sweeper=halving` (Jamieson and Talwalkar 2016)."""

from __future__ import annotations

import logging
import math

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from src.config.settings import TASKS
from src.sweep.plan import Plan, launched

logger = logging.getLogger(__name__)


class HalvingSweeper(Sweeper):
    """Trains the whole grid for a few epochs, then the best part of it for more, until all epochs are trained.

    A run goes on from its checkpoint, with the numbers of one that was never stopped. Each decision is read from the
    runs' files at the decision's own epoch, so that the same command repeats it after any interruption.

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
        overrides = OverridesParser.create().parse_overrides([*params, *arguments])
        (jobs,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
        stop = self.first
        while jobs:
            is_last = stop >= self.epochs
            asked = jobs if is_last else [[*job, f"stop_after={stop}"] for job in jobs]
            self.launcher.launch(asked, initial_job_idx=0)
            if is_last:
                break
            values = [value_at(plan, stop) for plan in launched[-len(jobs) :]]
            ranked = sorted(range(len(jobs)), key=lambda place: -values[place])
            kept = sorted(ranked[: math.ceil(len(jobs) / self.factor)])
            jobs = [jobs[place] for place in kept if values[place] > -math.inf]
            logger.info("After epoch %s: %s of %s runs go on.", stop, len(jobs), len(values))
            stop *= self.factor


def value_at(plan: Plan, epoch: int) -> float:
    """The best value of a run's monitored metric up to an epoch; minus infinity where it did not get so far."""
    rows = plan.run.rows()[:epoch]
    if len(rows) < epoch and (plan.results() or {}).get("status") != "done":  # done: by early stopping
        return -math.inf
    return max(row[TASKS[plan.cfg.task].monitor] for row in rows)
