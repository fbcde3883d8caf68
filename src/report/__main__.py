"""Make the page that walks through the report: `python -m src.report --help`.

The door only: it checks the command, hands the topics to `src/report/make.py`, and shows what came out.
"""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from src import door
from src.door import say
from src.paths import expanded
from src.report.command import ReportSettings, help_text, read_command
from src.report.topics import TOPICS
from src.sweep.runs import plain

if TYPE_CHECKING:
    from src.report.make import Outcome
    from src.report.page import Made


def report(arguments: Sequence[str]) -> int:
    """Run the command; its exit status (see `--help`)."""
    settings, mistakes = read_command(arguments)
    if mistakes:
        return refuse(mistakes)
    from src.report.make import make  # late: matplotlib and torch take seconds to import

    chosen = [topic for topic in TOPICS if not settings.only or topic.name in settings.only]
    out = expanded(settings.out)
    try:
        outcome = make(chosen, settings.sources, out, made_by(settings, arguments), say=say)
    except OSError as error:
        return refuse([f"out={settings.out}: cannot be written: {error.strerror or error}"])
    show(outcome)
    return outcome.status


def made_by(settings: ReportSettings, arguments: Sequence[str]) -> Made:
    """What the page's foot says."""
    import torch

    from src.report.make import today
    from src.report.page import Made
    from src.run.threads import cores, processor, versions

    known = versions()
    gpu = f"; {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    facts = {
        "Commit": known.pop("commit"),
        "Versions": ", ".join(f"{name} {value}" for name, value in known.items()),
        "Hardware": f"{processor()}, {cores()} core{'s' if cores() > 1 else ''}{gpu}, {platform.system()}",
        "Seed": f"{settings.seed} for what this page draws at random; each run names its own",
        "Sweep": settings.sweep,
        "Captions": ", ".join(settings.captions),
        "Aerial images": settings.aerial or "none given",
    }
    note = f"Made with only={','.join(settings.only)}: other sections were left out." if settings.only else ""
    return Made(today(), shlex.join(["python", "-m", "src.report", *arguments]), facts, note)


def show(outcome: Outcome) -> None:
    """Print the comparisons, what failed or is missing, and where the page is."""
    from rich.table import Table
    from rich.text import Text

    from src.report.numbers import difference, number
    from src.report.summary import ROWS
    from src.sweep.ranking import console_for

    console = console_for(sys.stdout)
    table = Table()
    for place, column in enumerate(("question", "what", "report", "ours", "difference")):
        table.add_column(column, overflow="fold", justify="right" if place > 1 else "left")
    for entry in outcome.entries:
        table.add_section()
        for place, item in enumerate(entry.section.comparisons[:ROWS]):
            cells = (
                "" if place else entry.section.title,
                item.what,
                number(item.report, item.digits, ""),
                number(item.ours, item.digits, "not yet"),
                difference(item),
            )
            table.add_row(*(Text(plain(cell)) for cell in cells))
        if (rest := len(entry.section.comparisons) - ROWS) > 0:
            table.add_row("", f"... and {rest} more on the page")
    if table.row_count:
        console.print(table)
    statements = [item for entry in outcome.entries for item in entry.section.statements]
    if statements:
        print(f"Statements: {sum(item.holds for item in statements)} of {len(statements)} hold.")
    for tested in statements:
        if not tested.holds:
            words = f"does not hold: {tested.what}: {tested.measured}, expected {tested.expected}"
            print("  " + plain(words, 500))
    for entry in outcome.entries:
        for line in (*entry.missing, *([f"failed: {entry.failure}"] if entry.failure else [])):
            print(plain(f"{entry.section.title}: {line}", 600))
    if outcome.too_large:
        print(outcome.too_large)
    print(f"Page: {plain(str(outcome.page), 2000)} ({outcome.size / 1e6:.2f} MB)")


def refuse(mistakes: Sequence[str]) -> int:
    """Name every mistake; exit status 2."""
    return door.refuse("src.report", "No page was made", mistakes)


def main() -> None:
    """The command line."""
    door.enter(report, help_text, "Stopped; no page was written, an earlier one stays as it was.")


if __name__ == "__main__":
    main()
