"""The real command line, and Hydra's composition of it, for the tests."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

import src.train  # noqa: F401  makes the launcher's plugin known to Hydra
from src.checkpoints import read_checkpoint
from src.config import register
from src.plan import Plan, plan_of

ROOT = Path(__file__).parents[1]
TIME_COLUMNS = ("seconds", "images_per_second", "captions_per_second")
TIME_KEYS = (*TIME_COLUMNS, "finished", "files", "sha256")  # and checksums of files with times in them
NO_GPU = {"CUDA_VISIBLE_DEVICES": ""}


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


def start_train(*arguments: str, folder: Path = ROOT, **variables: str) -> subprocess.Popen[str]:
    """`python -m src.train` in a session of its own, so that a test can signal it and all it started.

    Args:
        arguments: of the command.
        folder: the working folder.
        variables: environment variables.
    """
    return subprocess.Popen(
        [sys.executable, "-m", "src.train", *arguments],
        cwd=folder,
        env={**os.environ, **NO_GPU, "PYTHONPATH": str(ROOT), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A background job of a shell, and what it starts, would ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )


def finish(process: subprocess.Popen[str], timeout_s: float = 300) -> Ended:
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise
    return Ended(process.returncode, out, err)


def wait_for_rows(process: subprocess.Popen[str], sweep: Path, rows: int, timeout_s: float = 200) -> None:
    """Wait until some run below `sweep` has written as many epochs."""
    until = time.monotonic() + timeout_s
    while process.poll() is None and time.monotonic() < until:
        if any(path.read_bytes().count(b"\n") > rows for path in sweep.glob("*/metrics.csv")):
            return
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    raise AssertionError(f"the command ended or was stuck before epoch {rows}: {process.communicate()[1]}")


def run_train(*arguments: str) -> Ended:
    """The command, from start to end."""
    return finish(start_train(*arguments))


def plan(*overrides: str) -> Plan:
    """The plan of one job, composed in this process."""
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(ROOT / "conf")):
        return plan_of(compose("train", overrides=list(overrides), return_hydra_config=True))


def rows_of(folder: Path) -> list[dict[str, str]]:
    """metrics.csv without the columns that hold times."""
    with (folder / "metrics.csv").open(newline="") as file:
        return [
            {name: text for name, text in row.items() if name not in TIME_COLUMNS}
            for row in csv.DictReader(file)
        ]


def without_times(results: dict[str, Any]) -> dict[str, Any]:
    """Results without times, and without the commit, which may change while tests run."""
    kept = {key: value for key, value in results.items() if key not in TIME_KEYS}
    return {**kept, "versions": {**kept["versions"], "commit": None}}


def same_numbers(folder: Path, expected: Path) -> None:
    """Assert that two runs' files hold the same, bit for bit, but for times."""
    assert rows_of(folder) == rows_of(expected)
    ours, theirs = (
        without_times(json.loads((place / "results.json").read_text())) for place in (folder, expected)
    )
    for key in ("name", "run"):  # of folders, which may differ
        ours.pop(key), theirs.pop(key)
    assert ours == theirs
    for name in ("last", "best"):
        mine, other = (
            read_checkpoint(place / "checkpoints" / f"{name}.ckpt")["state_dict"]
            for place in (folder, expected)
        )
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[key], other[key]) for key in mine)
