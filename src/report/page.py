"""The report's page: sections with their pictures embedded, filled into the templates beside this file."""

from __future__ import annotations

import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from src import figures
from src.files import write_atomically
from src.findings import Comparison, Section, Table, Value
from src.page import Embedded, drawing, render

TITLE = "A deep-learning course report, measured again"
NUMBER = re.compile(r"[-+]?[\d,.]+(e[-+]?\d+)?( ?(%|±.*|s|x))?|-?inf|nan|")


@dataclass(frozen=True, eq=False)
class Entry:
    """A section on the page.

    Args:
        group: the heading that it stands under.
        pictures: title, alternative text and picture.
        failure: why the section could not be made, or "".
        seconds: that making it took.
    """

    section: Section
    group: str
    pictures: tuple[tuple[str, str, Embedded], ...] = ()
    failure: str = ""
    seconds: float = 0.0


def embedded_pictures(section: Section, folder: Path) -> tuple[tuple[str, str, Embedded], ...]:
    """Write the section's figures into `folder` as PNG; title, text and picture of each for the page."""
    found = []
    for picture in section.pictures:
        picture.figure.suptitle("")  # the page says it in words
        data = figures.rendered(picture.figure, "png", dpi=figures.DPI, bbox_inches="tight", pad_inches=0.08)
        write_atomically(folder / f"{picture.name}.png", data)
        found.append((picture.title, picture.alt, drawing(Image.open(io.BytesIO(data)))))
    for title, path in section.images:
        with Image.open(path) as image:
            found.append((title, title, drawing(image)))
    return tuple(found)


def page(entries: Sequence[Entry], facts: Mapping[str, str]) -> str:
    """The page as HTML; `facts` say in its foot how it was made."""
    functions = {"number": number, "difference": difference, "percent": percent, "numeric": numeric_columns}
    return render("report/templates/report.html.j2", title=TITLE, entries=entries, facts=facts, **functions)


def number(value: Value, digits: int, nothing: str) -> str:
    """235,300; 0.9073; a text as it is; `nothing` for None."""
    if value is None or isinstance(value, str):
        return nothing if value is None else value
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.{digits}f}" if math.isfinite(value) else "not finite"


def difference(item: Comparison) -> str:
    """Ours less the report's: +0.0017; of texts "same" or "differs"; "" where one is missing."""
    if item.report is None or item.ours is None:
        return ""
    if isinstance(item.report, str) or isinstance(item.ours, str):
        return "same" if item.report == item.ours else "differs"
    gap = item.ours - item.report
    shown = number(abs(gap), item.digits, "")
    return shown if not re.search("[1-9]", shown) else f"{'+' if gap > 0 else '-'}{shown}"


def percent(item: Comparison) -> str:
    """The difference as a share of the report's number: (+0.2 %); "" where there is none."""
    if not isinstance(item.report, int | float) or not isinstance(item.ours, int | float) or not item.report:
        return ""
    share = (item.ours - item.report) / abs(item.report)
    return f"({100 * share:+,.1f} %)" if share and math.isfinite(share) else ""


def numeric_columns(table: Table) -> list[bool]:
    """Which columns hold numbers alone."""
    columns = range(len(table.columns))
    return [bool(table.rows) and all(NUMBER.fullmatch(row[k].strip()) for row in table.rows) for k in columns]
