"""Contenders by turns, and the table of their ratios."""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich import box
from rich.console import Console
from rich.table import Table

from src.entry_point import logger
from src.run.environment import cores, processor, provenance

Result = TypeVar("Result")


@dataclass(frozen=True)
class Comparison:
    """Seconds of each way (of an image where `per_image`), a value a round; the first is the baseline."""

    what: str
    seconds: Mapping[str, Sequence[float]]
    per_image: bool = False

    def ratios(self, way: str) -> list[float]:
        """How many times as fast as the baseline, round by round, in rising order."""
        baseline = next(iter(self.seconds.values()))
        return sorted(slow / fast for slow, fast in zip(baseline, self.seconds[way], strict=True))


def alternate(
    ways: Mapping[str, Callable[[], Result]], rounds: int, warm_up: int = 1
) -> dict[str, list[Result]]:
    """What each way returns in each round after `warm_up`; by turns, so that the machine's drift hits all."""
    found: dict[str, list[Result]] = {name: [] for name in ways}
    for index in range(warm_up + rounds):
        for name, run in ways.items():
            logger.info("round %s of %s: %s", index + 1, warm_up + rounds, name)
            found[name].append(run())
    return {name: results[warm_up:] for name, results in found.items()}


def timed(work: Callable[[], object], count: int = 1) -> Callable[[], float]:
    """A way that gives the seconds that `work` takes, divided by `count`."""

    def run() -> float:
        began = time.perf_counter()
        work()
        return (time.perf_counter() - began) / count

    return run


def show(part: str, comparisons: Sequence[Comparison], rounds: int) -> None:
    """Print medians over the rounds, ratios within a round, machine, versions and commit."""
    made = provenance()
    versions = ", ".join(f"{name} {made['versions'][name]}" for name in ("torch", "lightning", "python"))
    place = f"{processor()}, {cores()} cores, {platform.system()}, {versions}"
    commit = f"commit {made['commit']}{' with changes' if made['dirty'] else ''}"
    table = Table(box=box.SIMPLE_HEAD, title=part)
    table.add_column()
    for header in ("median", "times as fast (lowest to highest)"):
        table.add_column(header, justify="right")
    for one in comparisons:
        table.add_row(f"[bold]{one.what}[/bold]")
        for way, seconds in one.seconds.items():
            middle, ratios = statistics.median(seconds), one.ratios(way)
            shown = f"{1 / middle:,.0f} images/s" if one.per_image else f"{1000 * middle:,.0f} ms"
            ratio = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            table.add_row(f"  {way}", shown, ratio)
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(table, f"{rounds} rounds; {place}; {commit}")
