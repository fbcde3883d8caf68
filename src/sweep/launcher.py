"""What all launchers have in common: a sweep's jobs are planned and checked before the first one runs.

The command's exit status and ranking come from the folders of the planned runs, whoever ran them.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from src.config.overrides import with_listed_ranges
from src.entry_point import InvalidCommand
from src.run import signals
from src.run.job import record_failure
from src.sweep.plan import Plan, folder_error, plan_of, preflight

OURS = "hydra_plugins.report_"
BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
logger = logging.getLogger(__name__)


class CheckedLauncher(Launcher):
    """Takes the jobs of a multirun, returns each one's validation metric."""

    launched: ClassVar[list[Plan]] = []  # in this process, for the command's exit status and ranking

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        if error := folder_error(Path(config.hydra.sweep.dir)):  # before Hydra makes it
            raise InvalidCommand([error])

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Check all jobs, then run them.

        Raises:
            InvalidCommand: naming every error, before any job ran; see `run`.
        """
        loader = self.hydra_context.config_loader
        plans = [plan_of(loader.load_sweep_config(self.config, list(job))) for job in job_overrides]
        try:
            if errors := [error for plan in plans for error in plan.errors()]:
                raise InvalidCommand(errors)
            signals.install_signal_handlers()
            self.run(plans, job_overrides, initial_job_idx)
        except InvalidCommand:
            remove_empty(Path(self.config.hydra.sweep.dir))
            raise
        CheckedLauncher.launched.extend(plans)
        return [
            JobReturn(
                overrides=list(job), cfg=plan.cfg, status=JobStatus.COMPLETED, _return_value=plan.metric()
            )
            for job, plan in zip(job_overrides, plans, strict=True)
        ]

    def run(self, plans: Sequence[Plan], job_overrides: Sequence[Sequence[str]], first: int) -> None:
        """Run every plan that is not finished yet.

        Raises:
            KeyboardInterrupt: told to stop (src/run/signals.py); the same command goes on.
            InvalidCommand: the data or a network cannot be used.
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
        if errors := preflight(plans):
            raise InvalidCommand(errors)
        causes: list[Any] = [None] * len(plans)
        try:
            returns = self.inner.launch(job_overrides, initial_job_idx=first)
            causes = [job._return_value if job.status == JobStatus.FAILED else None for job in returns]
        except Exception as error:  # of a cluster, of a process that died
            causes = [error] * len(plans)
        for plan, reason in zip(plans, causes, strict=True):
            if plan.results() is None and plan.run.mismatch() is None:
                cause = "its job left no results" if reason is None else f"{type(reason).__name__}: {reason}"
                logger.info("%s  failed  (%s)", plan.run.name, cause)
                record_failure(plan.cfg, plan.run, cause)


class Planning(Callback):
    """Puts a launcher that is not ours behind `OtherLauncher`, and lists ranges before Hydra adds them up."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Change the composed configuration in place."""
        with open_dict(config):
            if not str(config.hydra.launcher["_target_"]).startswith(OURS):
                config.hydra.launcher = {
                    "_target_": f"{OURS}launchers.OtherLauncher",
                    "_recursive_": False,
                    "launcher": config.hydra.launcher,
                }
            if config.hydra.sweeper["_target_"] == BASIC_SWEEPER:
                asked = config.hydra.overrides.task
                config.hydra.overrides.task = [with_listed_ranges(argument) for argument in asked]
                for key, values in (config.hydra.sweeper.params or {}).items():
                    config.hydra.sweeper.params[key] = with_listed_ranges(f"{key}={values}").partition("=")[2]


def remove_empty(folder: Path) -> None:
    """Take away the folder of a sweep that was refused, where it holds nothing but Hydra's multirun.yaml."""
    with contextlib.suppress(OSError):
        if [path.name for path in folder.iterdir()] == ["multirun.yaml"]:
            (folder / "multirun.yaml").unlink()
            folder.rmdir()
