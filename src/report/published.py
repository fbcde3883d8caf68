"""Numbers that others have published, and tables that put ours among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import yaml  # type: ignore[import-untyped]

from src.classification.misclassifications import wilson
from src.findings import Table
from src.sweep.comparison import mean_text
from src.sweep.runs import RunRecord

Cell = tuple[float, float]  # dropout, lr
KEY_CELL: Cell = (0.3, 0.01)  # of the course's own solution
PUBLISHED: dict[str, Any] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text("utf-8"))


def other_solutions(cells: Mapping[Cell, RunRecord]) -> Table:
    """Other public solutions of the same task beside our runs of the same cells."""
    rows = []
    for name, dropout, lr, *theirs in PUBLISHED["solutions"]:
        run = cells.get((dropout, lr))
        row = [f"{name}, dropout {dropout:g}, lr {lr:g}"]
        for key, their in zip(("train_loss", "val_acc", "test_acc"), theirs, strict=True):
            ours = run.number(key) if run and their is not None else None
            row += [mean_text([their]), mean_text([ours])]
        rows.append(tuple(row))
    columns = ("solution", "train loss", "ours", "val acc", "ours", "test acc", "ours")
    note = (
        "Empty: not published, or not trained here. Reports A and B repeat the report's rows at dropout 0.3."
    )
    return Table("Other public solutions of the same task", columns, tuple(rows), note)


def published_classifiers(best: RunRecord) -> Table:
    """Published test accuracies, the highest first, with our best run where it is of the same data."""
    ours, entries, interval = "our best run by validation", dict(PUBLISHED["classifiers"]), ""
    test, name = best.number("test_acc"), best.settings.get("data.name", "fashion_mnist")
    if test is not None and name == "fashion_mnist":
        entries[ours] = test
        images = min(int(best.settings.get("limit_test") or 10_000), 10_000)
        interval = "{:.4f} to {:.4f}".format(*wilson(round(test * images), images))
    ordered = sorted(entries.items(), key=lambda entry: -entry[1])
    rows = tuple((key, f"{value:.4f}", interval if key == ours else "") for key, value in ordered)
    columns, title = ("network", "test accuracy", "95 %"), "Published test accuracies on Fashion-MNIST"
    return Table(title, columns, rows, "95 %: Wilson's interval.")


def sydney_solutions(ours: Sequence[float | None]) -> Table:
    """The task's own score on Sydney-Captions; `ours` without and with attention."""
    rows = {**PUBLISHED["sydney_solutions"], "ours": ours}
    cells = [(name, *(mean_text([value]) for value in values)) for name, values in rows.items()]
    columns = ("test BLEU-4, mean of the images", "no attention", "attention")
    note = "Arithmetic mean of the images' own BLEU-4, greedy decoding; a corpus BLEU-4 does not compare."
    return Table("The task's scores on Sydney-Captions", columns, tuple(cells), note)


def published_captions(data: str, runs: Mapping[str, Sequence[RunRecord]]) -> Table:
    """Published corpus BLEU-4 and CIDEr on a data set, the highest first, with ours over seeds."""
    theirs = PUBLISHED["captioners"][data].items()
    rows = [(bleu, (name, f"{bleu:.3f}", f"{cider:.2f}")) for name, (bleu, cider) in theirs]
    for name, of in runs.items():
        scores = [run.number("test_bleu4") for run in of]
        known = [score for score in scores if score is not None]
        if known:
            cider = mean_text([run.number("test_cider_d") for run in of], 2)
            rows.append((fmean(known), (f"ours: {name}, {len(of)} seeds", mean_text(scores, 3), cider)))
    cells = tuple(row for _, row in sorted(rows, key=lambda row: -row[0]))
    note = "Corpus BLEU-4, never the mean of the images' own. CIDEr is CIDEr-D for ours."
    title = f"Published results on {'UCM' if data == 'ucm' else 'Sydney'}-Captions"
    return Table(title, ("captioner", "BLEU-4, corpus", "CIDEr"), cells, note)
