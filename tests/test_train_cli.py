"""The real command line on small data: what it writes, how it ends, that it repeats itself."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.checkpoints import read_checkpoint
from src.classification.task import COLUMNS, TAGS
from src.download import FILES
from tests.command_line import ROOT, Ended, rows_of, run_train, same_numbers
from tests.made_up_data import write_data_set

EPOCHS = 3
SETTINGS = ("limit_train=160", "threads=1", f"epochs={EPOCHS}", "lr=0.1", "momentum=0.5")
NAME = "dropout=0.3,lr=0.1,data.val_size=100,epochs=3,limit_train=160,momentum=0.5"


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("single")


@pytest.fixture(scope="module")
def command(on_idx: tuple[str, ...], output: Path) -> tuple[str, ...]:
    return (*on_idx, *SETTINGS, f"output_dir={output}")


@pytest.fixture(scope="module")
def single(command: tuple[str, ...]) -> Ended:
    """One run, trained once for this module."""
    return run_train(*command)


@pytest.fixture(scope="module")
def folder(single: Ended, output: Path) -> Path:
    assert single.status == 0, single.err
    return output / "idx" / NAME


def test_a_run_says_how_it_ended(single: Ended, folder: Path) -> None:
    assert single.out == ""
    last, place = single.err.splitlines()[-2:]
    assert last.startswith(f"{NAME}  done  val ")
    assert place == f"Results: {folder}"
    assert "Traceback" not in single.err
    assert "Warning" not in single.err


def test_a_run_writes_every_file_and_no_other(folder: Path) -> None:
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    events = {path for path in found if path.startswith("events.out.tfevents.")}
    assert events
    assert found - events == {
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "config.yaml",
        "identity.json",
        "metrics.csv",
        "results.json",
    }


def test_results_hold_what_the_ranking_and_a_reader_need(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    assert (results["status"], results["cause"]) == ("done", None)
    expected = {"dropout": 0.3, "lr": 0.1, "epochs": EPOCHS, "seed": 42, "threads": 1, "device": "cpu"}
    assert {key: results[key] for key in expected} == expected
    assert results["parameters"] == 769_930
    for key in ("val_acc", "test_acc", "test_acc_best_val", "best_val_acc"):
        assert 0 <= results[key] <= 1
    assert results["train_loss"] > 0
    assert results["seconds"] > 0
    assert 1 <= results["best_epoch"] <= EPOCHS
    assert results["versions"]["torch"] == torch.__version__
    config = OmegaConf.load(folder / "config.yaml")
    assert (config.lr, config.seed, config.threads) == (0.1, 42, 1)
    rows = rows_of(folder)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["step"] for row in rows] == ["20", "40", "60"]
    assert float(rows[-1]["train_loss"]) == results["train_loss"]
    assert float(rows[-1]["val_acc"]) == results["val_acc"]
    values = [float(row["val_acc"]) for row in rows]
    assert results["best_epoch"] == 1 + values.index(max(values))
    # Batches are of equal size here: the running mean is the mean of the epochs' means.
    means = [float(row["train_loss_epoch"]) for row in rows]
    assert results["train_loss"] == pytest.approx(sum(means) / len(means), rel=1e-5)
    header = (folder / "metrics.csv").read_text().splitlines()[0]
    assert header == ",".join(COLUMNS)


def test_both_checkpoints_open_in_plain_torch(folder: Path) -> None:
    results = json.loads((folder / "results.json").read_text())
    for name, epoch in (("last", EPOCHS), ("best", results["best_epoch"])):
        path = folder / "checkpoints" / f"{name}.ckpt"
        checkpoint = torch.load(path, weights_only=True)
        assert checkpoint["epoch"] == epoch - 1
        assert checkpoint["state_dict"].keys() == read_checkpoint(path)["state_dict"].keys()


def test_tensorboard_shows_curves_settings_and_kernels(folder: Path) -> None:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    tags = events.Tags()
    rows = rows_of(folder)
    for column, tag in TAGS.items():
        points = events.Scalars(tag)
        assert [point.step for point in points] == [1, 2, 3]
        if column in rows[0]:
            assert [point.value for point in points] == pytest.approx([float(row[column]) for row in rows])
    results = json.loads((folder / "results.json").read_text())
    for key in ("val_acc", "test_acc", "train_loss", "test_acc_best_val"):
        assert events.Scalars(f"final/{key}")[-1].value == pytest.approx(results[key])
    assert sorted(tags["images"]) == ["kernels/conv1", "kernels/conv2_input_channel_0"]
    # 16 and 32 kernels of 48 pixels, 8 a row, with 4 pixels around each
    for tag, size in (("kernels/conv1", (420, 108)), ("kernels/conv2_input_channel_0", (420, 212))):
        (image,) = events.Images(tag)
        assert (image.width, image.height) == size
    plugin = events.SummaryMetadata("_hparams_/experiment").plugin_data
    assert plugin.plugin_name == "hparams"
    filed = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"dropout" in filed
    assert b"batch_size" in filed


def test_the_same_command_again_touches_nothing(command: tuple[str, ...], folder: Path) -> None:
    def state() -> dict[Path, tuple[int, bytes]]:
        files = (path for path in folder.rglob("*") if path.is_file())
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = state()
    again = run_train(*command)
    assert again.status == 0
    assert f"{folder} is finished already; force=true trains it afresh" in again.err
    assert state() == before


@pytest.fixture(scope="module")
def sweep(command: tuple[str, ...], output: Path) -> Ended:
    """Three seeds in worker processes, one of them the single run's."""
    return run_train("-m", *command, "name=seeds", "seed=0,1,42", "workers=2")


def test_a_sweep_ranks_its_runs(sweep: Ended, output: Path) -> None:
    assert sweep.status == 0, sweep.err
    ranking = (output / "seeds" / "ranking.csv").read_text().splitlines()
    assert len(ranking) == 4
    assert ranking[0].startswith("rank,dropout,lr,seed,train_loss,val_acc,test_acc,test_acc_best_val,status")
    assert "3 runs: 3 done." in sweep.out
    assert (output / "seeds" / "plots" / "scores.png").stat().st_size > 0
    assert "[ 3/3] " in sweep.err


def test_a_seed_gives_the_same_numbers_in_any_process_and_0_is_one(
    sweep: Ended, folder: Path, output: Path
) -> None:
    seeds = output / "seeds"
    same_numbers(seeds / NAME, folder)
    losses = {path.name: rows_of(path)[0]["train_loss"] for path in seeds.glob("dropout=*")}
    assert sorted(name.removeprefix(NAME) for name in losses) == ["", ",seed=0", ",seed=1"]
    assert len(set(losses.values())) == 3
    assert json.loads((seeds / f"{NAME},seed=0" / "results.json").read_text())["seed"] == 0


def test_diverged_and_failed_runs_are_recorded_and_the_others_go_on(
    command: tuple[str, ...], output: Path
) -> None:
    once = (part for part in command if not part.startswith(("epochs=", "lr=")))
    asked = ("-m", *once, "name=mixed", "epochs=2", "lr=0.1,1e6", "dropout=0.1,0.2", "workers=2")
    tail = "data.val_size=100,epochs=2,limit_train=160,momentum=0.5"
    blocked = output / "mixed" / f"dropout=0.2,lr=0.1,{tail}"
    blocked.mkdir(parents=True)
    (blocked / "checkpoints").write_text("in the way")
    ended = run_train(*asked)
    assert ended.status == 1
    assert "Traceback" not in ended.err
    assert "1 failed, 2 diverged of 4 runs" in ended.err
    results = {path.parent.name: json.loads(path.read_text()) for path in output.glob("mixed/*/results.json")}
    assert {name.split(",data")[0]: found["status"] for name, found in results.items()} == {
        "dropout=0.1,lr=0.1": "done",
        "dropout=0.2,lr=0.1": "failed",
        "dropout=0.1,lr=1000000.0": "diverged",
        "dropout=0.2,lr=1000000.0": "diverged",
    }
    assert results[blocked.name]["cause"].startswith("its folder cannot be used: ")
    cause = results[f"dropout=0.1,lr=1000000.0,{tail}"]["cause"]
    assert "the training loss became " in cause
    assert cause.endswith("in epoch 1")
    assert len((output / "mixed" / "ranking.csv").read_text().splitlines()) == 5

    (blocked / "checkpoints").unlink()
    ended = run_train(*asked)
    assert ended.status == 3
    assert "3 of 4 runs are finished already" in ended.err
    assert "2 diverged of 4 runs" in ended.err
    assert json.loads((blocked / "results.json").read_text())["status"] == "done"


@pytest.mark.parametrize("launcher", ["basic", "joblib"])
def test_any_launcher_ends_with_a_ranking_and_the_worst_status(
    on_idx: tuple[str, ...], tmp_path: Path, launcher: str
) -> None:
    """The multirun is switched on by a file, which holds half of the sweep."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "own.yaml").write_text(
        "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {dropout: 'range(0.2,0.4,0.1)'}}}\n"
    )
    asked = ("--config-dir", str(tmp_path), "experiment=own", f"hydra/launcher={launcher}", *on_idx)
    asked += ("lr=0.1,1e6", "epochs=1", "limit_train=160", "name=any", f"output_dir={tmp_path}/out")
    tail = "data.val_size=100,epochs=1,limit_train=160"
    blocked = tmp_path / "out" / "any" / f"dropout=0.2,lr=0.1,{tail}"
    blocked.mkdir(parents=True)
    (blocked / "checkpoints").write_text("in the way")
    ended = run_train(*asked)
    assert ended.status == 1, ended.err
    assert "1 failed, 2 diverged of 4 runs" in ended.err
    assert "Traceback" not in ended.err
    assert "4 runs: 1 done, 2 diverged, 1 failed." in " ".join(ended.out.split())
    assert f"dropout=0.3,lr=0.1,{tail}" in ended.out  # the best, and not 0.30000000000000004
    if launcher == "basic":
        (blocked / "checkpoints").unlink()
        assert run_train(*asked).status == 3


@pytest.mark.parametrize("kind", [(), ("-m", "lr=0.1,0.2"), ("-m", "lr=0.1,0.2", "hydra/launcher=basic")])
def test_data_that_cannot_be_used_are_found_before_anything_is_run(
    tmp_path: Path, kind: tuple[str, ...]
) -> None:
    data = write_data_set(tmp_path / "data", train=200, test=20)
    broken = data / next(iter(FILES))
    broken.write_bytes(b"no such format")
    ended = run_train(*kind, "data=idx", f"data.root={data}", f"output_dir={tmp_path}/out")
    assert (ended.status, ended.out) == (2, "")
    heading, cause = ended.err.splitlines()
    assert heading == "Nothing was run: 1 mistake in this command."
    assert str(broken) in cause
    assert not list(tmp_path.glob("out/*/*"))


def test_the_entry_point_is_found_by_its_path_from_any_folder(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "src" / "train.py"), "lr=-1"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, "lr=-1: must be above 0" in ended.stderr) == (2, True)
