"""Runs and sweeps that are stopped in every way, also in a batch system's job, end with the numbers of those that
were not; folders that hold something else are not taken."""

import shutil
import signal
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.run.checkpoints import read_checkpoint, write_checkpoint
from src.run.folder import Run
from src.sweep.plan import Plan
from tests.command_line import Command, plan, results_of, rows_of, run_train, same_numbers, train_here

EPOCHS = 8
SETTINGS = (f"epochs={EPOCHS}", "limit_train=240", "threads=1", "optimizer.momentum=0.5", "augment=flip_crop")
DROPOUTS = ("0.1", "0.5")
SLURM = {
    **{"SLURM_JOB_ID": "77", "SLURM_JOB_NAME": "train.sh", "SLURM_NTASKS": "4", "SLURM_NODELIST": "n1"},
    **{"SLURM_PROCID": "1", "SLURM_LOCALID": "1", "SLURM_NODEID": "0", "PL_TRAINER_LIMIT_TRAIN_BATCHES": "1"},
}
LSF = {"LSB_JOBID": "77", "LSB_HOSTS": "n1 n1", "LSB_DJOB_RANKFILE": "hosts"}
JSM = {"JSM_NAMESPACE_RANK": "1", "JSM_NAMESPACE_LOCAL_RANK": "1", "JSM_NAMESPACE_SIZE": "4"}


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
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


def test_lsf_and_jsm_are_not_looked_for(
    on_idx: tuple[str, ...], tmp_path: Path, one_thread: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hosts").write_text("n1\nn1\n")
    for name, value in {**LSF, **JSM, "LSB_DJOB_RANKFILE": str(tmp_path / "hosts")}.items():
        monkeypatch.setenv(name, value)
    train_here(plan(*on_idx, "limit_train=80", "epochs=1", f"output_dir={tmp_path}"))


@pytest.fixture
def unfinished(command: tuple[str, ...], reference: dict[str, Path], tmp_path: Path) -> Plan:
    """A run that was killed after its last checkpoint, before it was tested."""
    asked = plan(*command, "dropout=0.5", f"output_dir={tmp_path}")
    shutil.copytree(reference["0.5"], asked.run.folder)
    for name in ("results.json", "SHA256SUMS"):
        (asked.run.folder / name).unlink()
    return asked


def test_a_run_killed_after_its_last_epoch_is_only_tested(
    unfinished: Plan, reference: dict[str, Path], messages: list[str]
) -> None:
    for events in unfinished.run.folder.glob("events.*"):
        events.unlink()  # what is written to TensorBoard reaches the disk late
    before = unfinished.run.metrics_file.read_bytes()
    train_here(unfinished)
    assert messages == []
    assert unfinished.run.metrics_file.read_bytes() == before  # the times as well: no epoch was repeated
    same_numbers(unfinished.run.folder, reference["0.5"])
    assert epochs_of_curves(unfinished.run.folder) == {tuple(range(1, EPOCHS + 1))}


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damaged", [("last",), ("last", "best")])
def test_a_damaged_checkpoint_is_said_and_an_earlier_state_taken(
    unfinished: Plan, reference: dict[str, Path], damaged: tuple[str, ...], messages: list[str]
) -> None:
    paths = [getattr(unfinished.run, name) for name in damaged]
    for path in paths:
        flip_a_byte(path)
    train_here(unfinished)
    assert len(messages) == len(paths)
    for path, message in zip(paths, messages, strict=True):
        assert message.startswith(f"the checkpoint {path} is damaged: the CRC of its record ")
        assert message.endswith("; going on from an earlier state")
    same_numbers(unfinished.run.folder, reference["0.5"])


@pytest.mark.parametrize("best_is_last", [True, False])
def test_the_best_weights_are_there_at_the_end_though_their_file_is_damaged(
    unfinished: Plan, reference: dict[str, Path], best_is_last: bool, messages: list[str]
) -> None:
    run = unfinished.run
    content = read_checkpoint(run.last)
    recorded = content["callbacks"]["Recorder"]
    if best_is_last != (recorded["best"]["epoch"] == EPOCHS):  # as if the curve had gone another way
        recorded["best"]["epoch"] = EPOCHS if best_is_last else EPOCHS - 1
        write_checkpoint(run.last, content)
    flip_a_byte(run.best)
    train_here(unfinished)
    (message,) = messages
    if best_is_last:
        assert message.endswith(f"; it is made again from last.ckpt, whose epoch {EPOCHS} is the best")
        results = results_of(run.folder)
        assert results["test_acc_best_val"] == results["test_acc"]
    else:
        assert message.endswith(
            f"begins from the start (last.ckpt, of epoch {EPOCHS}, is kept as set_aside.ckpt)"
        )
        same_numbers(run.folder, reference["0.5"])


def test_other_settings_are_refused_other_code_goes_on_with_a_notice(
    unfinished: Plan, reference: dict[str, Path], messages: list[str]
) -> None:
    run = unfinished.run
    config = OmegaConf.load(run.config_file)
    config.lr = 0.5
    OmegaConf.save(config, run.config_file)
    (error,) = unfinished.errors()
    assert error.startswith(f"{run.folder} holds a run of other settings (lr 0.5 there, 0.01 now): force=true")
    config.lr, config.code = 0.01, "abc"
    OmegaConf.save(config, run.config_file)
    assert unfinished.errors() == []
    train_here(unfinished)
    assert messages == [f"{run.name}: goes on from a state made by other code (abc)"]
    assert rows_of(run.folder) == rows_of(reference["0.5"])
    run.config_file.unlink()
    (error,) = unfinished.errors()
    assert "is gone or damaged: nothing tells of which settings the checkpoints there are" in error


def test_a_finished_run_whose_file_was_changed_is_made_again_from_its_checkpoint(
    command: tuple[str, ...], reference: dict[str, Path], tmp_path: Path, messages: list[str]
) -> None:
    asked = plan(*command, "dropout=0.5", f"output_dir={tmp_path}")
    shutil.copytree(reference["0.5"], asked.run.folder)
    assert asked.run.is_finished()
    table = asked.run.metrics_file
    table.write_bytes(table.read_bytes().replace(b"0.", b"1.", 1))
    assert not asked.run.is_finished()
    train_here(asked)
    assert messages == [
        f"{asked.run.name}: metrics.csv was changed after it was written (damaged, or edited by hand); "
        "made again from the last checkpoint"
    ]
    same_numbers(asked.run.folder, reference["0.5"])
    assert isinstance(asked.run, Run)


def test_images_that_changed_since_the_run_began_are_refused(
    unfinished: Plan, tmp_path: Path, command: tuple[str, ...]
) -> None:
    from tests.made_up_data import write_data_set

    other = write_data_set(tmp_path / "other", train=701, test=200)
    asked = plan(*(part for part in command if not part.startswith("data.root")), "dropout=0.5",
                 f"data.root={other}", f"output_dir={tmp_path}")  # fmt: skip
    assert asked.run == unfinished.run
    assert "the images or labels have changed since this run began" in train_here(asked, "failed")["cause"]
