"""Successive halving: the same decisions after a kill, the numbers of runs that were never stopped."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from src.sweep.halving import HalvingSweeper, forecast
from tests.command_line import Command, results_of, rows_of, run_train, same_numbers

HALVING = (
    "-m",
    "hydra/sweeper=halving",
    "hydra.sweeper.first=1",
    "lr=0.1,0.03,0.001,0.0001",
    "epochs=4",
    "limit_train=240",
)


def statuses(sweep: Path) -> dict[str, str]:
    return {folder.name: results_of(folder)["status"] for folder in sweep.glob("dropout=*")}


@pytest.fixture(scope="module")
def full_grid(on_idx: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("grid")
    arguments = [text for text in HALVING if "sweeper" not in text]
    assert run_train(*arguments, *on_idx, f"output_dir={output}").status == 0
    return output / "idx"


@pytest.mark.engines
def test_halving_goes_on_with_the_best_and_ends_with_the_grids_numbers(
    on_idx: tuple[str, ...], full_grid: Path, tmp_path: Path
) -> None:
    """Killed on the way, the same command decides as if it had not been."""
    arguments = (*HALVING, *on_idx, f"output_dir={tmp_path}")
    command = Command("train", *arguments)
    command.wait_for_rows(tmp_path / "idx", 3)  # the second rung
    command.send(9, to_group=True)
    command.end()
    ended = run_train(*arguments)
    assert ended.status == 0, ended.err
    sweep = tmp_path / "idx"
    epochs = {name: len(rows_of(sweep / name)) for name in statuses(sweep)}
    assert sorted(epochs.values()) == [1, 1, 3, 4]
    first = {name: float(rows_of(full_grid / name)[0]["val_acc"]) for name in epochs}
    assert min(first[name] for name in epochs if epochs[name] >= 3) >= max(
        first[name] for name in epochs if epochs[name] == 1
    )
    (winner,) = (name for name, status in statuses(sweep).items() if status == "done")
    same_numbers(sweep / winner, full_grid / winner)  # as if it had never been stopped
    assert "1 done, 3 pruned" in ended.out
    again = run_train(*arguments)
    assert again.status == 0
    assert "runs to go" not in again.err


def test_a_pruned_run_is_finished_by_a_command_that_asks_for_it(
    on_idx: tuple[str, ...], full_grid: Path, tmp_path: Path
) -> None:
    settings = ("lr=0.1", "epochs=4", "limit_train=240", *on_idx, f"output_dir={tmp_path}")
    assert run_train(*settings, "stop_after=2").status == 0
    (folder,) = (tmp_path / "idx").glob("dropout=*")
    assert results_of(folder)["status"] == "pruned"
    assert run_train(*settings).status == 0
    (expected,) = (one for one in full_grid.glob("dropout=*") if results_of(one)["lr"] == 0.1)
    same_numbers(folder, expected)


def test_a_steady_curve_is_forecast_above_a_fast_start() -> None:
    def run(values: list[float], status: str = "pruned") -> Any:
        rows = [{"val_acc": value} for value in values]
        cfg = SimpleNamespace(task="classify", epochs=15)
        return SimpleNamespace(
            cfg=cfg, run=SimpleNamespace(rows=lambda: rows), results=lambda: {"status": status}
        )

    # Exact where the curve is a line over the epoch's logarithm.
    line = [0.5 + 0.1 * math.log(epoch) for epoch in range(1, 10)]
    assert forecast(run(line), 9) == pytest.approx(0.5 + 0.1 * math.log(15))
    assert forecast(run(line), 4) == pytest.approx(0.5 + 0.1 * math.log(15))  # later epochs are not looked at
    fast, steady = [0.86, 0.89, 0.90], [0.79, 0.83, 0.86]
    assert fast[-1] > steady[-1]
    assert forecast(run(steady), 3) > forecast(run(fast), 3)
    assert forecast(run([0.7]), 1) == 0.7
    assert forecast(run([0.7, 0.8], "diverged"), 3) == -math.inf


def test_ranges_are_those_of_a_grid() -> None:
    sweeper = HalvingSweeper(1, 2, None)
    asked: list[Any] = []
    sweeper.launcher = SimpleNamespace(launch=lambda jobs, initial_job_idx: asked.extend(jobs))  # type: ignore[assignment]
    sweeper.epochs = 1
    sweeper.sweep(["dropout=range(0.1,0.4,0.1)"])
    assert asked == [["dropout=0.1"], ["dropout=0.2"], ["dropout=0.3"]]
