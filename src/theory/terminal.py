"""Tables and statements in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from src.findings import Statement, Table

if TYPE_CHECKING:
    from rich.console import Console


def show_table(table: Table, console: Console) -> None:
    """A table with its title and note; all columns but the first are set to the right."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(
        title=Text(table.title),
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for place, name in enumerate(table.columns):
        shown.add_column(Text(name), justify="right" if place else "left", overflow="fold")
    for row in table.rows:
        shown.add_row(*(Text(cell) for cell in row))
    console.print(shown)
    if table.note:
        console.print(Text(table.note), style="dim")


def show_statements(statements: Sequence[Statement], console: Console) -> None:
    """Each statement with what was measured and expected, and whether it holds."""
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), expand=True)
    shown.add_column("statement", ratio=5, overflow="fold")
    shown.add_column("measured", ratio=4, overflow="fold")
    shown.add_column("expected", ratio=3, overflow="fold")
    shown.add_column("holds", width=5)
    for statement in statements:
        word, style = ("yes", "green") if statement.holds else ("NO", "bold red")
        cells = (statement.what, statement.measured, statement.expected)
        shown.add_row(*map(Text, cells), Text(word, style))
    console.print(shown)
