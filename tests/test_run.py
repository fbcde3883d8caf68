"""A run's name, identity, code version and lock."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from src import own_data
from src.config import mistakes_in, numbers_of
from src.job import default_threads, run_job
from src.provenance import cores, digest_of_code
from src.run import Run, RunMismatch, run_of, to_json
from tests.command_line import ROOT, Plan, plan


@pytest.fixture
def base(on_idx: tuple[str, ...], tmp_path: Path) -> tuple[str, ...]:
    return (*on_idx, f"output_dir={tmp_path}", "data.val_size=10000")


def name(*overrides: str) -> str:
    return plan(*overrides).run.name


def test_a_name_holds_dropout_lr_and_departures_from_the_recipe() -> None:
    assert name() == "dropout=0.3,lr=0.01"
    assert name("lr=1e-3", "dropout=.5") == "dropout=0.5,lr=0.001"
    assert name("seed=43", "lr=0.1", "epochs=2") == "dropout=0.3,lr=0.1,epochs=2,seed=43"
    assert name("epochs=2", "lr=0.1", "seed=43") == name("seed=43", "lr=0.1", "epochs=2")
    assert name("epochs=15", "seed=42", "data.val_size=10000") == "dropout=0.3,lr=0.01"
    assert name("optimizer=adam", "data.val_size=9") == "dropout=0.3,lr=0.01,data.val_size=9,optimizer=adam"
    assert name("seed=0") == "dropout=0.3,lr=0.01,seed=0"
    # An experiment is a recipe of its own, told apart by `name`.
    assert plan("experiment=table2_seeds", "seed=43").run.folder == Path(
        "outputs/table2_seeds/dropout=0.3,lr=0.01,seed=43"
    )


def test_where_and_how_to_compute_is_no_part_of_the_identity() -> None:
    usual = plan().run
    other = plan("accelerator=cpu", "threads=1", "workers=2", "progress=false", "data.root=elsewhere").run
    assert (other.identity, other.name) == (usual.identity, usual.name)
    assert plan("precision=64-true").run.identity != usual.identity


def test_a_name_is_one_folder_whatever_the_values() -> None:
    cfg = plan().cfg
    cfg.augment = "../a,b=c d*\n"
    run = run_of(cfg, plan().cfg)
    assert run.name.startswith("dropout=0.3,lr=0.01,augment=a_b_c_d__-")
    assert run.folder.parent == Path("outputs/fashion_mnist")


def test_a_long_name_or_a_path_in_it_ends_in_a_digest(tmp_path: Path) -> None:
    on_scenes = ("task=caption", "encoder.name=resnet18", f"output_dir={tmp_path}")
    weights = [plan(*on_scenes, f"encoder.weights={place}/w.pth") for place in ("/home/a", "/home/b")]
    names = [asked.run.name for asked in weights]
    assert names[0] != names[1]
    assert all("encoder.weights=w.pth-" in name and "home" not in name for name in names)
    long = [plan(*on_scenes, f"encoder.weights='/x/{'é' * 100}.pth'", f"seed={seed}") for seed in (1, 2)]
    assert long[0].run.name != long[1].run.name
    assert all(len(asked.run.name.encode()) <= 200 for asked in long)
    started(long[0])
    assert f"weights: /x/{'é' * 100}.pth" in long[0].run.config_file.read_text(encoding="utf-8")


def started(asked: Plan) -> Run:
    asked.run.start(asked.cfg)
    return asked.run


def test_a_folder_of_other_settings_is_not_taken(base: tuple[str, ...]) -> None:
    run = started(plan(*base))
    assert run.mismatch() is None
    other = Run(run.folder, {**run.identity, "lr": 0.5, "new": 1}, run.code)
    expected = f"{run.folder} holds a run of other settings (lr 0.01 there, 0.5 now, new None there, 1 now)"
    assert other.mismatch() == expected
    with pytest.raises(RunMismatch, match="holds a run of other settings"):
        other.start(plan(*base).cfg)


def test_other_code_is_said_and_goes_on(base: tuple[str, ...]) -> None:
    asked = plan(*base)
    run = started(asked)
    assert run.other_code() is None
    changed = replace(run, code="abc")
    assert changed.other_code() is None  # nothing is kept of it
    run.last.write_bytes(b"a checkpoint")
    assert changed.mismatch() is None
    assert changed.other_code() == f"{run.name}: begun by other code ({run.code}), goes on with this (abc)"
    changed.start(asked.cfg)
    assert changed.other_code() is None
    assert changed.made_by() == f"{run.code}, then abc"
    run.last.unlink()
    changed.finish({"status": "done"})
    expected = f"{run.name}: made by other code ({run.code}, then abc); force=true repeats it"
    assert run.other_code() == expected
    said: list[str] = []
    assert run_job(asked.cfg, run, said.append, show_bar=False)["status"] == "done"
    assert said == [expected]


def test_data_of_ones_own_are_read_once_and_changed_ones_are_other_settings(
    base: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "data" / "train-images-idx3-ubyte"
    file.parent.mkdir()
    overrides = (*base, f"data.root={file.parent}")

    def with_data(content: bytes, age_s: float) -> Run:
        file.write_bytes(content)
        os.utime(file, (time.time() - age_s,) * 2)
        return plan(*overrides).run

    run = with_data(b"1", age_s=60)
    run.start(plan(*overrides).cfg)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "read_bytes", pytest.fail)  # neither another run of the sweep
        assert plan(*overrides, "lr=0.5").run.identity["data.digest"] == run.identity["data.digest"]
        own_data.forget()  # nor another process
        assert plan(*overrides).run == run
    changed = with_data(b"2", age_s=30)
    assert changed.folder == run.folder
    assert "of other data: the files in data.root have changed" in (changed.mismatch() or "")
    # What changed only just now may change again without a later time.
    assert with_data(b"3", age_s=0).identity != with_data(b"4", age_s=0).identity
    assert with_data(b"1", age_s=0).mismatch() is None


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"status": 3}', '{"status": "failed"}', '{"status": "running"}']
)
def test_only_done_and_diverged_are_final(base: tuple[str, ...], content: str) -> None:
    run = started(plan(*base))
    run.results_file.write_text(content)
    assert not run.is_finished()
    for status in ("done", "diverged"):
        run.finish({"status": status})
        assert run.is_finished()


def test_force_empties_the_folder_and_a_start_clears_the_last_failure(base: tuple[str, ...]) -> None:
    run = started(plan(*base))
    left = run.last.parent / ".0123456789abcdef.tmp"
    for path in (run.results_file, run.failure_file, run.metrics_file, run.last, left):
        path.write_text("old")
    started(plan(*base))
    assert run.metrics_file.exists()
    assert run.last.exists()
    assert not any(path.exists() for path in (run.results_file, run.failure_file, left))
    started(plan(*base, "force=true"))
    assert sorted(path.name for path in run.folder.rglob("*")) == [
        "checkpoints",
        "config.yaml",
        "identity.json",
    ]


def test_the_code_version_counts_all_code_but_what_only_shows(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__"))
    before = digest_of_code(tmp_path / "src")

    def changes(name: str) -> bool:
        file = tmp_path / "src" / name
        code = file.read_bytes()
        file.write_bytes(code + b"\nx = 1\n")
        changed = digest_of_code(tmp_path / "src") != before
        file.write_bytes(code)
        return changed

    numbers = ["karpathy", "folding", "scenes/drawing", "vocabulary"]
    numbers = [f"captioning/{name}.py" for name in numbers if (ROOT / f"src/captioning/{name}.py").exists()]
    assert len(numbers) >= 3
    for name in (*numbers, "fit.py", "images.py", "population/network.py", "classification/sgd.py"):
        assert changes(name), name
    for name in ("page.py", "report/sweep.py", "sweep/plots.py", "bench/rounds.py"):
        assert not changes(name), name


@pytest.mark.parametrize(
    ("files", "environment", "expected"),
    [
        ({}, {"OMP_NUM_THREADS": "1"}, 1),
        ({}, {"OMP_NUM_THREADS": "1,4"}, 1),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "100000 100000"}, {}, 1),
        # The limit of a parent, while the process's own group has none.
        (
            {
                "proc/self/cgroup": "0::/job/step",
                "sys/fs/cgroup/job/cpu.max": "150000 100000",
                "sys/fs/cgroup/job/step/cpu.max": "max 100000",
            },
            {},
            1,
        ),
        # Version 1 in a container: the path is the host's, its group is mounted at the top.
        (
            {
                "proc/self/cgroup": "4:memory:/docker/a\n3:cpu,cpuacct:/docker/a\n0::/",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "50000",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000",
            },
            {},
            1,
        ),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, {}, None),
        (
            {
                "proc/self/cgroup": "1:cpu:/",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            {"OMP_NUM_THREADS": "many"},
            None,
        ),
    ],
)
def test_cores_are_the_share_that_this_process_has(
    tmp_path: Path, files: dict[str, str], environment: dict[str, str], expected: int | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    allowed = len(os.sched_getaffinity(0))
    assert cores(tmp_path, environment) == (expected or allowed)


def test_only_long_steps_take_every_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for overrides in ((), ("task=caption",), ("task=caption", "attention=true", "batch_size=32")):
        assert default_threads(plan(*overrides).cfg) == 1
    for overrides in (("batch_size=128",), ("task=caption", "encoder.name=tiny")):
        assert default_threads(plan(*overrides).cfg) == cores()


def test_json_is_strict_and_keeps_every_digit() -> None:
    content: dict[str, Any] = {
        "a": float("nan"),
        "b": [float("inf"), (1, 0.1)],
        "c": {"d": -float("inf"), 3: None},
    }
    assert json.loads(to_json(content)) == {"a": None, "b": [None, [1, 0.1]], "c": {"d": None, "3": None}}
    assert to_json({"x": 0.1 + 0.2}) == '{\n  "x": 0.30000000000000004\n}\n'
    with pytest.raises(TypeError):
        to_json({"path": Path("x")})


def test_every_setting_of_the_identity_can_be_filed() -> None:
    assert json.loads(to_json(numbers_of(plan().cfg))) == numbers_of(plan().cfg)


HOLD = """
import sys, time
from filelock import FileLock
with FileLock(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_run_waits_for_its_lock_which_dies_with_its_holder(base: tuple[str, ...]) -> None:
    asked = plan(*base)
    run = started(asked)
    run.finish({"status": "done", "run": run.name})
    run.lock_file.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run.lock_file)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        said: list[str] = []

        def kill_the_holder(line: str) -> None:
            said.append(line)
            holder.kill()

        began = time.monotonic()
        assert run_job(asked.cfg, run, kill_the_holder, show_bar=False)["status"] == "done"
        assert said == [f"{run.name}: another process works on it; waiting"]
        assert time.monotonic() - began < 20


def test_a_folder_that_cannot_be_used_is_a_failed_run(base: tuple[str, ...]) -> None:
    asked = plan(*base)
    run = asked.run
    run.last.parent.parent.mkdir(parents=True)
    run.last.parent.write_text("in the way")
    results = run_job(asked.cfg, run, pytest.fail, show_bar=False)
    assert results["status"] == "failed"
    assert results["cause"].startswith("its folder cannot be used: ")
    assert run.results() == results
    assert run.config_file.exists()  # without it the ranking would pass the folder over
    run.last.parent.unlink()
    for path in run.folder.iterdir():
        path.unlink()
    run.folder.rmdir()
    run.folder.write_text("in the way")
    results = run_job(asked.cfg, run, pytest.fail, show_bar=False)
    assert results["cause"].startswith("its folder cannot be written: ")


def test_settings_survive_composition_as_the_protocol_has_them() -> None:
    cfg: DictConfig = plan().cfg
    protocol = {"lr": 0.01, "epochs": 15, "batch_size": 8, "seed": 42, "optimizer": "sgd", "momentum": 0.0}
    protocol |= {"weight_decay": 0.0, "data.val_size": 10000, "data.split_seed": 42, "augment": "none"}
    numbers = numbers_of(cfg)
    assert {key: numbers[key] for key in protocol} == protocol


def test_momentum_that_the_optimizer_would_ignore_is_refused() -> None:
    assert mistakes_in(plan("optimizer=adam", "momentum=0.9").cfg) == [
        "momentum=0.9: must be 0 with optimizer=adam, which has none"
    ]
    assert mistakes_in(plan("optimizer=sgd", "momentum=0.9").cfg) == []
