"""The real commands, in a process forked from the tests' (imports are done), and plans composed in this one."""

from __future__ import annotations

import csv
import io
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

import src.train  # noqa: F401  makes the launchers known to Hydra
from src.config.settings import register
from src.entry_point import CONF, InvalidCommand
from src.run import signals
from src.run.checkpoints import read_checkpoint
from src.run.job import run_job
from src.sweep.command import read_command
from src.sweep.plan import Plan, plan_of

ROOT = Path(__file__).parents[1]
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}
TIME_COLUMNS = ("seconds", "images_per_second", "captions_per_second")
NOT_NUMBERS = (*TIME_COLUMNS, "finished", "commit", "dirty", "code", "name", "run")
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")


@dataclass(frozen=True)
class Ended:
    """How a command ended; a negative status is the signal that killed it."""

    status: int
    out: str
    err: str


class Command:
    """A command at work in a session of its own: `src.NAME`, its arguments as after `python -m`.

    Args:
        name: module of `src` whose `main` is called.
        folder: the working folder.
        prepare: called in the process first, to change what it finds.
        variables: of its environment.
    """

    def __init__(
        self,
        name: str,
        *arguments: str,
        folder: Path = ROOT,
        prepare: Callable[[], None] = lambda: None,
        **variables: str,
    ) -> None:
        self.texts = [Path(tempfile.mkstemp(prefix="command-")[1]) for _ in range(2)]
        context = multiprocessing.get_context("fork")
        self.is_ready = context.Event()
        self.process = context.Process(target=self._main, args=(name, arguments, folder, prepare, variables))
        self.process.start()
        assert self.is_ready.wait(60)  # no signal meets the tests' own handlers

    def _main(self, name: str, arguments: Any, folder: Path, prepare: Any, variables: Any) -> None:
        os.setsid()
        for one in SIGNALS:
            signal.signal(getattr(signal, one), signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if name == "train":  # as `python -m src.train` does before its imports
            signals.exit_on_signal("Stopped before anything was done.")
        self.is_ready.set()
        for number, (stream, path) in enumerate(zip(("stdout", "stderr"), self.texts, strict=True), 1):
            os.dup2(os.open(path, os.O_WRONLY), number)
            setattr(sys, stream, io.TextIOWrapper(io.FileIO(number, "w", closefd=False), write_through=True))
        os.environ.update({**NO_GPU, **variables})
        os.chdir(folder)
        GlobalHydra.instance().clear()
        forked = multiprocessing.get_context("fork")  # a server would import torch once more
        multiprocessing.get_context = lambda method=None: forked if method == "forkserver" else usual(method)  # type: ignore[assignment]
        forked.set_forkserver_preload = lambda module_names: None  # type: ignore[method-assign]
        prepare()
        sys.argv = [f"src/{name}.py", *arguments]
        import_module(f"src.{name}").main()

    @property
    def pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid

    def is_over(self) -> bool:
        return self.process.exitcode is not None

    def send(self, number: int, to_group: bool = False) -> None:
        (os.killpg if to_group else os.kill)(self.pid, number)

    def wait_for_rows(self, sweep: Path, rows: int) -> None:
        """Wait until a run below `sweep` has written as many epochs."""
        until = time.monotonic() + 120
        while not self.is_over() and time.monotonic() < until:
            if any(path.read_bytes().count(b"\n") > rows for path in sweep.glob("*/metrics.csv")):
                return
            time.sleep(0.005)
        raise AssertionError(f"ended or stuck before epoch {rows}: {self.end()}")

    def end(self, timeout_s: float = 120) -> Ended:
        self.process.join(timeout_s)
        if self.process.exitcode is None:
            os.killpg(self.pid, signal.SIGKILL)
            raise AssertionError(f"not over after {timeout_s} s: {self.texts[1].read_text()}")
        out, err = (path.read_text(errors="replace") for path in self.texts)
        for path in self.texts:
            path.unlink()
        return Ended(self.process.exitcode, out, err)


usual = multiprocessing.get_context


def run(name: str, *arguments: str, **options: Any) -> Ended:
    """A command, from start to end."""
    return Command(name, *arguments, **options).end()


def run_train(*arguments: str, **options: Any) -> Ended:
    return run("train", *arguments, **options)


def errors_of(*arguments: str) -> list[str]:
    """What is wrong with a command line of `src.train`, read in this process."""
    register()
    try:
        read_command(arguments)
    except InvalidCommand as error:
        return error.errors
    return []


def plan(*overrides: str) -> Plan:
    """The plan of one job, read and composed in this process."""
    register()
    arguments = read_command(list(overrides))
    with initialize_config_dir(str(CONF), job_name="train", version_base="1.3"):
        return plan_of(compose("train", arguments, return_hydra_config=True))


def train_here(asked: Plan, status: str = "done") -> dict[str, Any]:
    """Train in this process; what results.json holds."""
    with torch_threads():
        results = run_job(asked.cfg, asked.run, show_bar=False)
    assert results["status"] == status, results["cause"]
    return results


@contextmanager
def torch_threads() -> Iterator[None]:
    """The number of torch's threads is afterwards what it was."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def rows_of(folder: Path) -> list[dict[str, str]]:
    """metrics.csv without the columns that hold times."""
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [{key: text for key, text in row.items() if key not in TIME_COLUMNS} for row in rows]


def results_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def without_times(results: dict[str, Any]) -> dict[str, Any]:
    """Results without times, names of folders, and the code's version, which may change while tests run."""
    return {key: value for key, value in results.items() if key not in NOT_NUMBERS}


def same_numbers(folder: Path, expected: Path) -> None:
    """Assert that two runs' files hold the same, bit for bit, but for times and names."""
    assert rows_of(folder) == rows_of(expected)
    assert without_times(results_of(folder)) == without_times(results_of(expected))
    for name in ("last", "best"):
        ours, theirs = (
            read_checkpoint(place / "checkpoints" / f"{name}.ckpt")["state_dict"]
            for place in (folder, expected)
        )
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
