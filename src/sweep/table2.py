"""Our sweep beside the report's Table 2, and a sweep over seeds as means and spreads.

    python -m src.sweep.table2 outputs/fashion_mnist [--seeds outputs/table2_seeds]

writes table2.md into the first folder and prints it; the exit status is 1 where a cell is further
from the report than expected, or missing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev, variance

from src import stops
from src.files import write_atomically
from src.findings import Table
from src.sweep.ranking import rank
from src.sweep.runs import RunFiles, SweepError, plain, read_runs
from src.sweep.tables import Ranking, Row, as_markdown

Cell = tuple[float, float]  # dropout, lr

# dropout, lr -> training loss (running mean), validation accuracy, test accuracy: the report's Table 2
REPORT: dict[Cell, tuple[float, float, float]] = {
    (0.5, 0.01): (0.3469, 0.9132, 0.9073),
    (0.4, 0.01): (0.3349, 0.9121, 0.9080),
    (0.2, 0.01): (0.3195, 0.9113, 0.9051),
    (0.3, 0.01): (0.3268, 0.9111, 0.9060),
    (0.6, 0.01): (0.3602, 0.9098, 0.9032),
    (0.1, 0.01): (0.3107, 0.9095, 0.9076),
    (0.8, 0.01): (0.4086, 0.9064, 0.9020),
    (0.3, 0.1): (0.2542, 0.9016, 0.8986),
    (0.5, 0.1): (0.3002, 0.8906, 0.8876),
    (0.8, 0.1): (0.4494, 0.8648, 0.8635),
    (0.3, 0.001): (0.6465, 0.8572, 0.8517),
    (0.5, 0.001): (0.6773, 0.8526, 0.8475),
    (0.8, 0.001): (0.7809, 0.8313, 0.8237),
}
KEYS = ("train_loss", "val_acc", "test_acc")
SEED = 42  # the report's
LRS = (0.01, 0.1, 0.001)  # the report's order, best first


def named(cell: Cell) -> str:
    """A cell in words."""
    return f"dropout {cell[0]:g}, lr {cell[1]:g}"


def expected(lr: float) -> float:
    """How far a cell's test accuracy may be from the report's: another machine is another random run."""
    return 0.015 if lr == 0.1 else 0.006


def cells_of(ranking: Ranking) -> dict[Cell, Row]:
    """The finished run of each dropout and lr, by rank; of several that of the report's seed."""
    cells: dict[Cell, Row] = {}
    for row in ranking.rows:
        if row.rank is None or row.run.dropout is None or row.run.lr is None:
            continue
        cell = (row.run.dropout, row.run.lr)
        if cell not in cells or row.run.settings.get("seed") == SEED != cells[cell].run.settings.get("seed"):
            cells[cell] = row
    return cells


def table_beside_report(ranking: Ranking) -> Table:
    """All finished runs by our rank, beside the report's cells."""
    ranks = {cell: rank for rank, cell in enumerate(REPORT, start=1)}
    rows = []
    for row in ranking.rows:
        run = row.run
        if row.rank is None or run.dropout is None or run.lr is None:
            continue
        cell = (run.dropout, run.lr)
        ours = [_shown(run, key) for key in (*KEYS, "test_acc_best_val")]
        theirs = ["", "", "", "", ""]
        if cell in REPORT:
            test = run.numbers.get("test_acc")
            difference = "" if test is None else f"{test - REPORT[cell][2]:+.4f}"
            theirs = [str(ranks[cell]), *(f"{value:.4f}" for value in REPORT[cell]), difference]
        rows.append((str(row.rank), f"{cell[0]:g}", f"{cell[1]:g}", *ours, *theirs))
    columns = ("rank", "dropout", "lr", "train loss", "val acc", "test acc", "test at best val")
    of_report = ("report: rank", "train loss", "val acc", "test acc", "difference in test acc")
    return Table("All cells, ranked by validation accuracy", (*columns, *of_report), tuple(rows))


def unordered_dropouts(cells: dict[Cell, Row]) -> tuple[list[float], list[float]]:
    """The dropouts at which all of `LRS` are done, and those of them that do not keep the report's order."""
    compared, wrong = [], []
    for dropout in sorted({dropout for dropout, _ in cells}):
        found = [cells[dropout, lr].run.numbers["val_acc"] for lr in LRS if (dropout, lr) in cells]
        if len(found) == len(LRS):
            compared.append(dropout)
            if found != sorted(found, reverse=True):
                wrong.append(dropout)
    return compared, wrong


def beside_report(ranking: Ranking) -> tuple[str, list[str]]:
    """A Markdown table of all finished runs, by our rank, and a remark on whatever is not as expected."""
    cells = cells_of(ranking)
    remarks = []
    for (dropout, lr), row in cells.items():
        if (dropout, lr) in REPORT and "test_acc" in row.run.numbers:
            difference = row.run.numbers["test_acc"] - REPORT[dropout, lr][2]
            if abs(difference) > expected(lr):
                remarks.append(
                    f"dropout {dropout}, lr {lr}: test accuracy differs by {difference:+.4f}, "
                    f"expected within {expected(lr)}"
                )
    remarks += [f"dropout {d}, lr {lr}: no finished run" for d, lr in REPORT if (d, lr) not in cells]
    _, wrong = unordered_dropouts(cells)
    remarks += [
        f"dropout {dropout}: lr 0.01, 0.1, 0.001 are not in this order of validation accuracy"
        for dropout in wrong
    ]
    return as_markdown(table_beside_report(ranking)), remarks


def table_over_seeds(runs: Sequence[RunFiles]) -> Table:
    """Each dropout and lr over its seeds, mean ± sample standard deviation."""
    rows = []
    for (dropout, lr), members in _by_cell(runs).items():
        seeds = ", ".join(sorted((plain(run.settings.get("seed"), 20) for run in members), key=_by_size))
        columns = []
        for key in ("val_acc", "test_acc", "test_acc_best_val"):
            values = [run.numbers[key] for run in members if key in run.numbers]
            spread = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
            columns.append(f"{fmean(values):.4f}{spread}" if values else "")
        rows.append((f"{dropout:g}", f"{lr:g}", seeds, *columns))
    heads = ("dropout", "lr", "seeds", "val acc", "test acc", "test at best val")
    return Table("Several seeds a cell: mean ± sample standard deviation", heads, tuple(rows))


def over_seeds(runs: Sequence[RunFiles]) -> str:
    """`table_over_seeds` in Markdown."""
    return as_markdown(table_over_seeds(runs), left=("seeds",))


def spread_of_seeds(runs: Sequence[RunFiles], key: str = "val_acc") -> tuple[float, int] | None:
    """The standard deviation of `key` from seed to seed, pooled over the cells, and the number of runs behind
    it; None where no cell has two runs.
    """
    groups = [[run.numbers[key] for run in cell if key in run.numbers] for cell in _by_cell(runs).values()]
    groups = [group for group in groups if len(group) > 1]
    freedom = sum(len(group) - 1 for group in groups)
    if not freedom:
        return None
    pooled = sum((len(group) - 1) * variance(group) for group in groups) / freedom
    return pooled**0.5, sum(map(len, groups))


def _by_cell(runs: Sequence[RunFiles]) -> dict[Cell, list[RunFiles]]:
    """The runs of the classifier that are done, by dropout and lr, ascending."""
    cells: dict[Cell, list[RunFiles]] = {}
    for run in runs:
        if run.status == "done" and run.task == "classify" and run.dropout is not None and run.lr is not None:
            cells.setdefault((run.dropout, run.lr), []).append(run)
    return dict(sorted(cells.items()))


def _by_size(seed: str) -> tuple[int, str]:
    return (int(seed), "") if seed.isdecimal() else (2**63, seed)


def _shown(run: RunFiles, key: str) -> str:
    return f"{run.numbers[key]:.4f}" if key in run.numbers else ""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 when every cell is as expected, 1 when not, 2 for a folder without runs."""
    parser = argparse.ArgumentParser(
        prog="python -m src.sweep.table2", description="A finished sweep beside the report's Table 2."
    )
    parser.add_argument("folder", type=Path, help="the sweep, e.g. outputs/fashion_mnist")
    parser.add_argument("--seeds", type=Path, help="a sweep over seeds, e.g. outputs/table2_seeds")
    options = parser.parse_args(arguments)
    try:
        table, remarks = beside_report(rank(options.folder))
        text = f"# Beside the report's Table 2\n\n{table}"
        if options.seeds is not None:
            text += f"\n# Over seeds\n\n{over_seeds(read_runs(options.seeds))}"
    except SweepError as error:
        print(error, file=sys.stderr)
        return 2
    text += "\n" + "".join(f"- {remark}\n" for remark in remarks or ["Every cell is as expected."])
    write_atomically(options.folder / "table2.md", text)
    print(text)
    print(f"File: {options.folder / 'table2.md'}")
    return 1 if remarks else 0


if __name__ == "__main__":
    with stops.door("Stopped; table2.md is as it was, the same command makes it anew."):
        sys.exit(main())
