"""Run a sweep's jobs side by side: `hydra/launcher=workers`, the default.

On a CPU a worker a core with one thread each, on GPUs a worker a GPU. Each run gets a process of its
own, so one that dies takes no other with it, and its numbers are those of the same run started alone
with as many threads. The processes are forked from a server that has imported torch and Lightning
once: a fresh interpreter a run would spend seconds on imports.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from typing import Any

from tqdm import tqdm

from src.entry_point import InvalidCommand, setup_logging
from src.run import signals
from src.run.environment import cores
from src.run.job import one_line, record_death, results_of, run_job
from src.sweep.launcher import CheckedLauncher
from src.sweep.plan import Plan, preflight

POLL_S = 0.5
logger = logging.getLogger(__name__)


class WorkersLauncher(CheckedLauncher):
    """Runs each job in a process of its own."""

    def run(self, plans: Sequence[Plan], job_overrides: Sequence[Sequence[str]], first: int) -> None:
        """See `CheckedLauncher.run`."""
        sweep = _Sweep(plans)
        try:
            sweep.run()
        except KeyboardInterrupt:
            sweep.stop()
            finished = sum(plan.run.is_finished() for plan in plans)
            logger.info("Stopped. %s of %s runs are finished.", finished, len(plans))
            raise


@dataclass
class _Sweep:
    """The state of a sweep in progress, in the process that the user started."""

    plans: Sequence[Plan]
    context: ForkServerContext = field(default_factory=lambda: multiprocessing.get_context("forkserver"))
    active: dict[int, tuple[Plan, ForkServerProcess]] = field(default_factory=dict)  # by worker slot
    ended: int = 0

    def run(self) -> None:
        waiting = [plan for plan in self.plans if not plan.is_done()]
        self.ended = len(self.plans) - len(waiting)
        if self.ended:
            logger.info(
                "%s of %s runs are finished already and stay as they are.", self.ended, len(self.plans)
            )
        if not waiting:
            return
        self.context.set_forkserver_preload(["src.sweep.preload"])
        gpus = self._prepare()
        first = waiting[0].cfg
        slots = min(first.workers or gpus or cores(), len(waiting))
        logger.info("%s runs to go, %s at a time, in %s", len(waiting), slots, waiting[0].run.folder.parent)
        self.emptied = {plan.run.folder for plan in waiting if plan.cfg.force}  # before their epochs count
        self.began, self.epochs_before = time.monotonic(), self._epochs_done()
        with tqdm(
            total=sum(plan.cfg.epochs for plan in self.plans),
            initial=self.epochs_before,
            desc="sweep",
            disable=None if first.progress else True,
            bar_format="{desc} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt} epochs, {remaining} left",
        ) as bar:
            while waiting or self.active:
                for slot in range(slots):
                    if waiting and slot not in self.active:
                        plan = waiting.pop(0)
                        self.emptied.discard(plan.run.folder)
                        threads = 1 if slots > 1 else None
                        gpu = slot % gpus if gpus else None
                        self.active[slot] = (plan, self._start(_work, (plan, threads, gpu)))
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
        until = time.monotonic() + signals.GRACE_S
        for process in processes:
            process.join(max(0.0, until - time.monotonic()))
            process.kill()  # every file is written whole or not at all
            process.join()

    def _start(self, target: Any, arguments: tuple[Any, ...]) -> ForkServerProcess:
        process = self.context.Process(target=target, args=arguments)
        process.start()
        return process

    def _prepare(self) -> int:
        """Check data and networks once, before workers could race for a download; the number of usable GPUs.

        Raises:
            InvalidCommand: naming every error.
        """
        receiver, sender = self.context.Pipe(duplex=False)
        process = self._start(_prepare, (list(self.plans), sender))
        sender.close()
        try:
            answer = receiver.recv()
        except EOFError:
            answer = ["the process that prepares the data set died"]
        process.join()
        if isinstance(answer, list):
            raise InvalidCommand(answer)
        return answer

    def _reap(self, plan: Plan, process: ForkServerProcess) -> None:
        self.ended += 1
        results = plan.results()
        if (
            mismatch := plan.run.mismatch()
        ):  # the folder is another command's by now: nothing of ours goes into it
            results = results_of(plan.cfg, plan.run, status="failed", cause=mismatch)
        results = results or record_death(plan.cfg, plan.run, process.exitcode or 0)
        done_here = self._epochs_done() - self.epochs_before
        to_go = sum(other.cfg.epochs for other in self.plans) - self._epochs_done()
        left = ""
        if done_here and to_go > 0:
            left = f"   {_duration(to_go * (time.monotonic() - self.began) / done_here)} left"
        logger.info("[%2d/%d] %s%s", self.ended, len(self.plans), one_line(results), left)

    def _epochs_done(self) -> int:
        return sum(plan.run.epochs_done() for plan in self.plans if plan.run.folder not in self.emptied)


def _work(plan: Plan, threads: int | None, gpu: int | None) -> None:
    """One run, in a process of its own."""
    _obey_parent()
    if gpu is not None:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")  # a scheduler may have given us some of them
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[gpu] if visible else str(gpu)
    try:
        run_job(plan.cfg, plan.run, show_bar=False, threads=threads)
    except KeyboardInterrupt as error:
        raise SystemExit(signals.status_of(error)) from None


def _prepare(plans: list[Plan], answer: Any) -> None:
    """Answer with the number of usable GPUs, or with the errors."""
    _obey_parent()
    from src.run.environment import gpu_count

    try:
        errors = preflight(plans)
    except KeyboardInterrupt as error:
        raise SystemExit(signals.status_of(error)) from None
    answer.send(errors or gpu_count(plans[0].cfg.accelerator))


def _obey_parent() -> None:
    """Leave Ctrl-C to the parent, and end when the parent is gone, however it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signals.reset()
    signals.install_signal_handlers()
    setup_logging()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"
