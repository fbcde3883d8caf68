"""Which values of a deep image become black and white: the setting `images.range`. Imports nothing heavy."""

from __future__ import annotations

import math
import re

AUTO, FULL = "auto", "full"
DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and satellites deliver in files of 16


def fixed_range(setting: str) -> tuple[float, float] | None:
    """The two values of `MIN,MAX`; None for auto and full.

    Raises:
        ValueError: it is none of the three.
    """
    if setting in (AUTO, FULL):
        return None
    try:
        low, high = (float(part) for part in setting.strip("[]()").split(","))
    except ValueError:
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise ValueError("must be auto, full, or MIN,MAX with MIN below MAX, such as 0,4095")
    return low, high


def range_mistake(setting: str) -> str | None:
    """What is wrong with a value of `images.range`, or None."""
    try:
        fixed_range(setting)
    except ValueError as error:
        return str(error)
    return None


def quoted(argument: str) -> str:
    """A word of a command line, quoted where Hydra would take MIN,MAX for two values of a sweep."""
    return re.sub(r"^(\+*images\.range)=([-+.\de]+,[-+.\de]+)$", r"\1='\2'", argument)


def depth_of(highest: float) -> int:
    """The fewest of `DEPTHS` whose values reach up to `highest`."""
    return next(bits for bits in DEPTHS if highest < 2**bits)
