"""One job: a configuration in, a finished run's folder out, whatever happens on the way."""

from __future__ import annotations

import contextlib
import datetime
import logging
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from src import stops
from src.config import ALWAYS_NAMED, FIGURES, RATES, parts_obstacle
from src.files import write_atomically
from src.memory import advice, set_free, shortage
from src.provenance import cores, processor, versions
from src.run import Diverged, FolderGone, Run, RunMismatch
from src.seal import CHANGED

Say = Callable[[str], None]
SMALL_BATCH = 16
# 2: a mistake in the command; 128 + n: stopped by signal n (src/stops.py)
EXIT = {"done": 0, "failed": 1, "diverged": 3}


def run_job(
    cfg: DictConfig, run: Run, say: Say, *, show_bar: bool, threads: int | None = None
) -> dict[str, Any]:
    """Train one run unless it is finished, and record how it ended.

    A finished run is left alone; a half-finished one goes on from its last checkpoint; a failed one is
    tried again. Another process on the same run is waited for.

    Args:
        cfg: composed and checked settings.
        run: where to write.
        say: takes a line for the user.
        show_bar: whether to show a progress bar.
        threads: CPU threads where the settings name none; None for what suits a run that is alone.

    Returns:
        The content of results.json. Where the folder holds a run of other settings by now, a failure that is
        not recorded there.

    Raises:
        KeyboardInterrupt: told to stop (src/stops.py); the same command goes on later.
    """
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(locked(run, say))
        except OSError as error:  # a full disk, a folder that cannot be written
            if not cfg.force and run.is_finished():
                return run.results() or {}
            return record_failure(cfg, run, f"its folder cannot be used: {error}")
        if not cfg.force and (notice := run.other_code()):
            say(notice)
        if not cfg.force and run.is_finished() and run.mismatch() is None:
            return run.results() or {}
        cfg = cfg.copy()
        begun_with = None if cfg.force else run.threads_before()
        cfg.threads = cfg.threads or begun_with or threads or default_threads(cfg)
        if not cfg.force and (damaged := run.damage()):
            say(f"{run.name}: {', '.join(damaged)} {CHANGED}; written again from the last sound checkpoint")
        if not cfg.force and cfg.on_memory == "halve":
            cfg.batch_parts = max(cfg.batch_parts, min(run.parts_before(), cfg.batch_size))
        try:
            run.start(cfg)
        except OSError as error:
            return record_failure(cfg, run, f"its folder cannot be used: {error}")
        except RunMismatch as error:  # of another command, since this one was checked
            return results_of(cfg, run, status="failed", cause=str(error), measured={}, rows=[])
        return _train(cfg, run, say, show_bar)


def default_threads(cfg: DictConfig) -> int:
    """CPU threads of a run that has the machine to itself.

    The steps of a classifier at small batches and of a captioner's decoder are too short to be shared: a
    second thread gains up to a half on free cores, and costs a multiple where something else runs, too
    (docs/PERFORMANCE.md). A trained encoder's convolutions are long enough.
    """
    if cfg.task == "classify":
        return 1 if cfg.batch_size <= SMALL_BATCH else cores()
    return cores() if cfg.encoder.fine_tune or cfg.encoder.name == "tiny" else 1


def one_line(results: dict[str, Any]) -> str:
    """How a run ended, in one line."""
    validation, test = FIGURES.get(results.get("task", ""), ("", ""))
    numbers = {"val": results.get(validation), "test": results.get(test)}
    parts = [f"{name} {value:.4f}" for name, value in numbers.items() if value is not None]
    seconds = results.get("seconds")
    parts += [f"{seconds:.0f} s"] if seconds is not None else []
    cause = results.get("cause")
    end = f"  ({cause})" if cause else ""
    return f"{results.get('run')}  {results.get('status')}  {', '.join(parts)}{end}"


def _train(cfg: DictConfig, run: Run, say: Say, show_bar: bool) -> dict[str, Any]:
    quiet()
    while True:
        results = _try(cfg, run, say, show_bar)
        if results is not None:
            return results
        set_free()
        cfg.batch_parts = min(2 * cfg.batch_parts, cfg.batch_size)
        cfg.force = False  # what is done stays: the run goes on from its last checkpoint
        say(f"{run.name}: memory ran out; going on with batches in {cfg.batch_parts} parts, the same numbers")
        try:
            run.start(cfg)
        except OSError as error:
            return record_failure(cfg, run, f"its folder cannot be used: {error}")


def _try(cfg: DictConfig, run: Run, say: Say, show_bar: bool) -> dict[str, Any] | None:
    """Train, and record the end; None where memory ran out and more parts may do."""
    from src.checkpoints import best_survives  # late: torch and Lightning take seconds to import
    from src.fit import fit_and_test, task_of
    from src.recorder import Recorder

    task = task_of(cfg)
    recorder = Recorder(run, task.COLUMNS, task.TAGS, task.MONITOR, task.RATE)
    status, cause = "done", None
    best_epoch = None
    try:
        best_survives(run.last, run.best, say)
        measured = fit_and_test(cfg, run, recorder, say, show_bar)
    except Diverged as error:
        status, cause = "diverged", str(error)
    except FolderGone as error:  # nothing is written to where nobody expects it
        return results_of(cfg, run, status="failed", cause=str(error), measured={}, rows=[])
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # which Lightning turns into status 1
            raise error.__context__ from None
        stops.check()  # it has a way of its own to end after SIGTERM
        raise
    except Exception as error:  # whatever a run dies of is recorded; the other runs go on
        status, cause = "failed", f"{type(error).__name__}: {error}"
        if (words := shortage(error)) is not None:
            may_halve = parts_obstacle(cfg) is None
            more = may_halve and cfg.on_memory == "halve" and cfg.batch_parts < cfg.batch_size
            if more and recorder.stage == "training":
                return None
            cause = advice(words, recorder.stage, cfg.batch_size, cfg.batch_parts, may_halve)
        with contextlib.suppress(OSError):
            write_atomically(run.failure_file, traceback.format_exc())
    if status != "done":
        best_epoch = int(recorder.best["epoch"]) if recorder.best else None
        measured = task.summarize(recorder.rows, best_epoch, {}, {})
    if cfg.batch_parts > 1:
        measured["batch_parts"] = cfg.batch_parts
    results = results_of(cfg, run, status=status, cause=cause, measured=measured, rows=recorder.rows)
    try:
        run.finish(results)
    except OSError as error:
        results |= {"status": "failed", "cause": cause or f"its folder cannot be written: {error}"}
    return results


def record_death(cfg: DictConfig, run: Run, exit_code: int) -> dict[str, Any]:
    """Record a run whose process ended without a word of its own; returns its results."""
    cause = f"its process ended with status {exit_code}"
    number = -exit_code if exit_code < 0 else exit_code - 128
    if number in set(signal.Signals):
        cause = f"its process was ended by {signal.Signals(number).name}"
        if number == signal.SIGKILL:
            smaller = f", or batch_size={cfg.batch_size // 2}" if cfg.batch_size > 1 else ""
            cause += f", as it is when the machine's memory runs out: try fewer workers (workers=1){smaller}"
    try:
        with FileLock(run.lock_file, timeout=0):
            return record_failure(cfg, run, cause)
    except (OSError, Timeout):  # another process is at work on it, or the folder is gone
        return results_of(cfg, run, status="failed", cause=cause, measured={}, rows=[])


def record_failure(cfg: DictConfig, run: Run, cause: str) -> dict[str, Any]:
    """Record a run that did not begin or left no word, in its folder where that can be written."""
    results = results_of(cfg, run, status="failed", cause=cause, measured={}, rows=[])
    try:
        if not run.config_file.exists():  # by which the ranking knows a run's folder
            write_atomically(run.config_file, OmegaConf.to_yaml(cfg, resolve=True))
        run.finish(results)
    except OSError as error:
        results["cause"] = f"its folder cannot be written: {error}"
    return results


def results_of(
    cfg: DictConfig,
    run: Run,
    *,
    status: str,
    cause: str | None,
    measured: dict[str, Any],
    rows: list[dict[str, float]],
) -> dict[str, Any]:
    """The content of results.json."""
    rate = RATES[cfg.task]
    rates = sorted(row[rate] for row in rows)
    named = (*ALWAYS_NAMED[cfg.task], "epochs", "seed")
    return {
        "status": status,
        "cause": cause,
        "task": cfg.task,
        "name": cfg.name,
        "run": run.name,
        **{key: run.identity[key] for key in named if key in run.identity},
        **measured,
        "seconds": sum(row["seconds"] for row in rows),
        rate: rates[len(rates) // 2] if rates else None,
        "epochs_done": len(rows),
        "settings": run.identity,
        "code": run.made_by() or run.code,
        "processor": processor(),
        "versions": versions(),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


class locked:
    """The run's lock, which the kernel drops when its holder dies; says so when it has to wait."""

    def __init__(self, run: Run, say: Say) -> None:
        self.run, self.say = run, say
        self.lock = FileLock(run.lock_file)

    def __enter__(self) -> None:
        self.run.lock_file.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.lock.acquire(timeout=0.2)
        except Timeout:
            self.say(f"{self.run.name}: another process works on it; waiting")
            self.lock.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()


def quiet() -> None:
    """Silence what Lightning says about things that are as they should be."""
    import lightning  # noqa: F401  sets the level of its loggers when it is imported

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")


def say_to_terminal(line: str) -> None:
    """A line on standard error, clear of a progress bar; nothing where the terminal is gone."""
    from tqdm import tqdm

    with contextlib.suppress(OSError):
        tqdm.write(line, file=sys.stderr)
        sys.stderr.flush()
