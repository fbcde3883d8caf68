"""Read a sweep's runs from their folders.

A file that cannot be trusted (cut off, edited by hand, not what its name says) makes the run `unreadable`, with
the cause, instead of a traceback or a wrong number.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from src.config.settings import TASKS, Task
from src.entry_point import UserError
from src.files import CHANGED, modified_files
from src.run.environment import source_digest
from src.run.folder import Run, settings_of

STATUSES = ("done", "queued", "running", "pruned", "diverged", "failed", "unreadable")


@dataclass(frozen=True, eq=False)
class RunRecord:
    """One run, as far as its files can be trusted."""

    folder: Path
    task: Task
    status: str  # one of STATUSES
    cause: str = ""  # why it is not done; for a running one, how far it is
    settings: Mapping[str, Any] = field(default_factory=dict)  # from results.json, else config.yaml, flat
    results: Mapping[str, Any] = field(default_factory=dict)  # results.json, empty while there is none
    history: tuple[dict[str, float], ...] = ()  # rows of metrics.csv, finite numbers only

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def cell(self) -> tuple[Any, Any]:
        """Dropout and learning rate."""
        return self.settings.get("dropout"), self.settings.get("lr")

    @property
    def is_of_other_code(self) -> bool:
        """Whether the code has changed since."""
        return bool(self.results) and self.results.get("code") != source_digest()

    def number(self, key: str) -> float | None:
        """A finite number of results.json, or None."""
        value = self.results.get(key)
        known = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        return float(value) if known else None  # type: ignore[arg-type]

    def curve(self, column: str) -> tuple[list[float], list[float]]:
        """Epochs and values of a column of metrics.csv."""
        points = [(row["epoch"], row[column]) for row in self.history if column in row]
        return [epoch for epoch, _ in points], [value for _, value in points]


def read_runs(folder: Path) -> list[RunRecord]:
    """Every run of the sweep in `folder`: each direct subfolder with a config.yaml, by name.

    Raises:
        UserError: there is no such folder, no run in it, or runs of several tasks.
    """
    if not folder.is_dir():
        raise UserError(f"{folder} is not a folder: name the one that holds the runs")
    if (folder / "config.yaml").exists():
        raise UserError(f"{folder} is a single run; give the folder that holds the runs")
    runs = [read_run(path.parent) for path in sorted(folder.glob("[!.]*/config.yaml"))]
    if not runs:
        raise UserError(f"{folder} holds no runs (no subfolder with a config.yaml)")
    tasks = sorted({run.task.name for run in runs if run.status != "unreadable"})
    if len(tasks) > 1:
        raise UserError(f"{folder} holds runs of several tasks ({', '.join(tasks)}), which do not compare")
    return runs


def read_run(folder: Path) -> RunRecord:
    """The run in `folder`, from its results.json, or config.yaml without one. Garbage never raises."""
    task = TASKS["classify"]
    try:
        history = tuple(Run(folder, {}).rows())
        if not (folder / "results.json").exists():  # it comes last: the run goes on or was interrupted
            config = settings_of(_read_yaml(folder / "config.yaml"))
            task = TASKS[config["task"]]
            cause = f"epoch {len(history)} of {config['epochs']}"
            status = "running" if (folder / "checkpoints").is_dir() else "queued"
            return RunRecord(folder, task, status, cause, config, {}, history)
        results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        task, settings = TASKS[results["task"]], results["settings"]
        if results["status"] not in STATUSES or not isinstance(settings, dict):
            raise ValueError("results.json: no status or no settings")
        if modified := modified_files(folder):
            raise ValueError(f"{', '.join(modified)} {CHANGED}; the same training command puts it right")
    except Exception as error:  # whatever damaged or foreign files lead to
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        return RunRecord(folder, task, "unreadable", text)
    return RunRecord(folder, task, results["status"], results.get("cause") or "", settings, results, history)


def _read_yaml(path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8-sig")
    if "&" in text and "*" in text:  # an alias may expand to gigabytes; ours have none
        raise ValueError(f"{path.name} holds YAML aliases")
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def differing(runs: Sequence[RunRecord], besides: Sequence[str] = ()) -> list[str]:
    """The settings in which runs with results differ, besides those named."""
    known = [run for run in runs if run.results] or [run for run in runs if run.settings]
    every = sorted({key for run in known for key in run.settings})
    keys = [key for key in every if len({str(run.settings.get(key)) for run in known}) > 1]
    told = (*besides, *keys)  # network=resnet_small tells network._target_
    return [key for key in keys if key not in besides and not ("." in key and key.split(".")[0] in told)]


def sort_key(value: Any) -> tuple[int, float, str]:
    """Orders settings of any type: numbers by size, then text, then nothing."""
    if value is None:
        return (2, 0.0, "")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return (0, float(value), "") if is_number else (1, 0.0, str(value))
