"""Tables across runs: the report's Table 2 beside a sweep, means over seeds, captioners beside their baselines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from src.findings import Table
from src.sweep.ranking import Ranking, shown
from src.sweep.runs import RunRecord, sort_key

# The report's Table 2: dropout, lr -> rank, training loss (running mean), validation and test accuracy.
REPORT = {
    (0.5, 0.01): (1, 0.3469, 0.9132, 0.9073),
    (0.4, 0.01): (2, 0.3349, 0.9121, 0.9080),
    (0.2, 0.01): (3, 0.3195, 0.9113, 0.9051),
    (0.3, 0.01): (4, 0.3268, 0.9111, 0.9060),
    (0.6, 0.01): (5, 0.3602, 0.9098, 0.9032),
    (0.1, 0.01): (6, 0.3107, 0.9095, 0.9076),
    (0.8, 0.01): (7, 0.4086, 0.9064, 0.9020),
    (0.3, 0.1): (8, 0.2542, 0.9016, 0.8986),
    (0.5, 0.1): (9, 0.3002, 0.8906, 0.8876),
    (0.8, 0.1): (10, 0.4494, 0.8648, 0.8635),
    (0.3, 0.001): (11, 0.6465, 0.8572, 0.8517),
    (0.5, 0.001): (12, 0.6773, 0.8526, 0.8475),
    (0.8, 0.001): (13, 0.7809, 0.8313, 0.8237),
}
TOLERANCE = {0.1: 0.015, 0.01: 0.006, 0.001: 0.006}  # of the test accuracy, by lr
SCORES = {
    "bleu1": "BLEU-1",
    "bleu2": "BLEU-2",
    "bleu3": "BLEU-3",
    "bleu4": "BLEU-4",
    "bleu4_sentence": "BLEU-4, mean of the images",
    "cider_d": "CIDEr-D",
    "rouge_l": "ROUGE-L",
    "correctness": "correctness",
}
BASELINES = {
    "constant": "one constant caption, chosen on the training split",
    "nearest": "a random caption of the nearest training image",
    "class_first": "first caption of a random training image of the true class",
    "class_any": "a random training caption of the true class",
    "class_commonest": "commonest training caption of the true class",
    "human": "one human caption against the others",
}


def table2(ranking: Ranking) -> Table:
    """A sweep beside the report's Table 2; `fits` is yes where the test accuracy is within TOLERANCE."""
    rows = []
    for place, run in ranking.rows:
        ours = [run.number(key) for key in ("train_loss", "val_acc", "test_acc", "test_acc_best_val")]
        cells = [shown(place), *map(shown, run.cell), *(mean_text([value]) for value in ours)]
        is_reports = run.settings.get("data.name", "fashion_mnist") == "fashion_mnist"
        report = REPORT.get(run.cell) if is_reports else None
        if report is None or ours[2] is None:
            rows.append((*cells, *[""] * 6))
            continue
        difference = ours[2] - report[3]
        fits = "yes" if abs(difference) <= TOLERANCE[run.cell[1]] else "no"
        rows.append(
            (*cells, str(report[0]), *(f"{value:.4f}" for value in report[1:]), f"{difference:+.4f}", fits)
        )
    header = ("rank", "dropout", "lr", "train loss", "val acc", "test acc", "test at best val")
    beside = ("report: rank", "train loss", "val acc", "test acc", "difference in test acc", "fits")
    return Table("The report's Table 2 beside this sweep", (*header, *beside), tuple(rows))


def over_seeds(ranking: Ranking, metrics: Sequence[str]) -> Table:
    """Mean and sample standard deviation over the runs that differ in nothing but the seed."""
    named = [key for key in ranking.named if key != "seed"]
    rows = [
        (*group, _seeds(runs), *(mean_text([run.number(key) for run in runs]) for key in metrics))
        for group, runs in by_settings(ranking, named).items()
    ]
    return Table("Mean ± sample standard deviation over seeds", (*named, "seeds", *metrics), tuple(rows))


def captions(ranking: Ranking) -> Table:
    """Test scores of captioners, a row for each search, over seeds, beside the baselines of the same split."""
    named = [key for key in ranking.named if key not in ("seed", "beam", "compare_beam")]
    known = [key for key in SCORES if any(run.number(f"test_{key}") is not None for _, run in ranking.rows)]
    rows: list[tuple[str, ...]] = []
    baselines: Mapping[str, Any] = {}
    for group, runs in by_settings(ranking, named).items():
        settings = ", ".join(f"{k} {v}" for k, v in zip(named, group, strict=True))
        beam, other = (runs[0].settings.get(key) for key in ("beam", "compare_beam"))
        searches = {"test": beam} if other in (None, beam) else {"test": beam, f"test_beam{other}": other}
        for prefix, beams in searches.items():
            scores = [mean_text([run.number(f"{prefix}_{key}") for run in runs], 3) for key in known]
            is_chosen = prefix == "test" and runs[0].settings.get("consensus") is not None
            search = f"{beams}, consensus" if is_chosen else str(beams)
            rows.append((settings, search, _seeds(runs), *scores))
        found = [run.results["baselines"] for run in runs if isinstance(run.results.get("baselines"), dict)]
        baselines = max([baselines, *found], key=len)
    for name, label in BASELINES.items():
        if name in baselines:
            rows.append((label, "", "", *(mean_text([baselines[name].get(key)], 3) for key in known)))
    header = ("on the test split", "beam", "seeds", *(SCORES[key] for key in known))
    return Table("Test scores", header, tuple(rows))


def pointing(ranking: Ranking) -> Table:
    """The pointing game over seeds: how often the strongest region lies in the box of the named object."""
    named = [key for key in ranking.named if key != "seed"]
    rows = []
    for group, runs in by_settings(ranking, named).items():
        games = [game for run in runs if isinstance(game := run.results.get("pointing_game"), dict)]
        if games:
            keys = ("rate", "chance", "times_chance")
            columns = (mean_text([game.get(key) for game in games], 3) for key in keys)
            rows.append((*group, _seeds(runs), str(sum(game["words"] for game in games)), *columns))
    return Table("Pointing game", (*named, "seeds", "words", "rate", "chance", "times chance"), tuple(rows))


def by_settings(ranking: Ranking, named: Sequence[str]) -> dict[tuple[str, ...], list[RunRecord]]:
    """The runs that are done, by the texts of the settings `named`; the best mean of the validation metric first."""
    found: dict[tuple[str, ...], list[RunRecord]] = {}
    for _, run in ranking.rows:
        if run.status == "done":
            found.setdefault(tuple(shown(run.settings.get(key)) for key in named), []).append(run)

    def mean(entry: tuple[Any, list[RunRecord]]) -> float:
        return fmean(run.number(ranking.task.monitor) or 0.0 for run in entry[1])

    return dict(sorted(found.items(), key=mean, reverse=True))


def mean_text(values: Sequence[float | None], digits: int = 4) -> str:
    """`0.9063 ± 0.0021`, or the one value; empty where one is missing."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return ""
    mean = f"{fmean(known):.{digits}f}"
    return f"{mean} ± {stdev(known):.{digits}f}" if len(known) > 1 else mean


def _seeds(runs: Sequence[RunRecord]) -> str:
    return ", ".join(map(shown, sorted({run.settings.get("seed") for run in runs}, key=sort_key)))
