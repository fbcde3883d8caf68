"""Train one configuration, or with -m every combination of the values given.

  python -m src.train dropout=0.5 lr=0.01
  python -m src.train -m dropout=0.1,0.2,0.3 lr=0.1,0.01,0.001
  python -m src.train -m experiment=table2        a recipe of conf/experiment/
  python -m src.train data=mnist network=resnet_small optimizer=adamw lr=0.002 batch_size=128
  python -m src.train network._target_=my.Net network.width=64        your own (docs/EXTENDING.md)
  python -m src.train task=caption decoder=attention                  the captioner

The same command again goes on where it stopped. Results: OUTPUT_DIR/NAME/<run>/results.json, and for a sweep
OUTPUT_DIR/NAME/ranking.md with plots/. Exit status: 0 all runs done; 1 a run failed; 2 an error in the command,
nothing was run; 3 a run diverged; 130 interrupted (143 by SIGTERM, 129 by SIGHUP): finished epochs are saved.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

if not __package__:  # python src/train.py
    sys.path[0] = str(Path(__file__).parents[1])

from src.run import signals

if __name__ == "__main__":  # until a run begins
    signals.exit_on_signal("Stopped before anything was done; the same command does it.")

sys.path.append(str(Path(__file__).parent / "sweep" / "plugins"))  # where Hydra looks for hydra_plugins

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from src.config.settings import TASKS, register
from src.entry_point import CONF, InvalidCommand, error_boundary, help_text, logger, setup_logging
from src.run.environment import gpu_count, use_gpus
from src.run.job import EXIT, one_line, run_job
from src.run.ranks import ranks_of
from src.sweep.command import read_command
from src.sweep.plan import Plan, launched, plan_of, preflight

_plans: list[Plan] = []  # of this command, for its exit status
_errors: list[Exception] = []


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def job(cfg: DictConfig) -> float | None:
    """One job of this process: `hydra.main` composes `cfg`; returns the validation metric."""
    try:
        plan = plan_of(cfg)
        is_of_many = HydraConfig.get().mode == RunMode.MULTIRUN and ranks_of(cfg) == 1
        if is_of_many and (gpus := gpu_count(cfg.accelerator)):
            # By one of Hydra's own launchers, whose processes run many jobs, all of them on the first one's GPU.
            use_gpus([HydraConfig.get().job.num % gpus])
        train(plan)
        return plan.metric()
    except Exception as error:  # shown by the boundary, when the other jobs have ended
        _errors.append(error)
        return None


def train(plan: Plan) -> None:
    """Run one plan with a progress bar and a closing line.

    Raises:
        InvalidCommand: naming every error.
    """
    if errors := plan.errors() or preflight([plan]):
        raise InvalidCommand(errors)
    signals.install_signal_handlers()
    if plan.is_done():
        logger.info("%s is finished already; force=true trains it afresh", plan.run.folder)
    try:
        results = run_job(plan.cfg, plan.run, show_bar=plan.cfg.progress)
    except KeyboardInterrupt:
        logger.info("Stopped after epoch %s; the same command carries on.", plan.run.epochs_done())
        raise
    _plans.append(plan)
    logger.info("%s\nResults: %s", one_line(results), plan.run.folder)


def main() -> None:
    """Check the command, run it, rank a sweep, leave with the worst status."""
    with error_boundary("What is finished stays, and the same command carries on."):
        setup_logging()
        register()
        os.environ["HYDRA_FULL_ERROR"] = "1"  # errors are for the boundary to show
        if {"--help", "-h"} & set(sys.argv[1:]):
            sys.stdout.write(help_text(str(__doc__), "train", *(task.settings for task in TASKS.values())))
            return
        sys.argv[1:] = read_command(sys.argv[1:])
        job()
        if _errors:
            raise _errors[0]
        raise SystemExit(conclude())


def conclude() -> int:
    """Rank the sweep or sweeps of this command; the exit status of its runs."""
    plans = launched or _plans
    if launched:
        from src.sweep.ranking import report  # late: imports matplotlib

        for folder in dict.fromkeys(plan.run.folder.parent for plan in plans):
            report(folder)
    statuses = [(plan.results() or {}).get("status", "failed") for plan in plans]
    return next((EXIT[status] for status in ("failed", "diverged") if status in statuses), 0)


if __name__ == "__main__":
    main()
