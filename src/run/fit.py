"""Fit and test one run."""

from __future__ import annotations

import inspect
import os
from typing import Any

import hydra.utils
import lightning as L
import torch
from lightning.fabric.plugins.environments import LightningEnvironment, TorchElasticEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from omegaconf import DictConfig
from tqdm import tqdm

from src.build import build, complete, signature_errors
from src.config.settings import TASKS
from src.run import ranks
from src.run.checkpoints import Recorder, SafeCheckpointIO, plain_numbers, read_checkpoint, resume_point
from src.run.environment import device_of
from src.run.folder import Run
from src.run.pruning import callbacks_of

# Arguments of L.Trainer that belong to the run's own files; every other one is a setting `trainer.*`.
OWN = (
    *("callbacks", "logger", "plugins", "default_root_dir", "max_epochs", "enable_checkpointing"),
    "check_val_every_n_epoch",
)


_prepared: dict[str, L.LightningDataModule] = {}  # by this process, for a run that is to follow


def prepared_data(cfg: DictConfig, keep: bool = False) -> Any:
    """The DataModule of a configuration, set up; large caption sets take seconds, so one that was kept is taken.

    Args:
        keep: for the next call with the same settings.
    """
    key = str({name: value for name, value in cfg.items() if name != "threads"})  # which a run chooses
    data: Any = None if keep else _prepared.pop(key, None)
    if data is None:
        data = TASKS[cfg.task].load().build_data(cfg)
        data.prepare_data()
        data.setup()
    if keep:
        _prepared[key] = data
    return data


def fit_and_test(cfg: DictConfig, run: Run, recorder: Recorder, show_bar: bool) -> dict[str, Any]:
    """Train from the last checkpoint, or from nothing, to the last epoch; test; let the task log its artifacts.

    Inside `ranks.connected`.

    Returns:
        The measured part of results.json.

    Raises:
        Diverged: the loss is no longer finite.
    """
    task = TASKS[cfg.task]
    implementation = task.load()
    torch.set_num_threads(cfg.threads or 1)
    data = prepared_data(cfg)
    # The seed of the weights; order and dropout are seeded for each epoch (ImageData, Recorder).
    torch.manual_seed(cfg.seed)
    callbacks: list[Callback] = [build(node) for node in cfg.callbacks.values() if node is not None]
    callbacks += [*callbacks_of(cfg, recorder), recorder]
    if show_bar:
        callbacks.append(RunBar(run.name, task.monitor))
    place = {"folder": str(run.folder), "save_dir": str(run.folder)}
    loggers: list[Logger] = [build(complete(node, **place)) for node in cfg.logger.values() if node]
    # The environment would change a Trainer in silence: its rank, and defaults of its arguments.
    environment = TorchElasticEnvironment if ranks.world() > 1 else LightningEnvironment
    rank_zero_only.rank = ranks.rank()  # type: ignore[attr-defined]  # else one with SLURM_PROCID=1 logs nothing
    for name in [name for name in os.environ if name.startswith("PL_TRAINER_")]:
        del os.environ[name]
    trainer = L.Trainer(
        **{**trainer_defaults(cfg), **hydra.utils.instantiate(cfg.trainer, _convert_="all")},
        max_epochs=cfg.epochs,
        default_root_dir=run.folder,
        callbacks=callbacks,
        logger=loggers,
        # A cluster's environment variables change nothing: a run's ranks are known, its files are in its folder.
        plugins=[SafeCheckpointIO(), environment()],
    )
    for logger in trainer.loggers:
        if not isinstance(logger, TensorBoardLogger):
            logger.log_hyperparams(run.fingerprint)
    module = implementation.build_module(cfg, data, trainer)
    resume = ranks.agreed(None if ranks.rank() else resume_point(run.last, run.best))
    trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)

    test_last = _test(trainer, module, data)
    artifacts = {} if ranks.rank() else implementation.log_artifacts(module, data, run.folder, trainer, cfg)
    test_best = test_last
    if recorder.best["epoch"] != len(recorder.rows):
        last_weights = {name: value.clone() for name, value in module.state_dict().items()}
        module.load_state_dict(read_checkpoint(run.best)["state_dict"])
        test_best = _test(trainer, module, data)
        module.load_state_dict(last_weights)

    tested = {**test_last, **{f"{name}_best_val": value for name, value in test_best.items()}}
    measured = {**training_results(recorder, cfg.task), **tested, **artifacts}
    figures = {f"final/{name}": value for name, value in measured.items() if isinstance(value, float)}
    for logger in trainer.loggers:
        if isinstance(logger, TensorBoardLogger):  # shows HParams only together with metrics
            logger.log_hyperparams(run.fingerprint, figures)
        else:
            logger.log_metrics(figures, step=len(recorder.rows))
        logger.finalize("finished")
    device = trainer.strategy.root_device
    return {
        **measured,
        "parameters": sum(weight.numel() for weight in module.parameters()),
        "data_digest": data.digest,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "threads": torch.get_num_threads(),
    }


def trainer_defaults(cfg: DictConfig) -> dict[str, Any]:
    """L.Trainer's arguments where `trainer.*` gives none."""
    device = device_of(cfg.accelerator)
    is_cuda = device.type == "cuda"
    if is_cuda:  # where bit-equal repetition needs deterministic kernels
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return {
        "accelerator": device.type,
        "devices": 1,
        "precision": cfg.precision,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        "use_distributed_sampler": False,
        # Non-overlapping max-pooling has no other kernel, and adds in one order anyhow.
        "deterministic": "warn" if is_cuda else None,
    }


def trainer_errors(cfg: DictConfig) -> list[str]:
    """Options `trainer.*` that L.Trainer does not take, or that are settings of another name here."""
    given = {str(name): value for name, value in cfg.trainer.items()}
    own = [f"trainer.{name}: is set by the run itself" for name in given if name in OWN]
    limits = [name for name in ("limit_train_batches", "limit_val_batches") if given.get(name) == 0]
    own += [f"trainer.{name}=0: every epoch trains and validates" for name in limits]
    # L.Trainer's own signature hides behind a decorator.
    return own + signature_errors(inspect.unwrap(L.Trainer.__init__), given, "trainer.")


def training_results(recorder: Recorder, task: str) -> dict[str, Any]:
    """What results.json tells of training; empty where a run did not finish an epoch."""
    if not recorder.rows:
        return {}
    columns, monitor = TASKS[task].columns, TASKS[task].monitor
    last = {name: recorder.rows[-1].get(name) for name in columns}
    return {**last, f"best_{monitor}": recorder.best["value"], "best_epoch": int(recorder.best["epoch"])}


def _test(trainer: L.Trainer, module: L.LightningModule, data: L.LightningDataModule) -> dict[str, float]:
    trainer.test(module, datamodule=data, verbose=False)
    return plain_numbers(trainer.callback_metrics)


class RunLogger(TensorBoardLogger):
    """TensorBoard events right in the run's folder, which has a config.yaml and needs no hparams.yaml.

    Lightning would number its folders by listing what is there, which two runs at once can get wrong.
    """

    def __init__(self, folder: str) -> None:
        super().__init__(save_dir=folder, name="", version="", default_hp_metric=False)

    def save(self) -> None:
        """Nothing: all is in the events."""


class RunBar(Callback):
    """One progress bar over all epochs of a run, with the time left."""

    def __init__(self, name: str, monitor: str) -> None:
        self.name, self.monitor = name, monitor
        self.bar = tqdm(disable=True)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        batches = int(trainer.num_training_batches)
        self.bar = tqdm(
            total=batches * (trainer.max_epochs or 1),
            initial=batches * trainer.current_epoch,
            desc=self.name,
            disable=None,  # where the output is no terminal
            bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed} gone, {remaining} left{postfix}",
        )

    def on_train_batch_end(self, *_: Any, **__: Any) -> None:
        self.bar.update()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        value = float(trainer.callback_metrics[self.monitor])
        epochs = f"{trainer.current_epoch + 1}/{trainer.max_epochs}"
        self.bar.set_postfix_str(f"epoch {epochs}, {self.monitor} {value:.4f}")

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        self.bar.close()
