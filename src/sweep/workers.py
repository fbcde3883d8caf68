"""Run a sweep's jobs side by side: `hydra/launcher=workers`, the default.

On a CPU a worker a core with one thread each, on GPUs a worker a GPU, or as many as `trainer.devices` says. Each
run gets a process of its own, so one that dies takes no other with it, and its numbers are those of the same run
started alone with as many threads. The processes are forked from a server that has imported torch and Lightning
once: a fresh interpreter a run would spend seconds on imports.
"""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from typing import Any

from tqdm import tqdm

from src.entry_point import setup_logging
from src.run import signals
from src.run.environment import cores, use_gpus
from src.run.job import cause_of_death, run_job
from src.run.ranks import ranks_of
from src.sweep.launcher import CheckedLauncher
from src.sweep.plan import Plan, preflight

POLL_S = 0.5
logger = logging.getLogger(__name__)


class WorkersLauncher(CheckedLauncher):
    """Runs each job in a process of its own."""

    gpus = 0

    def check(self, plans: Sequence[Plan]) -> list[str]:
        """See `CheckedLauncher.check`: in a process of its own, so that this one need not import torch."""
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["src.sweep.preload"])
        receiver, sender = self.context.Pipe(duplex=False)
        process = self._start(_check, list(plans), sender)
        sender.close()
        try:
            errors, self.gpus = receiver.recv()
        except EOFError:
            errors = ["the process that prepares the data set died"]
        process.join()
        return errors

    def run(self, plans: Sequence[Plan], job_overrides: Sequence[Sequence[str]], first: int) -> None:
        """See `CheckedLauncher.run`."""
        try:
            self._run(plans)
        except KeyboardInterrupt:
            stop_workers()
            raise

    def _run(self, plans: Sequence[Plan]) -> None:
        waiting, settings = list(plans), plans[0].cfg
        active: dict[int, tuple[Plan, ForkServerProcess]] = {}  # by slot
        ranks = max(ranks_of(plan.cfg) for plan in plans)
        slots = min(settings.workers or max(1, (self.gpus or cores()) // ranks), len(waiting))
        logger.info("%s runs to go, %s at a time, in %s", len(waiting), slots, plans[0].run.folder.parent)
        with progress_bar(plans) as bar:
            while waiting or active:
                for slot in range(slots):
                    if waiting and slot not in active:
                        plan = waiting.pop(0)
                        threads = 1 if slots > 1 else None
                        gpus = [(slot * ranks + k) % self.gpus for k in range(ranks)] if self.gpus else []
                        active[slot] = (plan, self._start(_work, plan, threads, gpus))
                wait([process.sentinel for _, process in active.values()], timeout=POLL_S)
                bar.n = epochs_done(plans)
                bar.refresh()
                for slot, (plan, process) in list(active.items()):
                    if process.exitcode is not None:
                        del active[slot]
                        self.end(plan, cause_of_death(plan.cfg, process.exitcode))

    def _start(self, target: Any, *arguments: Any) -> ForkServerProcess:
        process = self.context.Process(target=target, args=arguments)
        process.start()
        return process


def progress_bar(plans: Sequence[Plan]) -> tqdm:
    """A bar over the epochs of all runs, with the time left, where the output is a terminal."""
    return tqdm(
        total=sum(plan.cfg.epochs for plan in plans),
        initial=epochs_done(plans),
        desc="sweep",
        disable=None if plans[0].cfg.progress else True,
        bar_format="{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} epochs, {remaining} left",
    )


def epochs_done(plans: Sequence[Plan]) -> int:
    """Epochs of all runs together."""
    return sum(plan.run.epochs_done() for plan in plans)


def stop_workers() -> None:
    """End the workers: those that are writing an epoch's files write them to the end."""
    # All children: the signal may have come between a worker's start and its entry among those that are active,
    # and Python waits for every child before it leaves.
    processes = multiprocessing.active_children()
    for process in processes:
        process.terminate()
    until = time.monotonic() + signals.GRACE_S
    for process in processes:
        process.join(max(0.0, until - time.monotonic()))
        process.kill()  # every file is written whole or not at all
        process.join()


def _work(plan: Plan, threads: int | None, gpus: list[int]) -> None:
    """One run, in a process of its own, on these GPUs."""
    signals.obey_parent()
    setup_logging()
    if gpus:
        use_gpus(gpus)
    with _exit_when_told():
        run_job(plan.cfg, plan.run, show_bar=False, threads=threads)


def _check(plans: list[Plan], answer: Any) -> None:
    """Answer with the errors and the number of usable GPUs."""
    signals.obey_parent()
    setup_logging()
    from src.run.environment import gpu_count

    with _exit_when_told():
        errors = preflight(plans)
    answer.send((errors, 0 if errors else gpu_count(plans[0].cfg.accelerator)))


@contextmanager
def _exit_when_told() -> Iterator[None]:
    try:
        with signals.kept():
            yield
    except KeyboardInterrupt as error:
        raise SystemExit(signals.status_of(error)) from None
