r"""Search by Optuna: `hydra/sweeper=optuna` (the extra `optuna`).

    python -m src.train -m hydra/sweeper=optuna n_trials=40 \
        'lr=tag(log,interval(1e-4,1e-1))' 'dropout=interval(0.1,0.8)'

The study is a journal in the sweep's folder, so the same command goes on, unfinished runs included.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

import optuna
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig
from optuna.study import StudyDirection
from optuna.trial import TrialState

from src.config.validation import rounded, values_of
from src.entry_point import InvalidCommand
from src.run.pruning import pruner, storage
from src.sweep.plan import launched

logger = logging.getLogger(__name__)


class OptunaSweeper(Sweeper):
    """Proposes the values of `-m`'s spaces, by TPE, or by NSGA-II where something is minimized besides.

    Args:
        n_trials: of the study, earlier ones counted.
        batch: trials proposed at once; more than run at once, so that no worker waits for the last one of a batch.
        seed: of the proposals.
        prune: end runs by asynchronous successive halving (`src.run.pruning.pruner`).
        minimize: numbers of results.json, such as `parameters` or `seconds`, to lower while the metric rises.
        spaces: further spaces under a condition: "network=resnet_small network.width=choice(16,32)".
    """

    def __init__(
        self,
        *,
        n_trials: int,
        batch: int,
        seed: int,
        prune: bool,
        minimize: list[str],
        spaces: list[str],
        params: DictConfig | None,
    ) -> None:
        self.n_trials, self.batch, self.seed, self.prune = n_trials, batch, seed, prune
        self.minimize, self.spaces, self.params = list(minimize), list(spaces), params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self.folder = Path(config.hydra.sweep.dir).expanduser()
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context, task_function, config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Run trials until there are enough, then draw what they tell."""
        params = [f"{key!s}={text}" for key, text in (self.params or {}).items()]
        overrides = OverridesParser.create().parse_overrides([*params, *arguments])
        self.space = {one.get_key_element(): one for one in overrides if one.is_sweep_override()}
        if not self.space:
            raise InvalidCommand(
                ["hydra/sweeper=optuna: nothing to search; give lr=interval(1e-4,1e-1) or a list"]
            )
        self.fixed = [str(one.input_line) for one in overrides if not one.is_sweep_override()]
        study = self._study(str(sorted([*(str(one.input_line) for one in overrides), *self.spaces])))
        jobs = 0
        while True:
            trials = [trial for trial in study.trials if not trial.state.is_finished()]  # of a killed command
            for trial in [trial for trial in trials if not self.space.keys() <= trial.params.keys()]:
                study.tell(trial.number, state=TrialState.FAIL)  # killed while it was proposed
                trials.remove(trial)
            asked = min(self.batch, self.n_trials - len(study.trials))
            numbers = [trial.number for trial in trials] + [
                self._propose(study) for _ in range(max(0, asked))
            ]
            if not numbers:
                break
            self.launcher.launch([self._job(study, number) for number in numbers], initial_job_idx=jobs)
            jobs += len(numbers)
            for number, plan in zip(numbers, launched[-len(numbers) :], strict=True):
                self._tell(study, number, plan.results() or {}, plan.metric())
        from src.sweep.search_plots import draw

        for path in draw(study, self.folder / "plots", ["validation metric", *self.minimize]):
            logger.info("File: %s", path)

    def _study(self, command: str) -> optuna.Study:
        """The study of these spaces and settings; another command in the same folder has another one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        name = hashlib.sha256(command.encode()).hexdigest()[:8]
        self.journal = f"{self.folder / 'optuna.journal'}:{name}"
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            storage=storage(self.folder / "optuna.journal"),
            study_name=name,
            load_if_exists=True,
            directions=[StudyDirection.MAXIMIZE, *[StudyDirection.MINIMIZE] * len(self.minimize)],
            pruner=pruner(),
        )
        # The same seed alone would propose after a restart what it proposed at the start.
        seed = self.seed + len(study.trials)
        is_single = not self.minimize
        study.sampler = (
            optuna.samplers.TPESampler(seed=seed) if is_single else optuna.samplers.NSGAIISampler(seed=seed)
        )
        return study

    def _propose(self, study: optuna.Study) -> int:
        trial = study.ask()
        chosen = {f"{key}={suggest(trial, key, one)}" for key, one in self.space.items()}
        for text in self.spaces:
            condition, space = text.split(maxsplit=1)
            if condition in chosen:
                one = OverridesParser.create().parse_override(space)
                suggest(trial, one.get_key_element(), one)
        return trial.number

    def _job(self, study: optuna.Study, number: int) -> list[str]:
        values = study.trials[number].params.items()
        job = [*self.fixed, *(f"{key}={shown(value)}" for key, value in values)]
        return [*job, f"trial='{self.journal}:{number}'"] if self.prune and not self.minimize else job

    def _tell(self, study: optuna.Study, number: int, results: dict[str, Any], metric: float | None) -> None:
        if results.get("status") == "done" and metric is not None:
            study.tell(number, [metric, *(results[name] for name in self.minimize)])
        else:  # one that diverged is the worst there is, not one that is not known
            ended = results.get("status") in ("pruned", "diverged") and not self.minimize
            study.tell(number, state=TrialState.PRUNED if ended else TrialState.FAIL)


def suggest(trial: optuna.Trial, key: str, override: Override) -> str:
    """A value of a space, as an override has it: an interval, a range, or a choice of anything."""
    span: Any = override.value()
    if isinstance(span, IntervalSweep):
        bounds: Any = (span.start, span.end)
        is_whole = all(isinstance(bound, int) for bound in bounds)
        suggest_one: Any = trial.suggest_int if is_whole else trial.suggest_float
        return shown(suggest_one(key, *bounds, log="log" in span.tags))
    values = values_of(override)
    if isinstance(span, RangeSweep) and len(values) > 1:
        step = rounded(values[1] - values[0])
        suggest_number: Any = trial.suggest_int if isinstance(step, int) else trial.suggest_float
        return shown(suggest_number(key, values[0], values[-1], step=step))
    return shown(
        trial.suggest_categorical(key, [value if value is None else shown(value) for value in values])
    )


def shown(value: Any) -> str:
    """A value on the command line: four digits of a number tell two runs apart, and their folders have short names."""
    return f"{value:.4g}" if isinstance(value, float) else "null" if value is None else str(value)
