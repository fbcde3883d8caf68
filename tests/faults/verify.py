"""What must be true of a sweep's folder at the end, whatever happened on the way."""

from __future__ import annotations

import csv
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from src.files import LEFTOVER
from tests.command_line import TIME_COLUMNS, same_numbers

# Left by SIGKILL outside of runs' folders, hidden, and taken for real by nobody; run folders are cleaned.
FEATURES_LEFTOVER = re.compile(r"\..*\.npy\.tmp")
LOCKS = re.compile(r"\.locks/|\.lock$")
EVENTS = "events.out.tfevents."


def deviations(out: Path, expected: Path, runs: int) -> list[str]:
    """Every way in which what lies below `out` is not what an undisturbed sweep left below `expected`."""
    return list(_deviations(out, expected, runs))


def _deviations(out: Path, expected: Path, runs: int) -> Iterator[str]:
    here, there = _files(out), _files(expected)
    folders = {path.parent for path in here if path.name == "identity.json"}
    for path in sorted(here - there):
        tolerated = LEFTOVER.fullmatch(path.name) or FEATURES_LEFTOVER.fullmatch(path.name)
        inside = any(path.is_relative_to(folder) for folder in folders)
        if not tolerated or inside:
            yield f"{path} should not be there"
    for path in sorted(there - here):
        yield f"{path} is missing"
    for path in sorted(here & there):
        if wrong := _half(out / path):
            yield f"{path}: {wrong}"
        elif path.suffix in (".npy", "") and (out / path).read_bytes() != (expected / path).read_bytes():
            yield f"{path} differs from the undisturbed sweep's"  # features, data
    for folder in sorted(folders):
        yield from _of_run(out / folder, expected / folder)
    if len(folders) != runs:
        yield f"{len(folders)} runs instead of {runs}"
    for table in sorted(path for path in there if path.name == "ranking.csv"):
        if (ours := _ranked(out / table)) != _ranked(expected / table):
            yield f"{table} differs: {ours}"
        elif len(ours) != runs:
            yield f"{table} ranks {len(ours)} of {runs} runs"


def _of_run(folder: Path, expected: Path) -> Iterator[str]:
    try:
        same_numbers(folder, expected)
    except (AssertionError, OSError, ValueError, KeyError, RuntimeError) as error:
        yield f"{folder}: other numbers ({' '.join(str(error).split())[:200]})"
        return
    written = expected / "captions.json"
    if written.exists() and (folder / "captions.json").read_bytes() != written.read_bytes():
        yield f"{folder}: other captions"
    yield from _points(folder)


def _files(root: Path) -> set[Path]:
    """Relative paths, but for locks and events, whose names hold the time."""
    found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    found = (path for path in found if path.parts[0] != "log")
    return {path for path in found if not LOCKS.search(path.as_posix()) and not path.name.startswith(EVENTS)}


def _half(path: Path) -> str | None:
    """Why a file is not whole."""
    data = path.read_bytes()
    if path.suffix == ".json":
        try:
            json.loads(data)
        except ValueError as error:
            return f"not JSON: {error}"
    ends = {".svg": b"</svg>", ".html": b"</html>", ".csv": b"\n", ".md": b"\n", ".yaml": b"\n"}
    if path.suffix in ends and not data.rstrip(b" \n" if path.suffix in (".svg", ".html") else b"").endswith(
        ends[path.suffix]
    ):
        return "cut off"
    if path.suffix == ".png" and not (data.endswith(b"IEND" + zlib.crc32(b"IEND").to_bytes(4, "big"))):
        return "cut off"
    return None if data else "empty"


def _points(folder: Path) -> Iterator[str]:
    """TensorBoard's curves have every epoch once."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    rows = (folder / "metrics.csv").read_text().count("\n") - 1
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    if not events.Tags()["scalars"]:
        yield f"{folder.name}: nothing for TensorBoard"
    for tag in events.Tags()["scalars"]:
        steps = [point.step for point in events.Scalars(tag)]
        if not tag.startswith("final/") and steps != list(range(1, rows + 1)):
            yield f"{folder.name}: TensorBoard's {tag} has epochs {steps}"


def _ranked(table: Path) -> list[dict[str, str]]:
    try:
        with table.open(newline="") as file:
            return [
                {name: text for name, text in row.items() if name not in TIME_COLUMNS}
                for row in csv.DictReader(file)
            ]
    except OSError:
        return []
