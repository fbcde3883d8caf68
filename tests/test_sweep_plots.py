"""The numbers that a sweep's plots draw, and what their titles say."""

import io
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.console import Console

from src.sweep.grid import curves_title, grid_of, grid_title
from src.sweep.grid_plots import MOST_PANELS, heat_map, score_dots
from src.sweep.plots import all_runs, best_run
from src.sweep.ranking import rank, report
from src.sweep.runs import TASKS, RunFiles, Task
from tests.sweep_folders import HEADER, TABLE_2, make_caption_run, make_run, make_table_2


def test_the_numbers_of_the_heat_map(tmp_path: Path) -> None:
    task, ranked = TASKS["classify"], rank(make_table_2(tmp_path))
    grid = grid_of(task, [row.run for row in ranked.rows])
    assert grid.lrs == (0.001, 0.01, 0.1)
    assert grid.dropouts == (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8)
    for dropout, lr, _, validation, _ in TABLE_2:
        assert grid.cells[dropout, lr].text == f"{validation:.4f}"
    assert grid.cells[0.1, 0.1].text == "missing"
    assert grid.best == ((0.5, 0.01),)
    title = "lr 0.01 is ahead at all 3 dropouts with several lr done; best 0.9132 at dropout 0.5"
    assert grid_title(task, grid) == title
    runs = [row.run for row in ranked.rows]
    curves = "lr 0.01 ends highest: median validation accuracy 0.9111, against 0.8906 at lr 0.1, 0.8526 at"
    assert curves_title(task, runs) == f"{curves} lr 0.001"


def test_cells_that_runs_share_or_did_not_finish(tmp_path: Path) -> None:
    for seed, value in ((1, 0.90), (2, 0.92)):
        make_run(tmp_path, 0.1, seed=seed, name=f"a{seed}", val_acc=value)
    make_run(tmp_path, 0.1, name="a3", status="diverged")
    make_run(tmp_path, 0.3, 0.1, val_acc=0.91)
    make_run(tmp_path, 0.1 + 0.2, 0.01, results=False)
    grid = grid_of(TASKS["classify"], [row.run for row in rank(tmp_path).rows])
    assert {place: cell.text for place, cell in grid.cells.items()} == {
        (0.1, 0.01): "0.9100\n± 0.0141\nn = 2\n1 diverged",
        (0.3, 0.1): "0.9100",
        (0.3, 0.01): "running",
        (0.1, 0.1): "missing",
    }
    # Equal means: no learning rate is said to be ahead.
    assert grid_title(TASKS["classify"], grid) == (
        "Validation accuracy so far: best mean 0.9100 at dropout 0.1, lr 0.01 and 1 more"
    )


@pytest.mark.parametrize("case", ["one, no epochs", "mixed", "nothing placed"])
def test_plots_are_drawn_from_whatever_there_is(tmp_path: Path, case: str) -> None:
    if case == "one, no epochs":
        make_run(tmp_path, results=False, epochs=0)
    elif case == "nothing placed":
        (make_run(tmp_path) / "config.yaml").write_text("[")
    else:
        make_run(tmp_path, 0.1)
        (make_run(tmp_path, 0.2, status="diverged") / "metrics.csv").write_text(
            HEADER + "1,1,1e308,nan,,0.1,1,1\n"
        )
    paths = report(tmp_path, Console(file=io.StringIO(), width=80))
    names = {"ranking.csv", "ranking.md"}
    names |= {
        f"plots/{name}.{end}" for name in ("heat_map", "best_run", "all_runs") for end in ("png", "svg")
    }
    assert {path.relative_to(tmp_path).as_posix() for path in paths} == names
    assert all(path.stat().st_size for path in paths)


def test_no_learning_rate_is_ahead_that_loses_at_one_dropout(tmp_path: Path) -> None:
    task = TASKS["classify"]
    for dropout, lr, value in ((0.1, 0.01, 0.91), (0.1, 0.1, 0.9), (0.2, 0.01, 0.88), (0.2, 0.1, 0.89)):
        make_run(tmp_path, dropout, lr, val_acc=value)
    title = grid_title(task, grid_of(task, [row.run for row in rank(tmp_path).rows]))
    assert title == "Validation accuracy: best 0.9100 at dropout 0.1, lr 0.01"
    make_run(tmp_path / "more", 0.1, 0.01, val_acc=0.91)
    make_run(tmp_path / "more", 0.1, 0.1, val_acc=0.9)
    title = grid_title(task, grid_of(task, [row.run for row in rank(tmp_path / "more").rows]))
    assert title == "lr 0.01 is ahead; best 0.9100 at dropout 0.1"


def read(sweep: Path) -> tuple[Task, list[RunFiles], tuple[str, ...]]:
    ranking = rank(sweep)
    return ranking.task, [row.run for row in ranking.rows], ranking.extra


def panels(figure: Figure) -> dict[str, Axes]:
    return {axes.get_title(loc="left"): axes for axes in figure.axes if axes.texts}


def heading(figure: Figure) -> str:
    return " ".join(figure.get_suptitle().split())


def test_a_heat_map_never_averages_over_attention(tmp_path: Path) -> None:
    for attention, values in ((False, (0.60, 0.62)), (True, (0.66, 0.68))):
        for dropout in (0.3, 0.5):
            for seed, value in enumerate(values):
                make_caption_run(tmp_path, attention, dropout, seed=seed, val_bleu4=value - dropout / 10)
    make_caption_run(tmp_path, True, 0.5, seed=9, results=False)
    figure = heat_map(*read(tmp_path))
    cells = {title: [text.get_text() for text in axes.texts] for title, axes in panels(figure).items()}
    assert cells == {
        "without attention": ["0.5800\n± 0.0141\nn = 2", "0.5600\n± 0.0141\nn = 2"],
        "with attention": ["0.6400\n± 0.0141\nn = 2", "0.6200\n± 0.0141\nn = 2\n1 running"],
    }
    assert heading(figure) == (
        "Best mean validation BLEU-4 so far: 0.6400 with attention (dropout 0.3, lr 0.0004); "
        "0.5800 without attention (dropout 0.3, lr 0.0004)"
    )
    outlines = [sum(not p.get_fill() for p in axes.patches) for axes in panels(figure).values()]
    assert outlines == [0, 2]  # a white and a red one, around the best cell of all


def test_other_settings_than_the_seed_split_the_grid_up_to_a_limit(tmp_path: Path) -> None:
    for size in range(8):
        for dropout in (0.3, 0.5):
            run = {"batch_size": size, "gate": size % 2 == 0}
            make_caption_run(tmp_path, True, dropout, val_bleu4=0.5 + size / 100, settings=run)
    figure = heat_map(*read(tmp_path))
    assert [" ".join(title.split()) for title in panels(figure)] == [
        f"batch_size {size}, {'without' if size % 2 else 'with'} gate" for size in range(8 - MOST_PANELS, 8)
    ]
    assert heading(figure).endswith("(drawn: 6 of 8 combinations of settings, those of the best runs)")
    # Too many for a line style each; what can still be told apart, is.
    styles = [text.get_text() for text in all_runs(*read(tmp_path)).legends[0].get_texts()]
    assert styles == ["0.3", "0.5", "without gate", "with gate"]


def test_without_a_grid_the_scores_are_dots(tmp_path: Path) -> None:
    make_caption_run(tmp_path, True, seed=1, val_bleu4=0.66)
    console = Console(file=io.StringIO(), width=80)
    assert (tmp_path / "plots" / "heat_map.png") in report(tmp_path, console)
    make_caption_run(tmp_path, True, seed=2, val_bleu4=0.68)
    for seed, value in ((1, 0.60), (2, 0.62), (3, 0.61)):
        make_caption_run(tmp_path, False, seed=seed, val_bleu4=value)
    make_caption_run(tmp_path, False, seed=4, status="diverged", val_bleu4=0.9)
    assert (tmp_path / "plots" / "scores.svg") in report(tmp_path, console)
    assert not list((tmp_path / "plots").glob("heat_map.*"))  # of the sweep as it was
    figure = score_dots(*read(tmp_path))
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "without attention\n3 done, 1 diverged",
        "with attention\n2 done",
    ]
    assert [text.get_text() for text in axes.texts] == [
        "0.6100 ± 0.0100",
        "0.5900 ± 0.0100",
        "0.6700 ± 0.0141",
        "0.6500 ± 0.0141",
    ]
    # 0.06 apart, with variances of 0.0001 and 0.0002.
    assert heading(figure) == (
        "Mean validation BLEU-4: 0.6700 with attention; 0.6100 without attention; "
        "4.9 seed standard deviations apart (all at dropout 0.5, lr 0.0004)"
    )


def test_curves_tell_attention_apart(tmp_path: Path) -> None:
    for attention in (False, True):
        for dropout in (0.3, 0.5):
            value = 0.6 + 0.05 * attention
            make_caption_run(tmp_path, attention, dropout, val_bleu4=value, test_bleu4=0.9 - value)
    task, runs, extra = read(tmp_path)
    figure = all_runs(task, runs, extra)
    assert heading(figure) == (
        "Highest at the end: median validation BLEU-4 0.6500 with attention, against 0.6000 without attention"
    )
    bleu = figure.axes[1]
    assert bleu.get_ylabel() == "Validation BLEU-4"
    ends = {(line.get_linestyle(), round(np.asarray(line.get_ydata())[-1], 2)) for line in bleu.lines}
    assert ends == {("-", 0.57), ("--", 0.62)}
    best = best_run(task, runs, extra)
    assert heading(best).startswith("One of 2 best runs, tied of 4: with attention, dropout 0.3, lr 0.0004, ")
    assert len(np.asarray(best.axes[1].lines[0].get_xdata())) == 6
