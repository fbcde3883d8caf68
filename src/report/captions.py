"""The captioner without and with attention: scores over seeds beside the report's and the published ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from src.findings import Comparison, Image, Picture, Section, Statement, Table
from src.report.caption_images import images_of, slug
from src.report.published import NAMES, PUBLISHED_CAPTIONS, REPORT_BLEU4, published_captions, sydney_solutions
from src.report.sources import Sources
from src.sweep.captions import BASELINES, CaptionSweep, Scored, read_captions, shown
from src.sweep.runs import TASKS, SweepError, plain
from src.sweep.variants import differing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ASKED = (
    "Train a captioner whose LSTM sees the image's mean feature, and one that attends to its regions, "
    "on aerial images. Compare their BLEU-4, draw training loss and validation BLEU-4 by epoch, and show the "
    "captions of test images with what attention looked at."
)
# The command that trains a sweep of this folder's name.
COMMANDS = {
    "scenes": "make caption",
    "captions_ucm": "make caption-ucm ARGS='data.root=FOLDER'",
    "captions_ucm_best": "python -m src.train -m experiment=captions_ucm_best data.root=FOLDER",
    "captions_sydney": "make caption-sydney ARGS='data.root=FOLDER'",
}
SYNTHETIC = "synthetic scenes"


@dataclass(frozen=True, eq=False)
class _Part:
    """What one sweep adds to the section."""

    data: str  # "scenes", "ucm", "sydney", or what else the folder is called
    found: CaptionSweep
    answer: tuple[str, ...]
    statements: tuple[Statement, ...]
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...]
    images: tuple[Image, ...]
    missing: tuple[str, ...]


def section(sources: Sources) -> Section:
    """Every caption sweep of `sources.captions` that has finished runs."""
    parts: list[_Part] = []
    missing: list[str] = []
    for folder in sources.captions:
        try:
            parts.append(_part(folder))
        except SweepError as error:
            missing.append(f"{str(error).rstrip('.')}: {command_of(folder)}")
    sydney = next((part.found for part in parts if part.data == "sydney"), None)
    return Section(
        "captions",
        "Captions without and with attention",
        ASKED,
        answer=tuple(text for part in parts for text in part.answer),
        comparisons=_comparisons(sydney),
        statements=tuple(one for part in parts for one in part.statements),
        tables=(sydney_solutions(sydney), *(one for part in parts for one in part.tables)),
        pictures=tuple(one for part in parts for one in part.pictures),
        images=tuple(one for part in parts for one in part.images),
        command="\n".join(dict.fromkeys(map(command_of, sources.captions))),
        missing=(*missing, *(text for part in parts for text in part.missing)),
    )


def command_of(folder: Path) -> str:
    """What trains the sweep of that folder's name."""
    name = plain(folder.name, 60)
    general = (
        f"python -m src.train -m task=caption data=karpathy data.root=FOLDER attention=false,true name={name}"
    )
    return COMMANDS.get(name, general)


def _part(folder: Path) -> _Part:
    """Raises SweepError: no run of the folder is finished."""
    found = read_captions(folder)
    data = _data(folder, found)
    name = SYNTHETIC if data == "scenes" else NAMES.get(data, plain(folder.name, 60))
    images, damaged = images_of(folder, found, name, command_of(folder))
    table = found.table
    scores = replace(table, title=f"{table.title}: {name}")
    published = (published_captions(found, data),) if data in PUBLISHED_CAPTIONS else ()
    return _Part(
        data,
        found,
        _answer(found, name),
        _statements(found, name),
        (scores, *published),
        _pictures(folder, found, name),
        images,
        (*_unfinished(folder, found), *damaged),
    )


def _data(folder: Path, found: CaptionSweep) -> str:
    """Which data set: Karpathy's files do not tell their own name, so the folder's does."""
    if found.data == "scenes":
        return "scenes"
    return next((data for data in NAMES if data in folder.name.lower()), plain(folder.name, 60))


def _comparisons(sydney: CaptionSweep | None) -> tuple[Comparison, ...]:
    """The report's two scores, on its own data and with its own search, or not measured."""
    found = []
    for attention, theirs in zip((False, True), REPORT_BLEU4, strict=True):
        what = f"Sydney-Captions, {'with' if attention else 'no'} attention: test BLEU-4, mean of the images"
        greedy = [
            one
            for one in (sydney.scored if sydney else ())
            if one.attention is attention and one.beam == 1 and one.scores.get("bleu4_sentence")
        ]
        for one in greedy:
            scores = one.scores["bleu4_sentence"]
            note = f"seeds {', '.join(one.seeds)}: {shown(scores, 4)}" if len(scores) > 1 else ""
            label = f" ({one.label})" if len(greedy) > 1 else ""
            found.append(Comparison(what + label, theirs, fmean(scores), note=note))
        if not greedy:
            found.append(Comparison(what, theirs, None))
    return tuple(found)


def _answer(found: CaptionSweep, name: str) -> tuple[str, ...]:
    """Both decoders' BLEU-4 of either kind, attention's lead, the baselines ahead, the pointing game."""
    own = _own(found)
    parts = [
        f"{one.label or 'the captioner'} {shown(one.scores['bleu4'])} (mean of the images' own "
        f"{shown(one.scores.get('bleu4_sentence', ())) or 'not on file'})"
        for one in own
        if one.scores.get("bleu4")
    ]
    drawn = "Images and captions of the synthetic scenes are made by a program. " * (name == SYNTHETIC)
    text = f"{drawn}{name[:1].upper()}{name[1:]}, test split, corpus BLEU-4: {'; '.join(parts)}."
    if found.gap is not None:
        text += f" {found.gap.sentence}"
        if abs(found.gap.lead) <= 2 * found.gap.error:
            text += f" Two standard errors are {2 * found.gap.error:.4f}: not shown by so few seeds."
    best = max((fmean(one.scores["bleu4"]) for one in found.scored if one.scores.get("bleu4")), default=None)
    ahead = [
        f"{label} ({found.baselines[key]['bleu4']:.3f})"
        for key, label in BASELINES.items()
        if best is not None and found.baselines.get(key, {}).get("bleu4", 0.0) > best
    ]
    if ahead:
        text += f" Still ahead of the best captioner here ({best:.3f}): {'; '.join(ahead)}."
    return (text, *(f"{name[:1].upper()}{name[1:]}. {game.sentence}" for game in found.games))


def _own(found: CaptionSweep) -> list[Scored]:
    """Of each variant the runs' own search, which stands first."""
    own: dict[str, Scored] = {}
    for one in found.scored:
        own.setdefault(one.label, one)
    return list(own.values())


def _statements(found: CaptionSweep, name: str) -> tuple[Statement, ...]:
    """The report's finding, that attention helps, put to this data set, where seeds can tell."""
    gap = found.gap
    if gap is None:
        return ()
    return (
        Statement(
            f"{name}: mean test BLEU-4 (corpus) with attention less that without",
            f"{gap.lead:+.4f}",
            f"above two standard errors over the seeds ({2 * gap.error:.4f})",
            gap.lead > 2 * gap.error,
        ),
    )


def _unfinished(folder: Path, found: CaptionSweep) -> tuple[str, ...]:
    """Runs that are not done, and the decoder that no run has."""
    command = command_of(folder)
    texts = [
        f"{folder}: the run {run.name} is {run.status}{f' ({run.cause})' if run.cause else ''}: {command}"
        for run in found.runs
        if run.name not in found.results
    ]
    known = {one.attention for one in found.scored}
    for attention in (False, True):
        if attention not in known:
            decoder = "with" if attention else "without"
            texts.append(f"{folder} holds no finished run {decoder} attention: {command}")
    return tuple(texts)


def _pictures(folder: Path, found: CaptionSweep, name: str) -> tuple[Picture, ...]:
    from src.sweep.plots import all_runs

    runs = sorted(found.runs, key=lambda run: -run.numbers.get("val_bleu4", -1.0))
    curves = []
    for run in runs:
        values = [epoch.values["val_bleu4"] for epoch in run.history if "val_bleu4" in epoch.values]
        if run.name in found.results and values:
            curves.append(f"{run.name}: {', '.join(f'{value:.3f}' for value in values)}")
    return (
        _picture(
            f"{slug(folder.name)}-curves",
            all_runs(TASKS["caption"], runs, differing(runs)),
            name,
            "Training loss and validation BLEU-4 by epoch, a line a run. Validation BLEU-4: "
            f"{'; '.join(curves)}.",
        ),
    )


def _picture(name: str, figure: Figure, data: str, alt: str) -> Picture:
    """A figure whose title is the finding; the data set's name stands before it, in the picture too."""
    from src import figures

    title = f"{data[:1].upper()}{data[1:]}. {' '.join(figure.get_suptitle().split())}"
    with figures.look():
        figures.title(figure, title)
    return Picture(name, title, alt, figure)
