"""A sweep on a real SLURM of two nodes, with everything that happens to jobs there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.command_line import NO_GPU, ROOT, Command, results_of, rows_of, run, run_train, same_numbers

HERE = Path(__file__).parent
GRID = ("dropout=0.1,0.2,0.3,0.4", "lr=0.1,0.01", "epochs=12")
SLURM = ("-m", "hydra/launcher=slurm", "hydra.launcher.poll_s=0.5")
pytestmark = pytest.mark.engines


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([HERE / "slurm" / "start", folder], check=True, timeout=60)
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    yield
    subprocess.run([HERE / "slurm" / "stop", folder], check=True, timeout=60)
    del os.environ["SLURM_CONF"]


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, on_idx: tuple[str, ...]) -> Path:
    """The same sweep, undisturbed, by this machine's workers."""
    folder = tmp_path_factory.mktemp("local")
    assert run_train("-m", *GRID, *on_idx, "name=sweep", f"output_dir={folder}").status == 0
    return folder / "sweep"


def scontrol(*arguments: str) -> None:
    subprocess.run(["scontrol", *arguments], check=True)


def resume(node: str) -> None:
    """Give a node work again; refused where it registered again meanwhile, and is back by itself."""
    subprocess.run(["scontrol", "update", f"nodename={node}", "state=resume"], check=False)


def states() -> dict[str, list[str]]:
    """State and node of the jobs in the queue, by number."""
    done = subprocess.run(
        check=False,
        args=["squeue", "--noheader", "--array", "--format=%i %T %N"],
        capture_output=True,
        text=True,
    )
    return {words[0]: words[1:] for words in map(str.split, done.stdout.splitlines())}


def wait_for(found: Callable[[], object], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < until, states()
        time.sleep(0.1)


def test_numbers_survive_a_cancelled_job_and_a_lost_node(
    tmp_path: Path, on_idx: tuple[str, ...], local: Path
) -> None:
    arguments = (*SLURM, *GRID, *on_idx, "name=sweep", f"output_dir={tmp_path}")
    command = Command("train", *arguments)
    command.wait_for_rows(tmp_path / "sweep", 2)
    wait_for(lambda: any(words[1:] == ["n2"] for words in states().values()))
    scontrol("update", "nodename=n2", "state=down", "reason=test")  # its job is queued again
    cancelled = next(number for number, words in states().items() if words == ["RUNNING", "n1"])
    subprocess.run(["scancel", cancelled], check=True)
    resume("n2")
    ended = command.end(300)
    assert ended.status == 1
    assert f"its job {cancelled} left no results" in ended.err

    again = Command("train", *arguments).end(300)
    assert again.status == 0, again.err
    assert "7 of 8 runs are finished already" in again.err
    for folder in local.glob("dropout=*"):
        same_numbers(tmp_path / "sweep" / folder.name, folder)


def test_a_drained_node_and_a_time_limit(tmp_path: Path, on_idx: tuple[str, ...]) -> None:
    """20 s into each minute's limit a job is told, queued again, and goes on from its last epoch."""
    settings = (*on_idx, "dropout=0.3", "epochs=120", f"output_dir={tmp_path}")
    limits = ("hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=40")
    scontrol("update", "nodename=n2", "state=drain", "reason=test")
    try:
        ended = Command("train", *SLURM, *limits, *settings, "name=limited").end(400)
    finally:
        resume("n2")
    assert ended.status == 0, ended.err
    logs = "".join(path.read_text() for path in (tmp_path / "limited" / ".slurm").glob("*_log.*"))
    assert "Job has timed out" in logs
    assert run_train(*settings, "name=local").status == 0
    (name,) = [path.name for path in (tmp_path / "local").glob("dropout=*")]
    same_numbers(tmp_path / "limited" / name, tmp_path / "local" / name)


def test_a_detached_sweep_is_ranked_while_it_waits_and_picked_up(
    tmp_path: Path, on_idx: tuple[str, ...]
) -> None:
    grid = ("dropout=0.1,0.2,0.3,0.4", "epochs=12", *on_idx, "name=sweep", f"output_dir={tmp_path}")
    assert run_train(*SLURM, "hydra.launcher.detach=true", *grid).status == 0
    shown = run("rank", str(tmp_path / "sweep"), "plots=false").out
    assert "queued" in shown
    ended = Command("train", *SLURM, *grid).end(300)  # waits for the same jobs
    assert ended.status == 0, ended.err
    statuses = [results_of(folder)["status"] for folder in (tmp_path / "sweep").glob("dropout=*")]
    assert statuses == ["done"] * 4
    submissions = list((tmp_path / "sweep" / ".slurm").glob("*_submission.sh"))
    assert len(submissions) == 1


def test_ctrl_c_takes_the_jobs_out_of_the_queue(tmp_path: Path, on_idx: tuple[str, ...]) -> None:
    command = Command("train", *SLURM, *GRID, *on_idx, "name=sweep", f"output_dir={tmp_path}")
    command.wait_for_rows(tmp_path / "sweep", 1)
    command.send(2)
    assert command.end().status == 130
    wait_for(lambda: not states())


def test_srun_starts_the_ranks_of_one_run(tmp_path: Path, on_idx: tuple[str, ...]) -> None:
    """A rank a node."""
    settings = (*on_idx, "limit_train=64", "dropout=0", "lr=0.05", "epochs=3", f"output_dir={tmp_path}")
    srun = [
        "srun",
        "--nodes=2",
        "--ntasks=2",
        sys.executable,
        "-m",
        "src.train",
        *settings,
        "trainer.num_nodes=2",
    ]
    loopback = {"GLOO_SOCKET_IFNAME": "lo", "MASTER_ADDR": "127.0.0.1"}  # the nodes' names are made up
    environment = {**os.environ, **NO_GPU, **loopback}
    done = subprocess.run(
        [*srun, "name=two"],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert run_train(*settings, "name=one").status == 0
    (two, one) = (rows_of(next((tmp_path / name).glob("dropout=*"))) for name in ("two", "one"))
    assert [float(row["val_loss"]) for row in two] == pytest.approx(
        [float(row["val_loss"]) for row in one], abs=2e-5
    )
