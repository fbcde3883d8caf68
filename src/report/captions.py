"""Question 6: the captioner without and with attention, beside baselines and published results."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

from src.entry_point import UserError
from src.findings import Comparison, Picture, Section, Statement
from src.report.published import PUBLISHED, published_captions, sydney_solutions
from src.report.sources import Sources, ranking_of, unfinished
from src.sweep.comparison import by_settings, captions, pointing
from src.sweep.plots import all_runs
from src.sweep.ranking import Ranking
from src.sweep.runs import RunRecord

MAPS = 3  # attention pictures a run
COMMANDS = {
    "scenes": "make caption",
    "captions_ucm": "make caption-ucm ARGS='data.root=FOLDER'",
    "captions_best": "python -m src.train -m experiment=captions_best data.root=FOLDER",
    "captions_sydney": "make caption-sydney ARGS='data.root=FOLDER'",
}
SECTION = Section(
    "captions",
    "Captions without and with attention",
    "Train a captioner whose LSTM sees the image's mean feature, and one that attends to its regions, on "
    "aerial images. Compare their BLEU-4, draw training loss and validation BLEU-4 by epoch, and show the "
    "captions of test images with what attention looked at.",
    answer=("Images and captions of the scenes are synthetic: a program draws and writes them.",),
)


def section(sources: Sources) -> Section:
    """Every caption sweep of `sources.captions` that has finished runs."""
    found = replace(SECTION, command="\n".join(map(command_of, sources.captions)))
    sydney: dict[str, list[RunRecord]] = {}
    for folder in sources.captions:
        try:
            ranking = ranking_of(folder, "caption", command_of(folder))
        except UserError as error:
            found = replace(found, missing=(*found.missing, str(error)))
            continue
        data = next((name for name in PUBLISHED["captioners"] if name in folder.name.lower()), "")
        runs = {decoder: of for (decoder,), of in by_settings(ranking, ("decoder",)).items()}
        sydney = runs if data == "sydney" else sydney
        found = _with_sweep(found, ranking, runs, data)
    ours = [_greedy(sydney, attends) for attends in (False, True)]
    report = PUBLISHED["sydney_solutions"]["the report"]
    comparisons = [
        Comparison(f"Sydney-Captions, {name}: test BLEU-4, mean of the images", theirs, score)
        for name, theirs, score in zip(("no attention", "attention"), report, ours, strict=True)
    ]
    return replace(found, comparisons=tuple(comparisons), tables=(sydney_solutions(ours), *found.tables))


def command_of(folder: Path) -> str:
    """What trains the sweep of that folder's name."""
    general = f"python -m src.train -m task=caption data=karpathy data.root=FOLDER name={folder.name}"
    return COMMANDS.get(folder.name, f"{general} decoder=lstm,attention")


def _with_sweep(found: Section, ranking: Ranking, runs: dict[str, list[RunRecord]], data: str) -> Section:
    name, command = ranking.folder.name, command_of(ranking.folder)
    scores, game = captions(ranking), pointing(ranking)
    tables = [replace(scores, title=f"{scores.title}: {name}")]
    tables += [replace(game, title=f"{game.title}: {name}")] if game.rows else []
    tables += [published_captions(data, runs)] if data else []
    images, missing = [], list(unfinished(ranking, command))
    if len(runs) < 2:
        missing.append(f"{ranking.folder} holds finished runs of one decoder only: {command}")
    for decoder, of in runs.items():
        first = min(of, key=lambda run: str(run.settings.get("seed")))  # no run is chosen by its score
        files = [first.folder / "gallery.png", *sorted((first.folder / "attention").glob("*.png"))[:MAPS]]
        for file in files:
            what = "Test images with their captions" if file.stem == "gallery" else "Attention, word by word"
            if file.is_file():
                images.append((f"{what}: {name}, decoder {decoder}", file))
            else:
                missing.append(f"{file} is gone: {command} with force=true")
    title = f"Training loss and validation BLEU-4 of all runs: {name}"
    curves = Picture(f"captions-{name}", title, "Lines by epoch, one a run.", all_runs(ranking))
    return replace(
        found,
        statements=(*found.statements, *_attention_helps(runs, name)),
        tables=(*found.tables, *tables),
        pictures=(*found.pictures, curves),
        images=(*found.images, *images),
        missing=(*found.missing, *missing),
    )


def _attention_helps(runs: dict[str, list[RunRecord]], name: str) -> Iterator[Statement]:
    """For each decoder with two seeds at least, whether it is ahead of the LSTM without attention."""
    scores = {
        decoder: [score for run in of if (score := run.number("test_bleu4")) is not None]
        for decoder, of in runs.items()
    }
    base = scores.pop("lstm", [])
    for decoder, ours in scores.items():
        if min(len(ours), len(base)) > 1:
            lead = fmean(ours) - fmean(base)
            error = 2 * sum(stdev(values) ** 2 / len(values) for values in (ours, base)) ** 0.5
            what = f"{name}: mean test BLEU-4 (corpus), {decoder} less lstm"
            expected = f"above two standard errors over the seeds ({error:.4f})"
            yield Statement(what, f"{lead:+.4f}", expected, lead > error)


def _greedy(runs: dict[str, list[RunRecord]], attends: bool) -> float | None:
    """Mean BLEU-4 of the images with greedy search, over seeds, of the decoders that attend or do not."""
    scores = []
    for run in (run for decoder, of in runs.items() if (decoder != "lstm") == attends for run in of):
        beams = {"test": run.settings.get("beam"), "test_beam1": run.settings.get("compare_beam")}
        key = next((prefix for prefix, beam in beams.items() if beam == 1), "")
        scores.append(run.number(f"{key}_bleu4_sentence"))
    known = [score for score in scores if score is not None]
    return fmean(known) if known else None
