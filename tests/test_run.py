"""A run's name, identity, code version and lock."""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from src import provenance
from src.config import mistakes_in, numbers_of
from src.job import run_job
from src.provenance import CODE_OF_TASK, code_version
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
    assert run.name == "dropout=0.3,lr=0.01,augment=.._a_b_c_d__"
    assert run.folder.parent == Path("outputs/fashion_mnist")


def started(asked: Plan) -> Run:
    asked.run.start(asked.cfg)
    return asked.run


def test_a_folder_of_other_settings_or_code_is_not_taken(base: tuple[str, ...]) -> None:
    run = started(plan(*base))
    assert run.mismatch(accept_changed=False) is None
    other = Run(run.folder, {**run.identity, "lr": 0.5, "new": 1}, run.code)
    expected = f"{run.folder} holds a run of other settings (lr 0.01 there, 0.5 now, new None there, 1 now)"
    assert other.mismatch(accept_changed=True) == expected
    changed = Run(run.folder, run.identity, "abc")
    assert (
        changed.mismatch(accept_changed=False)
        == f"{run.folder} was made by code version {run.code}, now it is abc"
    )
    assert changed.mismatch(accept_changed=True) is None
    cfg = plan(*base).cfg
    with pytest.raises(RunMismatch, match="was made by code version"):
        changed.start(cfg)
    cfg.accept_changed = True
    changed.start(cfg)


def test_changed_data_of_ones_own_are_other_settings(base: tuple[str, ...], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "train-images-idx3-ubyte").write_bytes(b"1")
    overrides = (*base, f"data.root={data}")
    run = started(plan(*overrides))
    (data / "train-images-idx3-ubyte").write_bytes(b"2")
    again = plan(*overrides).run
    assert again.folder == run.folder
    assert "of other data: the files in data.root have changed" in (again.mismatch(accept_changed=True) or "")


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


def test_the_code_version_counts_code_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for part in CODE_OF_TASK["classify"]:
        target = tmp_path / part
        target.parent.mkdir(exist_ok=True)
        target.write_text((ROOT / "src" / part).read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(provenance, "SOURCES", tmp_path)

    def now() -> str:
        code_version.cache_clear()
        return code_version("classify")

    before = now()
    file = tmp_path / "classification" / "network.py"
    code = file.read_text(encoding="utf-8")
    docstring = '"""Class scores (B, K), before the softmax, of images (B, C, H, W)."""'
    assert docstring in code
    file.write_text("# a comment\n\n" + code.replace(docstring, '"""Other words."""'), encoding="utf-8")
    assert now() == before
    file.write_text(code.replace(docstring, ""), encoding="utf-8")
    assert now() == before
    file.write_text(code.replace("F.relu(self.dense2(x))", "F.gelu(self.dense2(x))"), encoding="utf-8")
    assert now() != before
    file.write_text(code, encoding="utf-8")
    assert now() == before
    code_version.cache_clear()


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
