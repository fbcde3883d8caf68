"""Question 4: the classifier over dropout and learning rate, ours beside the report's Table 2."""

from __future__ import annotations

from dataclasses import replace

from matplotlib.figure import Figure

from src import figures
from src.entry_point import UserError
from src.findings import Comparison, Picture, Section, Statement
from src.report.published import KEY_CELL, PUBLISHED, other_solutions, published_classifiers
from src.report.sources import SWEEP, Sources, ranking_of, unfinished
from src.sweep.comparison import REPORT, TOLERANCE, over_seeds, table2
from src.sweep.plots import all_runs, best_run, heat_map
from src.sweep.runs import RunRecord

Cell = tuple[float, float]  # dropout, lr
METRICS = {"test_acc": "test accuracy", "val_acc": "validation accuracy", "train_loss": "training loss"}
PLACES = {"train_loss": 1, "val_acc": 2, "test_acc": 3}  # in comparison.REPORT
SECTION = Section(
    "sweep",
    "Dropout and learning rate (the report's Table 2)",
    "Train the classifier for dropout 0.1 to 0.8 and learning rates 0.1, 0.01 and 0.001, rank the "
    "configurations by validation accuracy, and draw training loss and validation accuracy by epoch of the "
    "best one.",
    command=SWEEP,
)


def section(sources: Sources) -> Section:
    """The sweep beside Table 2; its noise over seeds, if `table2_seeds` lies beside it."""
    try:
        ranking = sources.ranking
    except UserError as error:
        return replace(SECTION, comparisons=_comparisons({}), missing=(str(error),))
    cells: dict[Cell, RunRecord] = {}  # the best run that is done of each, the best first
    for place, run in ranking.rows:
        if place is not None and None not in run.cell:
            cells.setdefault(run.cell, run)
    absent = len(REPORT.keys() - cells.keys())
    missing = [f"{absent} of the report's 13 cells are not trained yet: {sources.command}"] if absent else []
    try:
        seeds = ranking_of(sources.sweep.parent / "table2_seeds", "classify", "make seeds")
        noise = [over_seeds(seeds, ("train_loss", "val_acc", "test_acc"))]
    except UserError as error:
        noise = []
        missing.append(str(error))
    note = (
        "Ranked by validation accuracy after the last epoch; the test set chooses nothing. Train loss is "
        "the running mean over every batch since the first epoch: it tells how fast a run learned, not "
        "where it ended."
    )
    ours = replace(table2(ranking), note=note)
    tables = (ours, *noise, other_solutions(cells), published_classifiers(ranking.rows[0][1]))
    pictures = [
        Picture("sweep-best-run", "Curves of the best run", "Loss and accuracy by epoch.", best_run(ranking)),
        Picture("sweep-heat-map", "Validation accuracy", "A grid of dropout and lr.", heat_map(ranking)),
        Picture("sweep-all-runs", "Curves of all runs", "Lines by dropout and lr.", all_runs(ranking)),
    ]
    if KEY_CELL in cells and cells[KEY_CELL].history:
        title = "Validation accuracy at dropout 0.3, lr 0.01, beside the course's solution"
        figure = _course_curve(cells[KEY_CELL], title)
        pictures.append(Picture("sweep-course-curve", title, "Two curves by epoch.", figure))
    return replace(
        SECTION,
        comparisons=_comparisons(cells),
        statements=tuple(_statements(cells)),
        tables=tables,
        pictures=tuple(pictures),
        command=f"{sources.command}\nmake seeds" if noise else sources.command,
        missing=(*missing, *unfinished(ranking, sources.command)),
    )


def _comparisons(cells: dict[Cell, RunRecord]) -> tuple[Comparison, ...]:
    """The best configuration, then the 13 cells, one metric after the other."""
    best = [next(iter(of), None) for of in (REPORT, cells)]
    shown = [f"dropout {cell[0]:g}, lr {cell[1]:g}" if cell else None for cell in best]
    found = [Comparison("the best configuration", shown[0], shown[1])]
    for key, name in METRICS.items():
        for cell, theirs in REPORT.items():
            ours = cells[cell].number(key) if cell in cells else None
            what = f"dropout {cell[0]:g}, lr {cell[1]:g}: {name}"
            found.append(Comparison(what, theirs[PLACES[key]], ours))
    return tuple(found)


def _statements(cells: dict[Cell, RunRecord]) -> list[Statement]:
    """The order of the learning rates, and how far the cells are from the report's."""
    scores = {cell: run.number("val_acc") or 0.0 for cell, run in cells.items()}
    dropouts = {dropout for dropout, _ in cells}
    compared = [[scores[p, lr] for lr in (0.01, 0.1) if (p, lr) in scores] for p in sorted(dropouts)]
    pairs = [pair for pair in compared if len(pair) == 2]
    ordered = sum(first > second for first, second in pairs)
    gaps = [
        abs(number - theirs[3]) <= TOLERANCE[cell[1]]
        for cell, theirs in REPORT.items()
        if cell in cells and (number := cells[cell].number("test_acc")) is not None
    ]
    checks = [
        ("validation accuracy: lr 0.01 ahead of 0.1", ordered, len(pairs), "at every dropout"),
        ("test accuracy near the report's", sum(gaps), len(gaps), "within 0.006, at lr 0.1 within 0.015"),
    ]
    return [Statement(what, f"{n} of {of}", expected, n == of) for what, n, of, expected in checks if of]


def _course_curve(run: RunRecord, title: str) -> Figure:
    (epochs, ours), theirs = run.curve("val_acc"), PUBLISHED["course_curve"]
    with figures.look():
        figure, ((axes,),) = figures.subplots(height=3.4)
        axes.plot(epochs, ours, "-", marker=".", label="ours")
        axes.plot(range(1, len(theirs) + 1), theirs, "--", marker=".", label="the course's solution")
        figures.epoch_axis(axes, int(max(len(theirs), *epochs)) if epochs else len(theirs))
        axes.set_ylabel("Validation accuracy\n(fraction correct)")
        axes.legend(loc="lower right")
        figures.title(figure, title)
    return figure
