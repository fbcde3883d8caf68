"""Train one configuration, or sweep many: `python -m src.train --help`.

The door only: it checks the command, lets Hydra compose it, and hands each job to `src.job`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from src import stops
from src.streams import guard_streams

if __name__ == "__main__":
    guard_streams()
    stops.leave_at_once("Stopped before anything was done; the same command does it.")  # until a run begins

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "src" / "sweep" / "plugins"))  # where Hydra looks for hydra_plugins

import hydra  # noqa: E402
from hydra.errors import HydraException  # noqa: E402
from omegaconf import DictConfig  # noqa: E402
from omegaconf.errors import OmegaConfBaseException  # noqa: E402

from src.command import read_command  # noqa: E402
from src.config import register  # noqa: E402
from src.job import EXIT, one_line, run_job, say_to_terminal  # noqa: E402
from src.plan import Plan, plan_of, refuse  # noqa: E402
from src.sweep.workers import WorkersLauncher  # noqa: E402

GOES_ON = "Stopped; what is finished stays, and the same command carries on."
_ran: list[Plan] = []  # what ran in this process, for the exit status


@hydra.main(version_base="1.3", config_path=str(ROOT / "conf"), config_name="train")
def job(cfg: DictConfig) -> float | None:
    """One job of this process: `hydra.main` composes `cfg`; returns the validation figure."""
    plan = plan_of(cfg)
    return train(plan)


def train(plan: Plan) -> Any:
    """Run one plan with a progress bar and a closing line.

    Raises:
        SystemExit: status 2, after naming every mistake; 130, 143 or 129 when told to stop (src/stops.py).
    """
    refuse(plan.mistakes())
    stops.heed()
    if not plan.cfg.force and plan.run.is_finished():
        say_to_terminal(f"{plan.run.folder} is finished already; force=true trains it afresh")
    try:
        results = run_job(plan.cfg, plan.run, say_to_terminal, show_bar=plan.cfg.progress)
    except KeyboardInterrupt as error:
        say_to_terminal(f"Stopped after epoch {plan.epochs_done()}; the same command carries on.")
        raise SystemExit(stops.status_of(error)) from None
    _ran.append(plan)
    say_to_terminal(one_line(results))
    say_to_terminal(f"Results: {plan.run.folder}")
    stops.leave_at_once(GOES_ON)  # while Hydra composes the next one
    return plan.figure(results)


def main() -> None:
    """Check the command, run it, rank a sweep, leave with the worst status (see `--help`)."""
    try:
        _main()
    except KeyboardInterrupt as error:  # after the last run
        say_to_terminal(GOES_ON)
        raise SystemExit(stops.status_of(error)) from None
    finally:
        stops.over()


def _main() -> None:
    register()
    command = read_command(sys.argv[1:])
    if not command.asks_only:
        refuse(command.mistakes)
    sys.argv[1:] = command.arguments
    try:
        job()
    except SystemExit as error:
        if isinstance(error.__context__, HydraException | OmegaConfBaseException):
            raise SystemExit(2) from None  # a mistake in a YAML file, which Hydra has named
        raise
    stops.heed()
    if not command.asks_only:
        raise SystemExit(conclude(command.multirun))


def conclude(multirun: bool) -> int:
    """Rank the sweep or sweeps of this command; the exit status of its runs."""
    plans = _ran or WorkersLauncher.launched
    if multirun:
        from src.sweep.ranking import report
        from src.sweep.runs import SweepError

        for folder in dict.fromkeys(plan.run.folder.parent for plan in plans):
            try:
                report(folder)
            except SweepError as error:  # no run got as far as a folder
                say_to_terminal(str(error))
            except OSError as error:
                say_to_terminal(f"the ranking cannot be written: {error}; make room, then `make ranking`")
    statuses = [(plan.results() or {}).get("status", "failed") for plan in plans]
    counts = {status: statuses.count(status) for status in EXIT if status != "done"}
    if multirun and any(counts.values()):
        words = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        say_to_terminal(f"{words} of {len(plans)} runs; the causes stand below the ranking.")
    return next((EXIT[status] for status, count in counts.items() if count), 0)


if __name__ == "__main__":
    main()
