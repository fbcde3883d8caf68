"""Our sweep beside the report's: differences, and the remarks that make the command fail."""

from pathlib import Path

import pytest

from src.sweep.ranking import rank
from src.sweep.runs import read_runs
from src.sweep.table2 import REPORT, beside_report, expected, main, over_seeds
from tests.sweep_folders import make_run, make_table_2


def test_the_reports_own_numbers_are_as_expected(tmp_path: Path) -> None:
    table, remarks = beside_report(rank(make_table_2(tmp_path)))
    assert remarks == []
    first = table.splitlines()[2]
    assert first.startswith("| 1 | 0.5 | 0.01 | 0.3469 | 0.9132 | 0.9073 |")
    assert first.endswith("| 1 | 0.3469 | 0.9132 | 0.9073 | +0.0000 |")
    assert len(table.splitlines()) == 2 + len(REPORT)


@pytest.mark.parametrize("lr", [0.1, 0.01, 0.001])
def test_a_cell_too_far_from_the_report_is_named(tmp_path: Path, lr: float) -> None:
    theirs = REPORT[0.5, lr]
    for sign, far in ((1, 0.0005), (-1, 0.0005)):
        for offset, names in ((expected(lr) - far, False), (expected(lr) + far, True)):
            folder = tmp_path / f"{sign}{names}"
            make_run(folder, 0.5, lr, val_acc=theirs[1], test_acc=theirs[2] + sign * offset)
            _, remarks = beside_report(rank(folder))
            assert any("test accuracy differs" in remark for remark in remarks) is names


def test_order_of_learning_rates_and_missing_cells_are_remarked(tmp_path: Path) -> None:
    for lr, accuracy in ((0.1, 0.91), (0.01, 0.90), (0.001, 0.85)):
        make_run(tmp_path, 0.4, lr, val_acc=accuracy, test_acc=0.9080)
    _, remarks = beside_report(rank(tmp_path))
    assert any("not in this order" in remark for remark in remarks)
    assert sum("no finished run" in remark for remark in remarks) == len(REPORT) - 1


def test_seeds_as_mean_and_sample_standard_deviation(tmp_path: Path) -> None:
    for seed, accuracy in ((1, 0.90), (2, 0.91), (3, 0.92)):
        make_run(tmp_path, seed=seed, name=f"seed={seed}", val_acc=accuracy, test_acc=0.9)
    row = over_seeds(read_runs(tmp_path)).splitlines()[2]
    assert row == "| 0.5 | 0.01 | 1, 2, 3 | 0.9100 ± 0.0100 | 0.9000 ± 0.0000 | 0.8950 ± 0.0000 |"


def test_exit_status_and_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = make_table_2(tmp_path / "sweep")
    assert main([str(sweep), "--seeds", str(sweep)]) == 0
    assert "Every cell is as expected." in (sweep / "table2.md").read_text(encoding="utf-8")
    make_run(tmp_path / "lone", 0.5, 0.01)
    assert main([str(tmp_path / "lone")]) == 1
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "not a folder" in capsys.readouterr().err
