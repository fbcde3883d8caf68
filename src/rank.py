"""Rank a sweep again, also while it runs: `python -m src.rank outputs/fashion_mnist`."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from src.config.settings import setting
from src.entry_point import UserError, entry_point
from src.files import write_atomically

# the tables, and the task whose runs each compares; seeds are of any task
TABLES = {"table2": "classify", "seeds": None, "captions": "caption", "pointing": "caption"}


@dataclass
class RankSettings:
    """Settings of `python -m src.rank`."""

    folder: str = setting("the folder that holds the runs")
    table: str | None = setting(
        "a further table, written beside the ranking", default=None, choices=tuple(TABLES)
    )
    plots: bool = setting("draw the plots", default=True)


@entry_point("rank", RankSettings, positional="folder")
def main(cfg: DictConfig) -> None:
    """Rank the runs of a sweep by validation, from their files alone, and draw its plots."""
    from src.sweep import comparison
    from src.sweep.ranking import markdown_table, rank, report

    folder = Path(cfg.folder).expanduser()
    if cfg.table is None:
        report(folder, cfg.plots)
        return
    ranking = rank(folder)
    task = ranking.task
    if TABLES[cfg.table] not in (None, task.name):
        raise UserError(
            f"table={cfg.table}: is for runs of task={TABLES[cfg.table]}; these are of task={task.name}"
        )
    report(folder, cfg.plots)
    tables = {
        "table2": lambda: comparison.table2(ranking),
        "seeds": lambda: comparison.over_seeds(ranking, (task.monitor, task.test, task.test_best)),
        "captions": lambda: comparison.captions(ranking),
        "pointing": lambda: comparison.pointing(ranking),
    }
    table = tables[cfg.table]()
    if not table.rows:
        raise UserError(f"table={cfg.table}: no finished run in {folder} has such numbers")
    text = f"# {table.title}\n\n{markdown_table(table.columns, table.rows)}"
    write_atomically(folder / f"{cfg.table}.md", text)
    sys.stdout.write(f"{text}\nFile: {folder / cfg.table}.md\n")
    if cfg.table == "seeds" and cfg.plots:
        from src import figures
        from src.sweep.critical_difference import critical_difference, mean_ranks

        if found := mean_ranks(ranking):
            figure = critical_difference(found, task.heading)
            for path in figures.save(figure, folder / "plots" / "critical_difference"):
                sys.stdout.write(f"File: {path}\n")


if __name__ == "__main__":
    main()
