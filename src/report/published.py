"""Numbers that others have published, and tables that say where ours stand among them."""

from __future__ import annotations

from statistics import fmean

from src.classification.mistakes import wilson
from src.findings import Table
from src.sweep.captions import BASELINES, CaptionSweep, shown
from src.sweep.runs import RunFiles
from src.sweep.table2 import KEYS, Cell, named
from src.sweep.tables import Row

# The course's own solution, dropout 0.3, lr 0.01: validation and test accuracy, validation by epoch.
KEY_CELL: Cell = (0.3, 0.01)
KEY = (0.9129, 0.9053)
KEY_CURVE = (
    *(0.800, 0.846, 0.861, 0.876, 0.883, 0.882, 0.892, 0.897),
    *(0.903, 0.902, 0.905, 0.904, 0.912, 0.916, 0.913),
)
# Another public report, dropout 0.1: training loss (running mean) and validation accuracy.
B = {(0.1, 0.001): (0.6262, 0.8528), (0.1, 0.01): (0.3106, 0.9095), (0.1, 0.1): (0.2287, 0.8861)}
TEST_IMAGES = 10_000  # of Fashion-MNIST
# Fashion-MNIST test accuracies that others have published, ascending.
PUBLISHED = {
    "people": 0.835,
    "two convolutional layers": 0.916,
    "two convolutional layers with batch norm": 0.934,
    "two convolutional layers with flips and augmentation": 0.939,
    "DenseNet-BC, 768K parameters": 0.954,
    "WRN-28-10 with random erasing": 0.963,
    "WRN-40-4": 0.967,
    "DARTS, fine-tuned": 0.9691,
}


def other_solutions(cells: dict[Cell, Row]) -> Table:
    """The course's own solution and another public report, beside our runs of the same cells."""
    rows: list[tuple[str, Cell, tuple[float | None, float, float | None]]] = [
        ("the course's solution", KEY_CELL, (None, *KEY)),
        *(("report B", cell, (*values, None)) for cell, values in B.items()),
    ]
    shown = []
    for name, cell, theirs in rows:
        numbers = cells[cell].run.numbers if cell in cells else {}
        pairs = [
            f"{number:.4f}" if number is not None else ""
            for key, their in zip(KEYS, theirs, strict=True)
            for number in (their, numbers.get(key) if their is not None else None)
        ]
        shown.append((f"{name}, {named(cell)}", *pairs))
    columns = [text for name in ("train loss", "val acc", "test acc") for text in (name, "ours")]
    note = (
        "Losses are running means. Reports A and B give the report's own rows at dropout 0.3 to four "
        "decimals: the seeded run repeats on machines of that day. Empty: not published."
    )
    return Table("Other public solutions of the same task", ("solution", *columns), tuple(shown), note)


def published_classifiers(best: RunFiles) -> Table:
    """Published test accuracies, the highest first, with our best run where it is of the same data."""
    ours = "this network, our best run by validation"
    entries, interval = dict(PUBLISHED), ""
    test = best.numbers.get("test_acc")
    if test is not None and best.settings.get("data.name", "fashion_mnist") == "fashion_mnist":
        entries[ours] = test
        limit = best.settings.get("limit_test")
        images = min(limit, TEST_IMAGES) if isinstance(limit, int) and limit > 0 else TEST_IMAGES
        low, high = wilson(round(test * images), images)
        interval = f"{low:.4f} to {high:.4f}"
    order = sorted(entries.items(), key=lambda entry: -entry[1])
    rows = tuple((name, f"{value:.4f}", interval if name == ours else "") for name, value in order)
    return Table(
        "Published test accuracies on Fashion-MNIST",
        ("network", "test accuracy", "95 %"),
        rows,
        "The interval is Wilson's, over the test images that the run was tested on; the others come without.",
    )


# Test BLEU-4 of the task, the mean of the images' own (NLTK's sentence_bleu, unsmoothed), on Sydney-Captions:
# without attention and with it; then what no decoder wrote.
REPORT_BLEU4 = (0.4981, 0.5142)
SYDNEY_BLEU4: dict[str, tuple[float, float | None]] = {
    "the report": REPORT_BLEU4,
    "the course's solution": (0.5126, 0.5220),
    "report A": (0.5150, 0.5349),
    "report B": (0.5026, 0.5447),
    "one constant caption for every image": (0.334, None),
    "one human caption against the other four": (0.734, None),
}
# Corpus BLEU-4 and CIDEr that others have published, by data set.
PUBLISHED_CAPTIONS = {
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
NAMES = {"ucm": "UCM-Captions", "sydney": "Sydney-Captions"}


def published_captions(found: CaptionSweep, data: str) -> Table:
    """Published corpus BLEU-4 and CIDEr on a data set, the highest BLEU-4 first, with ours and the baselines.

    Args:
        data: a key of `PUBLISHED_CAPTIONS`.
    """
    rows: list[tuple[float, tuple[str, ...]]] = [
        (bleu, (name, "published", f"{bleu:.3f}", f"{cider:.2f}"))
        for name, (bleu, cider) in PUBLISHED_CAPTIONS[data].items()
    ]
    for one in found.scored:
        if scores := one.scores.get("bleu4"):
            name = f"{one.label or 'the captioner'}, beam {one.beam}, {_seeds(len(one.seeds))}"
            rows.append(
                (fmean(scores), (name, "ours", shown(scores), shown(one.scores.get("cider_d", ()), 2)))
            )
    for name, label in BASELINES.items():
        scores_ = found.baselines.get(name, {})
        if (bleu4 := scores_.get("bleu4")) is not None:
            rows.append((bleu4, (label, "baseline", f"{bleu4:.3f}", shown([scores_.get("cider_d")], 2))))
    rows.sort(key=lambda row: -row[0])
    note = (
        "Corpus BLEU-4, never the mean of the images' own. CIDEr is CIDEr-D for ours and the baselines. "
        "Baselines write nothing of their own; those of the true class are told it, which no captioner is."
    )
    columns = (NAMES[data], "whose", "BLEU-4, corpus", "CIDEr")
    return Table(f"Published results on {NAMES[data]}", columns, tuple(cells for _, cells in rows), note)


def sydney_solutions(found: CaptionSweep | None) -> Table:
    """The task's own BLEU-4 on Sydney-Captions: report, course, two other reports, ours (greedy)."""
    rows = [
        (name, *("" if value is None else f"{value:.4f}" for value in values))
        for name, values in SYDNEY_BLEU4.items()
    ]
    greedy = [one for one in (found.scored if found else ()) if one.beam == 1]
    ours = [
        "; ".join(
            shown(one.scores.get("bleu4_sentence", ()), 4) for one in greedy if one.attention is attention
        )
        for attention in (False, True)
    ]
    columns = ("test BLEU-4, mean of the images", "no attention", "attention")
    return Table(
        "The task's scores on Sydney-Captions",
        columns,
        (*rows, ("ours", *(cell or "not measured" for cell in ours))),
        "Arithmetic mean of the images' own BLEU-4, greedy decoding; a corpus BLEU-4 does not compare.",
    )


def _seeds(count: int) -> str:
    return "one seed" if count == 1 else f"{count} seeds"
