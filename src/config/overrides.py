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

MAX_VALUES = 10_000  # of one setting in a sweep
UNQUOTED = re.compile(r"[\w/.+$%*@?|:~, -]*")  # what a value may hold that is not quoted


def parse(argument: str) -> Override:
    """An override; `~` and letters beyond ASCII, which Hydra wants in quotes, are taken as they are.

    Raises:
        ValueError: it cannot be read; the message says how to write it.
    """
    argument = with_quoted_range(argument)
    key, sign, value = argument.partition("=")
    texts = [argument]
    if ("~" in value or not value.isascii()) and UNQUOTED.fullmatch(value):
        texts.append(f"{key}{sign}" + ",".join(f'"{item}"' for item in value.split(",")))
    for text in texts:
        # ValueError: a number of thousands of digits; RecursionError: brackets within brackets
        with contextlib.suppress(HydraException, ValueError, RecursionError):
            return OverridesParser.create().parse_override(text)
    hint = f"quote the value: {quoted(argument)}" if sign else "settings are given as key=value"
    raise ValueError(f"{argument}: cannot be read; {hint}")


def quoted(argument: str) -> str:
    """An override as a shell and Hydra take it: the value in quotes for Hydra, the whole for the shell."""
    key, _, value = argument.partition("=")
    escaped = value.replace('"', '\\"')
    return shlex.quote(f'{key}="{escaped}"')


def values_of(override: Override) -> list[Any]:
    """The values of an override as plain Python, one or, of a sweep, many.

    Raises:
        HydraException: a sweep whose values cannot be listed.
        ValueError: a range without a step, or of too many values.
    """
    found: Sequence[Any]
    if not override.is_sweep_override():
        found = [override.value()]
    elif isinstance(span := override.value(), RangeSweep):
        found = _numbers(span)
    else:
        found = list(override.sweep_iterator(transformer=Transformer.identity))
    return [plain(value) for value in found]


def plain(value: Any) -> Any:
    """Hydra's quoted strings as strings, also in lists and dictionaries."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [plain(item) for item in value]
    return {str(plain(key)): plain(item) for key, item in value.items()} if isinstance(value, dict) else value


def _numbers(span: RangeSweep) -> list[int | float]:
    """The numbers of a range, `stop` left out, as they are written: Hydra adds up binary fractions."""
    start, stop, step = (Decimal(repr(side or 0)) for side in (span.start, span.stop, span.step))
    if not step or not (stop - start) / step <= MAX_VALUES:
        raise ValueError(f"a range has a step and at most {MAX_VALUES:,} values")
    whole = all(isinstance(side, int) for side in (span.start, span.stop, span.step))
    values = (start + place * step for place in range(max(0, math.ceil((stop - start) / step))))
    return [int(value) if whole else rounded(float(value)) for value in values]


def with_listed_ranges(argument: str) -> str:
    """An override whose range of fractions is a list of its values, for Hydra's own sweeper."""
    override = parse(argument)
    span = override.value()
    if not isinstance(span, RangeSweep) or isinstance(span.range(), range):
        return argument
    listed = ",".join(map(str, values_of(override)))
    return f"{override.get_key_element()}={f'shuffle({listed})' if span.shuffle else listed}"


def with_quoted_range(argument: str) -> str:
    """An override, quoted where Hydra would take MIN,MAX for two values of a sweep."""
    return re.sub(r"^(\+*images\.range)=([-+.\de]+,[-+.\de]+)$", r"\1='\2'", argument)


def rounded(value: Any) -> Any:
    """Floats to 12 significant digits: a range's 0.30000000000000004 is 0.3."""
    return float(f"{value:.12g}") if isinstance(value, float) else value
