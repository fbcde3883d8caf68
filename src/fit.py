"""Fit and test one run. With the task's own files, this is the code that a run's numbers come from."""

from __future__ import annotations

import importlib
import os
from typing import Any

import lightning as L
import torch
from lightning.pytorch.plugins.environments import LightningEnvironment
from omegaconf import DictConfig

from src.checkpoints import DamagedCheckpoint, SafeCheckpointIO, read_checkpoint
from src.config import ALWAYS_NAMED
from src.devices import device_name, device_of
from src.recorder import Recorder, RunBar, RunLogger, plain_numbers
from src.run import Run

TASKS = {"classify": "src.classification.task", "caption": "src.captioning.task"}


def task_of(cfg: DictConfig) -> Any:
    """The module that says what a run of this task consists of."""
    return importlib.import_module(TASKS[cfg.task])


def fit_and_test(cfg: DictConfig, run: Run, recorder: Recorder, say: Any, show_bar: bool) -> dict[str, Any]:
    """Train from the last checkpoint, or from nothing, to the last epoch; test; write TensorBoard's summary.

    Args:
        cfg: composed and checked settings.
        run: where to write.
        recorder: collects the rows, also when this raises.
        say: takes a line for the user.
        show_bar: whether to show a progress bar.

    Returns:
        The measured part of results.json.

    Raises:
        Diverged: the loss is no longer finite.
    """
    task = task_of(cfg)
    torch.set_num_threads(cfg.threads)
    # The seed of the weights; order and dropout are seeded per epoch (ImageData, Classifier).
    torch.manual_seed(cfg.seed)
    data = task.build_data(cfg, say, show_bar)
    data.prepare_data()
    data.setup()
    module = task.build_module(cfg, data)
    logger = RunLogger(run.folder)
    device = device_of(cfg.accelerator)
    for name in [name for name in os.environ if name.startswith("PL_TRAINER_")]:
        del os.environ[name]  # Lightning takes what is not given here from them
    trainer = L.Trainer(
        accelerator=device.type,
        devices=1,
        precision=cfg.precision,
        max_epochs=cfg.epochs,
        logger=logger,
        callbacks=[recorder, *([RunBar(run.name, task.MONITOR)] if show_bar else [])],
        # One process, whatever a cluster's variables say; a requeue is the job script's affair.
        plugins=[SafeCheckpointIO(), LightningEnvironment()],
        default_root_dir=run.folder,  # inside a SLURM job Lightning loads hpc_ckpt_*.ckpt from there
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        deterministic=_deterministic(device),
    )
    trainer.fit(module, datamodule=data, ckpt_path=_resume_from(run, say), weights_only=True)

    test_last = _test(trainer, module, data)
    shown = task.conclude(module, data, run.folder, logger, cfg.epochs)
    best_epoch = int(recorder.best["epoch"])
    test_best = test_last
    if best_epoch != cfg.epochs:
        last_weights = {name: value.clone() for name, value in module.state_dict().items()}
        module.load_state_dict(read_checkpoint(run.best)["state_dict"])
        test_best = _test(trainer, module, data)
        module.load_state_dict(last_weights)

    measured = task.summarize(recorder.rows, best_epoch, test_last, test_best)
    figures = {f"final/{name}": value for name, value in measured.items() if isinstance(value, float)}
    # TensorBoard shows the first few columns only: those that a sweep is about.
    keys = [*ALWAYS_NAMED[cfg.task], "epochs", "batch_size", "seed", *run.departures]
    logger.log_hyperparams({key: run.identity[key] for key in keys if key in run.identity}, figures)
    logger.finalize("success")
    return {
        **measured,
        **shown,
        "parameters": sum(weight.numel() for weight in module.parameters()),
        "device": device_name(trainer.strategy.root_device),
        "threads": torch.get_num_threads(),
    }


def _resume_from(run: Run, say: Any) -> str | None:
    """The newest checkpoint whose bytes are right; the best epoch's where the last one is damaged."""
    for path in (run.last, run.best):
        try:
            read_checkpoint(path)
        except FileNotFoundError:
            continue
        except DamagedCheckpoint as error:
            say(f"{error}; going on from an earlier state")
            continue
        return str(path)
    return None


def _test(trainer: L.Trainer, module: L.LightningModule, data: L.LightningDataModule) -> dict[str, float]:
    trainer.test(module, datamodule=data, verbose=False)
    return plain_numbers(trainer.callback_metrics)


def _deterministic(device: torch.device) -> Any:
    """Bit-equal repetition. A CPU repeats by itself; on a GPU the deterministic kernels are asked for."""
    if device.type != "cuda":
        return None
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return "warn"  # non-overlapping max-pooling has no other kernel, and adds in one order anyhow
