"""Whatever it is, as text for a person: one line, printable, not too long."""

from __future__ import annotations

import json


def plain(value: object, longest: int = 300) -> str:
    """`value` as one line of printable text of at most `longest` characters, safe to show and to encode."""
    if value is None:
        text = ""
    elif isinstance(value, str):
        text = value
    else:
        try:
            text = json.dumps(value, ensure_ascii=False, default=str)
        except (ValueError, TypeError, RecursionError):  # circular, odd keys, too deep, too many digits
            text = f"<{type(value).__name__}>"
    text = "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text[: longest + 1]).strip()
    return text if len(text) <= longest else text[: longest - 1] + "…"


def quoted(value: object, longest: int = 60) -> str:
    """`value` as Python writes it, shortened: what is wrong with a text must be seen (`'a\\nb'`)."""
    try:
        return plain(repr(value), longest)
    except (ValueError, RecursionError):  # too many digits, too deep
        return f"<{type(value).__name__}>"
