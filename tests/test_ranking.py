"""Ranking a sweep, its tables and plots, from folders made here."""

import csv
import io
import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from scipy import stats

from src.entry_point import UserError
from src.sweep import comparison
from src.sweep.critical_difference import NEMENYI, mean_ranks
from src.sweep.plots import draw
from src.sweep.ranking import Ranking, rank, report, show, to_csv, to_markdown
from tests.command_line import run
from tests.made_up_runs import caption_run, classifier_run, table_2_runs

COLUMNS = ["rank", "dropout", "lr", "train_loss", "val_acc", "test_acc", "test_acc_best_val", "status"]


def parsed(ranking: Ranking) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(ranking), newline="")))


@pytest.fixture
def table_2(tmp_path: Path) -> Path:
    return table_2_runs(tmp_path)


def test_table_2_of_the_report(table_2: Path) -> None:
    ranking = rank(table_2)
    rows = parsed(ranking)
    assert [*rows[0]] == [*COLUMNS, "seconds", "run", "cause"]
    done = [row for row in rows if row["status"] == "done"]
    assert [(float(row["dropout"]), float(row["lr"])) for row in done] == list(comparison.REPORT)
    assert {row[-1] for row in comparison.table2(ranking).rows} == {"yes"}


def test_ties_share_a_rank_and_runs_without_one_stand_below(tmp_path: Path) -> None:
    for dropout, accuracy in ((0.1, 0.91), (0.5, 0.92), (0.3, 0.91)):
        classifier_run(tmp_path, dropout, val_acc=accuracy)
    classifier_run(tmp_path, 0.6, status="diverged", cause="nan at step 3", val_acc=None)
    classifier_run(tmp_path, 0.7, status="failed", cause="RuntimeError: x|y", val_acc=None)
    (classifier_run(tmp_path, 0.8, is_finished=False) / "checkpoints").mkdir()
    classifier_run(tmp_path, 0.85, is_finished=False)
    (classifier_run(tmp_path, 0.9) / "results.json").write_text("{")
    ranking = rank(tmp_path)
    places = [(place, run.settings.get("dropout"), run.status) for place, run in ranking.rows]
    assert places == [
        *((1, 0.5, "done"), (2, 0.1, "done"), (2, 0.3, "done")),
        *(
            (None, 0.85, "queued"),
            (None, 0.8, "running"),
            (None, 0.6, "diverged"),
            (None, 0.7, "failed"),
            (None, None, "unreadable"),
        ),
    ]
    text = to_markdown(ranking)
    assert "epoch 2 of 15" in text
    assert r"RuntimeError: x\|y" in text
    assert "8 runs: 3 done, 1 queued, 1 running, 1 diverged, 1 failed, 1 unreadable" in text


def test_altered_files_make_a_run_unreadable(tmp_path: Path) -> None:
    classifier_run(tmp_path, 0.1)
    folder = classifier_run(tmp_path, 0.5)
    text = (folder / "metrics.csv").read_text()
    (folder / "metrics.csv").write_text(text.replace("61.5", "71.5"))
    (_, good), (place, altered) = rank(tmp_path).rows
    assert (good.status, place, altered.status) == ("done", None, "unreadable")
    assert "metrics.csv was changed after it was written" in altered.cause


def test_settings_that_differ_are_columns_and_seeds_are_averaged(tmp_path: Path) -> None:
    for network, scores in (("convnet", (0.80, 0.96)), ("resnet_small", (0.93, 0.95))):
        for seed, accuracy in enumerate(scores):
            own = {"dropout": 0.5, "lr": 0.01, "seed": seed, "network": network, "network._target_": network}
            classifier_run(tmp_path, name=f"{network}{seed}", seed=seed, val_acc=accuracy, settings=own)
    ranking = rank(tmp_path)
    assert ranking.named == ("dropout", "lr", "network", "seed")
    table = comparison.over_seeds(ranking, ["val_acc"])
    assert [row[2:] for row in table.rows] == [
        ("resnet_small", "0, 1", "0.9400 ± 0.0141"),
        ("convnet", "0, 1", "0.8800 ± 0.1131"),
    ]


def test_mean_ranks_are_those_of_the_tests_they_are_named_after(tmp_path: Path) -> None:
    scores = [(0.91, 0.92, 0.93, 0.90), (0.93, 0.92, 0.94, 0.95), (0.80, 0.81, 0.79, 0.82)]
    for dropout, of_seeds in enumerate(scores, start=1):
        for seed, accuracy in enumerate(of_seeds):
            classifier_run(tmp_path, dropout / 10, name=f"{dropout},{seed}", seed=seed, val_acc=accuracy)
    found = mean_ranks(rank(tmp_path))
    assert found is not None
    assert (found.names, found.seeds) == (("dropout 0.2", "dropout 0.1", "dropout 0.3"), 4)
    assert found.ranks == (1.125, 1.875, 3.0)  # of one seed the first two are equal
    assert found.p_value == pytest.approx(stats.friedmanchisquare(*scores).pvalue)
    for k, critical in enumerate(NEMENYI, start=2):
        assert critical == pytest.approx(
            stats.studentized_range.ppf(0.95, k, math.inf) / math.sqrt(2), abs=1e-3
        )
    assert found.critical_difference == pytest.approx(2.343 * math.sqrt(3 * 4 / (6 * 4)))
    assert found.cliques == [(0, 1), (1, 2)]


def test_runs_of_other_code_are_named(tmp_path: Path) -> None:
    classifier_run(tmp_path, 0.1, code="0123456789ab", commit="feedbeef0123")
    assert (
        "Made by other code: 1 of the runs, commit feedbeef0123; force=true repeats them."
        in rank(tmp_path).notes
    )


def test_captioners_stand_beside_their_baselines(tmp_path: Path) -> None:
    for decoder, seed, bleu in (
        ("lstm", 42, 0.40),
        ("lstm", 43, 0.42),
        ("attention", 42, 0.55),
        ("attention", 43, 0.57),
    ):
        caption_run(tmp_path, decoder, seed, bleu, baselines={"human": {"bleu4": 0.56}})
    ranking = rank(tmp_path)
    assert [run.number("val_bleu4") for _, run in ranking.rows] == [0.57, 0.55, 0.42, 0.40]
    rows = comparison.captions(ranking).rows
    assert rows[0][2] == "42, 43"
    assert rows[0][6] == "0.560 ± 0.014"
    assert rows[-1][0] == comparison.BASELINES["human"]


@pytest.mark.parametrize("kind", ["none", "single", "tasks"])
def test_folders_that_are_no_sweep_are_refused(tmp_path: Path, kind: str) -> None:
    if kind == "tasks":
        classifier_run(tmp_path)
        caption_run(tmp_path)
    folder = classifier_run(tmp_path / "sweep") if kind == "single" else tmp_path
    words = {"none": "holds no runs", "single": "is a single run", "tasks": "runs of several tasks"}
    with pytest.raises(UserError, match=words[kind]):
        rank(folder)


def test_a_damaged_run_hides_neither_the_task_nor_the_columns(tmp_path: Path) -> None:
    (caption_run(tmp_path, "attention") / "results.json").write_text("{")
    caption_run(tmp_path, "lstm")
    ranking = rank(tmp_path)
    assert [(place, run.status) for place, run in ranking.rows] == [(1, "done"), (None, "unreadable")]
    assert "val_bleu4" in ranking.header
    (tmp_path / "decoder=lstm,seed=42" / "results.json").unlink()  # goes on
    assert rank(tmp_path).named == ("decoder", "dropout", "lr")


@pytest.mark.parametrize("width", [80, 200])
def test_the_table_fits_the_console(table_2: Path, width: int) -> None:
    text = io.StringIO()
    show(rank(table_2), Console(file=text, width=width))
    assert max(map(len, text.getvalue().splitlines())) <= width
    assert "0.9073" in text.getvalue()


def test_plots_of_every_kind_of_sweep(tmp_path: Path) -> None:
    kinds = {name: tmp_path / name for name in ("single", "running", "diverged", "seeds")}
    classifier_run(kinds["single"])
    classifier_run(kinds["running"], is_finished=False, epochs=0)
    classifier_run(kinds["diverged"], status="diverged", val_acc=None)
    for seed in (1, 2):
        classifier_run(kinds["seeds"], name=str(seed), seed=seed, val_acc=0.9 + seed / 100)
    for folder in kinds.values():
        paths = draw(folder / "plots", rank(folder))
        assert [path.name for path in paths if path.suffix == ".png"] == [
            "heat_map.png",
            "best_run.png",
            "all_runs.png",
        ]
        assert all(path.stat().st_size > 3000 for path in paths)


values = (
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5) | st.lists(st.integers())
)


@settings(max_examples=60, deadline=None)
@given(
    changes=st.dictionaries(st.sampled_from([*COLUMNS[1:], "settings", "cause", "seconds", "task"]), values)
)
def test_any_json_is_read_or_refused(changes: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        classifier_run(Path(folder), 0.3)
        sealed = classifier_run(Path(folder), 0.5)
        content = json.loads((sealed / "results.json").read_text())
        (sealed / "results.json").write_text(json.dumps({**content, **changes}))
        (sealed / "SHA256SUMS").unlink()
        ranking = rank(Path(folder))
        to_csv(ranking), to_markdown(ranking)
        assert len(ranking.rows) == 2


def test_the_command(table_2: Path) -> None:
    ended = run("rank", str(table_2), "table=table2", "plots=false")
    assert ended.status == 0, ended.err
    assert (table_2 / "table2.md").read_text().splitlines()[-1].startswith("|")
    assert "ranking.csv" in ended.out
    assert not (table_2 / "plots").exists()
    refused = run("rank", str(table_2 / "none"), "table=tabl")
    assert refused.status == 2
    assert "table=tabl: must be one of" in refused.err
    other = run("rank", str(table_2), "table=captions")
    assert (other.status, "table=captions: is for runs of task=caption" in other.err) == (1, True)
    one = run("rank", str(next(table_2.glob("dropout*"))))  # a path with =
    assert (one.status, "is a single run" in one.err) == (1, True)
    missing = run("rank", str(table_2 / "none"))
    assert (missing.status, "is not a folder" in missing.err) == (1, True)


def test_the_ranking_is_written_before_it_is_printed(table_2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("src.sweep.ranking.show", lambda ranking: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report(table_2)
    assert (table_2 / "ranking.csv").exists()
    assert (table_2 / "plots" / "heat_map.png").exists()
