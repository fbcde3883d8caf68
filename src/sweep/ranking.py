"""Rank the runs of a sweep by their validation metric: ranking.csv, ranking.md and a table in the terminal.

The test set has no say in the rank. Equal validation metrics share a rank (1, 2, 2, 4).
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from src.config.settings import Task
from src.files import remove_leftovers, write_atomically
from src.sweep.runs import STATUSES, RunRecord, differing, read_runs, sort_key

SHOWN = 100  # runs in the terminal


@dataclass(frozen=True)
class Ranking:
    """The runs of a sweep, best first, the runs without a rank below.

    Attributes:
        rows: rank (None for a run that is not done) and run.
        named: the settings that tell the runs apart.
    """

    folder: Path
    task: Task
    rows: tuple[tuple[int | None, RunRecord], ...]
    named: tuple[str, ...]

    @property
    def metrics(self) -> tuple[str, ...]:
        task, runs = self.task, [run for _, run in self.rows]
        further = [key for key in task.further if any(run.number(key) is not None for run in runs)]
        return ("train_loss", task.monitor, task.test, task.test_best, *further)

    @property
    def header(self) -> tuple[str, ...]:
        return ("rank", *self.named, *self.metrics, "status", "seconds")

    def values(self, rank: int | None, run: RunRecord) -> list[Any]:
        """A row's values, None where there is none."""
        settings = [run.settings.get(key) for key in self.named]
        return [rank, *settings, *map(run.number, self.metrics), run.status, run.number("seconds")]

    def texts(self, rank: int | None, run: RunRecord) -> list[str]:
        """The same to read: metrics with 4 decimals, seconds with 1."""
        digits = {**dict.fromkeys(self.metrics, 4), "seconds": 1}
        values = zip(self.header, self.values(rank, run), strict=True)
        return [
            "" if value is None else f"{value:.{digits[key]}f}" if key in digits else shown(value)
            for key, value in values
        ]

    @property
    def notes(self) -> list[str]:
        """What there is to know besides the table."""
        counts = Counter(run.status for _, run in self.rows)
        states = ", ".join(f"{counts[status]} {status}" for status in STATUSES if counts[status])
        found = [
            f"{len(self.rows)} runs: {states}",
            f"Ranked by {self.task.label} after the last epoch; train_loss is the running mean since the first epoch.",
            *filter(None, [self.task.remark]),
        ]
        if commits := [str(run.results.get("commit")) for _, run in self.rows if run.is_of_other_code]:
            named = ", ".join(sorted(set(commits)))
            found.append(
                f"Made by other code: {len(commits)} of the runs, commit {named}; force=true repeats them."
            )
        told = [run for _, run in self.rows if run.cause and run.status not in ("pruned", "queued")]
        return found + [f"{run.name}: {run.status}, {run.cause}" for run in told]


def rank(folder: Path) -> Ranking:
    """Read the runs of the sweep in `folder` and rank those that are done; writes nothing.

    Raises:
        UserError: as `read_runs`.
    """
    runs = read_runs(folder)
    task = next((run.task for run in runs if run.status != "unreadable"), runs[0].task)
    always = [key for key in task.always_named if any(key in run.settings for run in runs)]
    named = (*always, *differing(runs, besides=always))

    def by_settings(run: RunRecord) -> Any:
        return [*(sort_key(run.settings.get(key)) for key in named), run.name]

    scores = {run: run.number(task.monitor) for run in runs if run.status == "done"}
    done = sorted(
        (run for run, score in scores.items() if score is not None),
        key=lambda run: (-(scores[run] or 0.0), by_settings(run)),
    )
    rest = sorted(set(runs) - set(done), key=lambda run: (STATUSES.index(run.status), by_settings(run)))
    ranks: dict[float | None, int] = {}  # of the first run with a score
    rows = [(ranks.setdefault(scores[run], place), run) for place, run in enumerate(done, 1)]
    return Ranking(folder, task, (*rows, *((None, run) for run in rest)), named)


def shown(value: Any) -> str:
    """A setting to read."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.12g}" if isinstance(value, float) else "" if value is None else str(value)


def to_csv(ranking: Ranking) -> str:
    """The ranking as CSV: numbers in full precision, an empty cell where there is none."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*ranking.header, "run", "cause"])
    for place, run in ranking.rows:
        writer.writerow([*ranking.values(place, run), run.name, run.cause])
    return file.getvalue()


def to_markdown(ranking: Ranking) -> str:
    """The ranking as a Markdown page."""
    rows = [ranking.texts(place, run) for place, run in ranking.rows]
    notes = "".join(f"- {escaped(note)}\n" for note in ranking.notes)
    return f"# Ranking of {escaped(ranking.folder.resolve().name)}\n\n{markdown_table(ranking.header, rows)}\n{notes}"


def markdown_table(header: Any, rows: Any) -> str:
    """A table in Markdown, numbers at the right."""
    lines = [header, ["---:"] * len(header), *rows]
    return "".join(
        f"| {' | '.join(cell if line is lines[1] else escaped(str(cell)) for cell in line)} |\n"
        for line in lines
    )


def escaped(text: str) -> str:
    """Text as it is, where Markdown would see a column, a tag or an emphasis."""
    return re.sub(r"([\\`*|<\[])", r"\\\1", text)


def show(ranking: Ranking, console: Console | None = None) -> None:
    """Print the ranking; where the terminal is too narrow, without the settings that have the fewest values."""
    console = console or Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    named = list(ranking.named)

    def values(key: str) -> int:
        return len({str(run.settings.get(key)) for _, run in ranking.rows})

    table = _terminal_table(ranking)
    while (
        named
        and console.measure(table, options=console.options.update(max_width=1000)).maximum > console.width
    ):
        named.remove(min(reversed(named), key=values))
        table = _terminal_table(dataclasses.replace(ranking, named=tuple(named)))
    console.print(table)
    if left_out := [key for key in ranking.named if key not in named]:
        console.print(Text(f"For want of room without {', '.join(left_out)}: ranking.csv has all columns."))
    if (more := len(ranking.rows) - SHOWN) > 0:
        console.print(f"... and {more:,} more in the files")
    for note in ranking.notes:
        console.print(Text(note))


def _terminal_table(ranking: Ranking) -> Table:
    """Its headings broken at each `_`, so that it is narrow."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ranking.header:
        justify: Any = "left" if column == "status" else "right"
        table.add_column(Text(column.replace("_", "\n")), justify=justify, overflow="fold")
    for place, run in ranking.rows[:SHOWN]:
        style = "bold green" if place == 1 else "dim" if place is None else ""
        table.add_row(*map(Text, ranking.texts(place, run)), style=style)
    return table


def report(folder: Path, plots: bool = True) -> list[Path]:
    """Write ranking.csv and ranking.md, draw the plots, then print the table; the files' paths.

    Raises:
        UserError: as `read_runs`.
    """
    from src.sweep.plots import draw  # late: imports matplotlib

    ranking = rank(folder)
    for place in (folder, folder / "plots"):
        remove_leftovers(place)
    paths = [folder / "ranking.csv", folder / "ranking.md"]
    for path, content in zip(paths, (to_csv(ranking), to_markdown(ranking)), strict=True):
        write_atomically(path, content)
    paths += draw(folder / "plots", ranking) if plots else []
    show(ranking)
    sys.stdout.write("Files:\n" + "".join(f"  {path}\n" for path in paths))
    return paths
