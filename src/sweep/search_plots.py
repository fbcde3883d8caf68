"""Pictures of a study: its course, what each setting is worth, and trade-offs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import optuna
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import FrozenTrial, TrialState

from src import figures


def draw(study: optuna.Study, folder: Path, objectives: list[str]) -> list[Path]:
    """Write `search.png` (and .svg) of one objective, `pareto.png` of several; nothing while no trial is done."""
    done = [trial for trial in study.trials if trial.state == TrialState.COMPLETE]
    if not done:
        return []
    with figures.look():
        if len(objectives) > 1:
            return _pareto(study, done, folder, objectives)
        return _slices(study, done, folder, objectives[0])


def _slices(study: optuna.Study, done: list[FrozenTrial], folder: Path, objective: str) -> list[Path]:
    """The best value so far, the importances, and the values over each setting."""
    names = sorted({name for trial in done for name in trial.params})
    columns = 2 + len(names)
    figure, (axes,) = figures.subplots(1, columns, width=3 * columns, height=3)
    numbers, values = np.array([(trial.number, trial.values[0]) for trial in done]).T
    pruned = [
        trial for trial in study.trials if trial.state == TrialState.PRUNED and trial.intermediate_values
    ]
    ends = [list(trial.intermediate_values.values())[-1] for trial in pruned]
    axes[0].scatter(numbers, values, s=14, label="done")
    axes[0].scatter(
        [trial.number for trial in pruned], ends, s=14, marker="x", color="#999999", label="pruned"
    )
    axes[0].step(numbers, np.maximum.accumulate(values), where="post", color=figures.PALETTE[1], label="best")
    axes[0].set(title="Trials", xlabel="Trial", ylabel=objective)
    axes[0].legend()
    varied = [name for name in names if len({trial.params.get(name) for trial in done}) > 1]
    if len(done) > 3 and varied:
        shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
        axes[1].barh(list(shares)[::-1], list(shares.values())[::-1])
    axes[1].set(title="Importance (PED-ANOVA)", xlabel="Share", xlim=(0, 1))
    for place, name in zip(axes[2:], names, strict=True):
        known = [trial for trial in done if name in trial.params]
        place.scatter([trial.params[name] for trial in known], [trial.values[0] for trial in known], s=14)
        distribution = known[0].distributions[name]
        if getattr(distribution, "log", False):
            place.set_xscale("log")
        place.set(title=name, xlabel=name)
    figures.title(figure, "Search")
    return figures.save(figure, folder / "search")


def _pareto(study: optuna.Study, done: list[FrozenTrial], folder: Path, objectives: list[str]) -> list[Path]:
    """The first objective over each other one, and the trials that no other trial beats in all."""
    figure, (axes,) = figures.subplots(1, len(objectives) - 1, width=6 * (len(objectives) - 1), height=4)
    front = sorted(study.best_trials, key=lambda trial: trial.values[1])
    for place, (column, name) in zip(axes, enumerate(objectives[1:], 1), strict=True):
        place.scatter(
            [trial.values[column] for trial in done], [trial.values[0] for trial in done], s=14, label="done"
        )
        x, y = [trial.values[column] for trial in front], [trial.values[0] for trial in front]
        place.plot(x, y, "o-", color=figures.PALETTE[1], label="Pareto front")
        place.set(xlabel=name, ylabel=objectives[0], xscale="log")
        place.legend()
    figures.title(figure, "Trade-offs")
    return figures.save(figure, folder / "pareto")
