"""Read a sweep's runs from their folders.

A file that cannot be trusted (cut off, edited by hand, not what its name says) makes the run `unreadable`,
with the cause, instead of a traceback or a wrong number.
"""

import csv
import io
import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from src.plain_yaml import settings_of
from src.seal import CHANGED, altered, seal_is_broken
from src.words import plain

LARGEST_FILE = 4 * 2**20  # bytes; a run's text files are a few kilobytes
REMEDY = "the same training command puts it right"
STATUSES = ("done", "running", "diverged", "failed", "unreadable")


@dataclass(frozen=True)
class Task:
    """The names of a task's metrics; those of the first four are fractions from 0 to 1, more is better."""

    validation: str  # picks the rank; a column of metrics.csv and a key of results.json
    test: str
    test_best: str  # on the test set, with the weights of the best validation epoch
    label: str
    unit: str
    further: Mapping[str, float] = field(default_factory=dict)  # test metrics and their highest values
    remark: str = ""  # a sentence for the reader of the ranking

    @property
    def heading(self) -> str:
        """The label as the first words of a sentence."""
        return self.label[:1].upper() + self.label[1:]

    @property
    def axis(self) -> str:
        """The name of an axis: the label, with the unit where the label does not name it."""
        return self.heading if self.unit in self.label else f"{self.heading} ({self.unit})"


TASKS = {
    "classify": Task("val_acc", "test_acc", "test_acc_best_val", "validation accuracy", "fraction correct"),
    "caption": Task(
        "val_bleu4",
        "test_bleu4",
        "test_bleu4_best_val",
        "validation BLEU-4",
        "BLEU-4",
        # CIDEr-D is 10 times a cosine similarity.
        {"test_bleu4_sentence": 1.0, "test_cider_d": 10.0, "test_rouge_l": 1.0},
        "BLEU-4 is the corpus's, test_bleu4_sentence the mean over the images.",
    ),
}


@dataclass(frozen=True)
class Epoch:
    """A row of metrics.csv: the finite numbers of one epoch (counted from 1), by column."""

    number: int
    values: Mapping[str, float]


@dataclass(frozen=True)
class RunFiles:
    """One run, as far as its files can be trusted."""

    name: str
    status: str = "unreadable"  # one of STATUSES
    cause: str = ""  # why it is not done; for a running one, how far it is
    task: str | None = None  # a key of TASKS
    dropout: float | None = None
    lr: float | None = None
    epochs: int | None = None  # planned
    numbers: Mapping[str, float] = field(default_factory=dict)  # from results.json, by key
    # From results.json; while there is none, the configuration's keys, nested ones joined by dots.
    settings: Mapping[str, object] = field(default_factory=dict)
    has_results: bool = False
    code: str = ""  # the code version that made it, as results.json says
    commit: str = ""
    history: tuple[Epoch, ...] = ()


class SweepError(ValueError):
    """The folder is not a sweep that can be ranked."""


class _Unreadable(Exception):
    """A file of a run cannot be trusted; the message says why."""


def read_runs(folder: Path) -> list[RunFiles]:
    """Every run of the sweep in `folder`: each direct subfolder with a config.yaml, by name.

    Raises SweepError when there is no such folder or no run in it.
    """
    if not folder.is_dir():
        raise SweepError(f"{folder} is not a folder.")
    try:
        places = sorted(
            place
            for place in folder.iterdir()
            if not place.name.startswith(".") and os.path.lexists(place / "config.yaml")
        )
    except OSError as error:
        raise SweepError(f"{folder} cannot be read: {error.strerror}.") from error
    if not places and (folder / "config.yaml").exists():
        raise SweepError(f"{folder} is a single run; give the folder that holds the runs.")
    if not places:
        raise SweepError(f"{folder} holds no runs (no subfolder with a config.yaml).")
    return [read_run(place) for place in places]


def read_run(folder: Path) -> RunFiles:
    """The run in `folder`, from its config.yaml, metrics.csv and results.json. Garbage never raises."""
    run = RunFiles(name=plain(folder.name))
    try:
        config = _read_config(folder / "config.yaml")
        task = config.get("task")
        epochs = config.get("epochs")
        run = replace(
            run,
            dropout=_number(config, "dropout", "config.yaml", required=True, high=1),
            lr=_number(config, "lr", "config.yaml", required=True),
            task=task if isinstance(task, str) and task in TASKS else None,
            epochs=epochs if type(epochs) is int else None,
            settings=config,
        )
    except _Unreadable as error:
        return replace(run, cause=str(error))
    problem = ""
    try:
        run = replace(run, history=_read_history(folder / "metrics.csv"))
    except _Unreadable as error:
        problem = str(error)
    results = folder / "results.json"
    if not os.path.lexists(results):  # it comes last, so the run goes on or was interrupted
        if problem:
            return replace(run, cause=problem)
        if disagreement := _disagreement(config, folder):
            return replace(run, cause=disagreement)
        reached = f"epoch {run.history[-1].number if run.history else 0}"
        return replace(
            run, status="running", cause=f"{reached} of {run.epochs}" if run.epochs is not None else reached
        )
    try:
        content = _read_results(results)
        changed = altered(folder, content)
        if "config.yaml" in changed:
            raise _Unreadable(f"config.yaml {CHANGED}; {REMEDY}")
        if "metrics.csv" in changed:
            run, problem = replace(run, history=()), f"metrics.csv {CHANGED}"
        return _with_results(run, content, problem)
    except _Unreadable as error:
        return replace(run, cause=str(error))


def _with_results(run: RunFiles, results: Mapping[str, object], history_problem: str) -> RunFiles:
    """`run` with what results.json says, every number checked."""
    source = "results.json"
    status, task, settings = results.get("status"), results.get("task"), results.get("settings", {})
    if status not in ("done", "diverged", "failed"):
        raise _Unreadable(f"{source}: status is {plain(status, 40)!r}, not done, diverged or failed")
    if not isinstance(task, str) or task not in TASKS:
        raise _Unreadable(f"{source}: task is {plain(task, 40)!r}, not one of {', '.join(TASKS)}")
    if not isinstance(settings, dict):
        raise _Unreadable(f"{source}: settings is not an object")
    done = status == "done"
    for key in ("dropout", "lr"):
        value = _number(results, key, source, required=done, high=1 if key == "dropout" else math.inf)
        if value is not None and value != getattr(run, key):
            raise _Unreadable(f"{source} says {key} {value!r}, config.yaml {getattr(run, key)!r}")
    metrics = TASKS[task]
    numbers = {}
    for key, required, high in (
        ("train_loss", False, math.inf),
        (metrics.validation, done, 1),
        (metrics.test, False, 1),
        (metrics.test_best, False, 1),
        *((key, False, highest) for key, highest in metrics.further.items()),
        ("seconds", False, math.inf),
    ):
        # A run that diverged may well have filed a NaN; one that is done may not.
        value = _number(results, key, source, required=required, high=high, finite=done)
        if value is not None:
            numbers[key] = value
    cause = plain(results.get("cause"))
    if history_problem:
        cause = f"{cause}; {history_problem}" if cause else f"{history_problem}; its curves are not drawn"
    versions = results.get("versions")
    return replace(
        run,
        status=str(status),
        cause=cause,
        task=task,
        numbers=numbers,
        settings=settings,
        has_results=True,
        code=plain(results.get("code"), 200),
        commit=plain(versions.get("commit") if isinstance(versions, dict) else None, 60),
    )


def _number(
    values: Mapping[str, object],
    key: str,
    source: str,
    *,
    required: bool,
    high: float = math.inf,
    finite: bool = True,
) -> float | None:
    """The number at `key`, from 0 to `high`; None for null, and for NaN and inf if not `finite`."""
    value = values.get(key)
    if value is None and not required:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Unreadable(f"{source}: {key} is {plain(value, 40) or 'missing'}, not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number) and not finite:
        return None
    if not (math.isfinite(number) and 0 <= number <= high):
        span = "of 0 or more" if high == math.inf else f"from 0 to {high:g}"
        raise _Unreadable(f"{source}: {key} is {plain(value, 40)}, not a number {span}")
    return number


def _read_text(path: Path) -> str:
    try:
        if not path.is_file():  # a folder, or a pipe, on which reading would wait for ever
            raise _Unreadable(f"{path.name} is not a file")
        with path.open("rb") as file:
            data = file.read(LARGEST_FILE + 1)
    except OSError as error:
        raise _Unreadable(f"{path.name} cannot be read: {error.strerror}") from error
    if len(data) > LARGEST_FILE:
        raise _Unreadable(f"{path.name} is larger than {LARGEST_FILE // 2**20} MiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise _Unreadable(f"{path.name} is not UTF-8 text") from error


def _read_config(path: Path) -> dict[str, object]:
    text = _read_text(path)
    try:
        return _flat(settings_of(text))
    except Exception as error:  # a YAML parser given garbage raises nearly anything
        raise _Unreadable(f"{path.name} is not YAML: {plain(str(error).split(chr(10))[0], 80)}") from error


def _flat(tree: Mapping[Any, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in tree.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _read_results(path: Path, remedy: str = REMEDY) -> dict[str, object]:
    try:
        content = json.loads(_read_text(path))
    except (ValueError, RecursionError) as error:
        raise _Unreadable(f"{path.name} is not JSON: {plain(str(error), 80)}") from error
    if not isinstance(content, dict):
        raise _Unreadable(f"{path.name} is not a JSON object")
    if seal_is_broken(content):
        raise _Unreadable(f"{path.name} {CHANGED}; {remedy}")
    return content


def _disagreement(config: Mapping[str, object], folder: Path) -> str:
    """What a run without results has in config.yaml that is not in identity.json, or ""."""
    path = folder / "identity.json"
    if not os.path.lexists(path):
        return ""
    try:
        settings = _read_results(path, "force=true trains it afresh").get("settings")
    except _Unreadable as error:
        return str(error)
    for key, value in settings.items() if isinstance(settings, dict) else ():
        if key != "data.digest" and (key not in config or config[key] != value):
            said = plain(config.get(key), 40) or "nothing"
            return f"config.yaml says {key} {said}, {path.name} {plain(value, 40)}"
    return ""


def _read_history(path: Path) -> tuple[Epoch, ...]:
    """The epochs of metrics.csv in order; none when there is no such file yet."""
    if not os.path.lexists(path):
        return ()
    text = _read_text(path)
    text = text[: text.rfind("\n") + 1]  # a line without its end is still being written
    epochs: dict[int, Epoch] = {}
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        for row in reader:
            if None in row or None in row.values():
                raise ValueError("the number of columns differs from the header's")
            values = {key: float(value) for key, value in row.items() if value.strip()}
            number = values.get("epoch", math.nan)
            if not (1 <= number <= 1e6 and number.is_integer()):
                raise ValueError("the epoch is not a whole number from 1")
            # A resumed run may write an epoch again: the later row stands.
            epochs[int(number)] = Epoch(int(number), {k: v for k, v in values.items() if math.isfinite(v)})
    except (ValueError, csv.Error) as error:
        raise _Unreadable(f"{path.name}, line {reader.line_num}: {plain(str(error), 80)}") from error
    return tuple(epochs[number] for number in sorted(epochs))
