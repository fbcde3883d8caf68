"""The numbers that a sweep's plots draw, and what their titles say."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from src.sweep.grid import curves_title, grid_of, grid_title
from src.sweep.ranking import rank, report
from src.sweep.runs import TASKS
from tests.sweep_folders import HEADER, TABLE_2, make_run, make_table_2


def test_the_numbers_of_the_heat_map(tmp_path: Path) -> None:
    task, ranked = TASKS["classify"], rank(make_table_2(tmp_path))
    grid = grid_of(task, [row.run for row in ranked.rows])
    assert grid.lrs == (0.001, 0.01, 0.1)
    assert grid.dropouts == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
    for dropout, lr, _, validation, _ in TABLE_2:
        assert grid.cells[dropout, lr].text == f"{validation:.4f}"
    assert grid.cells[0.1, 0.1].text == "missing"
    assert grid.best == ((0.5, 0.01),)
    title = "lr 0.01 is ahead at all 3 dropouts with several lr done; best 0.9132 at dropout 0.5"
    assert grid_title(task, grid) == title
    runs = [row.run for row in ranked.rows]
    curves = "lr 0.01 ends highest: median validation accuracy 0.9111, against 0.8906 at lr 0.1, 0.8526 at"
    assert curves_title(task, runs) == f"{curves} lr 0.001"


def test_cells_that_runs_share_or_did_not_finish(tmp_path: Path) -> None:
    for seed, value in ((1, 0.90), (2, 0.92)):
        make_run(tmp_path, 0.1, seed=seed, name=f"a{seed}", val_acc=value)
    make_run(tmp_path, 0.1, name="a3", status="diverged")
    make_run(tmp_path, 0.3, 0.1, val_acc=0.91)
    make_run(tmp_path, 0.1 + 0.2, 0.01, results=False)
    grid = grid_of(TASKS["classify"], [row.run for row in rank(tmp_path).rows])
    assert {place: cell.text for place, cell in grid.cells.items()} == {
        (0.1, 0.01): "0.9100\n± 0.0141\nn = 2\n1 diverged",
        (0.3, 0.1): "0.9100",
        (0.3, 0.01): "running",
        (0.1, 0.1): "missing",
    }
    # Equal means: no learning rate is said to be ahead.
    assert grid_title(TASKS["classify"], grid) == (
        "Validation accuracy so far: best mean 0.9100 at dropout 0.1, lr 0.01 and 1 more"
    )


@pytest.mark.parametrize("case", ["one, no epochs", "mixed", "nothing placed"])
def test_plots_are_drawn_from_whatever_there_is(tmp_path: Path, case: str) -> None:
    if case == "one, no epochs":
        make_run(tmp_path, results=False, epochs=0)
    elif case == "nothing placed":
        (make_run(tmp_path) / "config.yaml").write_text("[")
    else:
        make_run(tmp_path, 0.1)
        (make_run(tmp_path, 0.2, status="diverged") / "metrics.csv").write_text(
            HEADER + "1,1,1e308,nan,,0.1,1,1\n"
        )
    paths = report(tmp_path, Console(file=io.StringIO(), width=80))
    names = {"ranking.csv", "ranking.md"}
    names |= {
        f"plots/{name}.{end}" for name in ("heat_map", "best_run", "all_runs") for end in ("png", "svg")
    }
    assert {path.relative_to(tmp_path).as_posix() for path in paths} == names
    assert all(path.stat().st_size for path in paths)


def test_no_learning_rate_is_ahead_that_loses_at_one_dropout(tmp_path: Path) -> None:
    task = TASKS["classify"]
    for dropout, lr, value in ((0.1, 0.01, 0.91), (0.1, 0.1, 0.9), (0.2, 0.01, 0.88), (0.2, 0.1, 0.89)):
        make_run(tmp_path, dropout, lr, val_acc=value)
    title = grid_title(task, grid_of(task, [row.run for row in rank(tmp_path).rows]))
    assert title == "Validation accuracy: best 0.9100 at dropout 0.1, lr 0.01"
    make_run(tmp_path / "more", 0.1, 0.01, val_acc=0.91)
    make_run(tmp_path / "more", 0.1, 0.1, val_acc=0.9)
    title = grid_title(task, grid_of(task, [row.run for row in rank(tmp_path / "more").rows]))
    assert title == "lr 0.01 is ahead; best 0.9100 at dropout 0.1"
