"""Run a sweep's jobs side by side: `hydra/launcher=workers`, the default.

On a CPU a worker a core with one thread each, on GPUs a worker a GPU. Each run gets a process of its
own, so one that dies takes no other with it, and its numbers are those of the same run started alone
with as many threads. The processes are forked from a server that has imported torch and Lightning
once: a fresh interpreter a run would spend seconds on imports.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from tqdm import tqdm

from src import stops
from src.job import one_line, record_death, results_of, run_job, say_to_terminal
from src.plan import Plan, folder_mistake, plan_of, refuse
from src.provenance import cores
from src.run import Run

POLL_S = 0.5


class WorkersLauncher(Launcher):
    """Hydra's side: takes the jobs of one `-m` command, returns each one's validation figure."""

    launched: ClassVar[list[Plan]] = []  # in this process, for the command's exit status

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.hydra_context, self.config = hydra_context, config
        refuse(filter(None, [folder_mistake(Path(config.hydra.sweep.dir))]))  # before Hydra makes it

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Check all jobs, then run them.

        Raises:
            SystemExit: status 2, after naming every mistake, before any job ran; see `run_all`.
        """
        loader = self.hydra_context.config_loader
        plans = [plan_of(loader.load_sweep_config(self.config, list(job))) for job in job_overrides]
        mistakes = [mistake for plan in plans for mistake in plan.mistakes()]
        if mistakes:
            _remove_empty(Path(self.config.hydra.sweep.dir))
        refuse(mistakes)
        stops.heed()
        results = self.run(plans)
        WorkersLauncher.launched.extend(plans)
        return [
            JobReturn(
                overrides=list(job),
                cfg=plan.cfg,
                status=JobStatus.COMPLETED,
                _return_value=plan.figure(result),
            )
            for job, plan, result in zip(job_overrides, plans, results, strict=True)
        ]

    def run(self, plans: Sequence[Plan]) -> list[dict[str, Any]]:
        """See `run_all`; another launcher runs them in another way."""
        return run_all(plans)


def run_all(plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """Run every plan that is not finished yet, a few at a time, with a line for each that ends.

    Returns:
        Each plan's results.json.

    Raises:
        SystemExit: 130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP; what is finished stays, the rest
            goes on with the same command.
    """
    sweep = _Sweep(plans)
    try:
        sweep.run()
    except KeyboardInterrupt as error:
        sweep.stop()
        say_stopped(plans)
        raise SystemExit(stops.status_of(error)) from None
    return [plan.results() or {} for plan in plans]


def say_stopped(plans: Sequence[Plan]) -> None:
    """What is saved, and how to go on."""
    finished = sum(plan.run.is_finished() for plan in plans)
    say_to_terminal(f"Stopped. {finished} of {len(plans)} runs are finished; the same command carries on.")


@dataclass
class _Sweep:
    """The state of a sweep in progress, in the process that the user started."""

    plans: Sequence[Plan]
    context: ForkServerContext = field(default_factory=lambda: multiprocessing.get_context("forkserver"))
    active: dict[int, tuple[Plan, ForkServerProcess]] = field(default_factory=dict)  # by worker slot
    stale: set[Path] = field(default_factory=set)  # folders that `force` is about to empty
    ended: int = 0

    def run(self) -> None:
        waiting = [plan for plan in self.plans if plan.cfg.force or not plan.run.is_finished()]
        self.ended = len(self.plans) - len(waiting)
        if self.ended:
            say_to_terminal(
                f"{self.ended} of {len(self.plans)} runs are finished already and stay as they are."
            )
        if not waiting:
            return
        self.stale = {plan.run.folder for plan in waiting if plan.cfg.force}
        self.context.set_forkserver_preload(["src.sweep.preload"])
        gpus = self._prepare(waiting[0])
        first = waiting[0].cfg
        slots = min(first.workers or gpus or cores(), len(waiting))
        say_to_terminal(f"{len(waiting)} runs to go, {slots} at a time, in {waiting[0].run.folder.parent}")
        self.began = time.monotonic()
        self.epochs_before = self._epochs_done()
        total = sum(plan.cfg.epochs for plan in self.plans)
        with tqdm(
            total=total,
            initial=self.epochs_before,
            desc="sweep",
            disable=None if first.progress else True,
            bar_format="{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} epochs, {remaining} left",
        ) as bar:
            while waiting or self.active:
                for slot in range(slots):
                    if waiting and slot not in self.active:
                        plan = waiting.pop(0)
                        self.stale.discard(plan.run.folder)
                        threads = 1 if slots > 1 else None
                        arguments = (plan.cfg, plan.run, threads, slot % gpus if gpus else None)
                        self.active[slot] = (plan, self._start(_work, arguments))
                wait([process.sentinel for _, process in self.active.values()], timeout=POLL_S)
                bar.n = self._epochs_done()
                bar.refresh()
                for slot, (plan, process) in list(self.active.items()):
                    if process.exitcode is not None:
                        del self.active[slot]
                        self._reap(plan, process)

    def stop(self) -> None:
        """End the workers: those that are writing an epoch's files write them to the end."""
        # Not those of `active` alone: the signal may have come between a worker's start and its entry there,
        # and Python waits for every child before it leaves.
        processes = multiprocessing.active_children()
        for process in processes:
            process.terminate()
        until = time.monotonic() + stops.GRACE_S
        for process in processes:
            process.join(max(0.0, until - time.monotonic()))
            process.kill()  # every file is written whole or not at all
            process.join()

    def _start(self, target: Any, arguments: tuple[Any, ...]) -> ForkServerProcess:
        process = self.context.Process(target=target, args=arguments)
        process.start()
        return process

    def _prepare(self, plan: Plan) -> int:
        """Fetch the data set once, before workers could race for it; count the GPUs that may be used.

        Raises:
            SystemExit: the data set is not to be had; the reason was printed.
        """
        receiver, sender = self.context.Pipe(duplex=False)
        process = self._start(_prepare, (plan.cfg, sender))
        sender.close()
        try:
            gpus = receiver.recv()
        except EOFError:
            gpus = "the process that prepares the data set died"
        process.join()
        if isinstance(gpus, str):
            say_to_terminal(gpus)
            raise SystemExit(1)
        return gpus

    def _reap(self, plan: Plan, process: ForkServerProcess) -> None:
        self.ended += 1
        results = plan.results()
        mismatch = plan.run.mismatch()
        if mismatch is not None:  # the folder is another command's by now: nothing of ours goes into it
            results = results_of(plan.cfg, plan.run, status="failed", cause=mismatch, measured={}, rows=[])
        results = results or record_death(plan.cfg, plan.run, process.exitcode or 0)
        done_here = self._epochs_done() - self.epochs_before
        to_go = sum(other.cfg.epochs for other in self.plans) - self._epochs_done()
        left = ""
        if done_here and to_go > 0:
            left = f"   {_duration(to_go * (time.monotonic() - self.began) / done_here)} left"
        say_to_terminal(f"[{self.ended:2}/{len(self.plans)}] {one_line(results)}{left}")

    def _epochs_done(self) -> int:
        return sum(plan.epochs_done() for plan in self.plans if plan.run.folder not in self.stale)


def _work(cfg: DictConfig, run: Run, threads: int | None, gpu: int | None) -> None:
    """One run, in a process of its own."""
    _obey_parent()
    if gpu is not None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")  # a scheduler may have given us some of them
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[gpu] if visible else str(gpu)
    try:
        run_job(cfg, run, say_to_terminal, show_bar=False, threads=threads)
    except KeyboardInterrupt as error:
        raise SystemExit(stops.status_of(error)) from None


def _prepare(cfg: DictConfig, answer: Any) -> None:
    """Fetch the data; answer with the number of usable GPUs, or with what went wrong."""
    _obey_parent()
    from src.devices import gpu_count
    from src.fit import task_of

    try:
        data = task_of(cfg).build_data(cfg, say_to_terminal, cfg.progress)
        data.prepare_data()
        data.setup()
        for remark in getattr(data, "remarks", ()):
            say_to_terminal(remark)
    except (OSError, RuntimeError, ValueError) as error:  # all of ours are among them
        answer.send(str(error))
        return
    except KeyboardInterrupt as error:
        raise SystemExit(stops.status_of(error)) from None
    answer.send(gpu_count(cfg.accelerator))


def _obey_parent() -> None:
    """Leave Ctrl-C to the parent, and end when the parent is gone, however it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    stops.forget()
    stops.heed()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _remove_empty(folder: Path) -> None:
    """Take away the folder of a sweep that was refused, where it holds nothing but Hydra's multirun.yaml."""
    with contextlib.suppress(OSError):
        if [path.name for path in folder.iterdir()] == ["multirun.yaml"]:
            (folder / "multirun.yaml").unlink()
            folder.rmdir()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
