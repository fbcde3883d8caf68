"""What an analysis hands to whoever shows it, as plain texts: the page (src/report/) or the terminal (src/theory/)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure

Value = float | int | str | None


@dataclass(frozen=True)
class Comparison:
    """A number that the report gives (None: it gives none) beside ours (None: not measured yet)."""

    what: str
    report: Value
    ours: Value
    digits: int = 4  # after the point, of floats
    note: str = ""


@dataclass(frozen=True)
class Statement:
    """A statement that was put to the test, with what was measured and expected, as texts."""

    what: str
    measured: str
    expected: str
    holds: bool


@dataclass(frozen=True)
class Table:
    """Cells are texts; the first column names the row."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass(frozen=True, eq=False)
class Picture:
    """A figure with a fixed title, and a text for who cannot see it."""

    name: str  # of its files, without suffix: letters, digits and hyphens
    title: str
    alt: str
    figure: Figure


@dataclass(frozen=True, eq=False)
class Section:
    """One of the report's questions with what was found; `key` is the page's anchor.

    Args:
        answer: fixed paragraphs.
        images: title and PNG file of pictures that runs have left.
        slip: what the report has wrong, with the right arithmetic.
        command: what made the numbers; several lines if several commands did.
        missing: sentences that name what is not there and the command that makes it.
    """

    key: str
    title: str
    asked: str
    answer: tuple[str, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    statements: tuple[Statement, ...] = ()
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    images: tuple[tuple[str, Path], ...] = ()
    slip: str = ""
    command: str = ""
    missing: tuple[str, ...] = ()
