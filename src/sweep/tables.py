"""The table of a ranking and its forms: CSV, Markdown, terminal."""

import csv
import io
import re
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from src import findings
from src.provenance import code_version
from src.sweep.runs import STATUSES, RunFiles, Task, plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


@dataclass(frozen=True)
class Row:
    """A run and its place; `rank` is None for a run that is not done."""

    rank: int | None
    run: RunFiles


@dataclass(frozen=True)
class Ranking:
    """The runs of a sweep, best first, the runs without a rank below."""

    folder: Path
    task: Task
    rows: tuple[Row, ...]
    extra: tuple[str, ...]  # settings besides dropout and lr that differ between the runs

    @property
    def best(self) -> tuple[RunFiles, ...]:
        """The run of rank 1, several when tied, none while no run is done."""
        return tuple(row.run for row in self.rows if row.rank == 1)

    @property
    def counts(self) -> dict[str, int]:
        """How many runs have each status, those that occur."""
        statuses = [row.run.status for row in self.rows]
        return {status: statuses.count(status) for status in STATUSES if status in statuses}

    @property
    def columns(self) -> dict[str, str]:
        """The table's columns in order: what each is for, and its name."""
        return {
            **{name: name for name in ("rank", "dropout", "lr")},
            **{f"settings.{key}": plain(key, 60) for key in self.extra},
            "train_loss": "train_loss",
            "score": self.task.validation,
            "test": self.task.test,
            "test_best": self.task.test_best,
            **{f"further.{key}": key for key in self.task.further},
            "status": "status",
            "seconds": "seconds",
        }

    def value(self, row: Row, column: str) -> object:
        """What stands in `row` under `column` (a key of `columns`), unrounded; None for nothing."""
        if column.startswith("settings."):
            return row.run.settings.get(column.removeprefix("settings."))
        if column == "rank":
            return row.rank
        if column in ("dropout", "lr", "status"):
            return getattr(row.run, column)
        return row.run.numbers.get(self.columns[column])

    def text(self, row: Row, column: str) -> str:
        """The same to read: metrics with 4 decimals, seconds with 1, settings in full."""
        value = self.value(row, column)
        if (
            isinstance(value, float)
            and column not in ("dropout", "lr")
            and not column.startswith("settings.")
        ):
            if abs(value) >= 1e6:  # a loss on its way to infinity
                return f"{value:.4e}"
            return f"{value:.{1 if column == 'seconds' else 4}f}"
        return setting_text(value)


def setting_text(value: object) -> str:
    """A setting to read: numbers without the noise of binary fractions (0.1 + 0.2 gives 0.3)."""
    return f"{value:.12g}" if isinstance(value, float) else plain(value, 60)


def to_csv(ranking: Ranking) -> str:
    """The ranking as CSV: numbers in full precision, an empty cell where there is none, lines end in LF."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*ranking.columns.values(), "run", "cause", "commit"])
    for row in ranking.rows:
        values = [ranking.value(row, column) for column in ranking.columns]
        cells = [repr(v) if isinstance(v, float) else plain(v, 10_000) for v in values]
        writer.writerow([*cells, row.run.name, row.run.cause, row.run.commit])
    return file.getvalue()


def to_markdown(ranking: Ranking) -> str:
    """The ranking as a Markdown page: what it is, the best run, the table, why runs have no rank."""
    columns = ranking.columns
    lines = [f"# Ranking of {_escaped(_sweep_name(ranking))}", "", summary(ranking), ""]
    lines += [f"{_escaped(line)}\n" for line in best_lines(ranking)]
    lines += [
        "| " + " | ".join(map(_escaped, columns.values())) + " |",
        "|" + "|".join("---" if column == "status" else "---:" for column in columns) + "|",
    ]
    for row in ranking.rows:
        lines.append("| " + " | ".join(_escaped(ranking.text(row, column)) for column in columns) + " |")
    found = notes(ranking)
    if found:
        lines += ["", *(f"- {_escaped(note)}" for note in found)]
    return "\n".join(lines) + "\n"


def as_markdown(table: findings.Table, left: Collection[str] = ()) -> str:
    """A finding's table in Markdown; columns are right-aligned but for those named `left`."""
    lines = [
        f"| {' | '.join(map(_escaped, table.columns))} |",
        f"|{'|'.join('---' if column in left else '---:' for column in table.columns)}|",
        *(f"| {' | '.join(map(_escaped, row))} |" for row in table.rows),
    ]
    return "\n".join(lines) + "\n"


def summary(ranking: Ranking) -> str:
    """In a few sentences, what the table shows and how many runs have each status."""
    counts = ", ".join(f"{count} {status}" for status, count in ranking.counts.items())
    total = len(ranking.rows)
    return (
        f"Ranked by {ranking.task.label} alone, after the last epoch; train_loss is the running mean "
        f"since the first epoch. {f'{ranking.task.remark} ' if ranking.task.remark else ''}"
        f"{total} {'run' if total == 1 else 'runs'}: {counts}."
    )


def best_lines(ranking: Ranking) -> list[str]:
    """One sentence for each run of rank 1."""
    lines = []
    for row in ranking.rows:
        if row.rank == 1:
            test = ranking.text(row, "test")
            lines.append(
                f"Best run{' (tied)' if len(ranking.best) > 1 else ''}: {row.run.name}, "
                f"{ranking.task.label} {ranking.text(row, 'score')}"
                + (f", on the test set {test}." if test else ".")
            )
    return lines or ["No run is done yet."]


def notes(ranking: Ranking) -> list[str]:
    """Why runs have no rank, or what else their files are short of, a line a run; which code made others."""
    causes = [f"{r.run.name}: {r.run.status}, {r.run.cause}" for r in ranking.rows if r.run.cause]
    others = [row.run for row in ranking.rows if row.run.code and row.run.code != code_version()]
    if not others:
        return causes
    commits = ", ".join(sorted({run.commit or "unknown" for run in others}))
    count = "1 run" if len(others) == 1 else f"{len(others)} runs"
    return [*causes, f"Made by other code: commit {commits}, {count}; force=true repeats them."]


def show(ranking: Ranking, console: "Console") -> None:
    """Print the ranking as a table that fits the console; columns without room are named below it."""
    from rich.text import Text

    columns = dict(ranking.columns)
    candidates = _dispensable(columns)
    table = _table(ranking, columns, stacked=False)
    room = console.options.update(width=10_000)  # measures what the table wants, not what it gets
    left_out: list[str] = []
    while console.measure(table, options=room).maximum > console.width and candidates:
        if table.show_edge:
            table = _table(ranking, columns, stacked=True)
            continue
        left_out.append(columns.pop(candidates.pop(0)))
        table = _table(ranking, columns, stacked=True)
    console.print(Text(f"{_sweep_name(ranking)}: {summary(ranking)}"))
    console.print(table)
    for line in (*best_lines(ranking), *notes(ranking)):
        console.print(Text(line))
    if left_out:
        console.print(Text(f"No room for {', '.join(left_out)}; see ranking.csv."))


def _dispensable(columns: Mapping[str, str]) -> list[str]:
    """What a terminal too narrow for all columns goes without, first to last."""

    def of(kind: str) -> list[str]:
        return [column for column in reversed([*columns]) if column.startswith(kind)]

    return ["test_best", "seconds", *of("further."), "train_loss", *of("settings.")]


def _table(ranking: Ranking, columns: Mapping[str, str], *, stacked: bool) -> "Table":
    """The table for the terminal; `stacked` breaks the headers into short lines and saves the frame."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(
        box=box.SIMPLE_HEAD if stacked else box.ROUNDED,
        show_edge=not stacked,
        pad_edge=not stacked,
        padding=(0, 1 if not stacked else 0),
    )
    for column, name in columns.items():
        header = "\n".join(textwrap.wrap(name.replace("_", " "), 9)) if stacked else name
        table.add_column(Text(header), justify="left" if column == "status" else "right", overflow="fold")
    for row in ranking.rows:
        style = "bold green" if row.rank == 1 else "dim" if row.rank is None else ""
        table.add_row(*(Text(ranking.text(row, column)) for column in columns), style=style)
    return table


def _sweep_name(ranking: Ranking) -> str:
    return plain(ranking.folder.resolve().name)


def _escaped(text: str) -> str:
    """Text as it is, where Markdown would see a column, a tag or an emphasis."""
    return re.sub(r"([\\`*|<\[])", r"\\\1", text)
