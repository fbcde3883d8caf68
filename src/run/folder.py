"""A run's folder: what it holds, when it is done, how it is found again.

    outputs/<name>/<run>/
        config.yaml              resolved settings
        checkpoints/last.ckpt    after every epoch; the run goes on from here
        checkpoints/best.ckpt    of the best validation epoch
        metrics.csv              one row an epoch
        events.out.tfevents...   the same for TensorBoard, hyper-parameters, images
        results.json             `status` done, diverged or failed
        SHA256SUMS               written last

Everything downstream (ranking, report, resume) reads these files and nothing else.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.config.settings import TASKS
from src.config.validation import rounded, schema_of
from src.entry_point import UserError
from src.files import modified_files, write_atomically, write_sums
from src.run.environment import source_digest

SUMMED = ("config.yaml", "metrics.csv", "results.json", "captions.json")
FINISHED = ("done", "diverged")  # both are final: the same settings would end the same way again


class Diverged(RuntimeError):
    """The loss is no longer a finite number.

    Args:
        cause: what became of it.
        epoch: counted from 1.
        step: optimizer steps since the start, counted from 1.
    """

    def __init__(self, cause: str, epoch: int, step: int) -> None:
        super().__init__(f"{cause} at step {step}, in epoch {epoch}")


@dataclass(frozen=True)
class Run:
    """One run's folder and the fingerprint of its settings."""

    folder: Path
    fingerprint: dict[str, Any]

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def config_file(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def metrics_file(self) -> Path:
        return self.folder / "metrics.csv"

    @property
    def last(self) -> Path:
        return self.folder / "checkpoints" / "last.ckpt"

    @property
    def best(self) -> Path:
        return self.folder / "checkpoints" / "best.ckpt"

    @property
    def lock_file(self) -> Path:
        """Beside the folder, not in it: `force` removes the folder while it holds the lock."""
        return self.folder.parent / ".locks" / f"{self.name}.lock"

    def results(self) -> dict[str, Any] | None:
        """What results.json holds; None where it is absent or unreadable."""
        try:
            found = json.loads((self.folder / "results.json").read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) and isinstance(found.get("status"), str) else None

    def is_finished(self) -> bool:
        """Whether it has ended, and its files are those that it wrote."""
        results = self.results()
        return results is not None and results["status"] in FINISHED and modified_files(self.folder) == []

    def saved_config(self) -> DictConfig | None:
        """config.yaml; None where there is none that can be read."""
        try:
            found = OmegaConf.load(self.config_file)
        except Exception:  # a YAML parser given damaged bytes raises nearly anything
            return None
        return found if isinstance(found, DictConfig) else None

    def mismatch(self) -> str | None:
        """Why what the folder holds may not be taken for this run, or None."""
        there: Any = None
        modified = modified_files(self.folder) or ()
        if self.config_file.name not in modified:
            saved = self.saved_config()
            there = saved and settings_of(OmegaConf.to_container(saved))
        elif "results.json" not in modified:  # which has them, too
            there = (self.results() or {}).get("settings")
        if not there and (self.last.exists() or self.best.exists()):
            return f"{self.config_file} is gone or damaged, and with it its run's settings: force=true starts afresh"
        if not there:
            return None
        differing = [key for key, value in self.fingerprint.items() if there.get(key) != value]
        if not differing:
            return None
        changes = ", ".join(f"{key} {there.get(key)} there, {self.fingerprint[key]} now" for key in differing)
        return (
            f"{self.folder} holds a run of other settings: force=true starts it afresh, another name= keeps both "
            f"({changes})"
        )

    def start(self, cfg: DictConfig) -> None:
        """Make the folder, or ready it for going on; `force` empties it first.

        Raises:
            UserError: the folder holds something else (see `mismatch`).
        """
        if cfg.force and self.folder.exists():
            shutil.rmtree(self.folder)
        if mismatch := self.mismatch():
            raise UserError(mismatch)
        self.last.parent.mkdir(parents=True, exist_ok=True)
        for left in self.folder.rglob(".*.tmp"):  # by a process that was killed while it wrote
            left.unlink(missing_ok=True)
        for name in ("results.json", "SHA256SUMS", "failure.txt"):  # of a failed try
            (self.folder / name).unlink(missing_ok=True)
        text = f"{OmegaConf.to_yaml(cfg, resolve=True)}code: {source_digest()}\n"
        write_atomically(self.config_file, text)

    def queue(self, cfg: DictConfig) -> None:
        """Leave the settings where the ranking finds them, before a cluster has room for the run."""
        if not self.config_file.exists():
            write_atomically(self.config_file, OmegaConf.to_yaml(cfg, resolve=True))

    def finish(self, results: Mapping[str, Any]) -> None:
        """Write results.json and, last, the checksums of all text files."""
        strict = json.loads(json.dumps(results), parse_constant=lambda name: None)  # no NaN
        write_atomically(self.folder / "results.json", json.dumps(strict, indent=2) + "\n")
        write_sums(self.folder, SUMMED)

    def rows(self) -> list[dict[str, float]]:
        """The finite numbers of metrics.csv, a dictionary an epoch."""
        try:
            text = self.metrics_file.read_text(encoding="utf-8")  # whole: it is replaced, not appended to
        except OSError:
            return []
        rows = csv.DictReader(text.splitlines())
        numbers = ({str(key): float(value) for key, value in row.items() if value} for row in rows)
        return [{key: value for key, value in row.items() if math.isfinite(value)} for row in numbers]

    def epochs_done(self) -> int:
        """Rows of metrics.csv."""
        try:
            return max(0, self.metrics_file.read_bytes().count(b"\n") - 1)
        except OSError:
            return 0


MAX_NAME = 200  # bytes of a folder's name: the file system's limit is 255, with room for suffixes
REFERENCE = re.compile(r"\$\{[\w.]+\}")  # to another setting, which tells it all
GROUPS_IN_PATH = ("task", "data", "experiment")  # whose choice the sweep's folder tells, not the run's name


def fingerprint(cfg: DictConfig) -> dict[str, Any]:
    """The settings that affect a run's results, flat, by dotted name.

    Left out are those marked `affects_results=False` in the schema (src/config/settings.py), and of an open node the
    keys that its mark lists: where data lie, which device computes, what is logged.
    """
    found: dict[str, Any] = {}
    for name, (_, metadata) in schema_of(cfg).items():
        affects, value = metadata.get("affects_results", True), cfg[name]
        if affects is False:
            continue
        if not isinstance(value, DictConfig):
            found[name] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
        elif schema_of(value):
            found |= {f"{name}.{key}": inner for key, inner in fingerprint(value).items()}
        else:
            written, resolved = (flat(OmegaConf.to_container(value, resolve=each)) for each in (False, True))
            ignored = affects if isinstance(affects, tuple) else ()
            prefix = "" if name == "choices" else f"{name}."
            found |= {
                f"{prefix}{key}": inner
                for key, inner in resolved.items()
                if key.split(".")[0] not in ignored and not REFERENCE.fullmatch(str(written[key]))
            }
    return {key: rounded(value) for key, value in found.items()}


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def settings_of(config: Any) -> dict[str, Any]:
    """A config.yaml's settings under the names of a fingerprint."""
    found = flat(config)
    return {key.removeprefix("choices."): rounded(value) for key, value in found.items()}


def run_name(cfg: DictConfig, recipe: DictConfig, usual: DictConfig) -> str:
    """The name of a run's folder: the task's main settings, then whatever departs from the recipe.

    Args:
        cfg: the run's settings.
        recipe: what `conf/` gives for the same choices of groups.
        usual: the choices of groups where the command line makes none.
    """
    mine, theirs = fingerprint(cfg), fingerprint(recipe)
    named = {key: mine[key] for key in TASKS[cfg.task].always_named if mine.get(key, "own") != "own"}
    named |= {key: name for key, name in cfg.choices.items() if name not in (usual.get(key), "own", "none")}
    named |= {key: mine[key] for key in sorted(mine) if key not in named and mine[key] != theirs.get(key)}
    name = ",".join(f"{key}={_as_text(value)}" for key, value in named.items())
    if len(name.encode()) <= MAX_NAME:
        return name
    return f"{name.encode()[: MAX_NAME - 9].decode(errors='ignore')}-{_digest(name)}"


def _as_text(value: Any) -> str:
    """A value without separators, of a path the last part; what had to be changed ends in a digest of the whole."""
    text = str(value).lower() if isinstance(value, bool) else str(value)  # as on the command line
    last = text.rstrip("/").rpartition("/")[2]
    kept = "".join("_" if sign in '/\\,= \n\t:*?"<>|' else sign for sign in last)
    return kept if kept == text else f"{kept}-{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
