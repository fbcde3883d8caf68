"""A batch system's variables, signals and foreign checkpoints change nothing in a run."""

import os
import shutil
import signal
from pathlib import Path

import pytest

from src.job import run_job
from tests.command_line import finish, plan, same_numbers, start_train, wait_for_rows

SLURM = {
    **{"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "train.sh", "SLURM_NTASKS": "4", "SLURM_NODELIST": "n1"},
    **{"SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0"},
}
LSF = {"LSB_JOBID": "77", "LSB_DJOB_RANKFILE": "hosts", "LSB_HOSTS": "n1 n1"}
JSM = {"JSM_NAMESPACE_RANK": "1", "JSM_NAMESPACE_LOCAL_RANK": "1", "JSM_NAMESPACE_SIZE": "4"}
RUN = ("limit_train=80", "limit_val=40", "limit_test=40", "threads=1", "lr=0.01")


def train_here(*overrides: str) -> Path:
    """Train in this process; the run's folder."""
    asked = plan(*overrides)
    results = run_job(asked.cfg, asked.run, print, show_bar=False)
    assert (results["status"], results["cause"]) == ("done", None)
    return asked.run.folder


def test_a_signalled_and_repeated_sweep_in_a_slurm_job_has_the_numbers_of_one_outside(
    on_idx: tuple[str, ...], tmp_path: Path, one_thread: None
) -> None:
    donor = train_here(*on_idx, *RUN, "epochs=1", "seed=7", f"output_dir={tmp_path / 'donor'}")
    job = tmp_path / "job"
    job.mkdir()
    shutil.copy(donor / "checkpoints" / "last.ckpt", job / "hpc_ckpt_1.ckpt")
    settings = (*on_idx, *RUN, "epochs=60")
    command = ("-m", *settings, f"output_dir={tmp_path / 'out'}", "dropout=0.1,0.5", "workers=2")
    process = start_train(*command, folder=job, **SLURM, PL_TRAINER_LIMIT_TRAIN_BATCHES="1")
    wait_for_rows(process, tmp_path / "out" / "idx", 2)
    os.killpg(process.pid, signal.SIGUSR1)
    ended = finish(process)  # returns when the workers are gone, too: they hold the other ends of the pipes
    assert ended.status == 128 + signal.SIGUSR1, ended.err
    assert "Stopped. 0 of 2 runs are finished; the same command carries on." in ended.err
    assert "Traceback" not in ended.err
    assert not list(tmp_path.glob("out/*/*/results.json")), "a run that was stopped is no failed run"

    ended = finish(start_train(*command, folder=job, **SLURM, PL_TRAINER_LIMIT_TRAIN_BATCHES="1"))
    assert ended.status == 0, ended.err
    assert [path.name for path in job.iterdir()] == ["hpc_ckpt_1.ckpt"], "nothing is written there"
    for dropout in ("0.1", "0.5"):
        expected = train_here(*settings, f"dropout={dropout}", f"output_dir={tmp_path / 'outside'}")
        found = tmp_path / "out" / "idx" / expected.name
        same_numbers(found, expected)
        assert list(found.glob("events.out.tfevents.*")), "also the process of rank 1 logs"


def test_lsf_and_jsm_are_not_looked_for(
    on_idx: tuple[str, ...], tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("n1\nn1\n")
    for name, value in {**LSF, **JSM, "LSB_DJOB_RANKFILE": str(hosts)}.items():
        monkeypatch.setenv(name, value)
    train_here(*on_idx, *RUN, "epochs=1", f"output_dir={tmp_path}")
