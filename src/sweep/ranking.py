"""Rank the runs of a sweep by their validation metric: ranking.csv, ranking.md and a table in the terminal.

    python -m src.sweep.ranking outputs/fashion_mnist

makes them, and the sweep's plots, again from the runs' files alone, also while the sweep still runs.
The test set has no say in the rank.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from src import stops
from src.files import remove_leftovers, write_atomically
from src.sweep.runs import STATUSES, TASKS, RunFiles, SweepError, plain, read_runs
from src.sweep.tables import Ranking, Row, show, to_csv, to_markdown
from src.sweep.variants import differing, order

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Ranking", "Row", "SweepError", "main", "rank", "report", "show", "write"]

NARROW = 80  # columns, where the output is no terminal


def rank(folder: Path) -> Ranking:
    """Read the runs of the sweep in `folder` and rank those that are done; writes nothing.

    Equal validation metrics share a rank (1, 2, 2, 4) and stand in the order of their settings.

    Raises SweepError when `folder` holds no runs, or runs of several tasks, whose metrics do not compare.
    """
    runs = read_runs(folder)
    tasks = sorted({run.task for run in runs if run.task is not None})
    if len(tasks) > 1:
        raise SweepError(f"{folder} holds runs of several tasks ({', '.join(tasks)}), which do not compare.")
    task = TASKS[tasks[0] if tasks else "classify"]
    extra = differing(runs)

    def by_settings(run: RunFiles) -> tuple:
        settings = [run.dropout, run.lr, *(run.settings.get(key) for key in extra)]
        return (*map(order, settings), run.name)

    done = [run for run in runs if run.status == "done"]
    done.sort(key=lambda run: (-run.numbers[task.validation], by_settings(run)))
    rows: list[Row] = []
    for place, run in enumerate(done, start=1):
        tied = rows and rows[-1].run.numbers[task.validation] == run.numbers[task.validation]
        rows.append(Row(rows[-1].rank if tied else place, run))
    rest = [run for run in runs if run.status != "done"]
    rest.sort(key=lambda run: (STATUSES.index(run.status), by_settings(run)))
    return Ranking(folder, task, (*rows, *(Row(None, run) for run in rest)), extra)


def write(ranking: Ranking) -> list[Path]:
    """Write ranking.csv and ranking.md into the sweep's folder and return their paths. Raises OSError."""
    contents = {"ranking.csv": to_csv(ranking), "ranking.md": to_markdown(ranking)}
    for name, content in contents.items():
        write_atomically(ranking.folder / name, content)
    return [ranking.folder / name for name in contents]


def report(folder: Path, console: "Console | None" = None, plots: bool = True) -> list[Path]:
    """Rank the sweep in `folder`, write the ranking, draw the plots, print it; return the files' paths.

    Raises SweepError as `rank` does, and OSError when a file cannot be written.
    """
    ranking = rank(folder)
    for place in (folder, folder / "plots"):
        remove_leftovers(place)
    console = console or console_for(sys.stdout)
    try:
        paths = write(ranking)
        if plots:
            from src.sweep.plots import draw  # here, since matplotlib takes long to import

            paths += draw(folder / "plots", ranking.task, [row.run for row in ranking.rows], ranking.extra)
    finally:  # a disk that is full must not hide the numbers
        show(ranking, console)
    console.print(
        "Files:", *(str(path) for path in paths), sep="\n  ", markup=False, highlight=False, soft_wrap=True
    )
    return paths


def console_for(stream: TextIO) -> "Console":
    """A console as wide as the terminal, or 80 columns wide where `stream` is none."""
    from rich.console import Console

    return Console(file=stream, width=None if stream.isatty() else NARROW, highlight=False)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; 0 when all is made, 1 when a file cannot be written, 2 for a folder without runs."""
    parser = argparse.ArgumentParser(
        prog="python -m src.sweep.ranking",
        description="Rank the runs of a sweep by validation, from their files alone, and draw its plots.",
    )
    parser.add_argument(
        "folder", type=Path, help="the folder that holds the runs, e.g. outputs/fashion_mnist"
    )
    parser.add_argument("--no-plots", action="store_true", help="tables only")
    options = parser.parse_args(arguments)
    try:
        report(options.folder, plots=not options.no_plots)
    except SweepError as error:
        print(plain(str(error)), file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{plain(error.filename or options.folder)}: {error.strerror or error}.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    with stops.door("Stopped; each file is either the new one or the old one, the same command ranks again."):
        sys.exit(main())
