"""The report's page as one HTML text: contents, summary, the sections, how it was made. No script.

A section is shown as src/findings.py has it, all its texts escaped; pictures come ready from pictures.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from src.findings import Comparison, Section, Statement, Table
from src.page import head, text
from src.report.numbers import difference, percent, relative
from src.report.pictures import Encoded
from src.report.style import STYLE
from src.report.summary import summary, value_cell

TITLE = "A deep-learning course report, measured again"
WIDE = 7  # columns; a table of more is printed smaller
_NUMBER = re.compile(r"[-+]?[\d,.]+(e[-+]?\d+)?( ?(%|±.*|s|x))?|-?inf|nan|")


@dataclass(frozen=True, eq=False)
class Shown:
    """A picture on the page."""

    title: str
    alt: str
    picture: Encoded


@dataclass(frozen=True, eq=False)
class Entry:
    """A section on its way to the page, or what became of it."""

    key: str  # the anchor; unique on the page
    group: str
    section: Section
    pictures: tuple[Shown, ...] = ()
    failure: str = ""  # a sentence: why the section could not be made
    remarks: tuple[str, ...] = ()  # sentences about single pictures that could not be shown
    seconds: float = 0.0

    @property
    def missing(self) -> tuple[str, ...]:
        return (*self.section.missing, *self.remarks)


@dataclass(frozen=True)
class Made:
    """How the page was made, for its foot."""

    date: str
    command: str
    facts: Mapping[str, str] = field(default_factory=dict)  # commit, versions, hardware, seeds
    note: str = ""  # a sentence under the title, where not all sections were asked for


def anchors(keys: Sequence[str]) -> list[str]:
    """Each key as an anchor of letters, digits and hyphens that no other has."""
    found: list[str] = []
    taken = {"summary", "made"}
    for key in keys:
        plain = re.sub(r"[^A-Za-z0-9-]+", "-", key).strip("-") or "section"
        anchor = next(
            a for n in range(1, len(keys) + 4) if (a := plain + (f"-{n}" if n > 1 else "")) not in taken
        )
        taken.add(anchor)
        found.append(anchor)
    return found


def page(entries: Sequence[Entry], made: Made) -> str:
    """The whole page."""
    return "".join(_page(entries, made))


def _page(entries: Sequence[Entry], made: Made) -> Iterator[str]:
    yield head(TITLE, STYLE)
    contents = _contents(entries)
    yield '<a class="skip" href="#summary">To the text</a>\n<div class="frame">\n'
    yield f"<header>\n<h1>{text(TITLE)}</h1>\n"
    yield '<p class="quiet">Question by question: what was asked, the number of the report, the number '
    yield f"measured here, the difference, and the command that made it. Made on {text(made.date)}.</p>\n"
    if made.note:
        yield f"<p>{text(made.note)}</p>\n"
    yield '</header>\n<nav class="contents side" aria-label="Contents">\n<p class="of">Contents</p>\n'
    yield f'{contents}</nav>\n<div class="body">\n'
    yield f'<details class="contents"><summary>Contents</summary>\n<nav aria-label="Contents">{contents}'
    yield "</nav></details>\n<main>\n"
    yield summary(entries)
    for group, members in groupby(entries, key=lambda entry: entry.group):
        yield f'<p class="group">{text(group)}</p>\n'
        for entry in members:
            yield from _section(entry)
    yield f"</main>\n{_foot(made)}</div>\n</div>\n</body>\n</html>\n"


def _contents(entries: Sequence[Entry]) -> str:
    lines = ['<ol><li><a href="#summary">Summary</a></li></ol>\n']
    for group, members in groupby(entries, key=lambda entry: entry.group):
        lines.append(f'<p class="of">{text(group)}</p>\n<ol>\n')
        for entry in members:
            state = "failed" if entry.failure else "incomplete" if entry.missing else ""
            mark = f' <span class="mark">({state})</span>' if state else ""
            lines.append(f'<li><a href="#{entry.key}">{text(entry.section.title)}{mark}</a></li>\n')
        lines.append("</ol>\n")
    lines.append('<ol><li><a href="#made">How this page was made</a></li></ol>\n')
    return "".join(lines)


def _section(entry: Entry) -> Iterator[str]:
    section = entry.section
    yield f'<section id="{entry.key}" aria-labelledby="{entry.key}-title">\n'
    yield f'<h2 id="{entry.key}-title"><a href="#{entry.key}">{text(section.title)}</a></h2>\n'
    if section.asked:
        yield f'<p class="asked"><b>Asked:</b> {text(section.asked)}</p>\n'
    if entry.failure:
        yield _box("failed", "This section failed.", entry.failure)
    for place, paragraph in enumerate(section.answer):
        kind = "" if place else ' class="lead"'
        yield f"<p{kind}>{text(paragraph)}</p>\n"
    if entry.missing:
        lines = "".join(f"<li>{text(line)}</li>" for line in entry.missing)
        yield f'<div class="box missing" role="note"><p><b>Not there yet</b></p><ul>{lines}</ul></div>\n'
    if section.comparisons:
        yield comparison_table(section.comparisons)
    if section.slip:
        yield _box("slip", "A slip in the report.", section.slip)
    for shown in entry.pictures:
        yield figure_html(shown)
    if section.statements:
        yield statement_table(section.statements)
    for table in section.tables:
        yield table_html(table)
    if section.command:
        lines = "\n".join(text(line) for line in section.command.strip().splitlines())
        yield f"<h3>Made by</h3>\n<pre><code>{lines}</code></pre>\n"
    yield "</section>\n"


def _box(kind: str, label: str, words: str) -> str:
    return f'<div class="box {kind}" role="note"><p><b>{label}</b> {text(words)}</p></div>\n'


def comparison_table(items: Sequence[Comparison]) -> str:
    """The report's numbers beside ours."""
    noted = any(item.note for item in items)
    rows = []
    for item in items:
        share = relative(item)
        small = f" <small>({percent(share)})</small>" if share is not None else ""
        rows.append(
            f'<tr><th scope="row">{text(item.what)}</th>'
            f"{value_cell(item.report, item.digits, 'not given')}"
            f"{value_cell(item.ours, item.digits, 'not measured yet')}"
            f'<td class="number">{text(difference(item))}{small}</td>'
            + (f"<td>{text(item.note)}</td>" if noted else "")
            + "</tr>\n"
        )
    columns = ["", "Report", "Measured here", "Difference"] + ["Note"] * noted
    return _table("The report's numbers and ours", columns, rows, numbers={1, 2, 3}, kind="findings compare")


def verdict(holds: bool) -> str:
    """Told by sign, word and outline as well as by colour."""
    sign, word, kind = (
        ("\N{CHECK MARK}", "holds", "holds") if holds else ("\N{BALLOT X}", "does not hold", "fails")
    )
    return f'<span class="verdict {kind}"><span aria-hidden="true">{sign}</span> {word}</span>'


def statement_table(items: Sequence[Statement]) -> str:
    """What was put to the test, and how it came out."""
    rows = [
        f'<tr><th scope="row">{text(item.what)}</th><td>{verdict(item.holds)}</td>'
        f"<td>{text(item.measured)}</td><td>{text(item.expected)}</td></tr>\n"
        for item in items
    ]
    return _table(
        "Statements put to the test",
        ["Statement", "Verdict", "Measured", "Expected"],
        rows,
        kind="findings claims",
    )


def table_html(table: Table) -> str:
    """Columns that hold numbers alone are set to the right."""
    width = max([len(table.columns), *(len(row) for row in table.rows)])
    columns = [*table.columns, *[""] * (width - len(table.columns))]
    numbers = {
        place
        for place in range(1, width)
        if table.rows and all(_NUMBER.fullmatch(row[place].strip()) for row in table.rows if place < len(row))
    }
    ranked = bool(table.rows) and all(row and _NUMBER.fullmatch(row[0].strip()) for row in table.rows)
    kind = (
        ' class="number"' if ranked else ""
    )  # a name may take several lines, and wants room; a rank does not
    rows = []
    for row in table.rows:
        cells = [
            f'<td class="number">{text(cell)}</td>' if place in numbers else f"<td>{text(cell)}</td>"
            for place, cell in enumerate(row)
            if place
        ]
        first = text(row[0]) if row else ""
        rows.append(f'<tr><th scope="row"{kind}>{first}</th>{"".join(cells)}</tr>\n')
    note = f'<p class="quiet">{text(table.note)}</p>\n' if table.note else ""
    return _table(table.title, columns, rows, numbers) + note


def _table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[str],
    numbers: set[int] | None = None,
    kind: str = "plain",
) -> str:
    """In a box of its own that scrolls, by touch and by keyboard, where the table is wider than the text."""
    kinds = [' class="number"' if place in (numbers or ()) else "" for place in range(len(columns))]
    cells = "".join(
        f'<th scope="col"{kind}>{text(name)}</th>' for kind, name in zip(kinds, columns, strict=True)
    )
    return (
        f'<h3>{text(title)}</h3>\n<div class="scroll" tabindex="0" role="region" aria-label="{text(title)}">'
        f'<table class="{"wide" if len(columns) > WIDE else kind}">'
        f"<thead><tr>{cells}</tr></thead>\n<tbody>\n{''.join(rows)}</tbody></table></div>\n"
    )


def figure_html(shown: Shown) -> str:
    """The finding in words, then the picture."""
    item = shown.picture
    return (
        f"<figure><figcaption>{text(shown.title)}</figcaption>"
        '<div class="scroll" tabindex="0" role="region" aria-label="The picture, wider than a small screen">'
        f'<img src="{item.uri}" width="{item.shown_width}" height="{item.shown_height}" '
        f'alt="{text(shown.alt)}"></div></figure>\n'
    )


def _foot(made: Made) -> str:
    facts = "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>\n" for name, value in made.facts.items())
    return (
        f'<footer id="made">\n<h2>How this page was made</h2>\n<pre><code>{text(made.command)}</code></pre>\n'
        f"<dl>\n<dt>Date</dt><dd>{text(made.date)}</dd>\n{facts}</dl>\n</footer>\n"
    )
