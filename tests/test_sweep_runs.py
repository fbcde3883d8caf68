"""Reading runs whose files are half there, edited by hand or garbage."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from src.seal import digests_of, sealed
from src.sweep import runs as reading
from tests.sweep_folders import HEADER, make_caption_run, make_run


def only(sweep: Path) -> reading.RunFiles:
    (run,) = reading.read_runs(sweep)
    return run


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"val_acc": "0.9"}, "val_acc is 0.9, not a number"),
        ({"val_acc": float("nan")}, "val_acc is NaN, not a number from 0 to 1"),
        ({"val_acc": 91.3}, "val_acc is 91.3, not a number from 0 to 1"),
        ({"val_acc": None}, "val_acc is missing"),
        ({"val_acc": True}, "val_acc is true"),
        ({"test_acc": [0.9]}, "test_acc is [0.9]"),
        ({"train_loss": 10**400}, "train_loss is 1000"),
        ({"train_loss": -1}, "not a number of 0 or more"),
        ({"dropout": 0.7}, "says dropout 0.7, config.yaml 0.5"),
        ({"lr": None}, "lr is missing"),
        ({"status": "finished"}, "status is 'finished'"),
        ({"status": ["done"]}, "status is '[\"done\"]'"),
        ({"task": "chess"}, "task is 'chess'"),
        ({"settings": []}, "settings is not an object"),
    ],
)
def test_wrong_values_are_named(tmp_path: Path, changes: dict[str, Any], cause: str) -> None:
    make_run(tmp_path, filed=changes)
    run = only(tmp_path)
    assert run.status == "unreadable"
    assert cause in run.cause


@pytest.mark.parametrize("file", ["config.yaml", "results.json"])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[1]",
        b"\xff\xfe\x00",
        b"{" * 1500,
        b"[" * 1500,
        b"a: [",
        b"null",
        b'"\\ud800"',
        b"9" * 5000,
    ],
    ids=lambda content: repr(content[:8]),
)
def test_garbage_in_a_file_is_no_traceback(tmp_path: Path, file: str, content: bytes) -> None:
    (make_run(tmp_path) / file).write_bytes(content)
    run = only(tmp_path)
    assert run.status == "unreadable"
    assert file in run.cause


def test_the_range_of_each_caption_metric(tmp_path: Path) -> None:
    make_caption_run(tmp_path / "good", True, test_cider_d=9.9)
    assert only(tmp_path / "good").numbers["test_cider_d"] == 9.9  # up to 10, unlike the fractions
    spans = {"test_cider_d": "0 to 10", "test_bleu4_sentence": "0 to 1", "test_rouge_l": "0 to 1"}
    for key, span in spans.items():
        changes: dict[str, Any] = {key: 10.5}
        make_caption_run(tmp_path / key, True, **changes)
        assert only(tmp_path / key).cause == f"results.json: {key} is 10.5, not a number from {span}"


def test_files_that_are_none_or_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = make_run(tmp_path) / "results.json"
    monkeypatch.setattr(reading, "LARGEST_FILE", 200)
    assert "results.json is larger" in only(tmp_path).cause
    results.unlink()
    os.mkfifo(results)
    assert only(tmp_path).cause == "results.json is not a file"


def test_metrics_half_there(tmp_path: Path) -> None:
    path = make_run(tmp_path, results=False) / "metrics.csv"
    with path.open("a") as file:
        file.write("3,30,0.3,0.2,0.3,0.8")  # no line end: still being written
    assert only(tmp_path).cause == "epoch 2 of 15"
    path.write_text(HEADER + "1,10,nan,inf,,0.1,1,1\n1,10,0.5,0.4,,0.2,1,1\n")
    ((epoch,),) = [only(tmp_path).history]
    assert dict(epoch.values) == {
        "epoch": 1,
        "step": 10,
        "train_loss": 0.5,
        "train_loss_epoch": 0.4,
        "val_acc": 0.2,
        "seconds": 1,
        "images_per_second": 1,
    }
    path.write_text(HEADER + "1,10,oops,0.4,,0.2,1,1\n")
    assert (only(tmp_path).status, only(tmp_path).cause[:19]) == ("unreadable", "metrics.csv, line 2")
    path.unlink()
    assert only(tmp_path).cause == "epoch 0 of 15"


def test_a_changed_digit_is_noticed_where_there_is_a_checksum(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    old = json.loads((folder / "results.json").read_text())
    files = digests_of(folder, ("config.yaml", "metrics.csv"))
    (folder / "results.json").write_text(json.dumps(sealed({**old, "files": files}), indent=7))
    assert (only(tmp_path).status, only(tmp_path).cause) == ("done", "")
    for name, before, after in (("metrics.csv", "0.81,", "0.91,"), ("config.yaml", "seed: 42", "seed: 43")):
        path = folder / name
        right = path.read_text()
        path.write_text(right.replace(before, after))
        run = only(tmp_path)
        assert f"{name} was changed after the run wrote it (damaged, or edited by hand)" in run.cause
        assert run.status == ("done" if name == "metrics.csv" else "unreadable")
        assert (run.history == ()) == (name == "metrics.csv")  # its curves are not drawn
        path.write_text(right)
    path = folder / "results.json"
    path.write_text(path.read_text().replace('"val_acc": 0.9', '"val_acc": 0.8'))
    assert only(tmp_path).status == "unreadable"
    assert only(tmp_path).cause.endswith("by hand); the same training command puts it right")


def test_a_running_run_s_configuration_is_compared_with_its_identity(tmp_path: Path) -> None:
    folder = make_run(tmp_path, results=False)
    identity = {"settings": {"dropout": 0.5, "lr": 0.01, "data.val_size": 10000}, "code": "", "threads": 1}
    (folder / "identity.json").write_text(json.dumps(sealed(identity)))
    assert only(tmp_path).status == "running"
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("lr: 0.01", "lr: 0.07"))
    assert (only(tmp_path).status, only(tmp_path).cause) == (
        "unreadable",
        "config.yaml says lr 0.07, identity.json 0.01",
    )


def laughs() -> str:
    """A few lines of YAML that stand for nine to the ninth words."""
    lines, before = ["a: &a [lol, lol, lol]"], "a"
    for letter in "bcdefghij":
        lines.append(f"{letter}: &{letter} [{', '.join([f'*{before}'] * 9)}]")
        before = letter
    return "\n".join(lines) + "\n"


def test_settings_that_would_fill_the_memory_are_unreadable(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    whole = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(whole + laughs())
    assert only(tmp_path).cause == (
        "config.yaml is not YAML: it holds an alias (*name), which no settings need: write the part out"
    )
    # The parser takes a minute for three megabytes.
    (folder / "config.yaml").write_text(whole + "".join(f"k{number}: 1\n" for number in range(10_000)))
    assert "characters of YAML are more than the limit of 65,536" in only(tmp_path).cause
    (folder / "config.yaml").write_text(whole + "name: '*'\nother: a*b\n")  # an asterisk is no alias
    assert only(tmp_path).status == "done"
