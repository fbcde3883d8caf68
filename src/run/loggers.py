"""Lightning's loggers for W&B and MLflow, with one run there for each run's folder, also when it goes on.

`keeps_rows` tells the Recorder that what an earlier process sent is there, and need not be sent again.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import MLFlowLogger, WandbLogger

from src.files import write_atomically
from src.locks import lock_at

SQLITE = "sqlite:///"


class RunWandbLogger(WandbLogger):
    """A WandbLogger that takes the run's W&B run up again; it has all options of WandbLogger and `wandb.init`.

    An offline run that goes on is sent all epochs again: its newest folder (`wandb/latest-run`) holds all.
    """

    def __init__(self, save_dir: str, **options: Any) -> None:
        self.keeps_rows = not options.get("offline")
        own = {"id": folder_id(save_dir), "name": Path(save_dir).name}
        super().__init__(save_dir=save_dir, **{**own, **options})
        self._wandb_init.pop("anonymous", None)  # an option that wandb only warns of

    def finalize(self, status: str) -> None:
        """End the W&B run, except where Lightning says "success": after training, with the test to come."""
        super().finalize(status)
        if status != "success" and self._experiment is not None:
            self._experiment.finish(exit_code=int(status == "failed"))


class RunMLFlowLogger(MLFlowLogger):
    """An MLFlowLogger that takes the run's MLflow run up again; it has all options of MLFlowLogger."""

    keeps_rows = True

    def __init__(self, save_dir: str, experiment_name: str, tracking_uri: str, **options: Any) -> None:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # else it tells of its tables
        tags = {**options.pop("tags", {}), "run_folder_id": folder_id(save_dir)}
        is_file = tracking_uri.startswith(SQLITE)  # whose tables two processes must not make at once
        lock = Path(f"{tracking_uri.removeprefix(SQLITE)}.lock")
        with lock_at(lock) if is_file else contextlib.nullcontext():
            client = MlflowClient(tracking_uri)
            with contextlib.suppress(MlflowException):  # it is there
                client.create_experiment(experiment_name, options.get("artifact_location"))
        experiment = client.get_experiment_by_name(experiment_name)
        found = client.search_runs(
            [experiment.experiment_id], f"tags.run_folder_id = '{tags['run_folder_id']}'"
        )
        if found:
            options["run_id"] = found[0].info.run_id
            client.update_run(options["run_id"], "RUNNING")
        name = {"run_name": Path(save_dir).name}
        super().__init__(experiment_name, tracking_uri=tracking_uri, tags=tags, **{**name, **options})


def folder_id(folder: str) -> str:
    """The name by which loggers know a run's folder: drawn once, so that a run that starts afresh has another."""
    file = Path(folder) / "logger_id.txt"
    if not file.exists():
        write_atomically(file, uuid.uuid4().hex)
    return file.read_text(encoding="utf-8")
