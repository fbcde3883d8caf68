"""Commands that are told to stop, killed, or started twice end with the numbers of those that nothing disturbed."""

import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.run.checkpoints import read_checkpoint
from tests.command_line import Command, plan, rows_of, run_train, same_numbers, train_here

EPOCHS = 8
SETTINGS = (f"epochs={EPOCHS}", "limit_train=240", "threads=1", "optimizer.momentum=0.5", "augment=flip_crop")
DROPOUTS = ("0.1", "0.5")
SLURM: Any = {
    **{"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "train.sh", "SLURM_NTASKS": "4", "SLURM_NODELIST": "n1"},
    **{"SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0", "PL_TRAINER_LIMIT_TRAIN_BATCHES": "1"},
}


@pytest.fixture(scope="module")
def command(on_idx: tuple[str, ...]) -> tuple[str, ...]:
    return (*on_idx, *SETTINGS)


@pytest.fixture(scope="module")
def reference(command: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of uninterrupted runs, trained in this process, by dropout."""
    output = tmp_path_factory.mktemp("reference")
    plans = {dropout: plan(*command, f"dropout={dropout}", f"output_dir={output}") for dropout in DROPOUTS}
    for asked in plans.values():
        train_here(asked)
    return {dropout: asked.run.folder for dropout, asked in plans.items()}


def epochs_of_curves(folder: Path) -> set[tuple[int, ...]]:
    """The epochs that TensorBoard's curves have points at."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith("final/")]
    return {tuple(point.step for point in events.Scalars(tag)) for tag in tags}


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_run_that_is_stopped_and_killed_carries_on(
    command: tuple[str, ...], reference: dict[str, Path], tmp_path: Path, number: signal.Signals
) -> None:
    arguments = (*command, "dropout=0.1", f"output_dir={tmp_path}")
    process = Command("train", *arguments)
    process.wait_for_rows(tmp_path / "idx", 2)
    process.send(number, to_group=True)
    ended = process.end()
    (folder,) = (tmp_path / "idx").glob("dropout=*")
    done = len(rows_of(folder))
    assert 2 <= done < EPOCHS
    assert ended.status == 128 + number
    assert f"Stopped after epoch {done}; the same command carries on." in ended.err
    assert "Traceback" not in ended.err

    process = Command("train", *arguments)
    process.wait_for_rows(tmp_path / "idx", min(done + 2, EPOCHS - 2))
    process.send(signal.SIGKILL)
    assert process.end().status == -signal.SIGKILL
    assert not (folder / "results.json").exists()

    assert run_train(*arguments).status == 0
    same_numbers(folder, reference["0.1"])
    assert epochs_of_curves(folder) == {tuple(range(1, EPOCHS + 1))}
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.slow
def test_a_sweep_in_a_slurm_job_takes_no_foreign_checkpoint_is_signalled_and_run_twice_at_once(
    command: tuple[str, ...], reference: dict[str, Path], tmp_path: Path
) -> None:
    job = tmp_path / "job"
    job.mkdir()
    shutil.copy(reference["0.5"] / "checkpoints" / "last.ckpt", job / "hpc_ckpt_1.ckpt")
    arguments = ("-m", *command, f"dropout={','.join(DROPOUTS)}", f"output_dir={tmp_path}", "workers=2")
    process = Command("train", *arguments, folder=job, **SLURM)
    process.wait_for_rows(tmp_path / "idx", 2)
    process.send(signal.SIGUSR1, to_group=True)
    ended = process.end()
    assert ended.status == 128 + signal.SIGUSR1, ended.err
    assert "Stopped. 0 of 2 runs are finished." in ended.err
    assert "What is finished stays, and the same command carries on." in ended.err
    assert "Traceback" not in ended.err
    assert not list(tmp_path.glob("idx/*/results.json")), "a run that was stopped is no failed run"

    both = [Command("train", *arguments, folder=job, **SLURM) for _ in range(2)]
    for one in both:
        ended = one.end()
        assert (ended.status, "Traceback" in ended.err) == (0, False), ended.err
    assert [path.name for path in job.iterdir()] == ["hpc_ckpt_1.ckpt"], "nothing is written there"
    for dropout, expected in reference.items():
        (folder,) = tmp_path.glob(f"idx/dropout={dropout},*")
        same_numbers(folder, expected)
        assert epochs_of_curves(folder) == {tuple(range(1, EPOCHS + 1))}, "also the process of rank 1 logs"
    assert len((tmp_path / "idx" / "ranking.csv").read_text().splitlines()) == 3


def test_a_damaged_last_checkpoint_is_written_again_where_no_epoch_is_left(
    command: tuple[str, ...], reference: dict[str, Path], tmp_path: Path
) -> None:
    asked = plan(*command, "dropout=0.5", f"output_dir={tmp_path}")
    shutil.copytree(reference["0.5"], asked.run.folder)
    (asked.run.folder / "results.json").unlink()
    shutil.copy(asked.run.last, asked.run.best)  # as if the last epoch were the best
    asked.run.last.write_bytes(b"cut off")
    train_here(asked)
    assert read_checkpoint(asked.run.last)["epoch"] == EPOCHS - 1
