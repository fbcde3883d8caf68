"""The setting `images.range`: which values of deep images become black and white (src/pixels.py)."""

from __future__ import annotations

import math

AUTO, FULL = "auto", "full"


def fixed_range(setting: str) -> tuple[float, float] | None:
    """The two values of `MIN,MAX`; None for auto and full.

    Raises:
        ValueError: it is none of the three.
    """
    if setting in (AUTO, FULL):
        return None
    try:
        low, high = map(float, setting.strip("[]()").split(","))
    except ValueError:
        low = high = math.nan
    if not -math.inf < low < high < math.inf:
        raise ValueError("must be auto, full, or MIN,MAX with MIN below MAX, such as 0,4095")
    return low, high
