"""A sweep on a Ray cluster: `hydra/launcher=ray` (the extra `ray`).

A run whose worker or node dies is started again elsewhere and goes on from its last epoch, from its folder, which all
nodes have to see.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray

from src.config.settings import register
from src.entry_point import CONF, setup_logging
from src.run.job import run_job
from src.sweep.launcher import CheckedLauncher
from src.sweep.plan import Plan
from src.sweep.workers import POLL_S, epochs_done, progress_bar

logger = logging.getLogger(__name__)


class RayLauncher(CheckedLauncher):
    """Runs each job as a task of Ray.

    Args:
        address: of a cluster (`auto`, `HOST:PORT`, `ray://HOST:PORT`); null starts one on this machine.
        cpus: of a run, which computes with as many threads.
        gpus: of a run; 0.5 puts two on a GPU.
        retries: how often a run is started again whose process or node died.
    """

    def __init__(self, address: str | None, cpus: float, gpus: float, retries: int) -> None:
        self.address, self.cpus, self.gpus, self.retries = address, cpus, gpus, retries

    def run(self, plans: Sequence[Plan], job_overrides: Sequence[Sequence[str]], first: int) -> None:
        """See `CheckedLauncher.run`."""
        # Workers import src from where this command runs.
        environment = {
            "env_vars": {"PYTHONPATH": str(CONF.parent), "OMP_NUM_THREADS": str(int(self.cpus) or 1)}
        }
        ray.init(self.address, runtime_env=environment, log_to_driver=False, logging_level=logging.ERROR)
        task = ray.remote(num_cpus=self.cpus, num_gpus=self.gpus, max_retries=self.retries)(train)
        threads = max(1, int(self.cpus))
        waiting = {task.remote(plan, threads): plan for plan in plans}
        logger.info("%s runs to go, on %s nodes of Ray", len(plans), len(ray.nodes()))
        try:
            with progress_bar(plans) as bar:
                while waiting:
                    ended, _ = ray.wait(list(waiting), timeout=POLL_S)
                    bar.n = epochs_done(plans)
                    bar.refresh()
                    for reference in ended:
                        cause = "its task left no results"
                        try:
                            ray.get(reference)
                        except ray.exceptions.RayError as error:
                            cause = f"{type(error).__name__}: {str(error).splitlines()[0]}"
                        self.end(waiting.pop(reference), cause)
        finally:
            for reference in waiting:
                ray.cancel(reference, force=True)  # every file is written whole or not at all
            ray.shutdown()


def train(plan: Plan, threads: int) -> None:
    """One run, in a worker of Ray."""
    setup_logging()
    register()
    run_job(plan.cfg, plan.run, show_bar=False, threads=threads)
