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
from statistics import fmean, stdev

from src.files import write_atomically
from src.sweep.ranking import rank
from src.sweep.runs import RunFiles, SweepError, read_runs
from src.sweep.tables import Ranking

# dropout, lr -> training loss (running mean), validation accuracy, test accuracy: the report's Table 2
REPORT = {
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


def expected(lr: float) -> float:
    """How far a cell's test accuracy may be from the report's: another machine is another random run."""
    return 0.015 if lr == 0.1 else 0.006


def beside_report(ranking: Ranking) -> tuple[str, list[str]]:
    """A Markdown table of all finished runs, by our rank, and a remark on whatever is not as expected."""
    ranks = {cell: rank for rank, cell in enumerate(REPORT, start=1)}
    lines = [
        "| rank | dropout | lr | train loss | val acc | test acc | test at best val "
        "| report: rank | train loss | val acc | test acc | difference in test acc |",
        "|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    remarks = []
    cells = {}
    for row in ranking.rows:
        run = row.run
        if row.rank is None or run.dropout is None or run.lr is None:
            continue
        cell = (run.dropout, run.lr)
        cells[cell] = run
        ours = [f"{run.numbers[key]:.4f}" for key in (*KEYS, "test_acc_best_val")]
        theirs = ["", "", "", "", ""]
        if cell in REPORT:
            difference = run.numbers["test_acc"] - REPORT[cell][2]
            theirs = [str(ranks[cell]), *(f"{value:.4f}" for value in REPORT[cell]), f"{difference:+.4f}"]
            if abs(difference) > expected(cell[1]):
                remarks.append(
                    f"dropout {cell[0]}, lr {cell[1]}: test accuracy differs by {difference:+.4f}, "
                    f"expected within {expected(cell[1])}"
                )
        lines.append(f"| {' | '.join([str(row.rank), f'{cell[0]:g}', f'{cell[1]:g}', *ours, *theirs])} |")
    remarks += [f"dropout {d}, lr {lr}: no finished run" for d, lr in REPORT if (d, lr) not in cells]
    for dropout in sorted({dropout for dropout, _ in cells}):
        order = [cells.get((dropout, lr)) for lr in (0.01, 0.1, 0.001)]
        accuracies = [run.numbers["val_acc"] for run in order if run is not None]
        if len(accuracies) == 3 and accuracies != sorted(accuracies, reverse=True):
            remarks.append(
                f"dropout {dropout}: lr 0.01, 0.1, 0.001 are not in this order of validation accuracy"
            )
    return "\n".join(lines) + "\n", remarks


def over_seeds(runs: Sequence[RunFiles]) -> str:
    """A Markdown table: each dropout and lr over its seeds, mean ± sample standard deviation."""
    cells: dict[tuple[float, float], list[RunFiles]] = {}
    for run in runs:
        if run.status == "done" and run.dropout is not None and run.lr is not None:
            cells.setdefault((run.dropout, run.lr), []).append(run)
    lines = [
        "| dropout | lr | seeds | val acc | test acc | test at best val |",
        "|---:|---:|---|---:|---:|---:|",
    ]
    for (dropout, lr), members in sorted(cells.items()):
        seeds = ", ".join(str(seed) for seed in sorted(int(str(run.settings["seed"])) for run in members))
        columns = []
        for key in ("val_acc", "test_acc", "test_acc_best_val"):
            values = [run.numbers[key] for run in members]
            spread = f" ± {stdev(values):.4f}" if len(values) > 1 else ""
            columns.append(f"{fmean(values):.4f}{spread}")
        lines.append(f"| {dropout:g} | {lr:g} | {seeds} | {' | '.join(columns)} |")
    return "\n".join(lines) + "\n"


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
    sys.exit(main())
