"""The setting `images.range`: which values of a deep image become black and white. Imports nothing heavy."""

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
    parts = setting.strip("[]()").split(",")
    try:
        low, high = map(float, parts)
    except ValueError:
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise ValueError("must be auto, full, or MIN,MAX with MIN below MAX, such as 0,4095")
    return low, high


def range_error(setting: str) -> str | None:
    """What is wrong with a value of `images.range`, or None."""
    try:
        fixed_range(setting)
    except ValueError as error:
        return str(error)
    return None


def quoted(argument: str) -> str:
    """An override, quoted where Hydra would take MIN,MAX for two values of a sweep."""
    return re.sub(r"^(\+*images\.range)=([-+.\de]+,[-+.\de]+)$", r"\1='\2'", argument)
