"""The report's Table 2: the classifier over dropout and learning rate, ours beside theirs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from src.findings import Comparison, Picture, Section, Statement, Table
from src.report.published import KEY_CELL, KEY_CURVE, other_solutions, published_classifiers
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
    named,
    spread_of_seeds,
    table_beside_report,
    table_over_seeds,
    unordered_dropouts,
)
from src.sweep.tables import Ranking, Row

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WHAT = dict(zip(KEYS, ("training loss (running mean)", "validation accuracy", "test accuracy"), strict=True))
ASKED = (
    "Train the classifier for dropout 0.1 to 0.8 and learning rates 0.1, 0.01 and 0.001, rank the "
    "configurations by validation accuracy, and draw training loss and validation accuracy by epoch of "
    "the best one."
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
        f"The sweep has no finished run of {named(cell)}: {COMMAND} goes on where it stopped."
        for cell in absent
    ]
    return Section(
        key,
        title,
        ASKED,
        # The report has one seed, so that its question is answered without more of them.
        answer=(*_answer(cells, best), *(_noise(cells, seeds) or without_seeds)),
        comparisons=_comparisons(cells, best),
        statements=_statements(cells),
        tables=(
            _ranked(ranking),
            *([table_over_seeds(seeds)] if seeds else []),
            other_solutions(cells),
            published_classifiers(best),
        ),
        pictures=_pictures(ranking, cells),
        command=f"{COMMAND}\nmake seeds" if seeds else COMMAND,
        missing=tuple(missing),
    )


def _without_runs(key: str, title: str, cause: str) -> Section:
    comparisons = tuple(
        Comparison(f"{named(cell)}: {WHAT[name]}", theirs[place], None)
        for place, name in sorted(enumerate(KEYS), reverse=True)
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
    """The best configuration, then the 13 cells, a metric after the other, what the reader asks for first."""
    (dropout, lr), *_ = REPORT
    found = [
        Comparison(
            "the best configuration",
            f"dropout {dropout:g}, lr {lr:g}",
            f"dropout {best.dropout:g}, lr {best.lr:g}",
        )
    ]
    for place, name in sorted(enumerate(KEYS), reverse=True):  # test, validation, training loss
        for cell, theirs in REPORT.items():
            ours = cells[cell].run.numbers.get(name) if cell in cells else None
            found.append(Comparison(f"{named(cell)}: {WHAT[name]}", theirs[place], ours))
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
        farthest = f"the farthest is {far[worst]:+.4f} at {named(worst)}"
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
    first = f"Best of {len(cells)} cells is {named(cell)}: validation {best.numbers['val_acc']:.4f}"
    first += f", test {test:.4f}." if test is not None else "."
    reports, *_ = REPORT
    first += f" The report's best, {named(reports)}, "
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
        f"{reach:.4f} apart (two standard deviations of a difference); {near} other cells lie "
        "that close to the best."
    )
    if beside:
        inside = sum(abs(difference) <= reach for difference in beside.values())
        of_lr = ", ".join(f"{lr:g}" for lr in sorted(lr for lr in lrs if lr is not None))
        text += f" Of the report's {len(beside)} cells at lr {of_lr}, {inside} lie that close to ours."
    return (text,)


def _pictures(ranking: Ranking, cells: dict[Cell, Row]) -> tuple[Picture, ...]:
    from src.sweep.grid_plots import heat_map
    from src.sweep.plots import all_runs, best_run

    runs = [row.run for row in ranking.rows]
    best = next(iter(cells.values())).run
    scores = "; ".join(f"{named(cell)}: {row.run.numbers['val_acc']:.4f}" for cell, row in cells.items())
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
        f"{named(KEY_CELL)[:1].upper()}{named(KEY_CELL)[1:]}: our validation accuracy is never more than "
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
