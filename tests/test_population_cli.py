"""`hydra/launcher=population` on the real command line."""

import csv
import json
import signal
from pathlib import Path

import torch

from src.population.launcher import run_all
from tests.command_line import finish, plan, rows_of, run_train, same_numbers, start_train, wait_for_rows

LASTING = ("limit_train=120", "epochs=10", "progress=false", "threads=1")
TAIL = "data.val_size=100"


def results_in(sweep: Path) -> dict[str, dict]:
    return {path.parent.name: json.loads(path.read_text()) for path in sweep.glob("*/results.json")}


def test_what_can_be_stacked_is_and_all_is_ranked(on_idx: tuple[str, ...], tmp_path: Path) -> None:
    settings = (
        *on_idx,
        "limit_train=40",
        "epochs=1",
        "threads=1",
        "dropout=0.1,0.5",
        f"output_dir={tmp_path}",
    )
    ended = run_train("-m", "hydra/launcher=population", *settings, "optimizer=sgd,adam")
    assert ended.status == 0, ended.err
    assert "2 runs cannot be stacked: optimizer=adam (a population needs sgd); run apart" in ended.err
    assert f"2 runs as one population, in {tmp_path / 'idx'}" in ended.err
    assert "Traceback" not in ended.err
    assert "Warning" not in ended.err
    assert "4 runs: 4 done." in ended.out
    assert len(list(csv.reader((tmp_path / "idx" / "ranking.csv").open()))) == 5
    launchers = {name: found.get("launcher") for name, found in results_in(tmp_path / "idx").items()}
    assert launchers == {
        f"dropout={dropout},lr=0.01,{TAIL},epochs=1,limit_train=40{more}": launcher
        for dropout in (0.1, 0.5)
        for more, launcher in (("", "population"), (",optimizer=adam", None))
    }


def test_a_population_that_is_killed_carries_on_with_the_same_numbers(
    on_idx: tuple[str, ...], tmp_path: Path
) -> None:
    settings = ("-m", "hydra/launcher=population", *on_idx, *LASTING, "lr=0.1,1e6", "dropout=0.1,0.5")
    process = start_train(*settings, f"output_dir={tmp_path / 'stopped'}")
    wait_for_rows(process, tmp_path / "stopped" / "idx", 2)
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert ended.status == 130, ended.err
    assert "Stopped. 2 of 4 runs are finished; the same command carries on." in ended.err
    assert "Traceback" not in ended.err

    process = start_train(*settings, f"output_dir={tmp_path / 'stopped'}")
    before = max(len(rows_of(folder)) for folder in (tmp_path / "stopped" / "idx").glob("dropout=*"))
    wait_for_rows(process, tmp_path / "stopped" / "idx", min(before + 2, 8))
    process.kill()
    assert finish(process).status == -signal.SIGKILL
    assert len(results_in(tmp_path / "stopped" / "idx")) == 2

    ended = run_train(*settings, f"output_dir={tmp_path / 'stopped'}")
    assert ended.status == 3, ended.err
    assert "2 diverged of 4 runs" in ended.err

    threads = torch.get_num_threads()
    for results in run_all(
        [
            plan(*on_idx, *LASTING, f"lr={lr}", f"dropout={dropout}", f"output_dir={tmp_path / 'whole'}")
            for dropout in (0.1, 0.5)
            for lr in (0.1, 1e6)
        ]
    ):
        if results["status"] == "done":
            folders = (tmp_path / where / "idx" / results["run"] for where in ("stopped", "whole"))
            same_numbers(*folders)
    assert torch.get_num_threads() == threads
