"""One case: damage a file, look at the ranking, run the same command again, and judge how that ended."""

from __future__ import annotations

import json
import math
import random
import shutil
import signal
import traceback
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from src.download import DataUnavailable
from src.sweep.runs import read_run
from src.trained import CheckpointError, open_checkpoint
from tests.damage.harm import KINDS, damage
from tests.damage.worlds import World, fetch, numbers, train

LIMIT_S = 60
GOOD = ("same numbers", "named")
BAD = ("WRONG NUMBER", "TRACEBACK", "HANG")
# How the causes of failed runs begin that are sentences of ours, made for the user.
NAMED = (
    *("CaptionDataError: ", "DataUnavailable: ", "DamagedCheckpoint: ", "CannotStore: ", "BrokenImage: "),
    *("EncoderError: ", "ScenesMismatch: ", "OSError: ", "its folder cannot be "),
)


@dataclass(frozen=True)
class Case:
    """What is damaged and how."""

    number: int
    world: World
    file: str
    kind: str

    def __str__(self) -> str:
        return f"case {self.number}: {self.world.name}, {self.file}, {self.kind}"


@dataclass(frozen=True)
class Outcome:
    """How it ended: one of GOOD or BAD, and the sentence that the user saw."""

    end: str
    said: str


class _Late(BaseException):
    """The time is over."""


def cases(worlds: list[World], count: int, seed: int) -> list[Case]:
    """Every kind of damage to every file in turn, until there are as many; the order is the seed's."""
    every = [(world, file, kind) for world in worlds for file in world.files for kind in KINDS]
    random.Random(seed).shuffle(every)
    return [Case(number, *every[number % len(every)]) for number in range(count)]


def run_case(case: Case, seed: int, folder: Path) -> Outcome:
    """Work on a copy of the case's world in `folder`, which is gone afterwards."""
    home = folder / "home"
    shutil.copytree(case.world.home, home)
    rng = random.Random(f"{seed} {case.number}")

    def late(_number: int, _frame: FrameType | None) -> None:
        raise _Late

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(LIMIT_S)
    try:
        damage(rng.choice(sorted(home.glob(case.world.files[case.file]))), case.kind, rng)
        return _judge(case.world, home)
    except _Late:
        return Outcome("HANG", f"not done after {LIMIT_S} s")
    except Exception:
        return Outcome("TRACEBACK", traceback.format_exc())
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        shutil.rmtree(folder)


def _judge(world: World, home: Path) -> Outcome:
    said: list[str] = []
    if not world.settings:
        try:
            wrong = "" if fetch(home, said.append) == world.expected else "other files are taken for good"
        except DataUnavailable as error:
            return Outcome("named", str(error))
    elif not (wrong := _shown_wrong(world, next((home / "out").glob("*/[!.]*/")))):
        asked = world.plan(home)
        if mistakes := asked.mistakes():
            return Outcome("named", "; ".join(mistakes))
        results = train(asked, said.append)
        if results["status"] != "done":
            cause = str(results["cause"])
            return Outcome("named" if cause.startswith(NAMED) else "TRACEBACK", cause)
        wrong = _difference(world, asked.run.folder)
    return Outcome("WRONG NUMBER", wrong) if wrong else Outcome("same numbers", "; ".join(said))


def _shown_wrong(world: World, folder: Path) -> str:
    """What the ranking or a prediction would take from the damaged folder that is not the run's, or ""."""
    run = read_run(folder)
    results, rows = world.expected["results"], world.expected["rows"]
    if run.status != "unreadable":
        wrong = [key for key, value in run.numbers.items() if key != "seconds" and results.get(key) != value]
        wrong += [key for key in ("dropout", "lr") if getattr(run, key) != results[key]]
        if run.has_results:  # the curve of an unfinished run is drawn as it is found
            for epoch, row in zip(run.history, rows, strict=False):
                finite = {
                    key: float(text) for key, text in row.items() if math.isfinite(float(text or "nan"))
                }
                wrong += [key for key, value in finite.items() if epoch.values.get(key) != value]
        if wrong:
            return f"the ranking takes {', '.join(wrong)}"
    for name in ("best", "last"):
        try:
            trained = open_checkpoint(folder / "checkpoints" / f"{name}.ckpt")
        except CheckpointError:
            continue
        original = next((world.home / "out").glob("*/[!.]*/")) / "checkpoints" / f"{name}.ckpt"
        if trained.path.read_bytes() != original.read_bytes():
            return f"{name}.ckpt is opened as it is"
    return ""


def _difference(world: World, folder: Path) -> str:
    """What a run that is done says other than the undamaged one, or ""."""
    run = read_run(folder)
    if run.status != "done":
        return f"done, and then {run.cause}"
    found = numbers(folder)
    for part, expected in world.expected.items():
        if found[part] != expected and not (part in ("last", "best") and found[part] is None):
            return f"{part}: {json.dumps(found[part])[:2000]} instead of {json.dumps(expected)[:2000]}"
    return ""
