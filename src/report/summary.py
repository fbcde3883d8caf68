"""The page's first lines, computed from its comparisons: what comes out as in the report and what not."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from src.page import text
from src.report.numbers import FAR, NEAR, difference, distances, number

if TYPE_CHECKING:
    from src.report.page import Entry

ROWS = 6  # comparisons of one section in the summary; the section itself has them all
NAMED = 8  # far ones named in the text


def summary(entries: Sequence[Entry]) -> str:
    """The section with the anchor `summary`."""
    lines = "".join(f"<li>{line}</li>\n" for line in _findings(entries))
    return (
        '<section id="summary" aria-labelledby="summary-title">\n<h2 id="summary-title">Summary</h2>\n'
        f"<ul>\n{lines}</ul>\n{_table(entries)}</section>\n"
    )


def _findings(entries: Sequence[Entry]) -> Iterator[str]:
    """Ready HTML, a line each."""
    found = distances([item for entry in entries for item in entry.section.comparisons])
    if found.compared:
        parts = [
            f"{len(items)} {words}"
            for items, words in (
                (found.same, "the same to the digits shown"),
                (found.near, f"within {100 * NEAR:g} %"),
                (found.further, f"within {100 * FAR:g} %"),
                (found.far, "further away"),
            )
            if items
        ]
        yield f"<b>{_plural(found.compared, 'number')} of the report compared:</b> {', '.join(parts)}."
    else:
        yield "<b>No number of the report could be compared yet.</b>"
    far = [
        f"{text(item.what)} ({_link(entry)}{', see the slip there' if entry.section.slip else ''})"
        for entry in entries
        for item in entry.section.comparisons
        if any(item is other for other in found.far)
    ]
    if far:
        rest = f", and {len(far) - NAMED} more" if len(far) > NAMED else ""
        named = "; ".join(far[:NAMED])
        yield f"<b>Differs by more than {100 * FAR:g} %, or is another answer:</b> {named}{rest}."
    statements = [(entry, item) for entry in entries for item in entry.section.statements]
    if statements:
        hold = sum(item.holds for _, item in statements)
        yield f"<b>Statements put to the test:</b> {hold} of {len(statements)} hold."
    for entry, item in statements:
        if not item.holds:
            yield (
                f"<b>Does not hold:</b> {text(item.what)}: measured {text(item.measured)}, "
                f"expected {text(item.expected)} ({_link(entry)})."
            )
    for words, chosen in (
        ("Slips of the report", [entry for entry in entries if entry.section.slip]),
        ("Not complete yet", [entry for entry in entries if entry.missing]),
        ("Could not be made", [entry for entry in entries if entry.failure]),
    ):
        if chosen:
            yield f"<b>{words}:</b> {', '.join(_link(entry) for entry in chosen)}."


def _table(entries: Sequence[Entry]) -> str:
    bodies = []
    for entry in entries:
        section = entry.section
        if not section.comparisons and not section.statements:
            continue
        held = ""
        if section.statements:
            hold = sum(item.holds for item in section.statements)
            held = f" <small>(statements: {hold} of {len(section.statements)} hold)</small>"
        rows = [f'<tr><th class="of" scope="rowgroup" colspan="4">{_link(entry)}{held}</th></tr>\n']
        rows += [
            f'<tr><th scope="row">{text(item.what)}</th>'
            f"{value_cell(item.report, item.digits, 'not given')}"
            f"{value_cell(item.ours, item.digits, 'not yet')}"
            f'<td class="number">{text(difference(item))}</td></tr>\n'
            for item in section.comparisons[:ROWS]
        ]
        rest = len(section.comparisons) - ROWS
        if rest > 0:
            link = f'<a href="#{entry.key}">and {_plural(rest, "more number")}</a>'
            rows.append(f'<tr class="more"><td colspan="4">{link}</td></tr>\n')
        bodies.append(f"<tbody>\n{''.join(rows)}</tbody>\n")
    if not bodies:
        return ""
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="The report\'s numbers and ours">'
        '<table class="findings"><thead><tr><th scope="col">Question</th>'
        '<th scope="col" class="number">Report</th>'
        '<th scope="col" class="number">Ours</th><th scope="col" class="number">Difference</th></tr>'
        "</thead>\n"
        f"{''.join(bodies)}</table></div>\n"
    )


def value_cell(value: float | int | str | None, digits: int, nothing: str) -> str:
    """A table's cell: numbers stay on one line, texts may break."""
    kind = "value" if isinstance(value, str | None) else "number"
    return f'<td class="{kind}">{text(number(value, digits, nothing))}</td>'


def _link(entry: Entry) -> str:
    return f'<a href="#{entry.key}">{text(entry.section.title)}</a>'


def _plural(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"
