"""Runs and sweeps that are stopped in every way end with the very numbers of those that were not."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from filelock import FileLock
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.checkpoints import read_checkpoint, write_checkpoint
from src.classification.task import TAGS
from src.job import run_job
from src.seal import sealed
from tests.command_line import (
    Plan,
    finish,
    plan,
    rows_of,
    run_train,
    same_numbers,
    start_train,
    wait_for_rows,
)

EPOCHS = 10
SETTINGS = (f"epochs={EPOCHS}", "limit_train=240", "threads=1", "momentum=0.5", "augment=flip_crop")
DROPOUTS = ("0.1", "0.5")


@pytest.fixture(scope="module")
def command(on_idx: tuple[str, ...]) -> tuple[str, ...]:
    return (*on_idx, *SETTINGS)


@pytest.fixture(scope="module")
def reference(command: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The folders of uninterrupted runs, trained in this process, by dropout."""
    output = tmp_path_factory.mktemp("reference")
    folders = {}
    for dropout in DROPOUTS:
        asked = plan(*command, f"dropout={dropout}", f"output_dir={output}")
        train_here(asked)
        folders[dropout] = asked.run.folder
    return folders


def train_here(asked: Plan) -> list[str]:
    """Train in this process; return what was said."""
    said: list[str] = []
    threads = torch.get_num_threads()
    try:
        results = run_job(asked.cfg, asked.run, said.append, show_bar=False)
    finally:
        torch.set_num_threads(threads)
    assert (results["status"], results["cause"]) == ("done", None)
    return said


def points_of(folder: Path) -> dict[str, list[int]]:
    """The epochs that each of TensorBoard's curves has a point at."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [point.step for point in events.Scalars(tag)] for tag in TAGS.values()}


def test_a_run_stopped_by_ctrl_c_and_by_sigkill_carries_on(
    command: tuple[str, ...], reference: dict[str, Path], tmp_path: Path
) -> None:
    arguments = (*command, "dropout=0.1", f"output_dir={tmp_path}")
    process = start_train(*arguments)
    wait_for_rows(process, tmp_path / "idx", 2)
    os.killpg(process.pid, signal.SIGINT)
    ended = finish(process)
    assert ended.status == 130
    assert ended.err.strip().startswith("Stopped after epoch ")
    assert ended.err.strip().endswith("; the same command carries on.")
    (folder,) = (tmp_path / "idx").glob("dropout=*")
    done = len(rows_of(folder))
    assert 2 <= done < EPOCHS

    process = start_train(*arguments)
    wait_for_rows(process, tmp_path / "idx", min(done + 2, EPOCHS - 2))
    process.kill()
    assert finish(process).status == -signal.SIGKILL
    assert not (folder / "results.json").exists()

    assert run_train(*arguments).status == 0
    same_numbers(folder, reference["0.1"])
    assert set(map(tuple, points_of(folder).values())) == {tuple(range(1, EPOCHS + 1))}


def test_a_sweep_stopped_in_every_way_carries_on_also_twice_at_once(
    command: tuple[str, ...], reference: dict[str, Path], tmp_path: Path
) -> None:
    arguments = ("-m", *command, f"dropout={','.join(DROPOUTS)}", f"output_dir={tmp_path}", "workers=2")
    sweep = tmp_path / "idx"
    process = start_train(*arguments)
    wait_for_rows(process, sweep, 1)
    os.killpg(process.pid, signal.SIGINT)
    ended = finish(process)
    assert ended.status == 130
    assert "Stopped. 0 of 2 runs are finished; the same command carries on." in ended.err
    assert "Traceback" not in ended.err

    process = start_train(*arguments)
    wait_for_rows(process, sweep, max(len(rows_of(run)) for run in sweep.glob("dropout=*")) + 1)
    process.kill()  # the parent alone
    process.communicate()  # returns when the workers are gone, too: they hold the other ends of the pipes
    for lock in sweep.glob(".locks/*.lock"):
        FileLock(lock).acquire(timeout=5).lock.release()
    assert not list(sweep.glob("*/results.json"))

    both = [start_train(*arguments), start_train(*arguments)]
    ended = finish(both[0])
    assert ended.status == 0, ended.err
    results = {path: path.read_bytes() for path in sweep.glob("*/results.json")}
    other = finish(both[1])
    assert other.status == 0, other.err
    assert "Traceback" not in ended.err + other.err
    assert {path: path.read_bytes() for path in results} == results
    assert len((sweep / "ranking.csv").read_text().splitlines()) == 3
    for dropout, expected in reference.items():
        (folder,) = sweep.glob(f"dropout={dropout},*")
        same_numbers(folder, expected)


@pytest.fixture
def unfinished(command: tuple[str, ...], reference: dict[str, Path], tmp_path: Path) -> Plan:
    """A run that was killed after its last checkpoint, before it was tested."""
    asked = plan(*command, "dropout=0.5", f"output_dir={tmp_path}")
    shutil.copytree(reference["0.5"], asked.run.folder)
    asked.run.results_file.unlink()
    return asked


def test_a_run_killed_after_its_last_epoch_is_only_tested(
    unfinished: Plan, reference: dict[str, Path]
) -> None:
    for events in unfinished.run.folder.glob("events.*"):
        events.unlink()  # what is written to TensorBoard reaches the disk late
    before = unfinished.run.metrics_file.read_bytes()
    assert train_here(unfinished) == []
    assert unfinished.run.metrics_file.read_bytes() == before  # the times as well: no epoch was repeated
    same_numbers(unfinished.run.folder, reference["0.5"])
    assert set(map(tuple, points_of(unfinished.run.folder).values())) == {tuple(range(1, EPOCHS + 1))}


def flip_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damaged", [("last",), ("last", "best")])
def test_a_damaged_checkpoint_is_said_and_an_earlier_state_taken(
    unfinished: Plan, reference: dict[str, Path], damaged: tuple[str, ...]
) -> None:
    paths = [getattr(unfinished.run, name) for name in damaged]
    for path in paths:
        flip_a_byte(path)
    damage = "is damaged: its bytes do not give the hash at its end; going on from an earlier state"
    assert train_here(unfinished) == [f"the checkpoint {path} {damage}" for path in paths]
    same_numbers(unfinished.run.folder, reference["0.5"])


@pytest.mark.parametrize("best_is_last", [True, False])
def test_the_best_weights_are_there_at_the_end_though_their_file_is_damaged(
    unfinished: Plan, reference: dict[str, Path], best_is_last: bool
) -> None:
    run = unfinished.run
    content = read_checkpoint(run.last)
    recorded = content["callbacks"]["Recorder"]
    best = recorded["best"]["epoch"]
    if best_is_last != (best == EPOCHS):  # as if the curve had gone another way
        recorded["best"]["epoch"] = EPOCHS if best_is_last else EPOCHS - 1
        write_checkpoint(run.last, content)
    flip_a_byte(run.best)
    (said,) = train_here(unfinished)
    if best_is_last:
        assert said.endswith(f"; it is made again from last.ckpt, whose epoch {EPOCHS} is the best")
        results = json.loads(run.results_file.read_text())
        assert results["test_acc_best_val"] == results["test_acc"]
    else:
        assert said.endswith(
            f"begins from the start (last.ckpt, of epoch {EPOCHS}, is kept as set_aside.ckpt)"
        )
        same_numbers(run.folder, reference["0.5"])


def test_a_folder_of_other_settings_is_refused_one_of_other_code_goes_on(
    unfinished: Plan, reference: dict[str, Path]
) -> None:
    run = unfinished.run
    filed = json.loads(run.identity_file.read_text())
    run.identity_file.write_text(
        json.dumps(sealed({**filed, "settings": {**filed["settings"], "lr": "other"}}))
    )
    (mistake,) = unfinished.mistakes()
    assert mistake.startswith(f"{run.folder} holds a run of other settings (lr other there, 0.01 now)")
    run.identity_file.write_text(json.dumps(sealed({**filed, "code": "other"})))
    assert unfinished.mistakes() == []
    (said,) = train_here(unfinished)
    assert said == f"{run.name}: begun by other code (other), goes on with this ({run.code})"
    assert json.loads(run.results_file.read_text())["code"] == f"other, then {run.code}"
    assert rows_of(run.folder) == rows_of(reference["0.5"])
