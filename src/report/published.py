"""Numbers that others have published, and tables that say where ours stand among them."""

from __future__ import annotations

from src.findings import Table
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
    """Published test accuracies, the highest first, with our best run among them."""
    ours = "this network, our best run by validation"
    entries = dict(PUBLISHED)
    test = best.numbers.get("test_acc")
    note = "Rows without an interval: as published."
    interval = ""
    if test is not None:
        from src.classification.mistakes import wilson

        entries[ours] = test
        low, high = wilson(round(test * 10_000), 10_000)
        interval = f"{low:.4f} to {high:.4f}"
        above = [name for name, value in PUBLISHED.items() if value > test]
        below = [name for name, value in PUBLISHED.items() if value <= test]
        note = "Ours is " + ", ".join(
            [f"behind {above[0]} ({PUBLISHED[above[0]]:g})"] * bool(above)
            + [f"ahead of {below[-1]} ({PUBLISHED[below[-1]]:g})"] * bool(below)
        )
        note += ". The interval is Wilson's, 95 %, over the 10,000 test images; the others come without."
    order = sorted(entries.items(), key=lambda entry: -entry[1])
    rows = tuple((name, f"{value:.4f}", interval if name == ours else "") for name, value in order)
    return Table(
        "Published test accuracies on Fashion-MNIST", ("network", "test accuracy", "95 %"), rows, note
    )
