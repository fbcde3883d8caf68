"""logger=wandb and logger=mlflow, offline: what they are sent, and that a run that goes on stays one run."""

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning as L
import pytest

from src.run.checkpoints import Recorder
from src.run.loggers import RunMLFlowLogger
from tests.command_line import plan, rows_of, train_here

wandb_format = pytest.importorskip("wandb.proto.wandb_internal_pb2")
mlflow = pytest.importorskip("mlflow")
ALL = ("logger=[tensorboard,csv,wandb,mlflow]", "logger.wandb.offline=true")
SETTINGS = (*ALL, "limit_train=160", "threads=1", "lr=0.1", "epochs=3")
COLUMNS = ("train_loss", "train_loss_epoch", "val_loss", "val_acc")


@pytest.fixture(autouse=True)
def variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """No reports to the packages' makers; and what the packages set is gone afterwards."""
    reports = {"WANDB_ERROR_REPORTING": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    for name, value in {**reports, "WANDB_MODE": "offline", "MLFLOW_TRACKING_URI": ""}.items():
        monkeypatch.setenv(name, value)


def wandb_records(file: Path) -> Iterator[Any]:
    """A .wandb file's records; it has the format of LevelDB's logs."""
    content, position, record = file.read_bytes(), 7, b""
    while position + 7 <= len(content):
        if 32768 - position % 32768 < 7:  # a block's padding
            position += 32768 - position % 32768
        size, kind = int.from_bytes(content[position + 4 : position + 6], "little"), content[position + 6]
        position += 7 + size
        record += content[position - size : position]
        if kind in (1, 4):  # a whole one, or one's last part
            yield wandb_format.Record.FromString(record)
            record = b""


def test_a_run_that_goes_on_is_one_run_with_all_rows_and_hyperparameters(
    on_idx: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = plan(*on_idx, *SETTINGS, f"output_dir={tmp_path}")

    def die(self: Recorder, trainer: L.Trainer, module: L.LightningModule) -> None:
        if trainer.current_epoch == 2:
            raise RuntimeError("on purpose")

    with monkeypatch.context() as patched:
        patched.setattr(Recorder, "on_validation_start", die)
        train_here(asked, "failed")
    results = train_here(asked)
    rows = [tuple(float(row[name]) for name in COLUMNS) for row in rows_of(asked.run.folder)]

    client = mlflow.MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    (run,) = client.search_runs([client.get_experiment_by_name("idx").experiment_id])
    assert (run.info.run_name, run.info.status) == (asked.run.name, "FINISHED")
    assert run.data.params == {name: str(value) for name, value in asked.run.fingerprint.items()}
    assert run.data.metrics["final/test_acc"] == results["test_acc"]
    histories = [client.get_metric_history(run.info.run_id, name) for name in COLUMNS]
    assert [[one.step for one in history] for history in histories] == [[1, 2, 3]] * len(COLUMNS)
    assert list(zip(*([one.value for one in history] for history in histories), strict=True)) == rows

    files = sorted(asked.run.folder.glob("wandb/offline-run-*/*.wandb"))
    assert files[1].parent == (asked.run.folder / "wandb/latest-run").resolve()  # which has all
    first, second = (list(wandb_records(file)) for file in files)
    runs = [record.run for record in first + second if record.HasField("run")]
    assert [(one.run_id, one.display_name) for one in runs] == [(runs[0].run_id, asked.run.name)] * 2
    assert {one.key for record in second for one in record.config.update} >= asked.run.fingerprint.keys()
    items = [record.history.item for record in second if record.HasField("history")]
    sent = [{one.key or one.nested_key[0]: float(one.value_json) for one in row} for row in items]
    assert [tuple(row[name] for name in COLUMNS) for row in sent[:-1]] == rows
    assert sent[-1]["final/test_acc"] == results["test_acc"]
    assert [one.exit.exit_code for one in first + second if one.HasField("exit")] == [1, 0]


def test_runs_that_begin_at_once_share_one_mlflow_file(tmp_path: Path) -> None:
    def begin() -> None:
        assert RunMLFlowLogger(str(tmp_path), "study", f"sqlite:///{tmp_path}/mlflow.db").run_id

    processes = [multiprocessing.get_context("fork").Process(target=begin, daemon=True) for _ in range(2)]
    for one in processes:
        one.start()
    for one in processes:
        one.join(60)
    assert [one.exitcode for one in processes] == [0, 0]
