"""Ranking a sweep, from folders made here."""

import csv
import io
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from src.sweep.ranking import SweepError, rank, show, write
from src.sweep.tables import Ranking, to_csv, to_markdown
from tests.sweep_folders import TABLE_2, make_caption_run, make_run, make_table_2

ROOT = Path(__file__).parents[1]
COLUMNS = ["rank", "dropout", "lr", "train_loss", "val_acc", "test_acc", "test_acc_best_val", "status"]


def parsed(ranking: Ranking) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(to_csv(ranking), newline="")))


def printed(ranking: Ranking, width: int) -> str:
    console = Console(file=io.StringIO(), width=width)
    show(ranking, console)
    return console.file.getvalue()  # type: ignore[attr-defined]


@pytest.fixture
def table_2(tmp_path: Path) -> Path:
    return make_table_2(tmp_path)


def test_table_2_of_the_report(table_2: Path) -> None:
    rows = parsed(rank(table_2))
    assert list(rows[0]) == [*COLUMNS, "seconds", "run", "cause", "commit"]
    assert [int(row["rank"]) for row in rows] == list(range(1, 14))
    keys = ("dropout", "lr", "train_loss", "val_acc", "test_acc")
    assert [tuple(float(row[key]) for key in keys) for row in rows] == list(TABLE_2)
    assert "| 2 | 0.4 | 0.01 | 0.3349 | 0.9121 | 0.9080 | 0.8950 | done | 900.2 |" in to_markdown(
        rank(table_2)
    )
    assert "13 runs: 13 done." in to_markdown(rank(table_2))


def test_ties_share_a_rank_in_the_order_of_settings(tmp_path: Path) -> None:
    for dropout, seed, value in ((0.1, 1, 0.8), (0.2, 10, 0.9), (0.2, 9, 0.9), (0.3, 1, 0.95)):
        make_run(tmp_path, dropout, seed=seed, name=f"{dropout},{seed}", val_acc=value, test_acc=1 - value)
    rows = parsed(rank(tmp_path))
    assert [(row["rank"], row["run"]) for row in rows] == [
        ("1", "0.3,1"),
        ("2", "0.2,9"),
        ("2", "0.2,10"),
        ("4", "0.1,1"),
    ]
    assert list(rows[0])[:5] == ["rank", "dropout", "lr", "seed", "train_loss"]


def test_runs_without_a_rank_stand_below(tmp_path: Path) -> None:
    make_run(tmp_path, 0.1, status="failed", cause="out of | memory\ud800\n", val_acc=None)
    make_run(tmp_path, 0.2, status="diverged", cause="loss is NaN", val_acc=0.99, train_loss=float("nan"))
    make_run(tmp_path, 0.3, results=False, epochs=3)
    make_run(tmp_path, 0.4, val_acc=0.1)
    (make_run(tmp_path, 0.6) / "results.json").write_text('{"status": "do')
    (tmp_path / "plots").mkdir()
    ranking = rank(tmp_path)
    found = [(row["rank"], row["dropout"], row["status"]) for row in parsed(ranking)]
    assert found == [
        ("1", "0.4", "done"),
        ("", "0.3", "running"),
        ("", "0.2", "diverged"),
        ("", "0.1", "failed"),
        ("", "0.6", "unreadable"),
    ]
    causes = [row["cause"] for row in parsed(ranking)]
    assert causes[:4] == ["", "epoch 3 of 15", "loss is NaN", "out of | memory?"]
    assert causes[4].startswith("results.json is not JSON")
    assert parsed(ranking)[2]["train_loss"] == ""
    assert "dropout=0.1,lr=0.01: failed, out of \\| memory?" in to_markdown(ranking)


def test_runs_that_only_differ_in_what_is_not_a_setting_get_no_column(tmp_path: Path) -> None:
    make_run(tmp_path, 0.1, settings={"seed": 1, "epochs": 15, "status": "x"})
    make_run(tmp_path, 0.2, settings={"seed": 1, "epochs": 15.0, "status": "x"})
    assert rank(tmp_path).extra == ()
    make_run(tmp_path, 0.3, settings={"seed": 1, "epochs": 15, "optimizer": "adam", "status": "x"})
    assert rank(tmp_path).extra == ("optimizer",)
    make_run(tmp_path, 0.4, results=False, seed=2)  # from its configuration
    assert rank(tmp_path).extra == ("optimizer", "seed")


def test_a_run_with_broken_metrics_keeps_its_rank(tmp_path: Path) -> None:
    (make_run(tmp_path) / "metrics.csv").write_text("epoch\nx\n")
    (row,) = parsed(rank(tmp_path))
    assert (row["rank"], row["status"]) == ("1", "done")
    assert "its curves are not drawn" in row["cause"]


def test_captions_rank_by_validation_bleu4_alone(tmp_path: Path) -> None:
    make_caption_run(tmp_path, True, val_bleu4=0.6, test_bleu4=0.1, test_cider_d=2.5)
    make_caption_run(tmp_path, False, val_bleu4=0.5, test_bleu4=0.9, test_cider_d=9.5)
    make_caption_run(tmp_path, False, seed=7, results=False)  # its place comes from its configuration
    ranking = rank(tmp_path)
    rows = parsed(ranking)
    assert list(rows[0]) == [
        "rank",
        "dropout",
        "lr",
        "attention",
        "seed",
        "train_loss",
        "val_bleu4",
        "test_bleu4",
        "test_bleu4_best_val",
        "test_bleu4_sentence",
        "test_cider_d",
        "test_rouge_l",
        "status",
        "seconds",
        "run",
        "cause",
        "commit",
    ]
    assert [(row["rank"], row["attention"], row["seed"], row["test_bleu4"]) for row in rows] == [
        ("1", "true", "42", "0.1"),
        ("2", "false", "42", "0.9"),
        ("", "false", "7", ""),
    ]
    further = ("test_bleu4_sentence", "test_cider_d", "test_rouge_l")
    assert [float(rows[0][key]) for key in further] == pytest.approx([0.55, 2.5, 0.66])
    assert "test_bleu4_sentence the mean over the images" in to_markdown(ranking)
    narrow = printed(ranking, 60)
    assert all(words in narrow for words in ("0.6000", "attention", "No room for test_bleu4_best_val"))


def test_runs_of_several_tasks_do_not_compare(tmp_path: Path) -> None:
    make_caption_run(tmp_path / "a", True)
    make_run(tmp_path / "a", 0.1)
    with pytest.raises(SweepError, match=r"several tasks \(caption, classify\)"):
        rank(tmp_path / "a")


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_table_fits_the_console(table_2: Path, width: int) -> None:
    for seed in (1, 2_000_000_000):
        make_run(table_2, 0.7, seed=seed, name=f"s{seed}", status="diverged", cause="[red]x[/] " + "y" * 90)
    text = printed(rank(table_2), width)
    assert max(map(len, text.splitlines())) <= width
    assert "0.9132" in text
    assert "2000000000" in text
    assert "[red]x[/]" in text
    assert ("test_acc_best_val" in text.split("Best run")[0]) == (width == 200)
    assert ("No room for test_acc_best_val" in text) == (width == 60)


# Anything json.dumps can write, for the keys that are read.
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
_keys = st.sampled_from(
    ["status", "cause", "task", "dropout", "lr", "train_loss", "val_acc", "settings", "seconds"]
)


@settings(max_examples=30, deadline=None)
@given(changes=st.dictionaries(_keys, _json, max_size=3), other=_json)
def test_any_json_is_read_or_refused(changes: dict[str, Any], other: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        make_run(Path(folder), 0.1, filed=changes)
        (make_run(Path(folder), 0.2) / "results.json").write_text(json.dumps(other))
        make_run(Path(folder), 0.3, settings={"a|b\n": other, "seed": 1})
        ranking = rank(Path(folder))
        assert write(ranking)
        assert len(parsed(ranking)) == 3
        assert all(0 <= float(row["val_acc"]) <= 1 for row in parsed(ranking) if row["rank"])
        assert printed(ranking, 80)


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(st.integers(0, 5), min_size=1, max_size=8),
    shuffled=st.randoms(use_true_random=False),
)
def test_the_order_is_by_validation_whatever_the_folders_order(
    values: list[int], shuffled: random.Random
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        names = [f"r{i}" for i in range(len(values))]
        orders = []
        for sweep in ("a", "b"):
            for place, (value, name) in enumerate(zip(values, names, strict=True)):
                make_run(Path(folder) / sweep, place / 10, name=name, val_acc=value / 5)
            shuffled.shuffle(names)
            rows = parsed(rank(Path(folder) / sweep))
            orders.append([(row["rank"], row["dropout"], row["val_acc"]) for row in rows])
        assert orders[0] == orders[1]
        scores = [float(score) for *_, score in orders[0]]
        assert scores == sorted(scores, reverse=True)
        assert [int(place) for place, *_ in orders[0]] == [
            1 + sum(s > score for s in scores) for score in scores
        ]


def run_command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "src.sweep.ranking", *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def test_the_command(table_2: Path) -> None:
    make_run(table_2, 0.7, status="failed", cause="é")
    done = run_command(table_2, "--no-plots")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"  {table_2 / 'ranking.csv'}\n" in done.stdout
    first = (table_2 / "ranking.csv").read_bytes()
    assert first.startswith(b"rank,dropout,lr,train_loss,val_acc")
    assert b"\r" not in first


def test_the_command_refuses_a_folder_without_runs(tmp_path: Path) -> None:
    make_run(tmp_path / "sweep")
    for folder, words in (
        (tmp_path / "nowhere", "is not a folder."),
        (tmp_path, "holds no runs (no subfolder with a config.yaml)."),
        (tmp_path / "sweep" / "dropout=0.5,lr=0.01", "is a single run; give the folder that holds the runs."),
    ):
        done = run_command(folder)
        assert (done.returncode, done.stdout, done.stderr) == (2, "", f"{folder} {words}\n")


def test_importing_takes_no_heavy_package() -> None:
    heavy = "{'torch', 'matplotlib', 'pandas', 'numpy'}"
    code = f"import sys, src.sweep.ranking; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
