"""Numbers that others have published, and tables that put ours among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import fmean

from src.classification.misclassifications import wilson
from src.findings import Table
from src.sweep.comparison import mean_text
from src.sweep.runs import RunRecord

Cell = tuple[float, float]  # dropout, lr
KEY_CELL: Cell = (0.3, 0.01)  # of the course's own solution
KEY_CURVE = (
    *(0.800, 0.846, 0.861, 0.876, 0.883, 0.882, 0.892, 0.897),
    *(0.903, 0.902, 0.905, 0.904, 0.912, 0.916, 0.913),
)
# Other public solutions: training loss (running mean), validation and test accuracy.
SOLUTIONS: dict[tuple[str, Cell], tuple[float | None, float, float | None]] = {
    ("the course's solution", KEY_CELL): (None, 0.9129, 0.9053),
    ("report B", (0.1, 0.001)): (0.6262, 0.8528, None),
    ("report B", (0.1, 0.01)): (0.3106, 0.9095, None),
    ("report B", (0.1, 0.1)): (0.2287, 0.8861, None),
}
PUBLISHED = {  # test accuracies on Fashion-MNIST
    "people": 0.835,
    "two convolutional layers": 0.916,
    "two convolutional layers with batch norm": 0.934,
    "two convolutional layers with flips and augmentation": 0.939,
    "DenseNet-BC, 768K parameters": 0.954,
    "WRN-28-10 with random erasing": 0.963,
    "WRN-40-4": 0.967,
    "DARTS, fine-tuned": 0.9691,
}
# Test BLEU-4 on Sydney-Captions, mean of the images' own: without attention and with it.
SYDNEY: dict[str, tuple[float, float | None]] = {
    "the report": (0.4981, 0.5142),
    "the course's solution": (0.5126, 0.5220),
    "report A": (0.5150, 0.5349),
    "report B": (0.5026, 0.5447),
    "one constant caption for every image": (0.334, None),
    "one human caption against the other four": (0.734, None),
}
CAPTIONS = {  # corpus BLEU-4 and CIDEr, by data set
    "ucm": {
        "soft attention (2017)": (0.525, 2.61),
        "hard attention (2017)": (0.618, 2.99),
        "FC-ATT + LSTM": (0.635, 3.00),
        "SAT(LAM) (2019)": (0.716, 3.62),
        "AJJTTSM (2022)": (0.738, 3.71),
        "SkyEyeGPT, a 7B model (2024)": (0.784, 2.37),
    },
    "sydney": {
        "Recurrent-ATT (2021)": (0.591, 2.63),
        "TCE loss (2020)": (0.619, 2.40),
        "RSGPT (2023)": (0.622, 2.73),
        "AJJTTSM (2022)": (0.650, 2.80),
        "SkyEyeGPT, a 7B model (2024)": (0.774, 1.81),
    },
}


def other_solutions(cells: Mapping[Cell, RunRecord]) -> Table:
    """Other public solutions of the same task beside our runs of the same cells."""
    rows = []
    for (name, cell), theirs in SOLUTIONS.items():
        run = cells.get(cell)
        row = [f"{name}, dropout {cell[0]:g}, lr {cell[1]:g}"]
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
    ours, entries, interval = "our best run by validation", dict(PUBLISHED), ""
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
    rows = {**SYDNEY, "ours": ours}
    cells = [(name, *(mean_text([value]) for value in values)) for name, values in rows.items()]
    columns = ("test BLEU-4, mean of the images", "no attention", "attention")
    note = "Arithmetic mean of the images' own BLEU-4, greedy decoding; a corpus BLEU-4 does not compare."
    return Table("The task's scores on Sydney-Captions", columns, tuple(cells), note)


def published_captions(data: str, runs: Mapping[str, Sequence[RunRecord]]) -> Table:
    """Published corpus BLEU-4 and CIDEr on a data set, the highest first, with ours over seeds."""
    rows = [(bleu, (name, f"{bleu:.3f}", f"{cider:.2f}")) for name, (bleu, cider) in CAPTIONS[data].items()]
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
