"""A run is a folder: what it holds, when it is done, how it is found again.

    outputs/<name>/<run>/
        config.yaml              resolved settings
        checkpoints/last.ckpt    after every epoch; the run goes on from here
        checkpoints/best.ckpt    of the best validation epoch
        metrics.csv              one row an epoch
        events.out.tfevents...   the same for TensorBoard, hyper-parameters, images
        results.json             written last: `status` done, diverged or failed

Everything downstream (ranking, report, resume) reads these files and nothing else.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.config import ALWAYS_NAMED, numbers_of
from src.files import write_atomically

SOURCES = Path(__file__).parent
# The files that a run's numbers come from: a change in any of them makes another code version.
CODE_OF_TASK = {
    "classify": (
        "fit.py",
        "classification/augment.py",
        "classification/data.py",
        "classification/module.py",
        "classification/network.py",
        "seeds.py",
    ),
    "caption": (
        "fit.py",
        "seeds.py",
        "captioning/data.py",
        "captioning/decoder.py",
        "captioning/encoder.py",
        "captioning/features.py",
        "captioning/lite.py",
        "captioning/metrics.py",
        "captioning/module.py",
        "captioning/position.py",
        "captioning/recurrence.py",
        "captioning/search.py",
        "captioning/vocabulary.py",
    ),
}
# Data sets of the user's own, which may change under the same name: file patterns that tell one from another.
OWN_DATA = {"idx": "*-ubyte*", "karpathy": "*.json"}
FINISHED = ("done", "diverged")  # both are final: the same settings would end the same way again


class RunMismatch(RuntimeError):
    """A run's folder holds results of other settings or of another code version."""


class Diverged(RuntimeError):
    """The loss is no longer a finite number.

    Args:
        cause: what became of it.
        epoch: counted from 1.
        step: optimizer steps since the start, counted from 1.
    """

    def __init__(self, cause: str, epoch: int, step: int) -> None:
        super().__init__(f"{cause} at step {step}, in epoch {epoch}")
        self.epoch, self.step = epoch, step


@dataclass(frozen=True)
class Run:
    """One run's folder and identity."""

    folder: Path
    identity: dict[str, Any]  # the settings that determine the numbers, flat
    code: str  # code version, torch included
    departures: tuple[str, ...] = ()  # settings that differ from the recipe

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
    def results_file(self) -> Path:
        return self.folder / "results.json"

    @property
    def failure_file(self) -> Path:
        return self.folder / "failure.txt"

    @property
    def identity_file(self) -> Path:
        return self.folder / "identity.json"

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
        """What results.json holds; None where it is absent or unreadable (then the run is not done)."""
        found = _read_json(self.results_file)
        return found if found is not None and isinstance(found.get("status"), str) else None

    def is_finished(self) -> bool:
        results = self.results()
        return results is not None and results["status"] in FINISHED

    def mismatch(self, accept_changed: bool) -> str | None:
        """Why what the folder holds may not be taken for this run, or None.

        Args:
            accept_changed: whether another code or torch version is fine.
        """
        there = _read_json(self.identity_file)
        if there is None:
            return None
        old, new = there.get("settings") or {}, self.identity
        differing = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
        if differing:
            changes = ", ".join(f"{key} {old.get(key)} there, {new.get(key)} now" for key in differing)
            return f"{self.folder} holds a run of other settings ({changes})"
        if there.get("code") != self.code and not accept_changed:
            return f"{self.folder} was made by code version {there.get('code')}, now it is {self.code}"
        return None

    def threads_before(self) -> int | None:
        """CPU threads that an unfinished run began with: with others its last digits would differ."""
        threads = (_read_json(self.identity_file) or {}).get("threads")
        return threads if isinstance(threads, int) and threads > 0 else None

    def parts_before(self) -> int:
        """Parts in which an unfinished run computed its batches: with others its last digits would differ."""
        parts = (_read_json(self.identity_file) or {}).get("batch_parts")
        return parts if isinstance(parts, int) and parts > 0 else 1

    def start(self, cfg: DictConfig) -> None:
        """Make the folder, or ready it for going on; `force` empties it first.

        Raises:
            RunMismatch: the folder holds something else (see `mismatch`).
        """
        if cfg.force and self.folder.exists():
            shutil.rmtree(self.folder)
        mismatch = self.mismatch(cfg.accept_changed)
        if mismatch:
            raise RunMismatch(mismatch)
        self.last.parent.mkdir(parents=True, exist_ok=True)
        for left in self.folder.rglob(".*.tmp"):  # by a process that was killed while it wrote
            left.unlink(missing_ok=True)
        self.results_file.unlink(missing_ok=True)  # of a failed try
        self.failure_file.unlink(missing_ok=True)
        write_atomically(self.config_file, OmegaConf.to_yaml(cfg, resolve=True))
        identity = {"settings": self.identity, "code": self.code, "threads": cfg.threads}
        if cfg.batch_parts > 1:
            identity["batch_parts"] = cfg.batch_parts
        write_atomically(self.identity_file, to_json(identity))

    def finish(self, results: Mapping[str, Any]) -> None:
        """Write results.json, the last file of a run."""
        write_atomically(self.results_file, to_json(results))


def run_of(cfg: DictConfig, recipe: DictConfig) -> Run:
    """The run that a configuration describes.

    Its name holds `dropout` and `lr`, and every other setting that determines the numbers and departs
    from the recipe, i.e. from what `conf/` gives for the same task, data set and experiment.
    """
    identity, usual = numbers_of(cfg), numbers_of(recipe)
    named = [key for key in ALWAYS_NAMED[cfg.task] if key in identity]
    named += [key for key in sorted(identity) if key not in named and identity[key] != usual.get(key)]
    name = ",".join(f"{key}={_plain(identity[key])}" for key in named)
    if cfg.data.name in OWN_DATA:
        identity["data.digest"] = _digest_of(Path(cfg.data.root), OWN_DATA[cfg.data.name])
    departures = tuple(key for key in named if key not in ALWAYS_NAMED[cfg.task])
    return Run(Path(cfg.output_dir) / cfg.name / name, identity, code_version(cfg.task), departures)


@cache
def code_version(task: str) -> str:
    """A short hash of the code that a run's numbers come from, and torch's version.

    Comments, docstrings and layout do not count: the parsed code is hashed.
    """
    digest = hashlib.sha256()
    for name in CODE_OF_TASK[task]:
        tree = ast.parse((SOURCES / name).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
                node.body = node.body[1:] or [ast.Pass()]
        digest.update(ast.dump(tree).encode())
    return f"{digest.hexdigest()[:12]} with torch {version('torch')}"


@cache
def commit() -> str:
    """The git commit of the code, with `+changes` where the work tree differs; `unknown` without git."""
    git = ["git", "-C", str(SOURCES.parent)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        )
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head.stdout.strip() + ("+changes" if changed.stdout.strip() else "")


def versions() -> dict[str, str]:
    """Versions of what a run's numbers depend on."""
    packages = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "numpy")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "commit": commit(),
    }


def processor() -> str:
    """The CPU's own name, for the record."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cores() -> int:
    """CPU cores that this process may use (a container's or a scheduler's share, not the machine's)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def to_json(content: Mapping[str, Any]) -> str:
    """Readable, strict JSON: a number that is not finite becomes null."""

    def strict(value: Any) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            return None
        if isinstance(value, Mapping):
            return {str(key): strict(inner) for key, inner in value.items()}
        return [strict(inner) for inner in value] if isinstance(value, list | tuple) else value

    return json.dumps(strict(content), indent=2, allow_nan=False) + "\n"


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _plain(value: Any) -> str:
    """A value as it stands in a folder's name: no separators of paths or of the name itself."""
    if isinstance(value, bool):
        return str(value).lower()  # as on the command line
    return "".join("_" if sign in '/\\,= \n\t:*?"<>|' else sign for sign in str(value))


def _digest_of(folder: Path, pattern: str) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.glob(pattern)):
        digest.update(path.name.encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
