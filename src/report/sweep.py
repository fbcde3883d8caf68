"""The report's Table 2: the classifier over dropout and learning rate, ours beside theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from src.findings import Comparison, Picture, Section, Statement, Table
from src.report.sources import Sources
from src.sweep.ranking import rank
from src.sweep.runs import RunFiles, SweepError, read_runs
from src.sweep.table2 import (
    KEYS,
    LRS,
    REPORT,
    Cell,
    cells_of,
    expected,
    spread_of_seeds,
    table_beside_report,
    table_over_seeds,
    unordered_dropouts,
)
from src.sweep.tables import Ranking, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WHAT = dict(zip(KEYS, ("training loss (running mean)", "validation accuracy", "test accuracy"), strict=True))
# The course's own solution, dropout 0.3, lr 0.01: validation and test accuracy, validation by epoch.
KEY_CELL: Cell = (0.3, 0.01)
KEY = (0.9129, 0.9053)
KEY_CURVE = (
    *(0.800, 0.846, 0.861, 0.876, 0.883, 0.882, 0.892, 0.897),
    *(0.903, 0.902, 0.905, 0.904, 0.912, 0.916, 0.913),
)
# Another public report, dropout 0.1: training loss (running mean) and validation accuracy.
B = {(0.1, 0.001): (0.6262, 0.8528), (0.1, 0.01): (0.3106, 0.9095), (0.1, 0.1): (0.2287, 0.8861)}
# Fashion-MNIST test accuracies that others have published.
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
ASKED = (
    "Train the classifier for dropout 0.1 to 0.8 and learning rates 0.1, 0.01 and 0.001, rank the "
    "configurations by validation accuracy, and draw training loss and validation accuracy by epoch of the best one."
)
COMMAND = "make sweep"


def section(sources: Sources) -> Section:
    """The sweep in `sources.sweep` beside the report's Table 2, and its noise by `table2_seeds` beside it."""
    key, title = "sweep", "Dropout and learning rate (the report's Table 2)"
    try:
        ranking = rank(sources.sweep)
    except SweepError as error:
        return _without_runs(key, title, str(error))
    cells = cells_of(ranking) if ranking.task.validation == "val_acc" else {}
    if not cells:
        return _without_runs(key, title, f"{sources.sweep} holds no finished run of the classifier.")
    folder = sources.sweep.parent / "table2_seeds"
    seeds, without_seeds = _seeds(folder)
    best = next(iter(cells.values())).run
    absent = [cell for cell in REPORT if cell not in cells]
    missing = [
        f"The sweep has no finished run of {_named(cell)}: {COMMAND} goes on where it stopped."
        for cell in absent
    ]
    return Section(
        key,
        title,
        ASKED,
        answer=(*_answer(cells, best), *_noise(cells, seeds)),
        comparisons=_comparisons(cells, best),
        statements=_statements(cells),
        tables=(
            _ranked(ranking),
            *([table_over_seeds(seeds)] if seeds else []),
            _others(cells),
            published(best),
        ),
        pictures=_pictures(ranking, cells),
        command=f"{COMMAND}\nmake seeds" if seeds else COMMAND,
        missing=(*missing, *without_seeds),
    )


def _without_runs(key: str, title: str, cause: str) -> Section:
    comparisons = tuple(
        Comparison(f"{_named(cell)}: {WHAT[name]}", theirs[place], None)
        for place, name in enumerate(KEYS)
        for cell, theirs in REPORT.items()
    )
    missing = (f"{cause.rstrip('.')}: {COMMAND}.",)
    return Section(key, title, ASKED, comparisons=comparisons, command=COMMAND, missing=missing)


def _seeds(folder: Path) -> tuple[list[RunFiles], tuple[str, ...]]:
    """The finished runs over seeds, and what is missing."""
    try:
        runs = [run for run in read_runs(folder) if run.status == "done" and run.task == "classify"]
    except SweepError as error:
        return [], (f"How much of the ranking is noise is not known: {str(error).rstrip('.')}: make seeds.",)
    if spread_of_seeds(runs) is None:
        return runs, (f"{folder} holds no cell with two finished seeds: make seeds.",)
    return runs, ()


def _ranked(ranking: Ranking) -> Table:
    """All cells beside the report's, whose columns say whose they are."""
    table = table_beside_report(ranking)
    ours = table.columns.index("report: rank")
    theirs = (f"report: {column.removeprefix('report: ')}" for column in table.columns[ours:-1])
    note = (
        "Ranked by validation accuracy after the last epoch; the test set chooses nothing. Train loss is the "
        "running mean; test at best val is measured with the weights of the best validation epoch."
    )
    return replace(table, columns=(*table.columns[:ours], *theirs, table.columns[-1]), note=note)


def _comparisons(cells: dict[Cell, Row], best: RunFiles) -> tuple[Comparison, ...]:
    """The best configuration, then the 13 cells, a metric after the other."""
    (dropout, lr), *_ = REPORT
    found = [
        Comparison("dropout of the best configuration", dropout, best.dropout, digits=1),
        Comparison("learning rate of the best configuration", lr, best.lr, digits=3),
    ]
    for place, name in enumerate(KEYS):
        for cell, theirs in REPORT.items():
            ours = cells[cell].run.numbers.get(name) if cell in cells else None
            found.append(Comparison(f"{_named(cell)}: {WHAT[name]}", theirs[place], ours))
    return tuple(found)


def _statements(cells: dict[Cell, Row]) -> tuple[Statement, ...]:
    """The order of the learning rates, and how far the cells are from the report's."""
    found = []
    compared, wrong = unordered_dropouts(cells)
    if compared:
        measured = f"at {len(compared) - len(wrong)} of {len(compared)} dropouts"
        if wrong:
            measured += f" (not at {', '.join(f'{dropout:g}' for dropout in wrong)})"
        order = " ahead of ".join(f"{lr:g}" for lr in LRS)
        what = f"validation accuracy: lr {order}"
        found.append(Statement(what, measured, "at every dropout", not wrong))
    far = _differences(cells)
    if far:
        within = [cell for cell, difference in far.items() if abs(difference) <= expected(cell[1])]
        worst = max(far, key=lambda cell: abs(far[cell]))
        farthest = f"the farthest is {far[worst]:+.4f} at {_named(worst)}"
        found.append(
            Statement(
                "test accuracy of a cell, ours less the report's",
                f"{len(within)} of {len(far)} cells within; {farthest}",
                f"within {expected(0.01)}, at lr 0.1 within {expected(0.1)}",
                len(within) == len(far),
            )
        )
    return tuple(found)


def _differences(cells: dict[Cell, Row], key: str = "test_acc") -> dict[Cell, float]:
    """Ours less the report's, where both are known."""
    place = KEYS.index(key)
    return {
        cell: cells[cell].run.numbers[key] - theirs[place]
        for cell, theirs in REPORT.items()
        if cell in cells and key in cells[cell].run.numbers
    }


def _answer(cells: dict[Cell, Row], best: RunFiles) -> tuple[str, ...]:
    cell = (best.dropout or 0.0, best.lr or 0.0)
    test = best.numbers.get("test_acc")
    first = f"Best of {len(cells)} cells is {_named(cell)}: validation {best.numbers['val_acc']:.4f}"
    first += f", test {test:.4f}." if test is not None else "."
    reports, *_ = REPORT
    first += f" The report's best, {_named(reports)}, "
    if reports not in cells:
        first += "is not done here."
    elif reports == cell:
        first += "is ours, too."
    else:
        row = cells[reports]
        first += f"has rank {row.rank} here, with {row.run.numbers['val_acc']:.4f} on validation."
    paragraphs = [first]
    running, last = best.numbers.get("train_loss"), None
    if best.history:
        last = best.history[-1].values.get("train_loss_epoch")
    if running is not None and last is not None:
        paragraphs.append(
            "The training loss of Table 2 is a running mean over every batch since the first epoch, never "
            f"reset. For our best run it is {running:.4f}, the last epoch's own mean {last:.4f}: the table's "
            "column tells how fast a run learned, not where it ended."
        )
    return tuple(paragraphs)


def _noise(cells: dict[Cell, Row], seeds: list[RunFiles]) -> tuple[str, ...]:
    """How many places of the ranking the seeds' spread leaves open."""
    spread = spread_of_seeds(seeds)
    if spread is None:
        return ()
    deviation, runs = spread
    # The difference of two runs spreads by the square root of 2 more than one run.
    reach = 2 * 2**0.5 * deviation
    scores = [row.run.numbers["val_acc"] for row in cells.values()]
    near = sum(max(scores) - score <= reach for score in scores) - 1
    lrs = {run.lr for run in seeds}
    beside = {cell: d for cell, d in _differences(cells, "val_acc").items() if cell[1] in lrs}
    text = (
        "How much is noise: over seeds, a run's validation accuracy has a standard deviation of "
        f"{deviation:.4f} (pooled, {runs} runs). Two runs that differ in nothing but the seed may then be "
        f"{reach:.4f} apart (two standard deviations of a difference); {near} other cells lie that close to the best."
    )
    if beside:
        inside = sum(abs(difference) <= reach for difference in beside.values())
        of_lr = ", ".join(f"{lr:g}" for lr in sorted(lr for lr in lrs if lr is not None))
        text += f" Of the report's {len(beside)} cells at lr {of_lr}, {inside} lie that close to ours."
    return (text,)


def _others(cells: dict[Cell, Row]) -> Table:
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
        shown.append((f"{name}, {_named(cell)}", *pairs))
    columns = [text for name in ("train loss", "val acc", "test acc") for text in (name, "ours")]
    note = (
        "Losses are running means. Reports A and B give the report's own rows at dropout 0.3 to four decimals: "
        "the seeded run repeats on machines of that day. Empty: not published."
    )
    return Table("Other public solutions of the same task", ("solution", *columns), tuple(shown), note)


def published(best: RunFiles) -> Table:
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


def _pictures(ranking: Ranking, cells: dict[Cell, Row]) -> tuple[Picture, ...]:
    from src.sweep.grid_plots import heat_map
    from src.sweep.plots import all_runs, best_run

    runs = [row.run for row in ranking.rows]
    best = next(iter(cells.values())).run
    scores = "; ".join(f"{_named(cell)}: {row.run.numbers['val_acc']:.4f}" for cell, row in cells.items())
    curve = ", ".join(f"{epoch.values['val_acc']:.4f}" for epoch in best.history if "val_acc" in epoch.values)
    found = [
        _picture(
            "sweep-best-run",
            best_run(ranking.task, runs, ranking.extra),
            f"Two curves over the epochs: training loss falls, as its running mean and as each epoch's mean; "
            f"validation accuracy by epoch: {curve}.",
        ),
        _picture(
            "sweep-heat-map",
            heat_map(ranking.task, runs, ranking.extra),
            f"A grid of dropout and learning rate, coloured by validation accuracy. {scores}.",
        ),
        _picture(
            "sweep-all-runs",
            all_runs(ranking.task, runs, ranking.extra),
            "Training loss and validation accuracy by epoch, a column a learning rate, a line a dropout.",
        ),
    ]
    ours = cells[KEY_CELL].run if KEY_CELL in cells else None
    if ours is not None and any("val_acc" in epoch.values for epoch in ours.history):
        found.append(_key_curve(ours))
    return tuple(found)


def _key_curve(run: RunFiles) -> Picture:
    """Our validation accuracy by epoch, beside that of the course's own solution."""
    from src import figures

    ours = {epoch.number: epoch.values["val_acc"] for epoch in run.history if "val_acc" in epoch.values}
    theirs = dict(enumerate(KEY_CURVE, start=1))
    both = sorted(ours.keys() & theirs.keys())
    gaps = {epoch: ours[epoch] - theirs[epoch] for epoch in both}
    worst = max(gaps, key=lambda epoch: abs(gaps[epoch]))
    title = (
        f"{_named(KEY_CELL)[:1].upper()}{_named(KEY_CELL)[1:]}: our validation accuracy is never more than "
        f"{abs(gaps[worst]):.3f} from the course's solution (epoch {worst})"
    )
    with figures.look():
        figure, ((axes,),) = figures.subplots(height=3.4)
        for values, colour, line, label in (
            (ours, figures.PALETTE[0], "-", "ours"),
            (theirs, figures.PALETTE[1], "--", "the course's solution (three decimals)"),
        ):
            axes.plot([*values], [*values.values()], line, marker=".", color=colour, label=label)
        figures.epoch_axis(axes, max([*ours, *theirs]))
        axes.set_ylabel("Validation accuracy\n(fraction correct)")
        axes.legend(loc="lower right")
        figures.title(figure, title)
    listed = "; ".join(f"epoch {epoch}: {ours[epoch]:.3f} and {theirs[epoch]:.3f}" for epoch in both)
    return Picture("sweep-course-curve", title, f"Two rising curves, ours and theirs. {listed}.", figure)


def _picture(name: str, figure: Figure, alt: str) -> Picture:
    """A figure whose title is the finding."""
    return Picture(name, " ".join(figure.get_suptitle().split()), alt, figure)


def _named(cell: Cell) -> str:
    return f"dropout {cell[0]:g}, lr {cell[1]:g}"
