"""A sweep as one SLURM job array: `hydra/launcher=slurm`, by submitit (the extra `slurm`).

A job that reaches its time limit or is preempted is queued again and goes on from its last epoch. What a job did is
read from its run's folder, which all nodes have to see; whether it still waits or works, from `squeue`.
"""

from __future__ import annotations

import json
import logging
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import submitit
from omegaconf import DictConfig, OmegaConf

from src.config.settings import register
from src.entry_point import InvalidCommand, UserError, setup_logging
from src.files import write_atomically
from src.run.job import run_job
from src.sweep.launcher import CheckedLauncher
from src.sweep.plan import Plan
from src.sweep.workers import epochs_done, progress_bar

GONE = ("CANCELLED", "COMPLETED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "BOOT_FAIL")
logger = logging.getLogger(__name__)


class SlurmLauncher(CheckedLauncher):
    """Submits the runs as a job array, then waits for them, unless it is told not to.

    Args:
        timeout_min: time limit of a job; one that reaches it is queued again.
        max_timeouts: how often.
        signal_delay_s: seconds before the limit at which a job is told.
        max_parallel: jobs at work at once (null: all).
        cpus: of a job, which computes with as many threads.
        gpus: of a job.
        partition: null for the cluster's default.
        setup: shell lines before each job, such as `module load cuda`.
        options: further options of sbatch, by their long names.
        detach: leave after the submission; the same command waits for what is queued.
        poll_s: seconds between two looks at the queue.
    """

    def __init__(
        self,
        *,
        timeout_min: int,
        max_timeouts: int,
        signal_delay_s: int,
        max_parallel: int | None,
        cpus: int,
        gpus: int,
        partition: str | None,
        setup: Sequence[str],
        options: DictConfig,
        detach: bool,
        poll_s: float,
    ) -> None:
        self.cpus, self.detach, self.poll_s, self.max_timeouts = cpus, detach, poll_s, max_timeouts
        self.parameters = {
            "timeout_min": timeout_min,
            "cpus_per_task": cpus,
            "gpus_per_node": gpus or None,
            "slurm_signal_delay_s": signal_delay_s,
            "slurm_array_parallelism": max_parallel or 1000,
            "slurm_partition": partition,
            "slurm_setup": list(setup),
            "slurm_additional_parameters": OmegaConf.to_container(options),
        }

    def run(self, plans: Sequence[Plan], job_overrides: Sequence[Sequence[str]], first: int) -> None:
        """See `CheckedLauncher.run`."""
        folder = plans[0].run.folder.parent
        jobs = queued(folder)
        to_submit = [plan for plan in plans if plan.run.name not in jobs]
        if to_submit:
            jobs |= self._submit(folder, to_submit)
            write_atomically(folder / ".slurm" / "queue.json", json.dumps(jobs, indent=2))
        logger.info("%s jobs are queued, in %s", len(jobs), folder)
        if self.detach:
            logger.info("They go on by themselves; `python -m src.rank %s` shows how far they are.", folder)
            raise SystemExit(0)
        try:
            self._wait(list(plans), jobs)
        except KeyboardInterrupt:
            subprocess.run(["scancel", *jobs.values()], check=False)
            raise

    def _submit(self, folder: Path, plans: Sequence[Plan]) -> dict[str, str]:
        """The jobs' numbers by the runs' names."""
        executor = submitit.AutoExecutor(folder / ".slurm", "slurm", slurm_max_num_timeout=self.max_timeouts)
        given = {name: value for name, value in self.parameters.items() if value is not None}
        try:
            executor.update_parameters(**given)
            submitted = executor.map_array(Job(self.cpus), plans)
        except (submitit.core.utils.FailedJobError, OSError) as error:
            raise InvalidCommand([f"hydra/launcher=slurm: {error}"]) from error
        for plan in plans:
            plan.run.queue(plan.cfg)
        return {plan.run.name: job.job_id for plan, job in zip(plans, submitted, strict=True)}

    def _wait(self, plans: list[Plan], jobs: dict[str, str]) -> None:
        everything = list(plans)
        with progress_bar(plans) as bar:
            while plans:
                states = states_of(jobs.values())
                for plan in [plan for plan in plans if jobs[plan.run.name] not in states]:
                    plans.remove(plan)
                    number = jobs[plan.run.name]
                    log = plan.run.folder.parent / ".slurm" / f"{number}_0_log.err"
                    self.end(plan, f"its job {number} left no results (cancelled, or see {log})")
                bar.n = epochs_done(everything)
                bar.refresh()
                time.sleep(self.poll_s if plans else 0)


class Job(submitit.helpers.Checkpointable):
    """What a job does; `Checkpointable` makes submitit queue it again after a time-out or a preemption."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def __call__(self, plan: Plan) -> Any:
        """Train one run, from its last epoch if there is one."""
        setup_logging()
        register()
        return run_job(plan.cfg, plan.run, show_bar=False, threads=self.threads)["status"]


def queued(folder: Path) -> dict[str, str]:
    """The jobs' numbers of runs that wait or work, by their names."""
    try:
        jobs = json.loads((folder / ".slurm" / "queue.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    states = states_of(jobs.values())
    return {name: number for name, number in jobs.items() if number in states}


def states_of(numbers: Any) -> dict[str, str]:
    """The states of those jobs that are still in the queue, by their numbers (`123_4`).

    Raises:
        UserError: SLURM does not answer.
    """
    arrays = ",".join(sorted({number.partition("_")[0] for number in numbers}))
    command = ["squeue", "--noheader", "--array", "--format=%i %T", f"--jobs={arrays}"]
    for attempt in range(10):  # a controller that restarts answers again within a minute
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not done.returncode or "Invalid job id" in done.stderr:
            rows = [line.split() for line in done.stdout.splitlines()]
            return {number: state for number, state in rows if state not in GONE}
        time.sleep(attempt)
    raise UserError(f"squeue: {done.stderr.strip() or done.returncode}")
