"""What all launchers have in common: a sweep's jobs are planned and checked before the first one runs.

The command's exit status and ranking come from the folders of the planned runs, whoever ran them.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from src import stops
from src.composition import is_basic
from src.job import record_failure, say_to_terminal
from src.overrides import with_listed_ranges
from src.plan import Plan, check_data, folder_mistake, plan_of, refuse

OURS = "hydra_plugins.report_"


class CheckedLauncher(Launcher):
    """Hydra's side: takes the jobs of a multirun, returns each one's validation figure."""

    launched: ClassVar[list[Plan]] = []  # in this process, for the command's exit status

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        refuse(filter(None, [folder_mistake(Path(config.hydra.sweep.dir))]))  # before Hydra makes it

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Check all jobs, then run them.

        Raises:
            SystemExit: status 2, after naming every mistake, before any job ran; see `run`.
        """
        loader = self.hydra_context.config_loader
        plans = [plan_of(loader.load_sweep_config(self.config, list(job))) for job in job_overrides]
        try:
            refuse(mistake for plan in plans for mistake in plan.mistakes())
            stops.heed()
            self.run(plans, job_overrides, initial_job_idx)
        except SystemExit:
            _remove_empty(Path(self.config.hydra.sweep.dir))
            raise
        CheckedLauncher.launched.extend(plans)
        return [
            JobReturn(
                overrides=list(job),
                cfg=plan.cfg,
                status=JobStatus.COMPLETED,
                _return_value=plan.figure(plan.results() or {}),
            )
            for job, plan in zip(job_overrides, plans, strict=True)
        ]

    def run(self, plans: Sequence[Plan], job_overrides: Sequence[Sequence[str]], first: int) -> None:
        """Run every plan that is not finished yet.

        Raises:
            SystemExit: 130, 143 or 129 when told to stop (src/stops.py), what is finished stays, the rest
                goes on with the same command; 1 or 2 where the data cannot be used.
        """
        raise NotImplementedError


class OtherLauncher(CheckedLauncher):
    """Any launcher that is not ours: basic, joblib, submitit, ...

    Args:
        launcher: its configuration.
    """

    def __init__(self, launcher: DictConfig) -> None:
        self.settings = launcher

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        with open_dict(config):
            config.hydra.launcher = self.settings
        self.inner = Plugins.instance().instantiate_launcher(hydra_context, task_function, config)

    def run(self, plans: Sequence[Plan], job_overrides: Sequence[Sequence[str]], first: int) -> None:
        """See `CheckedLauncher.run`."""
        check_data(plans)
        causes: list[Any] = [None] * len(plans)
        try:
            returns = self.inner.launch(job_overrides, initial_job_idx=first)
            causes = [job._return_value if job.status == JobStatus.FAILED else None for job in returns]
        except Exception as error:  # of a cluster, of a process that died
            causes = [error] * len(plans)
        for plan, reason in zip(plans, causes, strict=True):
            if plan.results() is None and plan.run.mismatch() is None:
                cause = "its job left no results" if reason is None else f"{type(reason).__name__}: {reason}"
                say_to_terminal(f"{plan.run.name}  failed  ({cause})")
                record_failure(plan.cfg, plan.run, cause)


class Planning(Callback):
    """Puts a launcher that is not ours behind `OtherLauncher`, and lists ranges before Hydra adds them up."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        with open_dict(config):
            if not str(config.hydra.launcher["_target_"]).startswith(OURS):
                config.hydra.launcher = {
                    "_target_": f"{OURS}launchers.OtherLauncher",
                    "_recursive_": False,
                    "launcher": config.hydra.launcher,
                }
            if is_basic(config.hydra):
                asked = config.hydra.overrides.task
                config.hydra.overrides.task = [with_listed_ranges(argument) for argument in asked]
                for key, values in (config.hydra.sweeper.params or {}).items():
                    listed = with_listed_ranges(f"{key}={values}")
                    config.hydra.sweeper.params[key] = listed.partition("=")[2]


def _remove_empty(folder: Path) -> None:
    """Take away the folder of a sweep that was refused, where it holds nothing but Hydra's multirun.yaml."""
    with contextlib.suppress(OSError):
        if [path.name for path in folder.iterdir()] == ["multirun.yaml"]:
            (folder / "multirun.yaml").unlink()
            folder.rmdir()
