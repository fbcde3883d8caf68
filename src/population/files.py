"""A member's own files: the checkpoints, rows and events of a run that trains alone.

They are written by the very classes that write them for a separate run (`Classifier`, torch.optim.SGD,
`Recorder`, `RunLogger`); only Lightning's counters in a checkpoint are put together here.
"""

from __future__ import annotations

import contextlib
import math
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import torch
from omegaconf import DictConfig

from src.checkpoints import best_survives, read_checkpoint, write_checkpoint
from src.classification import task
from src.classification.data import EVALUATION_BATCH, ImageData
from src.config import ALWAYS_NAMED
from src.files import write_atomically
from src.job import Say, results_of
from src.population.network import Weights
from src.population.training import Knobs
from src.run import Diverged, Run
from src.run.fit import _resume_from
from src.run.recorder import (
    Recorder,
    RunLogger,
    plain_numbers,
    refuse_infinite_loss,
    refuse_infinite_weights,
)

LAUNCHER = "population"  # as results.json names it
DTYPES = {"32-true": torch.float32, "64-true": torch.float64}  # by `precision`


class Member:
    """One run of a population, at the end of an epoch: the state to go on from, and its files.

    Args:
        cfg: its settings, with `threads`.
        run: its folder, started.
        data: set up.
        say: takes a line for the user.
    """

    def __init__(self, cfg: DictConfig, run: Run, data: ImageData, say: Say) -> None:
        self.cfg, self.run, self.data = cfg, run, data
        self.results: dict[str, Any] | None = None  # of an ended run
        torch.manual_seed(cfg.seed)  # the seed of the weights
        self.module = task.build_module(cfg, data).to(DTYPES[cfg.precision])
        self.optimizer = self.module.configure_optimizers()
        self.recorder = Recorder(run, task.COLUMNS, task.TAGS, task.MONITOR, task.RATE)
        self.steps = 0
        self._begun: tuple[int, tuple[float, int, int]] | None = None  # epoch, and what was counted before it
        self.logger = RunLogger(run.folder)
        best_survives(run.last, run.best, say)
        path = _resume_from(run, say)
        if path is not None:
            content = read_checkpoint(Path(path))
            self.module.load_state_dict(content["state_dict"])
            self.module.on_load_checkpoint(content)
            self.optimizer.load_state_dict(content["optimizer_states"][0])
            self.recorder.load_state_dict(content["callbacks"][self.recorder.state_key])
            self.steps = content["global_step"]
        self.recorder.on_fit_start(self._trainer({}), self.module)

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def epochs_done(self) -> int:
        return len(self.recorder.rows)

    @property
    def knobs(self) -> Knobs:
        cfg = self.cfg
        return Knobs(cfg.dropout, cfg.lr, cfg.seed, cfg.weight_decay, cfg.momentum)

    def buffers(self) -> Weights:
        """Momentum by parameter name; zeros before the first step and without momentum."""
        state = self.optimizer.state
        return {
            name: state.get(weight, {}).get("momentum_buffer", torch.zeros_like(weight)).detach()
            for name, weight in self.module.network.named_parameters()
        }

    @torch.no_grad()
    def take(self, weights: Weights, buffers: Weights | None) -> None:
        """Make the weights and momenta of an epoch's end this run's; copies keep its memory layout."""
        for name, weight in self.module.network.named_parameters():
            weight.copy_(weights[name])
            if buffers is not None and self.cfg.momentum:
                self.optimizer.state[weight]["momentum_buffer"] = torch.empty_like(weight).copy_(
                    buffers[name]
                )

    def begin_epoch(self) -> None:
        """Set the clock and the epoch's loss; an epoch that is begun again counts nothing twice."""
        counted = (self.module.running_loss_sum, self.module.running_batches, self.steps)
        if self._begun is not None and self._begun[0] == self.epochs_done:
            counted = self._begun[1]
        self._begun = (self.epochs_done, counted)
        self.module.running_loss_sum, self.module.running_batches, self.steps = counted
        self.module.epoch_loss_sum, self.module.epoch_batches = 0.0, 0
        self.recorder.on_train_epoch_start(self._trainer({}), self.module)

    def count(self, losses: list[float]) -> None:
        """Add a chunk's losses.

        Raises:
            Diverged: one of them is NaN or infinite.
        """
        for index, loss in enumerate(losses):
            if not math.isfinite(loss):
                step = self.steps + index + 1
                raise Diverged(f"the training loss became {loss}", self.epochs_done + 1, step)
        total = math.fsum(losses)
        self.module.running_loss_sum += total
        self.module.running_batches += len(losses)
        self.module.epoch_loss_sum += total
        self.module.epoch_batches += len(losses)
        self.steps += len(losses)

    def begin_validation(self) -> None:
        """Note the time: what was before was training."""
        self.recorder.on_validation_start(self._trainer({}), self.module)

    def end_epoch(self, val_loss: float, val_acc: float) -> None:
        """Write the epoch's row, events and checkpoints.

        Raises:
            Diverged: a weight or the validation loss is not finite.
            OSError: a file cannot be written.
        """
        module = self.module
        refuse_infinite_weights(module, self.epochs_done + 1, self.steps)
        metrics = {
            "train_loss": module.running_loss_sum / module.running_batches,
            "train_loss_epoch": module.epoch_loss_sum / module.epoch_batches,
            "val_loss": val_loss,
            "val_acc": val_acc,
        }
        self.recorder.on_train_epoch_end(self._trainer(metrics), module)

    def best_weights(self) -> Weights:
        """Of the best validation epoch, by parameter name."""
        weights = read_checkpoint(self.run.best)["state_dict"]
        return {name: weights[f"network.{name}"] for name, _ in self.module.network.named_parameters()}

    def conclude(self, last: tuple[float, float], best: tuple[float, float], device: str) -> dict[str, Any]:
        """Record a finished run; its results.json.

        Args:
            last: test loss and accuracy of the last epoch's weights.
            best: of the best validation epoch's.
            device: its name.

        Raises:
            Diverged: a test loss is not finite.
            OSError: a file cannot be written.
        """
        tests = [
            plain_numbers({"test_loss": torch.tensor(loss), "test_acc": torch.tensor(accuracy)})
            for loss, accuracy in (last, best)
        ]
        for test in tests:
            refuse_infinite_loss(test, self.epochs_done, self.steps)
        shown = task.conclude(self.module, self.data, self.run.folder, self.logger, self.cfg.epochs)
        measured = task.summarize(self.recorder.rows, int(self.recorder.best["epoch"]), *tests)
        figures = {f"final/{name}": value for name, value in measured.items() if isinstance(value, float)}
        keys = [*ALWAYS_NAMED["classify"], "epochs", "batch_size", "seed", *self.run.departures]
        identity = self.run.identity
        self.logger.log_hyperparams({key: identity[key] for key in keys if key in identity}, figures)
        self.logger.finalize("success")
        facts = {
            "parameters": sum(weight.numel() for weight in self.module.parameters()),
            "device": device,
            "threads": torch.get_num_threads(),
        }
        return self._end("done", None, {**measured, **shown, **facts})

    def give_up(self, error: Exception, cause: str | None = None) -> dict[str, Any]:
        """Record a run that diverged or failed; its results.json.

        Args:
            cause: what results.json says of it; None for the error's own words.
        """
        status = "diverged" if isinstance(error, Diverged) else "failed"
        if status == "diverged":
            cause = str(error)
        else:
            cause = cause or f"{type(error).__name__}: {error}"
            with contextlib.suppress(OSError):
                write_atomically(self.run.failure_file, "".join(traceback.format_exception(error)))
        best_epoch = int(self.recorder.best["epoch"]) if self.recorder.best else None
        self.logger.finalize(status)
        return self._end(status, cause, task.summarize(self.recorder.rows, best_epoch, {}, {}))

    def _end(self, status: str, cause: str | None, measured: dict[str, Any]) -> dict[str, Any]:
        results = results_of(
            self.cfg,
            self.run,
            status=status,
            cause=cause,
            measured={**measured, "launcher": LAUNCHER},
            rows=self.recorder.rows,
        )
        try:
            self.run.finish(results)
        except OSError as error:
            results |= {"status": "failed", "cause": f"its folder cannot be written: {error}"}
        self.results = results
        return results

    def _trainer(self, metrics: dict[str, float]) -> Any:
        """As much of a Trainer as `Recorder` asks for, in the epoch after the last one recorded."""
        return SimpleNamespace(
            current_epoch=self.epochs_done,
            global_step=self.steps,
            callback_metrics={name: torch.tensor(value) for name, value in metrics.items()},
            datamodule=self.data,
            logger=self.logger,
            save_checkpoint=lambda path: write_checkpoint(path, self.checkpoint()),
        )

    def checkpoint(self) -> dict[str, Any]:
        """What Lightning saves at the end of an epoch of the separate run."""
        content: dict[str, Any] = {
            "epoch": self.epochs_done - 1,
            "global_step": self.steps,
            "pytorch-lightning_version": L.__version__,
            "state_dict": self.module.state_dict(),
            "loops": self._loops(),
            "callbacks": {self.recorder.state_key: self.recorder.state_dict()},
            "optimizer_states": [self.optimizer.state_dict()],
            "lr_schedulers": [],
            "hparams_name": "kwargs",
            "hyper_parameters": dict(self.module.hparams),
        }
        self.module.on_save_checkpoint(content)
        return content

    def _loops(self) -> dict[str, Any]:
        """Lightning's counters (the state of its loops) after as many epochs as are recorded."""
        epochs, chunks = self.epochs_done, len(self.data.train_dataloader())
        evaluations = math.ceil(len(self.data.parts["val"][1]) / EVALUATION_BATCH)

        def batches(current: int, total: int, **more: Any) -> dict[str, Any]:
            names = ("ready", "started", "processed", "completed")
            return {"current": dict.fromkeys(names, current), "total": dict.fromkeys(names, total), **more}

        def steps(count: int, *names: str) -> dict[str, Any]:
            return {part: dict.fromkeys(names, count) for part in ("total", "current")}

        epoch = {"ready": epochs, "started": epochs, "processed": epochs, "completed": epochs - 1}
        fit = {
            "state_dict": {},
            "epoch_loop.state_dict": {"_batches_that_stepped": epochs * chunks},
            "epoch_loop.batch_progress": batches(chunks, epochs * chunks, is_last_batch=True),
            "epoch_loop.scheduler_progress": steps(0, "ready", "completed"),
            "epoch_loop.automatic_optimization.state_dict": {},
            "epoch_loop.automatic_optimization.optim_progress": {
                "optimizer": {
                    "step": steps(0, "ready", "completed"),
                    "zero_grad": steps(0, "ready", "started", "completed"),
                }
            },
            "epoch_loop.manual_optimization.state_dict": {},
            "epoch_loop.manual_optimization.optim_step_progress": steps(self.steps, "ready", "completed"),
            "epoch_loop.val_loop.state_dict": {},
            "epoch_loop.val_loop.batch_progress": batches(evaluations, evaluations, is_last_batch=True),
            "epoch_progress": {"total": epoch, "current": dict(epoch)},
        }
        idle = {"state_dict": {}, "batch_progress": batches(0, 0, is_last_batch=False)}
        return {
            "fit_loop": fit,
            "validate_loop": idle,
            "test_loop": idle,
            "predict_loop": {"state_dict": {}, "batch_progress": batches(0, 0)},
        }


def slice_of(stack: Weights, member: int) -> Weights:
    """One member's part of stacked weights (P, ...)."""
    return {name: value.detach()[member] for name, value in stack.items()}


def stack_of(parts: Sequence[Mapping[str, torch.Tensor]], device: torch.device) -> Weights:
    """Stacked weights (P, ...) on `device`, contiguous."""
    return {
        name: torch.stack([part[name].contiguous() for part in parts]).to(device, copy=True)
        for name in parts[0]
    }
