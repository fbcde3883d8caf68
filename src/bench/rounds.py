"""What the parts of `make bench` share: contenders by turns, ratios, made-up photographs, heading."""

from __future__ import annotations

import datetime
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from src.provenance import commit, cores, processor, versions

Way = Callable[[], object]


def by_turns(ways: Mapping[str, Way], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in each round; a round runs each once, so that a machine's drift is everyone's.

    One round more comes first; it warms up and does not count.
    """
    found: dict[str, list[float]] = {name: [] for name in ways}
    for index in range(rounds + 1):
        for name, run in ways.items():
            began = time.perf_counter()
            run()
            if index:
                found[name].append(time.perf_counter() - began)
    return found


def times_faster(base: Sequence[float], ours: Sequence[float]) -> list[float]:
    """How many times less `ours` took than `base`, a value a round, in rising order."""
    return sorted(slow / fast for slow, fast in zip(base, ours, strict=True))


def middle_and_range(values: Sequence[float], digits: int = 2) -> str:
    """`1.50 (1.20 to 1.90)`: median, lowest, highest."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def photographs(folder: Path, count: int, side: int) -> list[Path]:
    """JPEG files of `side` x `side` pixels: coarse noise, smoothed, that compresses as photographs do."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    paths = [folder / f"{number:06}.jpg" for number in range(count)]
    for path in paths:
        coarse = random.integers(0, 256, (max(side // 8, 1), max(side // 8, 1), 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((side, side), Image.Resampling.BICUBIC).save(path, quality=90)
    return paths


def heading(part: str) -> str:
    """The command of a part and where it ran, in a sentence."""
    place = where()
    command = f"make bench ARGS='--only {part}'" if part else "make bench"
    return (
        f"`{command}`, commit {place['versions']['commit']}, {place['date']}, {place['processor']}, "
        f"{place['cores']} cores, {place['system']}, torch {place['versions']['torch']}, lightning "
        f"{place['versions']['lightning']}, Python {place['versions']['python']}."
    )


def where() -> dict:
    """Versions, machine and date, for a JSON file."""
    return {
        "versions": {**versions(), "commit": commit()},
        "processor": processor(),
        "cores": cores(),
        "system": platform.platform(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
