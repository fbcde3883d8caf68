"""`python -m src.train` on small data: what runs and sweeps write, and that they repeat themselves."""

import csv
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.config.settings import TASKS
from tests.command_line import (
    ROOT,
    Command,
    Ended,
    plan,
    results_of,
    rows_of,
    run_train,
    same_numbers,
    train_here,
)
from tests.made_up_data import write_data_set

EPOCHS = 3
SETTINGS = ("limit_train=160", "threads=1", "lr=0.1", "optimizer.momentum=0.5")
TAIL = "data.val_size=100,epochs=3,limit_train=160,optimizer.momentum=0.5"
NAME = f"dropout=0.3,lr=0.1,{TAIL}"


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("single")


@pytest.fixture(scope="module")
def command(on_idx: tuple[str, ...], output: Path) -> tuple[str, ...]:
    return (*on_idx, *SETTINGS, f"epochs={EPOCHS}", f"output_dir={output}")


@pytest.fixture(scope="module")
def single(command: tuple[str, ...]) -> Ended:
    """One run, trained once for this module."""
    return run_train(*command)


@pytest.fixture(scope="module")
def folder(single: Ended, output: Path) -> Path:
    assert single.status == 0, single.err
    return output / "idx" / NAME


def test_a_run_tells_how_it_ended_and_writes_every_file_and_no_other(single: Ended, folder: Path) -> None:
    assert single.out == ""
    last, place = single.err.splitlines()[-2:]
    assert last.startswith(f"{NAME}  done  val ")
    assert place == f"Results: {folder}"
    assert "Warning" not in single.err
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    events = {path for path in found if path.startswith("events.out.tfevents.")}
    assert events
    written = {"config.yaml", "metrics.csv", "results.json"}
    assert found - events == {"checkpoints/best.ckpt", "checkpoints/last.ckpt", "SHA256SUMS", *written}
    subprocess.run(["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=True)


def test_results_and_metrics_hold_what_the_ranking_and_a_reader_need(folder: Path) -> None:
    results, rows = results_of(folder), rows_of(folder)
    expected: dict[str, Any] = {"status": "done", "cause": None, "dropout": 0.3, "lr": 0.1, "seed": 42}
    expected |= {"epochs": EPOCHS, "threads": 1, "device": "cpu", "parameters": 769_930}
    assert {key: results[key] for key in expected} == expected
    assert results["settings"]["network"] == "convnet"
    assert torch.__version__.startswith(results["versions"]["torch"])  # 2.13.0+cu130
    assert results["seconds"] > 0
    config = OmegaConf.load(folder / "config.yaml")
    assert (config.lr, config.seed, config.threads) == (0.1, 42, 1)
    assert [(row["epoch"], row["step"]) for row in rows] == [("1", "20"), ("2", "40"), ("3", "60")]
    for key in ("train_loss", "val_acc", "val_loss"):
        assert float(rows[-1][key]) == results[key]
    values = [float(row["val_acc"]) for row in rows]
    assert (results["best_val_acc"], results["best_epoch"]) == (max(values), 1 + values.index(max(values)))
    assert 0 <= results["test_acc_best_val"] <= 1
    # Batches are of equal size here: the running mean is the mean of the epochs' means.
    means = [float(row["train_loss_epoch"]) for row in rows]
    assert results["train_loss"] == pytest.approx(sum(means) / len(means), rel=1e-5)
    for name, epoch in (("last", EPOCHS), ("best", results["best_epoch"])):
        checkpoint = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert checkpoint["epoch"] == epoch - 1


def test_tensorboard_shows_curves_settings_and_kernels(folder: Path) -> None:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    rows, results = rows_of(folder), results_of(folder)
    for column in TASKS["classify"].columns:
        points = events.Scalars(column)
        assert [point.step for point in points] == [1, 2, 3]
        assert [point.value for point in points] == pytest.approx([float(row[column]) for row in rows])
    for key in ("val_acc", "test_acc", "train_loss", "test_acc_best_val"):
        assert events.Scalars(f"final/{key}")[-1].value == pytest.approx(results[key])
    # 16 and 32 kernels of 48 pixels, 8 a row, with 4 pixels around each
    for tag, size in (("kernels/conv1", (420, 108)), ("kernels/conv2", (420, 212))):
        (image,) = events.Images(tag)
        assert (image.width, image.height) == size
    filed = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
    assert b"dropout" in filed
    assert b"batch_size" in filed


def test_the_same_command_again_touches_nothing(command: tuple[str, ...], folder: Path) -> None:
    def state() -> dict[Path, tuple[int, bytes]]:
        found = (path for path in folder.rglob("*") if path.is_file())
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in found}

    before = state()
    again = run_train(*command)
    assert again.status == 0
    assert f"{folder} is finished already; force=true trains it afresh" in again.err
    assert state() == before


def test_a_sweep_ranks_its_runs_whose_numbers_are_those_of_any_process(
    command: tuple[str, ...], folder: Path, output: Path
) -> None:
    ended = run_train("-m", *command, "name=seeds", "seed=0,1,42", "workers=2")
    assert ended.status == 0, ended.err
    seeds = output / "seeds"
    ranking = (seeds / "ranking.csv").read_text().splitlines()
    assert len(ranking) == 4
    assert ranking[0].startswith("rank,dropout,lr,seed,train_loss,val_acc,test_acc,test_acc_best_val,status")
    assert "3 runs: 3 done" in ended.out
    assert "[ 3/3] " in ended.err
    assert all(path.stat().st_size for path in seeds.glob("plots/*.png"))
    assert list(seeds.glob("plots/*.png"))
    same_numbers(seeds / NAME, folder)
    losses = {
        path.name.removeprefix(NAME): rows_of(path)[0]["train_loss"] for path in seeds.glob("dropout=*")
    }
    assert sorted(losses) == ["", ",seed=0", ",seed=1"]
    assert len(set(losses.values())) == 3


@pytest.mark.parametrize("launcher", ["workers", "basic", pytest.param("joblib", marks=pytest.mark.slow)])
def test_any_launcher_ends_with_a_ranking_and_the_worst_status_and_the_others_go_on(
    on_idx: tuple[str, ...], tmp_path: Path, launcher: str
) -> None:
    """The multirun is switched on by a file, which holds half of the sweep."""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(
        "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {dropout: 'range(0.2,0.4,0.1)'}}}\n"
    )
    asked = ("--config-dir", str(tmp_path), "experiment=mine", f"hydra/launcher={launcher}", *on_idx)
    asked += ("lr=0.1,1e6", "epochs=1", "limit_train=160", "name=any", f"output_dir={tmp_path}/out")
    asked += ("hydra.launcher.n_jobs=1",) if launcher == "joblib" else ()
    tail = "data.val_size=100,epochs=1,limit_train=160"
    blocked = tmp_path / "out" / "any" / f"dropout=0.2,lr=0.1,{tail}"
    blocked.mkdir(parents=True)
    (blocked / "checkpoints").write_text("in the way")
    ended = run_train(*asked)
    assert ended.status == 1, ended.err
    assert "Traceback" not in ended.err
    assert "4 runs: 1 done, 2 diverged, 1 failed" in " ".join(ended.out.split())
    found = {path.parent.name: results_of(path.parent) for path in tmp_path.glob("out/any/*/results.json")}
    assert {name.removesuffix(f",{tail}"): one["status"] for name, one in found.items()} == {
        "dropout=0.3,lr=0.1": "done",  # and not 0.30000000000000004
        "dropout=0.2,lr=0.1": "failed",
        "dropout=0.2,lr=1000000.0": "diverged",
        "dropout=0.3,lr=1000000.0": "diverged",
    }
    assert found[blocked.name]["cause"].startswith("its folder cannot be used: ")
    assert found[f"dropout=0.3,lr=1000000.0,{tail}"]["cause"].endswith("in epoch 1")
    if launcher == "workers":
        (blocked / "checkpoints").unlink()
        again = run_train(*asked)
        assert again.status == 3
        assert "3 of 4 runs are finished already" in again.err


@pytest.mark.parametrize("kind", [(), ("-m", "lr=0.1,0.2"), ("-m", "lr=0.1,0.2", "hydra/launcher=basic")])
def test_what_cannot_be_used_is_found_before_anything_is_run(tmp_path: Path, kind: tuple[str, ...]) -> None:
    data = write_data_set(tmp_path / "data", train=200, test=20)
    broken = data / "train-images-idx3-ubyte"
    broken.write_bytes(b"no such format")
    for root, said in ((data, str(broken)), (tmp_path / "nowhere", "it holds none")):
        ended = run_train(*kind, "data=idx", f"data.root={root}", f"output_dir={tmp_path}/out")
        assert (ended.status, ended.out) == (2, "")
        heading, cause = ended.err.splitlines()
        assert heading == "Nothing was run: 1 error in this command."
        assert said in cause
    (tmp_path / "file").touch()
    ended = run_train(*kind, "data=idx", f"data.root={data}", f"output_dir={tmp_path}/file/inner")
    assert (ended.status, f"{tmp_path}/file is not a folder; name another one" in ended.err) == (2, True)
    assert not list(tmp_path.glob("out/*"))


def test_a_loss_is_the_mean_over_the_images_whatever_their_batches(
    on_idx: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = ("epochs=1", "limit_train=40", "limit_val=40", "limit_test=40", "threads=1")
    found = []
    for size in (40, 30):
        monkeypatch.setattr("src.classification.data.EVALUATION_BATCH", size)
        results = train_here(plan(*on_idx, *limits, f"output_dir={tmp_path / str(size)}"))
        found.append((results["val_loss"], results["test_loss"]))
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_the_entry_point_is_found_by_its_path_from_any_folder(tmp_path: Path) -> None:
    words = [sys.executable, str(ROOT / "src" / "train.py"), "lr=-1"]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, "lr=-1: must be above 0" in ended.stderr) == (2, True)


@pytest.mark.slow
def test_a_reader_that_leaves_or_closed_streams_lose_no_file(on_idx: tuple[str, ...], tmp_path: Path) -> None:
    sweep = ("-m", "src.train", "-m", *on_idx, "lr=0.1,0.01", "limit_train=16", "epochs=1", "name=sweep")
    script = (
        'set -o pipefail; "$@" 2>&1 >&- | true'  # `true` reads nothing: the first line meets a closed pipe
    )
    words = ["bash", "-c", script, "bash", sys.executable, *sweep, f"output_dir={tmp_path}"]
    ended = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    with (tmp_path / "sweep" / "ranking.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["done", "done"]
    assert (tmp_path / "sweep" / "plots" / "all_runs.png").exists()


def of_two_gpus() -> None:
    """Two GPUs, as far as counting goes; a job that ran shows which one it was left with."""
    import os

    import torch

    import src.run.environment
    import src.sweep.launcher
    import src.train

    def train(plan: object) -> None:
        cfg = plan.cfg  # type: ignore[attr-defined]
        print(f"lr={cfg.lr} has GPU {os.environ['CUDA_VISIBLE_DEVICES']}")
        os.environ.pop("CUDA_VISIBLE_DEVICES")  # as a process of its own has

    src.run.environment.device_of = lambda accelerator: torch.device("cuda", 0)
    torch.cuda.device_count = lambda: 2
    src.train.train = train
    src.sweep.launcher.preflight = lambda plans: []  # which would compute there


def test_under_hydras_own_launchers_each_process_takes_a_gpu_of_its_own(
    on_idx: tuple[str, ...], tmp_path: Path
) -> None:
    arguments = ("-m", "lr=0.1,0.2,0.3", "hydra/launcher=basic", *on_idx, f"output_dir={tmp_path}")
    ended = Command("train", *arguments, prepare=of_two_gpus).end()
    assert re.findall(r"lr=(\S+) has GPU (\d+)", ended.out) == [("0.1", "0"), ("0.2", "1"), ("0.3", "0")], (
        ended
    )
