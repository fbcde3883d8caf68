"""Plans: what a command asks for, a checked configuration and a run's folder for each job."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from src.config.settings import TASKS
from src.config.validation import config_errors, rounded
from src.entry_point import UserError
from src.run.environment import native_precision
from src.run.folder import GROUPS_IN_PATH, Run, fingerprint, run_name

GROUPS = ("network", "encoder", "decoder", "optimizer", "schedule", "callbacks")


@dataclass
class Plan:
    """One job: its configuration, and the run's folder.

    Args:
        recipe: what `conf/` gives for the same choices of groups.
        usual: the groups' choices where the command makes none.
    """

    cfg: DictConfig
    recipe: DictConfig
    usual: DictConfig

    @cached_property
    def run(self) -> Run:
        name = run_name(self.cfg, self.recipe, self.usual)
        return Run(Path(self.cfg.output_dir).expanduser() / self.cfg.name / name, fingerprint(self.cfg))

    def errors(self) -> list[str]:
        """Everything for which this job must not start: settings, what its folder holds."""
        found = config_errors(self.cfg)
        if os.path.normpath(self.cfg.name).startswith(("..", os.sep)):
            found.append(f"name={self.cfg.name}: must name a folder inside output_dir")
        if not found and not self.run.is_finished():
            found += filter(None, [folder_error(self.run.folder)])
        if not found and not self.cfg.force:
            found += filter(None, [self.run.mismatch()])
        return found

    def is_done(self) -> bool:
        """Whether nothing is to be trained."""
        if self.cfg.force:
            return False
        is_pruned = (self.run.results() or {}).get("status") == "pruned" and self.cfg.stop_after is not None
        return self.run.is_finished() or (is_pruned and self.run.epochs_done() >= self.cfg.stop_after)

    def results(self) -> dict[str, Any] | None:
        """results.json, if it is this run's and not another's that a command put into the folder since."""
        return self.run.results() if self.run.mismatch() is None else None

    def metric(self) -> float | None:
        """The validation metric of a finished run: what a sweeper that searches should raise."""
        return (self.results() or {}).get(TASKS[self.cfg.task].monitor)


launched: list[Plan] = []  # by a launcher, in this process: for the command's exit status and ranking
_recipes: dict[tuple[str, ...], DictConfig] = {}


def plan_of(config: DictConfig) -> Plan:
    """The plan of a composed configuration, inside a Hydra application, with or without its `hydra` node."""
    node = config.hydra if "hydra" in config else HydraConfig.get()
    chosen = {group: choice for group, choice in node.runtime.choices.items() if "hydra/" not in group}
    # Hydra tells no choices of several: callbacks=[early_stopping,ema]
    lists = (text.partition("=")[::2] for text in node.overrides.task)
    chosen |= {group: choice for group, choice in lists if group in ("callbacks", "logger")}
    base = _recipe({group: chosen[group] for group in GROUPS_IN_PATH if chosen.get(group)})
    cfg, recipe = config.copy(), _recipe(chosen).copy()
    for one in (cfg, recipe):
        with open_dict(one):
            one.pop("hydra", None)
            one.choices = {
                group: chosen[group].strip("[]").replace(",", "+").replace(" ", "") or "none"
                for group in GROUPS
                if chosen.get(group)
            }
        if one.precision == "auto":
            one.precision = native_precision(config.accelerator)
        _round(one)
    return Plan(cfg, recipe, base.hydra.runtime.choices)


def _recipe(choices: dict[str, Any]) -> DictConfig:
    overrides = [f"{group}={choice}" for group, choice in choices.items() if "schema" not in group and choice]
    key = tuple(overrides)
    if key not in _recipes:
        _recipes[key] = compose("train", overrides=overrides, return_hydra_config=True)
    return _recipes[key]


def _round(cfg: DictConfig) -> None:
    """Numbers to 12 significant digits, paths with their `~` expanded, in place."""
    for key in list(cfg):
        if OmegaConf.is_missing(cfg, key) or OmegaConf.is_interpolation(cfg, key):
            continue
        value = cfg[key]
        if isinstance(value, float) and rounded(value) != value:
            cfg[key] = rounded(value)
        elif isinstance(value, str) and value.startswith("~"):
            cfg[key] = str(Path(value).expanduser())
        elif isinstance(value, DictConfig):
            _round(value)


def folder_error(folder: Path) -> str | None:
    """Why nothing can be written into a folder, which need not exist yet, or None."""
    there = folder.absolute()
    while not os.path.lexists(there):
        there = there.parent
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        return None
    what = "must be writable, and is not" if there.is_dir() else "is not a folder"
    return f"output_dir: {folder} cannot be made, {there} {what}; name another one (output_dir=...)"


def preflight(plans: Sequence[Plan]) -> list[str]:
    """Check every plan's targets, read each data set once, try every network, before hours are spent.

    Imports torch. Returns the errors.
    """
    import torch

    from src.run.fit import prepared_data

    errors = [error for plan in plans for error in _target_errors(plan)]
    if errors:
        return errors
    data: dict[str, Any] = {}
    for plan in plans:
        implementation = TASKS[plan.cfg.task].load()
        key = implementation.data_key(plan.cfg)
        if key in data and data[key] is None:  # it cannot be read, and was named already
            continue
        try:
            if key not in data:
                data[key] = None
                data[key] = prepared_data(plan.cfg, keep=len(plans) == 1)
            if not plan.is_done():
                with torch.random.fork_rng():
                    implementation.check_module(plan.cfg, data[key])
            elif (plan.run.results() or {}).get("data_digest") not in (None, data[key].digest):
                errors.append(
                    f"{plan.run.folder} holds a run of other data (data.root has changed since): force=true starts "
                    "it afresh, another name= keeps both"
                )
        except (OSError, UserError) as error:
            errors.append(str(error))
        except Exception as error:  # of a stranger's code
            errors.append(f"{plan.run.name}: {type(error).__name__}: {error}")
    return errors


def _target_errors(plan: Plan) -> list[str]:
    """Device, Trainer and the arguments of every `_target_` that the machine or a signature refuses."""
    from src.build import group_errors, takes, target_errors
    from src.run.environment import device_error
    from src.run.fit import trainer_errors

    cfg = plan.cfg
    errors = [*filter(None, [device_error(cfg.accelerator, cfg.precision)]), *trainer_errors(cfg)]
    besides = TASKS[cfg.task].load().NOT_ARGUMENTS
    for group in ("optimizer", "schedule", "network", "data", "encoder", "decoder"):
        errors += group_errors(cfg, group, besides.get(group, ()))
    for group in ("callbacks", "logger"):
        errors += target_errors(cfg.get(group), f"{group}.")
        if "_target_" in (cfg.get(group) or ()):
            errors.append(f"{group}._target_: stands below a name of its own, {group}.mine._target_=...")
    network = cfg.get("network", {}).get("_target_")
    if network and not errors and cfg.dropout != plan.recipe.dropout and not takes(network, "dropout"):
        errors.append(f"dropout={cfg.dropout}: {network} has no argument 'dropout'")
    return errors
