"""What an analysis hands to whoever shows it: numbers beside the report's, tables, pictures, statements.

Plain data. The page (src/report/), the terminal (src/theory/) and TensorBoard show it; none of it knows them.
All texts are plain text: whoever shows them escapes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Comparison:
    """One number that the report gives, beside what was measured or computed here."""

    what: str
    report: float | int | str | None  # None: the report gives none
    ours: float | int | str | None  # None: not measured yet
    digits: int = 4  # after the point, of floats; integers are shown whole, with thousands separators
    note: str = ""

    @property
    def difference(self) -> float | int | None:
        """Ours less the report's, where both are numbers."""
        if isinstance(self.report, str | None) or isinstance(self.ours, str | None):
            return None
        return self.ours - self.report


@dataclass(frozen=True)
class Statement:
    """A piece of theory that was put to the test."""

    what: str  # "the largest difference between both forms of the probabilities"
    measured: str  # "3.3e-16"
    expected: str  # "at most 1e-12"
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
    """A figure with what it says."""

    name: str  # of its files, without suffix: letters, digits and hyphens
    title: str  # a sentence that states the finding
    alt: str  # what a person who cannot see it needs to know
    figure: Figure


@dataclass(frozen=True)
class Image:
    """A PNG file that a run has left, with what it shows: for pictures whose figure is gone."""

    name: str  # letters, digits and hyphens, as a `Picture`'s
    title: str
    alt: str
    path: Path  # of the PNG; it was there and looked like one when the section was made


@dataclass(frozen=True, eq=False)
class Section:
    """The answer to one of the report's questions.

    Attributes:
        key: letters, digits and hyphens; the page's anchor.
        title: a few words.
        asked: the question, in a sentence or two.
        answer: paragraphs; the first says what was found.
        images: files beside the pictures, shown after them.
        slip: what the report has wrong, with the right arithmetic; "" for nothing.
        command: what made the numbers, for a shell; several lines if several commands did.
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
    images: tuple[Image, ...] = ()
    slip: str = ""
    command: str = ""
    missing: tuple[str, ...] = ()
