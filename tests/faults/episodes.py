"""An episode: one sweep, killed several times and started again until it ends, then compared."""

from __future__ import annotations

import random
import shutil
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.hook import Moment
from tests.faults.launch import Command, Ended, run
from tests.faults.scenarios import RUNS, SCENARIOS, Scenario, slug, write_given
from tests.faults.verify import deviations

MOST_KILLS = 6  # an episode
ALIKE = {"classifier, serial", "classifier, workers"}  # must give the same bits
KILL, TERM, INT, HUP = signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP
WAYS = (
    *((KILL, "group"), (TERM, "command"), (KILL, "command"), (INT, "group"), (TERM, "group"), (KILL, "self")),
    *((INT, "command"), (HUP, "group"), (TERM, "self")),
)
# What a write or the last write before a moment belongs to, by what its path holds.
PHASES = (
    ("results.json", "results"),
    (".ckpt", "checkpoints"),
    ("checkpoints", "checkpoints"),
    ("metrics.csv", "metrics"),
    ("identity.json", "start of a run"),
    ("config.yaml", "start of a run"),
    ("features", "features"),
    ("/data", "data"),
    ("gallery", "captions and pictures of a run"),
    ("captions.json", "captions and pictures of a run"),
    ("attention/", "captions and pictures of a run"),
    ("plots", "ranking"),
    ("ranking", "ranking"),
    ("captions.md", "table of captions"),
)


@dataclass(frozen=True)
class Kill:
    """A kill that hit."""

    scenario: str
    episode: int
    module: str
    moment: Moment
    last: str  # the write at which, or after which, it hit
    status: int

    @property
    def phase(self) -> str:
        """Which part of a sweep it hit."""
        return next((phase for sign, phase in PHASES if sign in self.last), "before the first write")

    def record(self) -> dict[str, Any]:
        """For faults.json."""
        return {
            "sweep": self.scenario,
            "episode": self.episode,
            "command": self.module,
            "signal": self.moment.name,
            "at": f"write {self.moment.event}, {'after' if self.moment.after else 'before'} it"
            if self.moment.event
            else f"{self.moment.seconds:.2f} s",
            "write": self.last,
            "phase": self.phase,
            "status": self.status,
        }


class Soak:
    """Episodes one after another.

    Args:
        out: folder; an episode without deviations leaves nothing there.
        seed: of the moments.
        only: a word that the scenarios' names hold.
        say: takes the number of kills and a line.
    """

    def __init__(self, out: Path, seed: int, only: str, say: Callable[[int, str], None]) -> None:
        self.out, self.say = out.absolute(), say
        self.random = random.Random(seed)
        self.scenarios = [scenario for scenario in SCENARIOS if only in scenario.name]
        self.kills: list[Kill] = []
        self.deviations: list[str] = []
        self.episodes = 0
        self.undisturbed: dict[str, list[Ended]] = {}
        self.ways: list[tuple[int, str]] = []

    def run(self, kills: int) -> None:
        """Episodes until as many kills have hit."""
        self.given = self.out / "given"
        shutil.rmtree(self.given, ignore_errors=True)
        write_given(self.given)
        while len(self.kills) < kills:
            scenario = self.scenarios[self.episodes % len(self.scenarios)]
            if scenario.name not in self.undisturbed:
                self._measure(scenario)
                continue
            self.episodes += 1
            self._episode(scenario, min(MOST_KILLS, kills - len(self.kills)))

    def _measure(self, scenario: Scenario) -> None:
        place = self._reference(scenario)
        shutil.rmtree(place, ignore_errors=True)
        ends = [run(command, place / "log") for command in scenario.commands(self.given, place)]
        for end in ends:
            if end.status or end.left:
                raise RuntimeError(f"{scenario.name}: undisturbed it ends with {end.status}: {end.said}")
        self.undisturbed[scenario.name] = ends
        if self.undisturbed.keys() >= ALIKE and scenario.name in ALIKE:
            first, second = (self.out / f"undisturbed-{slug(name)}" for name in sorted(ALIKE))
            self.deviations += [f"serial beside workers: {line}" for line in deviations(first, second, RUNS)]
        took = " + ".join(f"{end.seconds:.1f} s, {len(end.events)} writes" for end in ends)
        self.say(len(self.kills), f"{scenario.name}: undisturbed {took}")

    def _reference(self, scenario: Scenario) -> Path:
        return self.out / f"undisturbed-{slug(scenario.name)}"

    def _episode(self, scenario: Scenario, most: int) -> None:
        place = self.out / f"episode-{self.episodes}"
        shutil.rmtree(place, ignore_errors=True)
        wrong: list[str] = []
        before = len(self.kills)
        commands = scenario.commands(self.given, place)
        # The later commands are short: they get what they are worth of the kills.
        for number, command in enumerate(commands):
            part = most if len(commands) == 1 else most - (len(commands) - 1) if number == 0 else 1
            for attempt in range(max(part, 0)):
                end, moment = self._attempt(scenario, number, attempt, command, place)
                wrong += _conduct(end, moment)
                if end.status == 0:
                    break
            end = run(command, place / "log")
            if end.status != 0 or end.left or "Traceback" in end.said:
                wrong.append(f"{command.module} left alone: status {end.status}, {end.left} left: {end.said}")
        wrong += deviations(place, self._reference(scenario), RUNS)
        hit = len(self.kills) - before
        name = f"episode {self.episodes}, {scenario.name}"
        self.deviations += [f"{name}: {line}" for line in wrong]
        self.say(len(self.kills), f"{name}: {hit} kills, {len(wrong)} deviations")
        if not wrong:
            shutil.rmtree(place)

    def _attempt(
        self, scenario: Scenario, number: int, attempt: int, command: Command, place: Path
    ) -> tuple[Ended, Moment]:
        undisturbed = self.undisturbed[scenario.name][number]
        if not self.ways:
            self.ways = self.random.sample(WAYS, len(WAYS))
        sent, whom = self.ways.pop()
        # What is done is not done again: a command that goes on has less before it.
        ahead = 0.7**attempt
        event = self.random.randint(1, max(6, int(len(undisturbed.events) * ahead)))
        in_time = self.random.random() < 0.4 and whom != "self"
        moment = Moment(
            sent,
            whom,
            event=0 if in_time else event,
            after=self.random.random() < 0.5,
            seconds=self.random.uniform(0, undisturbed.seconds * ahead) if in_time else 0.0,
        )
        end = run(command, place / "log", moment)
        if end.status != 0:
            last = end.events[-1] if end.events else ""
            if moment.event and len(end.events) >= moment.event:
                last = end.events[moment.event - 1]
            last = last.replace(str(place), "")
            self.kills.append(Kill(scenario.name, self.episodes, command.module, moment, last, end.status))
        return end, moment


def _conduct(end: Ended, moment: Moment) -> list[str]:
    """What a killed command did that it must not do."""
    wrong = []
    what = f"{moment.name} at {f'write {moment.event}' if moment.event else f'{moment.seconds:.2f} s'}"
    expected = {0, -KILL} if moment.number == KILL else {0, 128 + moment.number}
    # A worker that dies alone is recorded as failed, and the sweep goes on.
    expected |= {1} if moment.whom == "self" else set()
    if end.status not in expected:
        wrong.append(f"{what}: status {end.status}: {end.said[-1500:]}")
    if "Traceback" in end.said:
        wrong.append(f"{what}: a traceback: {end.said[-3000:]}")
    if end.left:
        wrong.append(f"{what}: {end.left} processes outlived it")
    if end.status > 128 and "same command" not in end.said and end.events:
        wrong.append(f"{what}: no word on how to go on: {end.said[-500:]}")
    return wrong
