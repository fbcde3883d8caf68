"""Train a group of runs as one population: locks, epochs, files, ends."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from tqdm import tqdm

from src.classification import task
from src.classification.data import ImageData
from src.devices import device_name, device_of
from src.job import Say, locked, quiet, record_failure, results_of
from src.memory import set_free, shortage
from src.plan import Plan
from src.population.files import Member, slice_of, stack_of
from src.population.network import Weights
from src.population.training import Population
from src.provenance import cores
from src.run import Diverged, RunMismatch

WRITERS = 8  # threads that write members' files: what takes time is waiting for the disk
Ended = Callable[[Plan, dict[str, Any]], None]


def train_group(plans: Sequence[Plan], data: ImageData, say: Say, ended: Ended) -> None:
    """Train runs that differ in what can be stacked alone; every run ends recorded in its folder.

    As a separate run does (src/job.py), each leaves a finished folder alone, goes on from its last
    checkpoint and holds its lock. Runs that stand at different epochs: those that are behind train
    first, until they have caught up.

    Args:
        plans: checked.
        data: of all of them, set up.
        say: takes a line for the user.
        ended: takes a plan and its results.json as soon as it has ended.

    Raises:
        KeyboardInterrupt: after Ctrl-C; the same command goes on later.
    """
    quiet()
    unlocked: set[Path] = set()
    with ExitStack() as stack:
        # In one order, so that two commands never wait for each other.
        for plan in sorted(plans, key=lambda plan: plan.run.folder):
            try:
                stack.enter_context(locked(plan.run, say))
            except OSError as error:  # a full disk, a folder that cannot be written
                cause = f"its folder cannot be used: {error}"
                ended(plan, record_failure(plan.cfg, plan.run, cause))
                unlocked.add(plan.run.folder)
        cfg = plans[0].cfg
        stack.enter_context(_torch_set(cfg.threads or cores()))
        device = device_of(cfg.accelerator)
        data.to_device(device)
        members: list[tuple[Plan, Member]] = []
        for plan in plans:
            if plan.run.folder in unlocked:
                continue
            there = plan.results()
            if not plan.cfg.force and there and plan.run.is_finished():  # by another process, meanwhile
                ended(plan, there)
                continue
            own = plan.cfg.copy()
            own.threads = torch.get_num_threads()
            if not own.force and (notice := plan.run.other_code()):
                say(notice)
            try:
                plan.run.start(own)
            except OSError as error:
                ended(plan, record_failure(own, plan.run, f"its folder cannot be used: {error}"))
                continue
            except RunMismatch as error:  # of another command, since this one was checked
                ended(
                    plan, results_of(own, plan.run, status="failed", cause=str(error), measured={}, rows=[])
                )
                continue
            try:
                members.append((plan, Member(own, plan.run, data, say)))
            except Exception as error:  # a checkpoint that is whole but holds something else
                ended(plan, record_failure(own, plan.run, f"{type(error).__name__}: {error}"))
        _Group(members, device, say, ended).run()


class _Trained(NamedTuple):
    """Members at the end of an epoch, before it stands in their files."""

    members: list[Member]
    weights: Weights
    buffers: Weights | None
    val_loss: list[float]
    val_acc: list[float]


class _Group:
    """The state of a population in progress."""

    def __init__(
        self, members: list[tuple[Plan, Member]], device: torch.device, say: Say, ended: Ended
    ) -> None:
        self.plans = {member: plan for plan, member in members}
        self.device, self.say, self.ended = device, say, ended
        self.at_once = len(members)  # fewer once memory ran out
        first = next(iter(self.plans), None)
        if first is not None:
            self.cfg, self.data = first.cfg, first.data

    def going(self) -> list[Member]:
        return [member for member in self.plans if member.results is None]

    def run(self) -> None:
        if not self.plans:
            return
        epochs, chunks = self.cfg.epochs, len(self.data.train_dataloader())
        begin = min(member.epochs_done for member in self.going())
        with tqdm(
            total=epochs * chunks,
            initial=begin * chunks,
            desc=f"population of {len(self.plans)}",
            disable=None if self.cfg.progress else True,
            bar_format="{desc} {percentage:3.0f}% |{bar}| {elapsed} gone, {remaining} left{postfix}",
        ) as bar:
            for epoch in range(begin, epochs):
                active = [member for member in self.going() if member.epochs_done == epoch]
                try:
                    self._epoch(epoch, active, bar)
                except Exception as error:  # memory, most likely: whatever it is, it is recorded
                    for member in active:
                        self._give_up(member, error)
            try:
                self._conclude()
            except Exception as error:
                for member in self.going():
                    self._give_up(member, error)

    def _parts(self, members: list[Member]) -> list[list[Member]]:
        """As many at once as the memory holds."""
        return [
            members[start : start + self.at_once] for start in range(0, len(members), max(self.at_once, 1))
        ]

    def _epoch(self, epoch: int, active: list[Member], bar: tqdm) -> None:
        """Train and validate the members that stand at this epoch, and write their files."""
        chunks = len(self.data.train_dataloader())
        parts, ran_out = self._parts(active), False
        while parts:
            if ran_out:
                set_free()
            part = parts.pop(0)
            try:
                trained = self._train(epoch, part, bar)
            except Exception as error:
                ran_out = self._halve(len(part), error)
                if not ran_out:
                    raise
                left = [member for members in (part, *parts) for member in members]
                # Weights are taken over at an epoch's end: these begin it again with the ones they had.
                parts = self._parts([member for member in left if member.results is None])
                continue
            if trained is not None:
                self._write(trained)
        bar.n = (epoch + 1) * chunks
        bar.refresh()
        best = max(
            (member.recorder.best["value"] for member in self.going() if member.recorder.best), default=0
        )
        bar.set_postfix_str(f"epoch {epoch + 1}/{self.cfg.epochs}, best {task.MONITOR} {best:.4f}")

    def _halve(self, members: int, error: Exception) -> bool:
        """Whether fewer members at once are to be tried after an error."""
        if self.cfg.on_memory != "halve" or members == 1 or shortage(error) is None:
            return False
        self.at_once = -(-members // 2)
        self.say(
            f"memory ran out with {members} runs at once; going on with {self.at_once}, the same numbers"
        )
        return True

    def _train(self, epoch: int, active: list[Member], bar: tqdm) -> _Trained | None:
        """An epoch of some members; None where all of them diverged."""
        population = self._population(active)
        for member in active:
            member.begin_epoch()
        loader = self.data.train_dataloader()
        for losses in population.train_epoch(
            *self.data.parts["train"],
            epoch=epoch,
            batch=self.cfg.batch_size,
            chunk=loader.chunk,
            augmentation=self.cfg.augment,
        ):
            for member, own in zip(active, losses, strict=True):
                if member.results is None:
                    try:
                        member.count(own)
                    except Diverged as error:  # frozen: its numbers go on as NaN and meet no other's
                        self._give_up(member, error)
            bar.update()
            if not any(member.results is None for member in active):
                return None
        left = [index for index, member in enumerate(active) if member.results is None]
        if len(left) < len(active):
            population, active = population.keep(left), [active[index] for index in left]
        for member in active:
            member.begin_validation()
        val_loss, val_acc = population.evaluate(*self.data.parts["val"])
        weights, buffers = (
            part and {name: value.detach().cpu() for name, value in part.items()}
            for part in (population.weights, population.buffers)
        )
        assert weights is not None
        return _Trained(active, weights, buffers, val_loss, val_acc)

    def _write(self, trained: _Trained) -> None:
        """Write the files of an epoch's end."""
        active, weights, buffers = trained.members, trained.weights, trained.buffers

        def write(index: int) -> Exception | None:
            member = active[index]
            member.take(slice_of(weights, index), buffers and slice_of(buffers, index))
            try:
                member.end_epoch(trained.val_loss[index], trained.val_acc[index])
            except (Diverged, OSError) as error:
                return error
            return None

        with ThreadPoolExecutor(WRITERS) as pool:
            errors = list(pool.map(write, range(len(active))))
        for member, wrong in zip(active, errors, strict=True):
            if wrong is not None:
                self._give_up(member, wrong)

    def _population(self, members: Sequence[Member]) -> Population:
        weights = stack_of(
            [dict(member.module.network.named_parameters()) for member in members], self.device
        )
        buffers = None
        if any(member.knobs.momentum for member in members):
            buffers = stack_of([member.buffers() for member in members], self.device)
        leaves = {name: weight.detach().requires_grad_() for name, weight in weights.items()}
        return Population([member.knobs for member in members], leaves, buffers)

    def _conclude(self) -> None:
        """Test the last epoch's and the best epoch's weights of every member that came so far."""
        for members in self._parts(self.going()):
            self._conclude_some(members)

    def _conclude_some(self, members: list[Member]) -> None:
        last = self._test(self._population(members))
        best = [stack_of([member.best_weights() for member in members], self.device)]
        tested = self._test(Population([member.knobs for member in members], best[0]))
        for index, member in enumerate(members):
            try:
                results = member.conclude(last[index], tested[index], device_name(self.device))
            except (Diverged, OSError) as error:
                self._give_up(member, error)
            else:
                self.ended(self.plans[member], results)

    def _test(self, population: Population) -> list[tuple[float, float]]:
        return list(zip(*population.evaluate(*self.data.parts["test"]), strict=True))

    def _give_up(self, member: Member, error: Exception) -> None:
        if member.results is None:
            words, count = shortage(error), len(self.plans)
            cause = None if words is None else f"memory ran out with {count} runs at once ({words}): try "
            if cause and count > 1:
                cause += f"workers={count // 2}, or on_memory=halve, which takes fewer at once by itself"
            elif cause:
                cause += f"batch_size={max(self.cfg.batch_size // 2, 1)}"
            self.ended(self.plans[member], member.give_up(error, cause))


@contextmanager
def _torch_set(threads: int) -> Iterator[None]:
    """As many CPU threads, and kernels that repeat themselves; both as before afterwards."""
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(threads)
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    try:
        with warnings.catch_warnings():
            # Non-overlapping max-pooling has no other kernel, and adds in one order anyhow.
            warnings.filterwarnings("ignore", message=".*deterministic implementation.*")
            torch.use_deterministic_algorithms(True, warn_only=True)
            yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
