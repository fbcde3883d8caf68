"""What a command asks for: checked configurations and the runs that they describe."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, open_dict

from src.config import FIGURES, mistakes_in
from src.run import OWN_DATA, Run, run_of
from src.words import plain

GROUPS = ("task", "data", "experiment")


@dataclass
class Plan:
    """One job: its configuration, and the recipe that its name is relative to."""

    cfg: DictConfig
    recipe: DictConfig

    @cached_property
    def run(self) -> Run:
        return run_of(self.cfg, self.recipe)

    def mistakes(self) -> list[str]:
        """Everything for which this job must not start: settings, device, what its folder holds."""
        found = mistakes_in(self.cfg)
        if found:
            return found
        root = Path(self.cfg.data.root)
        if self.cfg.data.name in OWN_DATA and not root.is_dir():
            return [f"data.root={root}: there is no such folder"]
        weights = self.cfg.encoder.weights if self.cfg.task == "caption" else None
        if weights is not None and not Path(weights).is_file():
            return [f"encoder.weights={weights}: there is no such file"]
        if self.cfg.accelerator not in ("auto", "cpu") or self.cfg.precision != "32-true":
            from src.devices import device_mistake  # late: imports torch

            mistake = device_mistake(self.cfg.accelerator, self.cfg.precision)
            found += [mistake] if mistake else []
        if not self.run.is_finished() and (mistake := folder_mistake(self.run.folder)):
            return [*found, mistake]
        mismatch = None if self.cfg.force else self.run.mismatch()
        return [*found, mismatch] if mismatch else found

    def results(self) -> dict[str, Any] | None:
        """results.json, if it is this run's and not another's that a command put into the folder since."""
        if self.run.mismatch() is not None:
            return None
        return self.run.results()

    def epochs_done(self) -> int:
        """Rows of metrics.csv."""
        try:
            return max(0, self.run.metrics_file.read_bytes().count(b"\n") - 1)
        except OSError:
            return 0

    def figure(self, results: dict[str, Any]) -> float | None:
        """The validation figure of a finished run: what a sweeper that searches should raise."""
        return results.get(FIGURES[self.cfg.task][0])


_recipes: dict[tuple[str, ...], DictConfig] = {}


def plan_of(config: DictConfig, choices: dict[str, Any] | None = None) -> Plan:
    """The plan of a composed configuration, inside a Hydra application.

    Args:
        config: with or without its `hydra` node.
        choices: the groups' chosen files; by default as the `hydra` node or the running job has them.
    """
    cfg = config.copy()
    if choices is None:
        choices = config.hydra.runtime.choices if "hydra" in config else HydraConfig.get().runtime.choices
    with open_dict(cfg):
        cfg.pop("hydra", None)
    chosen = tuple(f"{group}={choices[group]}" for group in GROUPS if choices.get(group) is not None)
    if chosen not in _recipes:
        _recipes[chosen] = compose("train", overrides=list(chosen))
    return Plan(cfg, _recipes[chosen])


def folder_mistake(folder: Path) -> str | None:
    """Why nothing can be written into a folder, which need not exist yet, or None."""
    there = folder.absolute()
    while not os.path.lexists(there):
        there = there.parent
    if not there.is_dir():
        return (
            f"output_dir: {folder} cannot be made, {there} is not a folder; name another one (output_dir=...)"
        )
    if not os.access(there, os.W_OK | os.X_OK):
        return f"output_dir: {there} must be writable, and is not; name another folder (output_dir=...)"
    return None


def refuse(mistakes: Iterable[str]) -> None:
    """Name every mistake once and leave with status 2; return where there is none."""
    unique = list(dict.fromkeys(mistakes))
    if not unique:
        return
    print(
        f"Nothing was run: {len(unique)} mistake{'s' if len(unique) > 1 else ''} in this command.",
        file=sys.stderr,
    )
    for mistake in unique:
        print(f"  {plain(mistake, 2000)}", file=sys.stderr)
    hints = {
        "holds a run of": "force=true starts such runs afresh; another name= keeps both.",
        "must ": "python -m src.train --help explains every setting.",
    }
    for sign, hint in hints.items():
        if any(sign in mistake for mistake in unique):
            print(hint, file=sys.stderr)
    raise SystemExit(2)
