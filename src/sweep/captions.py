"""Caption runs over seeds, beside the baselines of the same split, as a Markdown table.

    python -m src.sweep.captions outputs/captions_ucm

Mean ± sample standard deviation over the runs that differ in the seed alone; weights of the last epoch.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from src.files import write_atomically
from src.page import NAMES as SCORES
from src.sweep.runs import RunFiles, SweepError, plain, read_runs
from src.sweep.variants import Variant, differing, variants_of

BASELINES = {
    "constant": "one constant caption, chosen on the training split",
    "nearest": "a random caption of the nearest training image",
    "class_first": "first caption of a random training image of the true class",
    "class_any": "a random training caption of the true class",
    "class_commonest": "commonest training caption of the true class",
    "human": "one human caption against the others",
}


def table(folder: Path) -> str:
    """The table of a sweep's finished caption runs.

    Raises:
        SweepError: there are none.
    """
    runs = [run for run in read_runs(folder) if run.task == "caption" and run.status == "done"]
    if not runs:
        raise SweepError(f"{folder} holds no finished run of task=caption.")
    lines = [
        f"| on the test split | beam | seeds | {' | '.join(SCORES.values())} |",
        f"|---|---:|---|{'---:|' * len(SCORES)}",
    ]
    results = {run.name: json.loads((folder / run.name / "results.json").read_text("utf-8")) for run in runs}
    notes = []
    for variant in variants_of(runs, differing(runs)):
        found = [results[run.name] for run in variant.runs]
        lines += _rows(variant, found)
        notes += _pointing(variant, found)
    baselines = _baselines(list(results.values()))
    for name, label in BASELINES.items():
        if name in baselines:
            scores = baselines[name]
            lines.append(f"| {label} | | | {' | '.join(_shown([scores.get(key)]) for key in SCORES)} |")
    return "\n".join([*lines, "", *notes, *_gap(runs, results)]) + "\n"


def _rows(variant: Variant, results: Sequence[dict[str, Any]]) -> list[str]:
    """One row a search: the run's own number of beams, then the one it was compared with."""
    seeds = ", ".join(sorted(plain(run.settings.get("seed"), 20) for run in variant.runs))
    settings = results[0]["settings"]
    searches = {"test": settings.get("beam")}
    if (other := settings.get("compare_beam")) not in (None, searches["test"]):
        searches[f"test_beam{other}"] = other
    label = variant.label or "the captioner"
    rows = []
    for prefix, beam in searches.items():
        cells = [_shown([result.get(f"{prefix}_{key}") for result in results]) for key in SCORES]
        rows.append(f"| {label} | {beam} | {seeds} | {' | '.join(cells)} |")
    return rows


def _pointing(variant: Variant, results: Sequence[dict[str, Any]]) -> list[str]:
    games = [result["pointing_game"] for result in results if result.get("pointing_game")]
    if not games:
        return []
    words = sum(game["words"] for game in games)
    rate, chance, times = (
        _shown([game[key] for game in games]) for key in ("rate", "chance", "times_chance")
    )
    return [
        f"Pointing game, {variant.label or 'attention'}: of {words} words' peaks {rate} lie in the box of "
        f"the named thing, by chance {chance}: {times} times chance.",
        "",
    ]


def _baselines(results: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of the run that knows most of them (one that trains its encoder has no features)."""
    return max((result.get("baselines") or {} for result in results), key=len)


def _gap(runs: Sequence[RunFiles], results: dict[str, dict[str, Any]]) -> list[str]:
    """By how much attention is ahead, in units of the seeds' spread, where both have several seeds."""
    scores: dict[bool, list[float]] = {False: [], True: []}
    for run in runs:
        attention = results[run.name]["settings"].get("attention")
        if isinstance(attention, bool) and results[run.name].get("test_bleu4") is not None:
            scores[attention].append(results[run.name]["test_bleu4"])
    if min(map(len, scores.values())) < 2:
        return []
    gap = fmean(scores[True]) - fmean(scores[False])
    spread = (sum(stdev(several) ** 2 for several in scores.values()) / 2) ** 0.5
    times = f", {abs(gap) / spread:.1f} times the seeds' standard deviation ({spread:.4f})" if spread else ""
    side = "ahead" if gap > 0 else "behind"
    return [f"Attention is {side} by {abs(gap):.4f} test BLEU-4{times}."]


def _shown(values: Sequence[float | None], digits: int = 3) -> str:
    """Mean ± standard deviation, or the one value; nothing where one is missing."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return ""
    mean = f"{fmean(known):.{digits}f}"
    return f"{mean} ± {stdev(known):.{digits}f}" if len(known) > 1 else mean


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and write it as captions.md; 2 for a folder without caption runs."""
    parser = argparse.ArgumentParser(
        prog="python -m src.sweep.captions", description="Caption runs over seeds, beside the baselines."
    )
    parser.add_argument("folder", type=Path, help="a sweep of caption runs, e.g. outputs/captions_ucm")
    folder = parser.parse_args(arguments).folder
    try:
        text = table(folder)
    except SweepError as error:
        print(plain(str(error), 500), file=sys.stderr)
        return 2
    write_atomically(folder / "captions.md", text)
    pages = sorted(folder.glob("*/gallery.html"))
    print(text, "Files:", folder / "captions.md", *pages, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
