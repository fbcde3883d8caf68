"""Caption runs over seeds, beside the baselines of the same split, as a Markdown table.

    python -m src.sweep.captions outputs/captions_ucm

Mean ± sample standard deviation over the runs that differ in the seed alone; weights of the last epoch.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from src import stops
from src.files import write_atomically
from src.findings import Table
from src.page import NAMES as SCORES
from src.sweep.runs import RunFiles, SweepError, plain, read_runs
from src.sweep.tables import as_markdown
from src.sweep.variants import Variant, differing, variants_of

BASELINES = {
    "constant": "one constant caption, chosen on the training split",
    "nearest": "a random caption of the nearest training image",
    "class_first": "first caption of a random training image of the true class",
    "class_any": "a random training caption of the true class",
    "class_commonest": "commonest training caption of the true class",
    "human": "one human caption against the others",
}


@dataclass(frozen=True)
class Scored:
    """Runs that differ in the seed alone, their test captions written by one search.

    Attributes:
        label: what sets these runs apart.
        beam: beams of the search, 1 for greedy.
        seeds: in the order of their size.
        scores: by `SCORES`'s keys, a value a run; those that every run has.
    """

    label: str
    attention: bool | None
    beam: object
    seeds: tuple[str, ...]
    scores: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True)
class Game:
    """The pointing game of runs that differ in the seed alone: of each run rate, chance and rate / chance."""

    label: str
    words: int  # over all runs
    rate: tuple[float, ...]
    chance: tuple[float, ...]
    times_chance: tuple[float | None, ...]

    @property
    def sentence(self) -> str:
        rate, chance, times = map(shown, (self.rate, self.chance, self.times_chance))
        return (
            f"Pointing game, {self.label or 'attention'}: of {self.words} words' peaks {rate} lie in the box "
            f"of the named thing, by chance {chance}: {times} times chance."
        )


@dataclass(frozen=True)
class Gap:
    """Attention's lead in mean test BLEU-4 (the corpus's).

    Attributes:
        spread: the seeds' pooled standard deviation.
        error: the standard error of the lead.
    """

    lead: float
    spread: float
    error: float

    @property
    def sentence(self) -> str:
        side = "ahead" if self.lead > 0 else "behind"
        return f"Attention is {side} by {abs(self.lead):.4f} test BLEU-4{self.in_spreads}."

    @property
    def in_spreads(self) -> str:
        if not self.spread:
            return ""
        times = f"{abs(self.lead) / self.spread:.1f} times the seeds' standard deviation"
        return f", {times} ({self.spread:.4f})"


@dataclass(frozen=True)
class CaptionSweep:
    """What a sweep's finished caption runs scored.

    Attributes:
        runs: every run of the sweep, also those that are not done.
        data: the data set's name, "scenes" for the synthetic one.
        results: of each finished run, results.json.
        baselines: scores by name, of the run that knows most of them.
    """

    runs: tuple[RunFiles, ...]
    data: str
    results: Mapping[str, Mapping[str, Any]]
    scored: tuple[Scored, ...]
    baselines: Mapping[str, Mapping[str, float]]
    games: tuple[Game, ...]
    gap: Gap | None

    @property
    def table(self) -> Table:
        """A row for each search of each variant, then the baselines."""
        rows = [
            (
                one.label or "the captioner",
                plain(one.beam),
                ", ".join(one.seeds),
                *(shown(one.scores.get(key, ())) for key in SCORES),
            )
            for one in self.scored
        ]
        for name, label in BASELINES.items():
            if name in self.baselines:
                scores = self.baselines[name]
                rows.append((label, "", "", *(shown([scores.get(key)]) for key in SCORES)))
        note = "Mean ± sample standard deviation over the seeds; weights of the last epoch. " * any(
            len(one.seeds) > 1 for one in self.scored
        )
        note += "BLEU-1 to BLEU-4 are the corpus's; the mean of the images' own BLEU-4 stands beside them."
        return Table(
            "Scores on the test split",
            ("on the test split", "beam", "seeds", *SCORES.values()),
            tuple(rows),
            note,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Sentences on the pointing game and on attention's lead."""
        return (
            *(game.sentence for game in self.games),
            *([self.gap.sentence] if self.gap is not None else []),
        )


def read_captions(folder: Path) -> CaptionSweep:
    """A sweep's caption runs.

    Raises:
        SweepError: none is finished.
    """
    runs = tuple(run for run in read_runs(folder) if run.task in ("caption", None))
    results = {run.name: found for run in runs if (found := _results(folder, run)) is not None}
    done = [run for run in runs if run.name in results]
    if not done:
        raise SweepError(f"{folder} holds no finished run of task=caption.")
    scored: list[Scored] = []
    games: list[Game] = []
    for variant in variants_of(done, differing(done)):
        members = sorted(variant.runs, key=_by_seed)
        of_variant = [results[run.name] for run in members]
        scored += _scored(variant, members, of_variant)
        games += _games(variant, of_variant)
    return CaptionSweep(
        runs,
        plain(done[0].settings.get("data.name"), 60),
        results,
        tuple(scored),
        _baselines(list(results.values())),
        tuple(games),
        _gap(scored),
    )


def table(folder: Path) -> str:
    """The table of a sweep's finished caption runs in Markdown, and what there is to say to it.

    Raises:
        SweepError: there are none.
    """
    found = read_captions(folder)
    lines = [as_markdown(found.table, left=("on the test split", "seeds")).rstrip("\n"), ""]
    for game in found.games:
        lines += [game.sentence, ""]
    return "\n".join([*lines, *([found.gap.sentence] if found.gap else [])]) + "\n"


def _results(folder: Path, run: RunFiles) -> dict[str, Any] | None:
    """results.json of a finished caption run, which `read_runs` has checked."""
    if run.task != "caption" or run.status != "done":
        return None
    try:
        found = json.loads((folder / run.name / "results.json").read_text("utf-8"))
    except (OSError, ValueError):  # gone or rewritten in the meantime
        return None
    return found if isinstance(found, dict) and isinstance(found.get("settings"), dict) else None


def _by_seed(run: RunFiles) -> tuple[int, str]:
    seed = plain(run.settings.get("seed"), 20)
    return (int(seed), "") if seed.isdecimal() else (2**63, seed)


def _scored(variant: Variant, runs: Sequence[RunFiles], results: Sequence[dict[str, Any]]) -> list[Scored]:
    """The run's own number of beams, then the one it was compared with."""
    settings = results[0]["settings"]
    searches = {"test": settings.get("beam")}
    if (other := settings.get("compare_beam")) not in (None, searches["test"]):
        searches[f"test_beam{other}"] = other
    attention = settings.get("attention")
    seeds = tuple(plain(run.settings.get("seed"), 20) for run in runs)
    found = []
    for prefix, beam in searches.items():
        columns = {key: [_number(result.get(f"{prefix}_{key}")) for result in results] for key in SCORES}
        scores = {
            key: tuple(value for value in values if value is not None)
            for key, values in columns.items()
            if None not in values
        }
        known = attention if isinstance(attention, bool) else None
        found.append(Scored(variant.label, known, beam, seeds, scores))
    return found


def _games(variant: Variant, results: Sequence[dict[str, Any]]) -> list[Game]:
    games = []
    for result in results:
        game = result.get("pointing_game")
        if not isinstance(game, dict):
            continue
        words, rate, chance = (_number(game.get(key)) for key in ("words", "rate", "chance"))
        if words is not None and rate is not None and chance is not None:
            games.append((int(words), rate, chance, _number(game.get("times_chance"))))
    if not games:
        return []
    words_, rates, chances, times = zip(*games, strict=True)
    return [Game(variant.label, sum(words_), rates, chances, times)]


def _baselines(results: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Of the run that knows most of them (one that trains its encoder has no features)."""
    found = []
    for result in results:
        baselines = result.get("baselines")
        named = baselines.items() if isinstance(baselines, dict) else ()
        found.append(
            {
                name: {key: n for key in SCORES if (n := _number(scores.get(key))) is not None}
                for name, scores in named
                if isinstance(scores, dict)
            }
        )
    return max(found, key=len)


def _gap(scored: Sequence[Scored]) -> Gap | None:
    """Where there is one variant of each decoder, with several seeds each, decoded in the runs' own way."""
    own: dict[str, Scored] = {}
    for one in scored:
        own.setdefault(one.label, one)
    scores = [
        [one.scores.get("bleu4", ()) for one in own.values() if one.attention is attention]
        for attention in (False, True)
    ]
    if any(len(variants) != 1 or len(variants[0]) < 2 for variants in scores):
        return None
    (without,), (with_it,) = scores
    spread = ((stdev(without) ** 2 + stdev(with_it) ** 2) / 2) ** 0.5
    error = (stdev(without) ** 2 / len(without) + stdev(with_it) ** 2 / len(with_it)) ** 0.5
    return Gap(fmean(with_it) - fmean(without), spread, error)


def _number(value: object) -> float | None:
    """A finite number, or None for whatever else a file edited by hand may hold."""
    known = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e9
    return float(value) if known and math.isfinite(value) else None  # type: ignore[arg-type]


def shown(values: Sequence[float | None], digits: int = 3) -> str:
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
    with stops.door("Stopped; captions.md is as it was, the same command makes it anew."):
        sys.exit(main())
