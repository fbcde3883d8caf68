"""How a number and its difference from the report's are written, and how far apart they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from src.findings import Comparison

NEAR, FAR = 0.01, 0.05  # of the report's number
ROUNDING = 1e-9  # 0.95 lies within 5 % of 1


def number(value: float | int | str | None, digits: int, nothing: str) -> str:
    """235,300; 0.9073; a text as it is; `nothing` for None."""
    if value is None:
        return nothing
    if isinstance(value, str):
        return value
    if isinstance(value, bool | int):
        return f"{int(value):,}"
    return f"{_without_minus_zero(value, digits):,.{digits}f}" if math.isfinite(value) else "not finite"


def difference(item: Comparison) -> str:
    """+0.0017, 0, "same" or "differs" of texts; "" where one of the two is missing."""
    gap = item.difference
    if gap is None:
        if isinstance(item.report, str) and isinstance(item.ours, str):
            return "same" if item.report == item.ours else "differs"
        return ""
    if isinstance(gap, int):
        return f"{gap:+,}" if gap else "0"
    if not math.isfinite(gap):
        return "not finite"
    gap = _without_minus_zero(gap, item.digits)
    return f"{gap:+,.{item.digits}f}" if round(gap, item.digits) else f"{0:.{item.digits}f}"


def relative(item: Comparison) -> float | None:
    """The difference as a fraction of the report's number, where that is a number and not 0."""
    gap = item.difference
    if gap is None or isinstance(item.report, str) or not item.report or not math.isfinite(gap):
        return None
    return gap / abs(item.report)


def percent(fraction: float) -> str:
    """+0.2 %, -90.0 %; a difference that the digits would hide is "below 0.1 %"."""
    if fraction and abs(fraction) < 0.0005:
        return "below 0.1 %"
    return f"{fraction:+,.1%}".replace("%", " %") if fraction else "0 %"


def _without_minus_zero(value: float, digits: int) -> float:
    return 0.0 if not round(value, digits) else value


@dataclass(frozen=True)
class Distances:
    """Comparisons by how far ours lies from the report's. Texts that differ count as far."""

    same: tuple[Comparison, ...]  # to the digits shown
    near: tuple[Comparison, ...]  # within NEAR
    further: tuple[Comparison, ...]  # within FAR
    far: tuple[Comparison, ...]
    unmeasured: tuple[Comparison, ...]  # the report gives it, we do not have it
    ours_alone: tuple[Comparison, ...]  # the report gives none

    @property
    def compared(self) -> int:
        return len(self.same) + len(self.near) + len(self.further) + len(self.far)


def distances(items: Sequence[Comparison]) -> Distances:
    """Sort comparisons by distance; each falls into one class."""
    classes: dict[str, list[Comparison]] = {name: [] for name in Distances.__dataclass_fields__}
    for item in items:
        classes[_distance(item)].append(item)
    return Distances(**{name: tuple(found) for name, found in classes.items()})


def _distance(item: Comparison) -> str:
    if item.report is None:
        return "ours_alone"
    if item.ours is None:
        return "unmeasured"
    if number(item.report, item.digits, "") == number(item.ours, item.digits, ""):
        return "same"
    share = relative(item)
    if share is None or abs(share) > FAR + ROUNDING:
        return "far"
    return "near" if abs(share) <= NEAR + ROUNDING else "further"
