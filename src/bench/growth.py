"""The growth's part of `make bench`: time and memory against the size of what is asked.

    python -m src.bench.growth SUBJECT SIZE

measures one point in a process of its own and prints one JSON object: memory, once taken, would hide what the
next point takes. A curve's slope is that of the line through its last octaves in log-log axes: 1 is linear,
and a fixed cost, which makes the small end flat, does not count.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

OCTAVES = 3  # at the large end, that the slope is fitted to
LIMIT = 1.1  # a slope above it is worse than linear
LEAST_S, MOST_S = 0.1, 20.0  # of a point's repetitions: short work more often, the longest less
LEAST_MB = 4.0  # of memory that a point adds: less is the allocator's noise


@dataclass(frozen=True)
class Subject:
    """A size that grows, and what is measured at it."""

    key: str
    what: str  # is measured
    axis: str  # names the size
    sizes: tuple[int, ...]
    quick: tuple[int, ...]  # sizes for a look, or a test


SUBJECTS = (
    Subject("runs", "ranking and plots", "Runs", (1, 2, 4, 8, 16, 32, 64, 96), (1, 2, 4)),
    Subject(
        "batch",
        "a classifier's training step",
        "Images a batch",
        (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024),
        (1, 8, 64),
    ),
    Subject(
        "images",
        "a classifier's run of one epoch, with files",
        "Training images",
        (1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000),
        (500, 1_000),
    ),
    Subject(
        "captioned",
        "captioned images opened and a pass over their pairs",
        "Images",
        (125, 250, 500, 1_000, 2_000, 4_000),
        (20, 40),
    ),
    Subject(
        "scored",
        "captions scored against 5 references",
        "Captions",
        (50, 100, 200, 400, 800, 1_600, 3_200),
        (20, 40),
    ),
    Subject(
        "vocabulary",
        "a captioner's training step",
        "Words",
        (200, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000),
        (200, 400),
    ),
    Subject(
        "vocabulary-decoding",
        "decoding 32 images, beam 5",
        "Words",
        (200, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000),
        (200, 400),
    ),
    Subject("regions", "a captioner's training step", "Regions", (16, 32, 64, 128, 256, 512, 1024), (16, 32)),
    Subject(
        "regions-decoding",
        "decoding 32 images, beam 5",
        "Regions",
        (16, 32, 64, 128, 256, 512, 1024),
        (16, 32),
    ),
    Subject("length", "a captioner's training step", "Words a caption", (5, 10, 20, 40, 80, 160), (5, 10)),
    Subject(
        "length-decoding", "decoding 32 images, beam 5", "Words a caption", (5, 10, 20, 40, 80, 160), (5, 10)
    ),
)


@dataclass
class Curve:
    """The measurements of a subject: seconds (median of repetitions), megabytes that the work added."""

    subject: Subject
    sizes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    megabytes: list[float] = field(default_factory=list)

    @property
    def time_slope(self) -> float | None:
        """See `slope`."""
        return slope(self.sizes, self.seconds)

    @property
    def memory_slope(self) -> float | None:
        """See `slope`; None also where the largest size adds next to nothing."""
        if not self.megabytes or self.megabytes[-1] <= LEAST_MB:
            return None
        return slope(self.sizes, [max(value, LEAST_MB) for value in self.megabytes])

    @property
    def worse_than_linear(self) -> list[str]:
        """Which of `time` and `memory` grow faster than the size."""
        slopes = {"time": self.time_slope, "memory": self.memory_slope}
        return [name for name, value in slopes.items() if value is not None and value > LIMIT]


def slope(sizes: Sequence[float], values: Sequence[float], octaves: float = OCTAVES) -> float | None:
    """The exponent b of values ~ sizes ** b at the large end: least squares in logarithms.

    Only sizes within `octaves` doublings of the largest count. None where fewer than two of them are there.

    Raises:
        ValueError: a size or value is not above 0.
    """
    if any(value <= 0 for value in (*sizes, *values)):
        raise ValueError("a slope in log-log axes needs sizes and values above 0")
    least = max(sizes, default=0) / 2**octaves * (1 - 1e-9)
    points = [(math.log(x), math.log(y)) for x, y in zip(sizes, values, strict=True) if x >= least]
    if len({x for x, _ in points}) < 2:
        return None
    middle_x, middle_y = (sum(part) / len(points) for part in zip(*points, strict=True))
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / sum(
        (x - middle_x) ** 2 for x, _ in points
    )


def measure_growth(
    repeats: int = 5,
    *,
    quick: bool = False,
    only: Sequence[str] = (),
    say: Callable[[str], None] = print,
    isolated: bool = True,
) -> list[Curve]:
    """Every subject's curve.

    Args:
        repeats: of the timed work at every point; their median counts.
        quick: few and small sizes.
        only: keys of the subjects; all by default.
        say: takes a line for the user.
        isolated: a process a point; without, memory is not to be trusted, but it is quick.

    Raises:
        SystemExit: a point could not be measured.
    """
    curves = []
    for subject in SUBJECTS:
        if only and subject.key not in only:
            continue
        curve = Curve(subject)
        for size in subject.quick if quick else subject.sizes:
            seconds, megabytes = (_in_a_process if isolated else point)(subject.key, size, repeats)
            curve.sizes.append(size)
            curve.seconds.append(seconds)
            curve.megabytes.append(megabytes)
        curves.append(curve)
        say(_row(curve))
    return curves


def point(key: str, size: int, repeats: int) -> tuple[float, float]:
    """Median seconds and added megabytes of one point, in this process."""
    from src.bench.growth_work import WORK  # late: torch

    work, close = WORK[key](size)
    try:
        before = _resident("VmRSS")
        work()  # warms up
        seconds: list[float] = []
        while len(seconds) < repeats or sum(seconds) < LEAST_S:
            began = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - began)
            if sum(seconds) > MOST_S:
                break
        return sorted(seconds)[len(seconds) // 2], max(0.0, _resident("VmHWM") - before)
    finally:
        close()


def _resident(field_name: str) -> float:
    """Megabytes that are resident now (VmRSS) or were at the highest (VmHWM).

    Not getrusage's ru_maxrss on Linux: it survives exec, so that a child's begins with what its parent held.
    """
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used / (1e6 if sys.platform == "darwin" else 1e3)
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(field_name))


def _in_a_process(key: str, size: int, repeats: int) -> tuple[float, float]:
    command = [sys.executable, "-m", "src.bench.growth", key, str(size), str(repeats)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = "\n".join(done.stderr.splitlines()[-10:])
        raise SystemExit(f"measuring {key} at {size} failed:\n{last}")
    found = json.loads(done.stdout.splitlines()[-1])
    return found["seconds"], found["megabytes"]


def growth_table(curves: Sequence[Curve]) -> str:
    """Markdown: a row a curve, and which are worse than linear."""
    lines = [
        "| against | what | from | to | seconds | added memory, MB | slope of time | slope of memory | |",
        "|---|---|---:|---:|---|---|---:|---:|---|",
    ]
    lines += map(_row, curves)
    return "\n".join([*lines, "", verdict(curves), ""])


def verdict(curves: Sequence[Curve]) -> str:
    """What the slopes say, in a sentence."""
    worse = [f"{curve.subject.key} ({' and '.join(curve.worse_than_linear)})" for curve in curves]
    worse = [text for text, curve in zip(worse, curves, strict=True) if curve.worse_than_linear]
    if not worse:
        return f"None of {len(curves)} curves grows faster than its size (slope above {LIMIT:g} at the end)"
    grow = "grows faster than its" if len(worse) == 1 else "grow faster than their"
    return f"{len(worse)} of {len(curves)} curves {grow} size: {', '.join(worse)}"


def _row(curve: Curve) -> str:
    def shown(value: float | None) -> str:
        return "flat" if value is None else f"{value:.2f}"

    worse = f"worse than linear: {', '.join(curve.worse_than_linear)}" if curve.worse_than_linear else ""
    return (
        f"| {curve.subject.axis.lower()} | {curve.subject.what} | {curve.sizes[0]:,} | {curve.sizes[-1]:,} "
        f"| {curve.seconds[0]:.3g} to {curve.seconds[-1]:.3g} "
        f"| {curve.megabytes[0]:,.0f} to {curve.megabytes[-1]:,.0f} "
        f"| {shown(curve.time_slope)} | {shown(curve.memory_slope)} | {worse} |"
    )


def as_content(curves: Sequence[Curve]) -> dict:
    """For a JSON file."""
    return {
        "curves": [
            {**asdict(curve), "time_slope": curve.time_slope, "memory_slope": curve.memory_slope}
            for curve in curves
        ]
    }


if __name__ == "__main__":
    taken, added = point(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 5)
    print(json.dumps({"seconds": taken, "megabytes": added}))
