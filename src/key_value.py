"""Read `key=value` words into a dataclass of settings (src/settings.py), every mistake named at once.

For doors whose few settings need no Hydra. Nothing is opened.
"""

from __future__ import annotations

import difflib
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import MISSING
from typing import Any, TypeVar

from src.config import fields_of, range_mistake

WIDTH = 100  # columns of the help
Schema = TypeVar("Schema")


def read(schema: type[Schema], arguments: Sequence[str]) -> tuple[Schema, list[str], list[str]]:
    """Settings from words like `out=folder only=a,b`.

    Fields may be `str`, `str | None`, `int`, `bool` and `tuple[str, ...]`; lists are separated by commas, in
    brackets or not, and a list given twice is joined.

    Returns:
        The settings, the names of those that were given, and every mistake as a sentence.
    """
    known = fields_of(schema)
    values: dict[str, Any] = {}
    given: dict[str, str] = {}
    mistakes: list[str] = []
    for argument in arguments:
        key, sign, text = argument.partition("=")
        if argument.startswith("-"):
            mistakes.append(f"{argument}: there are no options; settings are given as key=value")
        elif not sign:
            hint = f"; did you mean {key}=VALUE?" if key in known else ""
            mistakes.append(f"{argument}: settings are given as key=value{hint}")
        elif key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}"
            mistakes.append(f"{argument}: there is no setting {key!r}{hint}")
        elif not text.strip():
            mistakes.append(f"{argument}: must be given a value")
        elif (several := "tuple" not in str(known[key].type)) and given.setdefault(key, text) != text:
            mistakes.append(f"{argument}: {key}={given[key]} is given, too")
        else:
            try:
                value = _value(str(known[key].type), text)
            except ValueError as error:
                mistakes.append(f"{argument}: {error}")
                continue
            checked = [value] if several else value
            wrong = [mistake for item in checked if (mistake := range_mistake(known[key], item))]
            mistakes += [f"{argument}: {mistake}" for mistake in dict.fromkeys(wrong)]
            if not wrong:
                given[key] = text
                values[key] = value if several else values.get(key, ()) + value
    return schema(**values), list(values), mistakes


def _value(kind: str, text: str) -> Any:
    """Raises ValueError with what is wrong with the text."""
    if "tuple" in kind:
        return _listed(text)
    if kind == "bool":
        if text.lower() not in ("true", "false"):
            raise ValueError("must be true or false")
        return text.lower() == "true"
    if kind == "int":
        try:
            return int(text)
        except ValueError:
            raise ValueError("must be a whole number") from None
    text = text.strip()
    if "None" in kind and text == "null":
        return None
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def _listed(text: str) -> tuple[str, ...]:
    """The items of `a,b` or `[a, "b,c"]`."""
    text = text.strip()
    words = shlex.shlex(text[1:-1] if text.startswith("[") and text.endswith("]") else text, posix=True)
    words.whitespace, words.whitespace_split = ",", True
    words.commenters, words.escape = "", ""  # in a path, # and \ are themselves
    try:
        found = tuple(word for word in (word.strip() for word in words) if word)
    except ValueError as error:
        raise ValueError(f"cannot be read as a list: {str(error).lower()}") from None
    if not found:
        raise ValueError("names nothing")
    return found


def help_lines(schema: type) -> Iterator[str]:
    """Every setting with its meaning, choices and default, in its groups."""
    groups: dict[str, list[str]] = {}
    for name, item in fields_of(schema).items():
        choices = item.metadata["choices"]
        text = item.metadata["help"] + (f" ({', '.join(choices)})" if choices else "")
        default = "" if item.default in (MISSING, "", (), None) else f" [{_shown(item.default)}]"
        groups.setdefault(item.metadata["group"], []).extend(
            textwrap.wrap(
                text + default,
                WIDTH,
                initial_indent=f"  {name:16} ",
                subsequent_indent=" " * 19,
                break_on_hyphens=False,
            )
        )
    for group, lines in groups.items():
        yield f"== {group} =="
        yield from lines
        yield ""


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else str(value)
