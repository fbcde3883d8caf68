"""Lightning's loggers for W&B and MLflow, with one run there for each run's folder, also when it goes on.

They tell the Recorder by `epochs_sent` how many epochs need not be sent again.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from filelock import FileLock
from lightning.pytorch.loggers import MLFlowLogger, WandbLogger

from src.entry_point import UserError
from src.files import write_atomically

ID_TAG = "run_folder_id"
SQLITE = "sqlite:///"


class RunWandbLogger(WandbLogger):
    """A WandbLogger that takes the run's W&B run up again; it has all options of WandbLogger and `wandb.init`.

    An offline run that goes on knows of no earlier epoch: its newest folder (`wandb/latest-run`) holds all.
    """

    def __init__(self, save_dir: str, **options: Any) -> None:
        _require("wandb")
        super().__init__(
            save_dir=save_dir, **{"id": folder_id(save_dir), "name": Path(save_dir).name, **options}
        )
        self._wandb_init.pop("anonymous", None)  # an option that wandb only warns of

    @cached_property
    def epochs_sent(self) -> int:
        """Epochs that the W&B run has from before."""
        return int(self.experiment.summary.get("trainer/global_step") or 0)

    def finalize(self, status: str) -> None:
        """End the W&B run, except where Lightning says "success": after training, with the test to come."""
        super().finalize(status)
        if status != "success" and self._experiment is not None:
            self._experiment.finish(exit_code=int(status == "failed"))


class RunMLFlowLogger(MLFlowLogger):
    """An MLFlowLogger that takes the run's MLflow run up again."""

    def __init__(
        self,
        save_dir: str,
        experiment_name: str,
        tracking_uri: str,
        *,
        run_name: str | None = None,
        tags: dict[str, Any] | None = None,
        artifact_location: str | None = None,
        prefix: str = "",
    ) -> None:
        _require("mlflow")
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException

        logging.getLogger("mlflow").setLevel(logging.WARNING)  # else it tells of its tables
        known = folder_id(save_dir)
        is_file = tracking_uri.startswith(SQLITE)  # whose tables two processes must not make at once
        with FileLock(f"{tracking_uri.removeprefix(SQLITE)}.lock") if is_file else contextlib.nullcontext():
            super().__init__(
                experiment_name=experiment_name,
                run_name=run_name or Path(save_dir).name,
                tracking_uri=tracking_uri,
                tags={**(tags or {}), ID_TAG: known},
                prefix=prefix,
            )
            client = MlflowClient(tracking_uri)
            with contextlib.suppress(MlflowException):  # it is there
                client.create_experiment(experiment_name, artifact_location)
        experiment = client.get_experiment_by_name(experiment_name)
        found = experiment and client.search_runs([experiment.experiment_id], f"tags.{ID_TAG} = '{known}'")
        self.epochs_sent = 0
        if found:
            self._run_id = found[0].info.run_id
            client.update_run(self._run_id, "RUNNING")
            epochs = client.get_metric_history(
                self._run_id, f"{prefix}-train_loss" if prefix else "train_loss"
            )
            self.epochs_sent = max((one.step for one in epochs), default=0)


def folder_id(folder: str) -> str:
    """The name by which loggers know a run's folder: drawn once, so that a run that starts afresh has another."""
    file = Path(folder) / "logger_id.txt"
    if not file.exists():
        write_atomically(file, uuid.uuid4().hex)
    return file.read_text(encoding="utf-8")


def _require(package: str) -> None:
    if find_spec(package) is None:
        raise UserError(
            f"logger={package} needs a package that is not installed: pip install -e '.[{package}]'"
        )
