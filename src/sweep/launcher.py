"""What all launchers have in common: a sweep's jobs are planned and checked before the first one runs.

The command's exit status and ranking come from the folders of the planned runs, whoever ran them. A launcher of the
project is a `CheckedLauncher` and a file in `conf/hydra/launcher/` that names it; any other one is put behind the
same checks (`OtherLauncher`).
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, open_dict

from src.entry_point import InvalidCommand
from src.files import modified_files
from src.run import signals
from src.run.job import one_line, record_failure
from src.sweep.plan import Plan, folder_error, launched, plan_of, preflight

logger = logging.getLogger(__name__)


class CheckedLauncher(Launcher):
    """Takes the jobs of a multirun, returns each one's validation metric."""

    launched: ClassVar[list[Plan]] = launched

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        if error := folder_error(Path(config.hydra.sweep.dir)):  # before Hydra makes it
            raise InvalidCommand([error])

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Check all jobs, then run those that are not finished.

        Raises:
            InvalidCommand: naming every error, before any job ran.
            KeyboardInterrupt: told to stop (src/run/signals.py); the same command goes on.
        """
        loader = self.hydra_context.config_loader
        plans = [plan_of(loader.load_sweep_config(self.config, list(job))) for job in job_overrides]
        waiting = [place for place, plan in enumerate(plans) if not plan.is_done()]
        self.total, self.ended = len(plans), len(plans) - len(waiting)
        try:
            if errors := [error for plan in plans for error in plan.errors()]:
                raise InvalidCommand(errors)
            signals.install_signal_handlers()
            if self.ended:
                logger.info("%s of %s runs are finished already and stay.", self.ended, self.total)
            if waiting:
                if errors := self.check(plans):
                    raise InvalidCommand(errors)
                jobs = [job_overrides[place] for place in waiting]
                self.run([plans[place] for place in waiting], jobs, initial_job_idx)
        except InvalidCommand:
            remove_empty(Path(self.config.hydra.sweep.dir))
            raise
        except KeyboardInterrupt:
            finished = sum(plan.run.is_finished() for plan in plans)
            logger.info("Stopped. %s of %s runs are finished.", finished, self.total)
            raise
        launched.extend(plans)
        done = JobStatus.COMPLETED  # the command's exit status tells failures, from the folders
        return [
            JobReturn(overrides=list(job), cfg=plan.cfg, status=done, _return_value=plan.metric())
            for job, plan in zip(job_overrides, plans, strict=True)
        ]

    def check(self, plans: Sequence[Plan]) -> list[str]:
        """Read the data and try the networks once, before any job; the errors."""
        return preflight(plans)

    def run(self, plans: Sequence[Plan], job_overrides: Sequence[Sequence[str]], first: int) -> None:
        """Run every plan, none of which is finished, and call `end` for each.

        Args:
            job_overrides: of each plan, as Hydra's launchers take them.
            first: number of the first job.
        """
        raise NotImplementedError

    def end(self, plan: Plan, cause: str) -> None:
        """Tell in one line how a run ended; one that left no results failed, by `cause`."""
        self.ended += 1
        is_whole = modified_files(plan.run.folder) == []  # else it died before it wrote the checksums
        results = (is_whole and plan.results()) or record_failure(plan.cfg, plan.run, cause)
        logger.info("[%2d/%d] %s", self.ended, self.total, one_line(results))


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
        try:
            returns: Sequence[Any] = self.inner.launch(job_overrides, initial_job_idx=first)
            reasons = [job._return_value if job.status == JobStatus.FAILED else None for job in returns]
        except Exception as error:  # of a cluster, of a process that died
            reasons = [error] * len(plans)
        for plan, reason in zip(plans, reasons, strict=True):
            self.end(plan, f"{type(reason).__name__}: {reason}" if reason else "its job left no results")


def checked(node: DictConfig) -> DictConfig:
    """The configuration of a launcher that checks all jobs first: this one, or `OtherLauncher` around it."""
    node = as_plugin(node)
    kind = Plugins.instance().class_name_to_class.get(node["_target_"], Launcher)
    if issubclass(kind, CheckedLauncher):
        return node
    other = {"_target_": f"{__name__}.OtherLauncher", "_recursive_": False, "launcher": node}
    return as_plugin(DictConfig(other))


def as_plugin(node: DictConfig) -> DictConfig:
    """A launcher's or sweeper's configuration with a `_target_` that Hydra takes: one of the package hydra_plugins."""
    target = str(node["_target_"])
    if target.startswith(("hydra_plugins.", "hydra._internal.")):
        return node
    kind, home = pkgutil.resolve_name(target), importlib.import_module("hydra_plugins.report")
    plugin = type(kind.__name__, (kind,), {"__module__": home.__name__})
    setattr(home, kind.__name__, plugin)
    Plugins.instance().register(plugin)
    node = node.copy()
    node["_target_"] = f"{home.__name__}.{kind.__name__}"
    return node


def remove_empty(folder: Path) -> None:
    """Take away the folder of a sweep that was refused, where it holds nothing but Hydra's multirun.yaml."""
    with contextlib.suppress(OSError):
        if [path.name for path in folder.iterdir()] == ["multirun.yaml"]:
            (folder / "multirun.yaml").unlink()
            folder.rmdir()
