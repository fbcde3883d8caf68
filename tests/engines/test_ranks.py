"""One run of two ranks: the numbers of one process up to rounding, one writer, kill and resume, torchrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command_line import NO_GPU, ROOT, Command, results_of, rows_of, run_train, same_numbers
from tests.made_up_captions import write_captioned

TWO = "trainer.devices=2"
pytestmark = pytest.mark.engines


@pytest.fixture(autouse=True)
def loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")


@pytest.fixture(scope="module")
def classify(on_idx: tuple[str, ...]) -> tuple[str, ...]:
    """61 and 31 images: neither batches nor splits divide by two."""
    return (*on_idx, "limit_train=61", "limit_val=31", "limit_test=31", "dropout=0", "lr=0.05", "epochs=3")


@pytest.fixture(scope="module")
def caption(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    place = tmp_path_factory.mktemp("captions")
    data = (f"data.root={write_captioned(place / 'squares')}", f"encoder.cache={place / 'cache'}")
    encoder = ("encoder=efficientnet_lite0", "encoder.size=64", "decoder=attention")
    limits = (
        "limit_val=7",
        "limit_test=7",
        "batch_size=5",
        "dropout=0",
        "lr=0.003",
        "precision=64-true",
        "epochs=3",
    )
    return ("task=caption", "data=karpathy", "accelerator=cpu", *data, *encoder, *limits)


def folder_of(output: Path) -> Path:
    (results,) = output.glob("*/*/results.json")
    return results.parent


def nearly_same(folder: Path, expected: Path) -> None:
    for ours, theirs in zip(rows_of(folder), rows_of(expected), strict=True):
        for key, value in theirs.items():
            if value:  # correctness is told of scenes alone
                assert float(ours[key]) == pytest.approx(float(value), abs=2e-5), key
    found = results_of(folder)
    for key, value in results_of(expected).items():
        if key.startswith("test_") and isinstance(value, float):
            assert found[key] == pytest.approx(value, abs=2e-5), key


@pytest.mark.parametrize("task", ["classify", "caption"])
def test_losses_and_metrics_are_those_of_one_process(
    task: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    settings = request.getfixturevalue(task)
    for name, ranks in (("one", ()), ("two", (TWO,))):
        ended = run_train(*settings, *ranks, "fast=false", f"output_dir={tmp_path / name}")
        assert ended.status == 0, ended.err
    one, two = folder_of(tmp_path / "one"), folder_of(tmp_path / "two")
    nearly_same(two, one)
    assert {path.name for path in two.iterdir()} >= {
        path.name for path in one.iterdir() if "tfevents" not in path.name
    }
    if task == "caption":
        ours, theirs = (json.loads((folder / "captions.json").read_text()) for folder in (two, one))
        assert ours == theirs


def test_a_sweep_of_two_ranks_a_run_is_killed_and_goes_on(classify: tuple[str, ...], tmp_path: Path) -> None:
    settings = (*classify, TWO, "-m", "seed=0,1", "workers=1", "epochs=8")
    settings = tuple(text for text in settings if text != "epochs=3")
    assert run_train(*settings, f"output_dir={tmp_path / 'whole'}").status == 0
    command = Command("train", *settings, f"output_dir={tmp_path / 'killed'}")
    command.wait_for_rows(tmp_path / "killed" / "idx", 2)
    command.send(9, to_group=True)
    command.end()
    ended = run_train(*settings, f"output_dir={tmp_path / 'killed'}")
    assert ended.status == 0, ended.err
    for folder in (tmp_path / "whole" / "idx").glob("dropout=*"):
        same_numbers(tmp_path / "killed" / "idx" / folder.name, folder)


def test_torchrun_starts_the_ranks(classify: tuple[str, ...], tmp_path: Path) -> None:
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29517"]
    command = [*torchrun, "-m", "src.train", *classify, TWO, f"output_dir={tmp_path / 'two'}"]
    done = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=200,
        env={**os.environ, **NO_GPU},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("done  val") == 1  # one rank tells
    assert run_train(*classify, f"output_dir={tmp_path / 'one'}").status == 0
    nearly_same(folder_of(tmp_path / "two"), folder_of(tmp_path / "one"))
