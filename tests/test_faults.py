"""The short forms of the soak and of the crowd; the long one is `python -m tests.faults kills=200`."""

import json
import subprocess
import sys
from pathlib import Path

from tests.command_line import NO_GPU, ROOT
from tests.faults.hook import Moment
from tests.faults.launch import Ended


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, since it forks: this one may have threads."""
    import os

    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env={**os.environ, **NO_GPU, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )


def test_a_sweep_killed_again_and_again_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    ended = python("tests.faults", "kills=2", "seed=1", "only=workers", f"out={tmp_path / 'soak'}")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads((tmp_path / "soak" / "faults.json").read_text())
    assert (found["kills"], found["deviations"]) == (2, [])
    assert {kill["status"] for kill in found["list"]} <= {-9, 130, 143, 129, 1}


def test_eight_sweeps_at_once_train_each_run_once(tmp_path: Path) -> None:
    ended = python("tests.faults.crowd", str(tmp_path), "crowd")  # `make soak` mixes different ones, too
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found = json.loads(ended.stdout)
    assert (found["crowd"]["killed"], found["crowd"]["results_written"]) == (1, 2)


def test_the_harness_sees_what_is_wrong() -> None:
    from tests.faults.episodes import _conduct

    moment = Moment(15, "command", event=3)
    good = Ended(143, "Stopped; the same command carries on.", ["fsync x"], 1.0, 0)
    assert _conduct(good, moment) == []
    for bad in (
        Ended(-15, good.said, good.events, 1.0, 0),
        Ended(143, "Stopped.", good.events, 1.0, 0),
        Ended(143, "Traceback ... same command", good.events, 1.0, 0),
        Ended(143, good.said, good.events, 1.0, 2),
    ):
        assert len(_conduct(bad, moment)) == 1
