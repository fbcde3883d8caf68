"""Train a sweep's jobs as populations: `hydra/launcher=population`.

Made for one GPU, which runs that train apart leave idle at small batches. Jobs that differ only in what
can be stacked share a population; what is left runs apart, by the default launcher.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from src import stops
from src.job import one_line, say_to_terminal
from src.plan import Plan, check_data
from src.sweep import workers

STACKED = ("dropout", "lr", "seed", "weight_decay", "momentum")  # in which members may differ
# What a population can do: setting -> values.
POSSIBLE = {"task": ("classify",), "optimizer": ("sgd",), "precision": ("32-true", "64-true")}
# Settings that change no numbers, but where or on what a population runs.
PLACES = ("data.root", "accelerator", "threads", "workers", "force", "on_memory")


class PopulationLauncher(workers.WorkersLauncher):
    """Hydra's side: as `WorkersLauncher`, but for how the jobs are run."""

    def run(self, plans: Sequence[Plan], job_overrides: Sequence[Sequence[str]], first: int) -> None:
        """See `run_all`."""
        run_all(plans)


def run_all(plans: Sequence[Plan]) -> list[dict[str, Any]]:
    """Run every plan that is not finished yet, as populations where they can be, with a line for each end.

    Returns:
        Each plan's results.json.

    Raises:
        SystemExit: see `CheckedLauncher.run`.
    """
    waiting = [plan for plan in plans if plan.cfg.force or not plan.run.is_finished()]
    check_data(waiting)
    done = len(plans) - len(waiting)
    if done:
        say_to_terminal(f"{done} of {len(plans)} runs are finished already and stay as they are.")
    # Of all runs, the finished ones, too: one that is left over goes on as the population it was begun in.
    groups, alone, remarks = grouped(plans)
    pending = {id(plan) for plan in waiting}
    alone = [plan for plan in alone if id(plan) in pending]
    groups = [left for group in groups if (left := [plan for plan in group if id(plan) in pending])]
    for remark in remarks if waiting else ():
        say_to_terminal(remark)

    def ended(plan: Plan, results: dict[str, Any]) -> None:
        nonlocal done
        done += 1
        say_to_terminal(f"[{done:2}/{len(plans)}] {one_line(results)}")

    try:
        for group in groups:
            _train(group, ended)
    except KeyboardInterrupt as error:
        workers.say_stopped(plans)
        raise SystemExit(stops.status_of(error)) from None
    if alone:
        workers.run_all(alone)
    return [plan.results() or {} for plan in plans]


def grouped(plans: Sequence[Plan]) -> tuple[list[list[Plan]], list[Plan], list[str]]:
    """Which runs share a population, which run apart, and why, in words."""
    impossible: dict[str, int] = {}
    alone: list[Plan] = []
    groups: dict[tuple[tuple[str, str], ...], list[Plan]] = {}
    for plan in plans:
        reason = _obstacle(plan)
        if reason:
            impossible[reason] = impossible.get(reason, 0) + 1
            alone.append(plan)
        else:
            groups.setdefault(tuple(_rest(plan).items()), []).append(plan)
    remarks = [
        f"{_runs(count)} cannot be stacked: {reason}; run apart" for reason, count in impossible.items()
    ]
    if len(groups) > 1:
        settings = [dict(key) for key in groups]
        differing = [name for name in settings[0] if len({each[name] for each in settings}) > 1]
        values = ", ".join(
            f"{name} ({', '.join(dict.fromkeys(each[name] for each in settings))})" for name in differing
        )
        remarks.append(f"Runs that differ in {values} do not share a population: {len(groups)} groups.")
    shared = []
    for group in groups.values():
        most = group[0].cfg.workers or len(group)
        parts = [group[start : start + most] for start in range(0, len(group), most)]
        alone += [part[0] for part in parts if len(part) == 1]
        shared += [part for part in parts if len(part) > 1]
    return shared, alone, remarks


def _obstacle(plan: Plan) -> str | None:
    """The settings for which a run cannot be stacked, or None."""
    wrong = [
        f"{name}={plan.cfg[name]} (a population needs {' or '.join(values)})"
        for name, values in POSSIBLE.items()
        if plan.cfg[name] not in values
    ]
    if plan.cfg.batch_parts > 1:
        wrong.append(f"batch_parts={plan.cfg.batch_parts} (a population needs 1)")
    return ", ".join(wrong) or None


def _rest(plan: Plan) -> dict[str, str]:
    """Every setting in which the runs of a population must agree."""
    from omegaconf import OmegaConf

    numbers = {name: str(value) for name, value in plan.run.identity.items() if name not in STACKED}
    return numbers | {name: str(OmegaConf.select(plan.cfg, name)) for name in PLACES}


def _train(group: list[Plan], ended: Any) -> None:
    say_to_terminal(f"{_runs(len(group))} as one population, in {group[0].run.folder.parent}")
    from src.classification import task  # late: torch and Lightning take seconds to import
    from src.population.group import train_group

    data = task.build_data(group[0].cfg)
    data.setup()
    train_group(group, data, say_to_terminal, ended)


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
