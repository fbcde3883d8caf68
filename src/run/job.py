"""One job: a configuration in, a finished run's folder out, whatever happens on the way."""

from __future__ import annotations

import contextlib
import datetime
import logging
import os
import signal
import statistics
import traceback
import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from filelock import AcquireReturnProxy, Timeout
from omegaconf import DictConfig, OmegaConf

from src.config.settings import TASKS
from src.entry_point import UserError
from src.files import CHANGED, modified_files, write_atomically
from src.locks import lock_at
from src.run import ranks, signals
from src.run.environment import default_threads, processor, provenance, source_digest
from src.run.folder import Diverged, Run

# 2: an error in the command; 130, 143, 129: stopped by Ctrl-C, SIGTERM, SIGHUP
EXIT = {"done": 0, "failed": 1, "diverged": 3}
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "ALLOC_FAILED", "bad_alloc")
logger = logging.getLogger(__name__)


def run_job(cfg: DictConfig, run: Run, *, show_bar: bool, threads: int | None = None) -> dict[str, Any]:
    """Train one run unless it is finished, or go on with it, and record how it ended, which is returned.

    Another process on the same run is waited for.

    Args:
        threads: CPU threads where the settings name none; None for what suits a run that is alone.

    Raises:
        KeyboardInterrupt: told to stop (src/run/signals.py); the same command goes on later.
    """
    if ranks.started_outside(cfg) and int(os.environ["RANK"]):
        if cfg.force or not run.is_finished():
            ranks.follow(cfg, run)
        raise SystemExit(0)  # rank 0 tells how the run ended
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lock(run))
            if not cfg.force and run.is_finished() and run.mismatch() is None:
                return run.results() or {}
            provenance()  # remembered: of the code that runs, not of what the folder holds hours later
            cfg = cfg.copy()
            saved: Any = {} if cfg.force else run.saved_config() or {}
            # With other threads last digits would differ.
            cfg.threads = cfg.threads or saved.get("threads") or threads or default_threads(cfg)
            if saved.get("code", source_digest()) != source_digest():
                logger.info("%s: goes on from a state made by other code (%s)", run.name, saved["code"])
            if saved and (modified := modified_files(run.folder)):
                files = ", ".join(modified)
                logger.info("%s: %s %s; made again from the last checkpoint", run.name, files, CHANGED)
            run.start(cfg)
        except UserError as error:  # the folder is another command's, since this one was checked
            return results_of(cfg, run, status="failed", cause=str(error))
        except OSError as error:  # a full disk, a folder that cannot be written
            return _record(cfg, run, status="failed", cause=f"its folder cannot be used: {error}")
        return _train(cfg, run, show_bar)


def one_line(results: dict[str, Any]) -> str:
    """How a run ended, in one line."""
    task = TASKS[results["task"]]
    numbers = {"val": results.get(task.monitor), "test": results.get(task.test)}
    parts = [f"{name} {value:.4f}" for name, value in numbers.items() if value is not None]
    cause = f"  ({results['cause']})" if results["cause"] else ""
    parts.append(f"{results['seconds']:.0f} s")
    return f"{results['run']}  {results['status']}  {', '.join(parts)}{cause}"


def _train(cfg: DictConfig, run: Run, show_bar: bool) -> dict[str, Any]:
    quiet_lightning()
    from src.run.checkpoints import Recorder
    from src.run.fit import fit_and_test, training_results  # late: torch and Lightning take seconds to import
    from src.run.pruning import Pruned

    recorder = Recorder(run, TASKS[cfg.task], cfg.seed)
    status, cause, measured = "done", None, {}
    try:
        with signals.kept(), ranks.others(cfg, run), ranks.connected(cfg):
            measured = fit_and_test(cfg, run, recorder, show_bar)
    except Diverged as error:
        status, cause = "diverged", str(error)
    except Pruned as error:
        status, cause = "pruned", str(error)
    except SystemExit as error:
        if isinstance(error.__context__, KeyboardInterrupt):  # which Lightning turns into status 1
            raise error.__context__ from None
        signals.check()  # it has a way of its own to end after SIGTERM
        raise
    except Exception as error:  # whatever a run dies of is recorded; the other runs go on
        status, cause = "failed", f"{type(error).__name__}: {error}"
        if is_out_of_memory(error):
            cause = f"memory ran out: {oom_hint(cfg)} ({str(error).splitlines()[0][:100]})"
        with contextlib.suppress(OSError):
            write_atomically(run.folder / "failure.txt", traceback.format_exc())
    if status != "done":
        measured = training_results(recorder, cfg.task)
    return _record(cfg, run, status=status, cause=cause, measured=measured, rows=recorder.rows)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an allocator gave up: Python's, torch's for CPU, MPS and CUDA, cuBLAS, cuDNN, C++."""
    is_torch = isinstance(error, RuntimeError) and any(sign in str(error) for sign in OUT_OF_MEMORY)
    return is_torch or isinstance(error, MemoryError)


def oom_hint(cfg: DictConfig) -> str:
    """What to try when memory runs out."""
    half = f"batch_size={max(1, cfg.batch_size // 2)} trainer.accumulate_grad_batches=2"
    return f"try {half}, which keeps the total batch, or workers=1"


def cause_of_death(cfg: DictConfig, exit_code: int) -> str:
    """Why a run's process ended without a word of its own; a negative code is a signal."""
    killed = f" (the machine's memory may have run out: {oom_hint(cfg)})" * (exit_code == -signal.SIGKILL)
    return f"its process ended with status {exit_code}{killed}"


def record_failure(cfg: DictConfig, run: Run, cause: str) -> dict[str, Any]:
    """Record a run that left no results; not where its folder is another command's, or another process's, by now."""
    with contextlib.suppress(OSError, Timeout):
        if not run.mismatch():
            with lock_at(run.lock_file).acquire(timeout=0):
                return _record(cfg, run, status="failed", cause=cause)
    return results_of(cfg, run, status="failed", cause=run.mismatch() or cause)


def _record(cfg: DictConfig, run: Run, **ended: Any) -> dict[str, Any]:
    """Write how a run ended; see `results_of`."""
    results = results_of(cfg, run, **ended)
    try:
        if not run.config_file.exists():  # by which the ranking knows a run's folder
            write_atomically(run.config_file, OmegaConf.to_yaml(cfg, resolve=True))
        run.finish(results)
    except OSError as error:
        results |= {"status": "failed", "cause": results["cause"] or f"its folder cannot be written: {error}"}
    return results


def results_of(
    cfg: DictConfig,
    run: Run,
    *,
    status: str,
    cause: str | None,
    measured: Mapping[str, Any] = MappingProxyType({}),
    rows: Sequence[Mapping[str, float]] = (),
) -> dict[str, Any]:
    """The content of results.json."""
    task = TASKS[cfg.task]
    named = (*task.always_named, "epochs", "seed")
    return {
        "status": status,
        "cause": cause,
        "task": cfg.task,
        "name": cfg.name,
        "run": run.name,
        **{key: run.fingerprint[key] for key in named if key in run.fingerprint},
        **measured,
        "seconds": sum(row["seconds"] for row in rows),
        task.rate: statistics.median_high(row[task.rate] for row in rows) if rows else None,
        "epochs_done": len(rows),
        "settings": run.fingerprint,
        "processor": processor(),
        **provenance(),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }


def lock(run: Run) -> AcquireReturnProxy:
    """Take the run's lock; says so when it has to wait."""
    try:
        return lock_at(run.lock_file).acquire(timeout=0.2)
    except Timeout:
        logger.info("%s: another process works on it; waiting", run.name)
        return lock_at(run.lock_file).acquire()


def quiet_lightning() -> None:
    """Silence what Lightning says about things that are as they should be."""
    import lightning  # noqa: F401  sets the level of its loggers when it is imported

    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
