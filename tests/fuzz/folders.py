"""Targets: run folders that somebody edited, read by the rankings and by the report's sections."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import yaml  # type: ignore[import-untyped]

from src.sweep import captions, ranking, table2
from src.sweep.runs import SweepError, read_runs
from src.trained import CheckpointError, find_checkpoint
from tests.fuzz import mutations
from tests.fuzz.guard import Fault, told
from tests.fuzz.target import Target
from tests.sweep_folders import make_caption_run, make_run

Files = dict[str, bytes]  # by their path below the sweep's folder


@cache
def _sweeps() -> tuple[Files, Files]:
    """Sweeps of the classifier and of the captioner, with a run that goes on and a run that failed."""
    with TemporaryDirectory() as folder:
        classifier, captioner = Path(folder, "classify"), Path(folder, "caption")
        for seed, lr in ((42, 0.01), (43, 0.01), (42, 0.1)):
            make_run(classifier, 0.5, lr, name=f"{seed},{lr}", seed=seed, val_acc=0.9 + lr)
        make_run(classifier, 0.5, 0.001, results=False)
        make_run(classifier, 0.4, 0.1, status="failed", cause="RuntimeError: no", val_acc=None)
        scores: dict[str, Any] = {
            f"test_{name}": 0.5 for name in ("bleu1", "bleu2", "bleu3", "cider_d", "rouge_l")
        }
        more: dict[str, Any] = {
            "pointing_game": {"words": 1246, "rate": 0.43, "chance": 0.138, "times_chance": 3.1},
            "baselines": {"constant": {"bleu4": 0.29, "cider_d": 0.2}, "human": {"bleu4": 0.5}},
            **{key.replace("test_", "test_beam1_"): value for key, value in scores.items()},
        }
        for seed in (42, 43):
            for attention in (False, True):
                make_caption_run(
                    captioner, attention, seed=seed, settings={"beam": 5, "compare_beam": 1}, **scores, **more
                )
        return _files(classifier), _files(captioner)


def _files(sweep: Path) -> Files:
    return {
        str(path.relative_to(sweep)): path.read_bytes() for path in sorted(sweep.rglob("*")) if path.is_file()
    }


def make_sweep(random: Random) -> bytes:
    """One or more files of a sweep edited; sometimes both sweeps' runs lie in one folder."""
    which = random.randrange(2)
    files = dict(_sweeps()[which])
    if random.random() < 0.05:
        files |= _sweeps()[1 - which]
    for _ in range(random.choice((1, 1, 2, 5))):
        name = random.choice(list(files))
        files[name] = _edited(random, name, files)
    for _ in range(random.choice((0, 0, 1))):
        gone = random.choice(list(files))
        content = files.pop(gone)
        if random.random() < 0.5:
            files[
                random.choice(("a b/config.yaml", "\u6f22/results.json", gone + "/x", ".hidden/config.yaml"))
            ] = content
    return json.dumps({name: content.decode("latin-1") for name, content in files.items()}).encode()


def _edited(random: Random, name: str, files: Files) -> bytes:
    how = random.random()
    if how < 0.25:
        return mutations.raw(random, files[name], list(files.values()))
    if name.endswith(".csv"):
        cells = [line.split(",") for line in files[name].decode("latin-1").splitlines()] or [[""]]
        row = random.choice(cells)
        if row:
            row[random.randrange(len(row))] = str(
                random.choice((*mutations.NUMBERS[:10], *mutations.TEXTS[:16], "", "1e999"))
            )
        return ("\n".join(",".join(row) for row in cells) + "\n").encode("utf-8", "surrogatepass")
    try:
        content: Any = yaml.safe_load(files[name])
    except Exception:  # edited before
        return mutations.raw(random, files[name])
    if name.endswith(".yaml"):

        def dump(tree: object) -> str:
            return str(yaml.safe_dump(tree, allow_unicode=True))

        return mutations.document(random, content, dump)
    return mutations.document(random, content)


def _laid(data: bytes, sweep: Path) -> None:
    for name, content in json.loads(data).items():
        path = sweep / name
        if any(parent.is_file() for parent in path.parents) or path.is_dir():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode("latin-1"))


def put_sweep(data: bytes, folder: Path) -> str:
    """Rank, write, show, both tables, and the choice of a best run."""
    sweep = folder / "a sweep"
    _laid(data, sweep)
    try:
        found = ranking.rank(sweep)
    except SweepError as error:
        return told(error)
    for path in ranking.write(found):
        path.read_text(encoding="utf-8")
    rows = list(csv.reader(io.StringIO((sweep / "ranking.csv").read_text("utf-8"))))
    if len({len(row) for row in rows}) != 1 or len(rows) != len(found.rows) + 1:
        raise Fault(f"ranking.csv has {len(rows)} rows of {sorted({len(row) for row in rows})} cells")
    for width in (200, 40):
        from rich.console import Console

        ranking.show(found, Console(file=io.StringIO(), width=width))
    table2.beside_report(found)
    table2.over_seeds(read_runs(sweep))
    said = []
    try:
        captions.table(sweep).encode()
    except SweepError as error:
        said.append(told(error))
    try:
        find_checkpoint(str(sweep))
    except CheckpointError as error:
        told(error)
    return " ".join([f"{found.counts}", *said])


def put_sections(data: bytes, folder: Path) -> str:
    """The report's page from edited folders: no section may fail."""
    from src.report.make import make
    from src.report.page import Made
    from src.report.sources import Sources
    from src.report.topics import TOPICS

    sweep = folder / "fashion_mnist"
    _laid(data, sweep)
    sources = Sources(sweep, (sweep,), folder / "data")
    topics = [topic for topic in TOPICS if topic.name in ("sweep", "captions", "mistakes", "filters")]
    outcome = make(topics, sources, folder / "out", Made("now", "python", {}), say=lambda line: None)
    for entry in outcome.entries:
        if entry.failure:
            raise Fault(next(folder.glob("out/failure-*.txt")).read_text("utf-8"))
    if outcome.too_large:
        raise Fault(outcome.too_large)
    return ", ".join(f"{len(entry.section.missing)} missing" for entry in outcome.entries)


TARGETS: Sequence[Target] = (
    Target("sweep folder", make_sweep, put_sweep, every=4),
    Target("report page", make_sweep, put_sections, every=100),
)
