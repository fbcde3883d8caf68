"""Command lines, read in this process: what is accepted, and what a run is called."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from src.config.validation import parse as parsed
from src.config.validation import quoted, values_of, with_listed_ranges
from src.run.environment import cores, default_threads
from src.run.folder import Run
from tests.command_line import errors_of, plan


@pytest.mark.parametrize(
    "arguments",
    [
        ["dropout=0", "lr=1e-3", "threads=null", "limit_train=null", "name=机场", "data.root=~/bilder"],
        ["-m", "dropout=range(0.1,0.4,0.1)", "lr=choice(0.1,0.01)", "network=convnet,resnet_small"],
        ["network._target_=my.Net", "network.width=64", "optimizer.nesterov=true", "trainer.max_steps=3"],
        ["data._target_=my.load", "data.anything.nested=1", "callbacks=[early_stopping,ema]"],
        ["-m", "task=caption", "attention=false,true", "decoder.state=128", "images.range=0,4095"],
        ["-m", "experiment=table2"],
        ["--cfg", "job", "network=timm", "network.model=resnet18"],
        ["-m", "lr=0.1,0.01", "hydra/launcher=basic"],
        ["gallery=[a.png,b.png]", "task=caption"],
        ["name=${task}"],
    ],
)
def test_what_hydra_users_write_is_accepted(arguments: list[str]) -> None:
    assert errors_of(*arguments) == []


def test_sweeps_of_files(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    for name, key, mode in (
        ("a", "lr: 0.1,0.01", "RUN"),
        ("b", "dropout: 0.1,0.2", "RUN"),
        ("c", "lr: 0.1,0.01", "MULTIRUN"),
    ):
        text = f"# @package _global_\nhydra:\n  mode: {mode}\n  sweeper:\n    params:\n      {key}\n"
        (tmp_path / "experiment" / f"{name}.yaml").write_text(text)
    folder = ("--config-dir", str(tmp_path))
    assert errors_of(*folder, "-m", "experiment=a,b") == [
        "experiment=a: its own sweep (lr) would be lost; one sweep in a command",
        "experiment=b: its own sweep (dropout) would be lost; one sweep in a command",
    ]
    assert errors_of(*folder, "experiment=a")[0].startswith("experiment=a: its sweep over lr needs -m")
    assert errors_of(*folder, "experiment=c") == errors_of(*folder, "-m", "experiment=a") == []
    assert "must be one of" in errors_of(*folder, "experiment=d")[0]
    (tmp_path / "other").mkdir()
    assert errors_of("--config-dir", str(tmp_path / "other"), *folder, "experiment=c") == []
    assert errors_of("--config-dir", str(tmp_path / "none"))[0].endswith("no such folder")


def test_ranges_are_decimal_and_names_those_of_the_listed_values(tmp_path: Path) -> None:
    assert values_of(parsed("dropout=range(0.1,0.4,0.1)")) == [0.1, 0.2, 0.3]
    assert with_listed_ranges("lr=range(0,2.1,0.7)") == "lr=0.0,0.7,1.4"
    summed = plan(f"output_dir={tmp_path}", "dropout=0.30000000000000004")
    assert summed.run.name == plan(f"output_dir={tmp_path}", "dropout=0.3").run.name == "dropout=0.3,lr=0.01"


def test_folder_names_are_short_without_paths_and_never_shared(tmp_path: Path) -> None:
    def run_of(*more: str) -> Run:
        return plan("task=caption", f"output_dir={tmp_path}", *more).run

    one, other = run_of("encoder.weights=/a/x.pth"), run_of("encoder.weights=/b/x.pth")
    assert one.name != other.name
    assert "/" not in one.name
    assert len(run_of(f"encoder.weights={'long' * 200}").name.encode()) <= 200
    assert run_of("attention=true").name == "decoder=attention,dropout=0.5,lr=0.0004"
    assert run_of("decoder=transformer", "seed=1").name == "decoder=transformer,dropout=0.5,lr=0.0004,seed=1"
    named = plan(
        f"output_dir={tmp_path}", "network=resnet_small", "optimizer=adam", "optimizer.weight_decay=0.1"
    ).run
    assert named.name == "dropout=0.3,lr=0.01,network=resnet_small,optimizer=adam,optimizer.weight_decay=0.1"


@settings(max_examples=80, deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\n\r"), min_size=1, max_size=12))
def test_quoting_as_it_is_told_is_taken_back(text: str) -> None:
    if text.strip() != text or text.endswith("\\"):
        return
    (argument,) = shlex.split(quoted(f"data.root={text}"))
    assert values_of(parsed(argument)) == [text]


@settings(max_examples=20, deadline=None)
@given(
    st.sampled_from(["lr", "dropout", "data.root", "network", "trainer.x", "hydra.x", "", "a.b"]),
    st.text(max_size=8),
)
def test_any_text_is_accepted_or_named(key: str, value: str) -> None:
    assert all(isinstance(error, str) for error in errors_of(f"{key}={value}"))


def test_quota_and_environment_limit_the_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(8))
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    for quota, expected in (("max 100000", 6), ("450000 100000", 4), ("50000 100000", 1)):
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
        assert cores(tmp_path) == expected
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")  # of nested levels: not ours to read
    assert cores(tmp_path / "none") == 8


def test_only_long_steps_take_every_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    short: Any = ((), ("task=caption",), ("task=caption", "attention=true", "batch_size=32"))
    assert [default_threads(plan(*overrides).cfg) for overrides in short] == [1, 1, 1]
    for overrides in (("batch_size=128",), ("task=caption", "encoder=tiny")):
        assert default_threads(plan(*overrides).cfg) == cores()
