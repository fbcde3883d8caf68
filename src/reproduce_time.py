"""How much of `src.reproduce` is done and how long the rest takes, from the runs' files.

An epoch's seconds are those of a folder's own runs where it has any; else a reference figure, times what this
machine took in other folders in units of theirs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from src.provenance import cores
from src.sweep.runs import RunFiles, SweepError, read_runs


@dataclass(frozen=True)
class Work:
    """What a stage takes.

    Attributes:
        folder: of the sweep; meaningless where there are no runs.
        runs: planned.
        epochs: of each run.
        epoch_s: reference: seconds of an epoch with a worker on every core, 2 cores of an AMD EPYC (2026).
        fixed_s: reference: seconds besides epochs (reading, drawing, features), on the same machine.
    """

    folder: Path
    runs: int
    epochs: int
    epoch_s: float
    fixed_s: float = 0.0

    def found(self) -> list[RunFiles]:
        """The stage's runs so far, good or bad."""
        if not self.runs:
            return []
        try:
            return [run for run in read_runs(self.folder) if run.status != "unreadable"]
        except SweepError:
            return []

    def finished(self) -> int:
        """Runs that will not be trained again; at most those that are planned."""
        return min(self.runs, sum(run.status in ("done", "diverged") for run in self.found()))

    def epochs_left(self) -> int:
        """Of all runs; a finished run has none left, however short it was."""
        done = 0
        for run in self.found():
            epochs = self.epochs if run.status in ("done", "diverged") else len(run.history)
            done += min(epochs, self.epochs)
        return max(0, self.runs * self.epochs - done)

    def measured(self) -> float | None:
        """Mean seconds of an epoch in this folder; None where there is none yet."""
        seconds = [epoch.values["seconds"] for run in self.found() for epoch in run.history
                   if "seconds" in epoch.values]  # fmt: skip
        return fmean(seconds) if seconds else None

    def shown(self) -> str:
        """What is done already, for the user; "" where nothing can be said."""
        if not self.runs:
            return ""
        total = self.runs * self.epochs
        done = total - self.epochs_left()
        return f"{self.finished()} of {self.runs} runs and {done} of {total} epochs are done"

    def seconds_left(self, pace: float, workers: int) -> float:
        """Wall time.

        Args:
            pace: this machine's seconds for one of the reference's.
            workers: runs at a time.
        """
        epochs = self.epochs_left()
        if self.runs and not epochs:
            return 5.0  # reading what is there
        if not self.runs:
            return self.fixed_s * pace
        at_a_time = max(1, min(workers, self.runs - self.finished()))
        begun = 0.0 if self.found() else self.fixed_s * pace
        return begun + epochs * (self.measured() or self.epoch_s * pace) / at_a_time


def pace(works: Sequence[Work]) -> float:
    """This machine's seconds for one of the reference's, by what it has run; 1 where it has run nothing."""
    known = [seconds / work.epoch_s for work in works if work.runs and (seconds := work.measured())]
    return fmean(known) if known else 1.0


def left(works: Sequence[Work], others: Sequence[Work] = (), workers: int | None = None) -> float:
    """Seconds that `works` still take; `others` tell of the machine, too."""
    speed = pace([*works, *others])
    return sum(work.seconds_left(speed, workers or cores()) for work in works)


def spoken(seconds: float, *, about: bool = True) -> str:
    """about 1 h 35 min; about 5 min; below a minute."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    words = f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
    return f"about {words}" if about else words
