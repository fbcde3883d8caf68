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
    """The best value so far, the importances, and the values over each setting; of pruned trials their last value."""
    names = sorted({name for trial in done for name in trial.params})
    pruned = [
        trial for trial in study.trials if trial.state == TrialState.PRUNED and trial.intermediate_values
    ]
    ends = [(trial, list(trial.intermediate_values.values())[-1]) for trial in pruned]
    finals = [(trial, trial.values[0]) for trial in done]
    columns = 2 + len(names)
    figure, (axes,) = figures.subplots(1, columns, width=3 * columns, height=3)
    for shown, style in (
        (ends, {"marker": "x", "color": "#999999", "label": "pruned"}),
        (finals, {"label": "done"}),
    ):
        axes[0].scatter([trial.number for trial, _ in shown], [value for _, value in shown], s=14, **style)
        for place, name in zip(axes[2:], names, strict=True):
            points = [(trial.params[name], value) for trial, value in shown if name in trial.params]
            place.scatter([x for x, _ in points], [y for _, y in points], s=14, **style)
            place.set(title=name, xlabel=name, xscale=_scale(done, name))
    numbers, values = np.array([(trial.number, value) for trial, value in finals]).T
    axes[0].step(numbers, np.maximum.accumulate(values), where="post", color=figures.PALETTE[1], label="best")
    axes[0].set(title="Trials", xlabel="Trial", ylabel=objective)
    axes[0].legend()
    varied = [name for name in names if len({trial.params.get(name) for trial in done + pruned}) > 1]
    if len(done + pruned) > 3 and varied:
        ended = optuna.create_study(direction="maximize")
        for trial, value in finals + ends:
            ended.add_trial(
                optuna.create_trial(params=trial.params, distributions=trial.distributions, value=value)
            )
        shares = get_param_importances(ended, evaluator=PedAnovaImportanceEvaluator())
        axes[1].barh(list(shares)[::-1], list(shares.values())[::-1])
    axes[1].set(title="Importance (PED-ANOVA)", xlabel="Share", xlim=(0, 1))
    figures.title(figure, "Search")
    return figures.save(figure, folder / "search")


def _scale(trials: list[FrozenTrial], name: str) -> str:
    known = (trial.distributions[name] for trial in trials if name in trial.distributions)
    return "log" if getattr(next(known), "log", False) else "linear"


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
