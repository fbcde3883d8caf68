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

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.config import ALWAYS_NAMED, numbers_of
from src.files import write_atomically
from src.own_data import digest_of, stamp_of
from src.provenance import code_version
from src.run_name import folder_name
from src.seal import CHANGED, FILES, KEY, altered, digests_of, seal_is_broken, sealed

# Data sets of the user's own, which may change under the same name: file patterns that tell one from another.
DIGEST = "data.digest"  # the key in a run's identity
OWN_DATA = {
    "idx": ("*ubyte*", "*ubyte/*ubyte"),
    "karpathy": ("*.json",),
    "coco": ("*.json", "annotations/*.json"),
    "captions_csv": ("*.txt", "*.csv"),
}
IDENTITY = ("settings", "code", "threads", "batch_parts", "data_stamp")  # the keys of identity.json
# What results.json, written last, knows the checksums of.
OUTPUTS = ("config.yaml", "metrics.csv", "captions.json")
FINISHED = ("done", "diverged")  # both are final: the same settings would end the same way again


class RunMismatch(RuntimeError):
    """A run's folder holds results of other settings or of other data."""


class FolderGone(RuntimeError):
    """A run's folder was deleted or moved while it trained."""


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
    data_stamp: str | None = None  # of data of the user's own (src/own_data.py)

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
        """What results.json holds, without checksums.

        None where it is absent, unreadable or altered: then the run is not done.
        """
        found = self._filed_results()
        return None if found is None else {key: found[key] for key in found if key not in (KEY, FILES)}

    def _filed_results(self) -> dict[str, Any] | None:
        found = _read_sealed(self.results_file)
        return found if found is not None and isinstance(found.get("status"), str) else None

    def is_finished(self) -> bool:
        """Whether there is nothing to do: it has ended, and its files are those that it wrote.

        Altered files count only where a checkpoint is there to write them again from.
        """
        results = self._filed_results()
        if results is None or results["status"] not in FINISHED:
            return False
        return not (self.last.exists() and altered(self.folder, results))

    def damage(self) -> list[str]:
        """The text files of a run that has ended that are not as it wrote them."""
        results = self._filed_results()
        if results is None:
            return [self.results_file.name] if self.results_file.exists() else []
        return altered(self.folder, results)

    def mismatch(self) -> str | None:
        """Why what the folder holds may not be taken for this run, or None."""
        there = self._filed_identity()
        if there is None:
            if not (self.last.exists() or self.best.exists()):
                return None
            state = CHANGED if self.identity_file.exists() else "is gone"
            return (
                f"{self.identity_file} {state}: nothing tells of which settings the checkpoints there are; "
                "force=true starts the run afresh"
            )
        old, new = there.get("settings") or {}, self.identity
        differing = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
        if differing == [DIGEST]:
            return (
                f"{self.folder} holds a run of other data: the files in data.root have changed since "
                "(damaged, or others by the same names)"
            )
        if differing:
            changes = ", ".join(f"{key} {old.get(key)} there, {new.get(key)} now" for key in differing)
            return f"{self.folder} holds a run of other settings ({changes})"
        return None

    def other_code(self) -> str | None:
        """What to say where the folder's checkpoints or results are of another code or torch version."""
        made_by = self.made_by()
        if made_by is None or made_by == self.code:
            return None
        if self.is_finished():
            return f"{self.name}: made by other code ({made_by}); force=true repeats it"
        if made_by.endswith(self.code) or not self.last.exists():
            return None  # said when it began to go on
        return f"{self.name}: begun by other code ({made_by}), goes on with this ({self.code})"

    def made_by(self) -> str | None:
        """The code that made what the folder holds; where several did, all of them in order."""
        made_by = (self._filed_identity() or {}).get("code")
        return made_by if isinstance(made_by, str) else None

    def threads_before(self) -> int | None:
        """CPU threads that an unfinished run began with: with others its last digits would differ."""
        threads = (self._filed_identity() or {}).get("threads")
        return threads if isinstance(threads, int) and threads > 0 else None

    def _filed_identity(self) -> dict[str, Any] | None:
        """identity.json, or where that is damaged or gone, the same from results.json, or None."""
        there = _read_sealed(self.identity_file)
        if there is None:
            there = {key: value for key, value in (self.results() or {}).items() if key in IDENTITY} or None
        return there if there is not None and isinstance(there.get("settings"), dict) else None

    def data_digest_before(self, stamp: str | None) -> str | None:
        """The digest of the data that the run began with, where their stamp says that they are the same."""
        there = self._filed_identity() or {}
        return there["settings"].get(DIGEST) if stamp and there.get("data_stamp") == stamp else None

    def parts_before(self) -> int:
        """Parts in which an unfinished run computed its batches: with others its last digits would differ."""
        parts = (self._filed_identity() or {}).get("batch_parts")
        return parts if isinstance(parts, int) and parts > 0 else 1

    def start(self, cfg: DictConfig) -> None:
        """Make the folder, or ready it for going on; `force` empties it first.

        Raises:
            RunMismatch: the folder holds something else (see `mismatch`).
        """
        if cfg.force and self.folder.exists():
            shutil.rmtree(self.folder)
        mismatch = self.mismatch()
        if mismatch:
            raise RunMismatch(mismatch)
        code, before = self.code, self.made_by()
        if before is not None and self.last.exists():
            code = before if before.endswith(code) else f"{before}, then {code}"
        self.last.parent.mkdir(parents=True, exist_ok=True)
        for left in self.folder.rglob(".*.tmp"):  # by a process that was killed while it wrote
            left.unlink(missing_ok=True)
        self.results_file.unlink(missing_ok=True)  # of a failed try
        self.failure_file.unlink(missing_ok=True)
        write_atomically(self.config_file, OmegaConf.to_yaml(cfg, resolve=True))
        identity = {"settings": self.identity, "code": code, "threads": cfg.threads}
        if cfg.batch_parts > 1:
            identity["batch_parts"] = cfg.batch_parts
        if self.data_stamp is not None:
            identity["data_stamp"] = self.data_stamp
        write_atomically(self.identity_file, _sealed_json(identity))

    def check_there(self) -> None:
        """Call it before the files of an epoch are written, which would make a folder anew.

        Raises:
            FolderGone: there is none any more.
        """
        if not self.folder.is_dir():
            raise FolderGone(f"the folder {self.folder} was deleted or moved while the run trained")

    def finish(self, results: Mapping[str, Any]) -> None:
        """Write results.json, the last file of a run, with the checksums of those beside it and its own."""
        files = digests_of(self.folder, OUTPUTS)
        write_atomically(self.results_file, _sealed_json({**results, FILES: files}))


def run_of(cfg: DictConfig, recipe: DictConfig) -> Run:
    """The run that a configuration describes.

    Its name holds `dropout` and `lr`, and every other setting that determines the numbers and departs
    from the recipe, i.e. from what `conf/` gives for the same task, data set and experiment.
    """
    identity, usual = numbers_of(cfg), numbers_of(recipe)
    named = [key for key in ALWAYS_NAMED[cfg.task] if key in identity]
    named += [key for key in sorted(identity) if key not in named and identity[key] != usual.get(key)]
    name = folder_name({key: identity[key] for key in named})
    departures = tuple(key for key in named if key not in ALWAYS_NAMED[cfg.task])
    run = Run(Path(cfg.output_dir) / cfg.name / name, identity, code_version(), departures)
    if cfg.data.name not in OWN_DATA:
        return run
    root, patterns = Path(cfg.data.root), OWN_DATA[cfg.data.name]
    files = sorted(path for pattern in patterns for path in root.glob(pattern) if path.is_file())
    stamp = stamp_of(files)
    identity[DIGEST] = run.data_digest_before(stamp) or digest_of(files, stamp)
    return replace(run, data_stamp=stamp)


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


def _read_sealed(path: Path) -> dict[str, Any] | None:
    """The content of a file with a checksum; None where it is not what was written."""
    found = _read_json(path)
    return None if found is None or seal_is_broken(found) else found


def _sealed_json(content: Mapping[str, Any]) -> str:
    return to_json(sealed(json.loads(to_json(content))))  # of what will be read: a NaN is null by then
