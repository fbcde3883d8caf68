"""Overrides of a command line one by one: read, listed, quoted."""

from __future__ import annotations

import contextlib
import math
import re
import shlex
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString, RangeSweep, Transformer
from hydra.errors import HydraException

from src.config import SCHEMAS, fields_of, rounded

MOST_VALUES = 10_000  # of a range
TEXTS = ("str", "str | None")
UNQUOTED = re.compile(r"[\w/.+$%*@?|:~, -]*")  # what a value may hold that is not quoted


def parsed(argument: str) -> Override:
    """An override; `~` and letters beyond ASCII, which Hydra wants in quotes, are taken as they are.

    Raises:
        ValueError: it cannot be read.
    """
    parser = OverridesParser.create()
    key, sign, value = argument.partition("=")
    texts = [argument]
    if ("~" in value or not value.isascii()) and UNQUOTED.fullmatch(value):
        texts.append(f"{key}{sign}" + ",".join(f'"{item}"' for item in value.split(",")))
    for text in texts:
        # ValueError: a number of thousands of digits; RecursionError: brackets within brackets
        with contextlib.suppress(HydraException, ValueError, RecursionError):
            return parser.parse_override(text)
    raise ValueError("neither as it stands nor in quotes")


def hint(argument: str, before: Sequence[str]) -> str:
    """How to write an argument that cannot be read, in a shell."""
    key, sign, _ = argument.partition("=")
    if sign and is_text(key):
        return f"quote the value: {quoted(argument)}"
    if not sign and before and is_text(before[-1].partition("=")[0]):
        return f"a value with spaces is quoted: {quoted(f'{before[-1]} {argument}')}"
    return "settings are given as key=value"


def quoted(argument: str) -> str:
    """An override as a shell and Hydra take it: the value in quotes for Hydra, the whole for the shell."""
    key, _, value = argument.partition("=")
    escaped = value.replace('"', '\\"')
    return shlex.quote(f'{key}="{escaped}"')


def is_text(key: str) -> bool:
    return any(
        str(fields_of(schema)[key].type) in TEXTS for schema in SCHEMAS.values() if key in fields_of(schema)
    )


class TooManyValues(ValueError):
    """A range of more values than anybody trains. The message says how many it has."""


def _check_range(span: RangeSweep) -> None:
    """Raises ValueError (no step) or TooManyValues: Hydra would list them all, or count for ever."""
    start, stop, step = (float(side or 0) for side in (span.start, span.stop, span.step))
    if step == 0:
        raise ValueError("a range needs a step")
    count = (stop - start) / step
    if not count <= MOST_VALUES:  # a NaN, too
        raise TooManyValues(f"has {count:,.0f} values, more than the limit of {MOST_VALUES:,}")


def values_of(override: Override) -> list[Any]:
    """The values of an override as plain Python, one or, of a sweep, many.

    Raises:
        HydraException: a sweep whose values cannot be listed.
        ValueError: a range without a step, or TooManyValues.
    """
    found: Sequence[Any]
    if not override.is_sweep_override():
        found = [override.value()]
    elif isinstance(span := override.value(), RangeSweep):
        _check_range(span)
        found = _numbers(span)
    else:
        found = list(override.sweep_iterator(transformer=Transformer.identity))
    return [value.text if isinstance(value, QuotedString) else value for value in found]


def _numbers(span: RangeSweep) -> list[int | float]:
    """The numbers of a range, `stop` left out, as they are written: Hydra adds up binary fractions."""
    start, stop, step = (Decimal(repr(side or 0)) for side in (span.start, span.stop, span.step))
    whole = all(isinstance(side, int) for side in (span.start, span.stop, span.step))
    values = (start + place * step for place in range(max(0, math.ceil((stop - start) / step))))
    return [int(value) if whole else rounded(float(value)) for value in values]


def with_listed_ranges(argument: str) -> str:
    """An override whose range of fractions is a list of its values, for Hydra's own sweeper."""
    override = parsed(argument)
    span = override.value()
    if not isinstance(span, RangeSweep) or isinstance(span.range(), range):
        return argument
    listed = ",".join(map(str, values_of(override)))
    return f"{override.get_key_element()}={f'shuffle({listed})' if span.shuffle else listed}"
