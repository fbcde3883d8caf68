"""Everything the report's page needs, from nothing, then the page: `python -m src.reproduce --help`.

Each stage is one of the project's own commands in a process of its own. They leave alone what is finished and
carry on what is not, so that this command does, too.
"""

from __future__ import annotations

import contextlib
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src import door
from src.job import EXIT
from src.key_value import help_lines, read
from src.paths import expanded
from src.report.command import aerial_mistakes
from src.reproduce_time import Work, left, spoken
from src.settings import setting
from src.sweep.runs import plain

CONF = Path(__file__).parents[1] / "conf"
PYTHON = (sys.executable, "-m")
REPORT_EPOCHS = 15  # of the sweep; another number is another study, in folders of its own
GRID = ("dropout=0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8", "lr=0.1,0.01,0.001")
GRACE_S = 10.0  # for a command that has had its own Ctrl-C
INTERRUPTED = 130


@dataclass
class ReproduceSettings:
    """Every setting of `src.reproduce`, with its default."""

    epochs: int = setting(
        "of the sweep; captions take at most as many: epochs=1 is the quick look, in folders of its own",
        group="what",
        default=REPORT_EPOCHS,
        at_least=1,
    )
    ucm: str | None = setting(
        "UCM-Captions (dataset.json, images/): both decoders are trained on them, too",
        group="what",
        default=None,
    )
    sydney: str | None = setting("the same for Sydney-Captions", group="what", default=None)


@dataclass(frozen=True)
class Stage:
    """A command, and how long it takes.

    Attributes:
        goes_on: exit statuses after which the next stage has what it needs all the same.
        after: a quick command that shows what the stage has made.
    """

    name: str
    command: tuple[str, ...]
    work: Work
    goes_on: Callable[[int], bool] = lambda status: status == 0
    after: tuple[str, ...] = ()


def stages(settings: ReproduceSettings) -> list[Stage]:
    """All stages in their order."""
    quick = settings.epochs != REPORT_EPOCHS
    suffix = f"-epochs{settings.epochs}" if quick else ""
    sweep = f"fashion_mnist{suffix}"
    grid = len(GRID[0].split(",")) * len(GRID[1].split(","))
    # Diverged runs (status 3) are final: they would diverge again.
    found = [
        Stage("data", (*PYTHON, "src.download"), Work(Path(), 0, 0, 0, fixed_s=20)),
        Stage(
            "sweep",
            (*PYTHON, "src.train", "-m", *GRID, f"epochs={settings.epochs}", f"name={sweep}"),
            Work(Path("outputs", sweep), grid, settings.epochs, epoch_s=30, fixed_s=60),
            trained,
        ),
    ]
    caption_folders = []
    for name, experiment, root, epoch_s, fixed_s in (
        ("scenes", "captions", None, 18.0, 90.0),
        ("captions_ucm", "captions_ucm", settings.ucm, 100.0, 120.0),
        ("captions_sydney", "captions_sydney", settings.sydney, 30.0, 60.0),
    ):
        if name != "scenes" and root is None:
            continue
        runs, epochs = recipe(experiment)
        own = settings.epochs if quick and settings.epochs < epochs else epochs
        folder = Path("outputs", name if own == epochs else f"{name}-epochs{own}")
        changes = () if own == epochs else (f"epochs={own}", f"name={folder.name}")
        where = () if root is None else (f"data.root={expanded(root)}",)
        caption_folders.append(folder)
        found.append(
            Stage(
                f"captions on {name.removeprefix('captions_')}",
                (*PYTHON, "src.train", "-m", f"experiment={experiment}", *where, *changes),
                Work(folder, runs, own, epoch_s, fixed_s),
                trained,
                (*PYTHON, "src.sweep.captions", str(folder)),
            )
        )
    aerial = settings.ucm or settings.sydney
    page = (
        f"sweep=outputs/{sweep}",
        f"captions={','.join(map(str, caption_folders))}",
        *((f"aerial={expanded(aerial)}",) if aerial else ()),
        f"out=outputs/report{suffix}",
    )
    return [
        *found,
        # A statement that does not hold is a finding, which the page shows.
        Stage("theory", (*PYTHON, "src.theory"), Work(Path(), 0, 0, 0, fixed_s=20), lambda status: True),
        Stage("report", (*PYTHON, "src.report", *page), Work(Path(), 0, 0, 0, fixed_s=150)),
    ]


def trained(status: int) -> bool:
    """Whether a sweep's status leaves finished runs and nothing to repeat."""
    return status in (EXIT["done"], EXIT["diverged"])


def recipe(experiment: str) -> tuple[int, int]:
    """Runs of a recipe in `conf/experiment/`, and epochs of each."""
    from omegaconf import OmegaConf

    content: Any = OmegaConf.to_container(OmegaConf.load(CONF / "experiment" / f"{experiment}.yaml"))
    task: Any = OmegaConf.load(CONF / "task" / "caption.yaml")
    swept = content.get("hydra", {}).get("sweeper", {}).get("params", {})
    runs = 1
    for values in swept.values():
        runs *= len(str(values).split(","))
    return runs, int(content.get("epochs", task.epochs))


def reproduce(found: Sequence[Stage], say: Callable[[str], None]) -> int:
    """Run the stages one after another; the first exit status that is not 0, or 0.

    Raises:
        KeyboardInterrupt: after Ctrl-C, once the stage that was at work has ended.
    """
    worst = 0
    troubles: list[str] = []
    for place, stage in enumerate(found):
        done = stage.work.shown()
        say("")
        say(f"== {place + 1} of {len(found)}: {stage.name}" + (f" ({done})" if done else ""))
        works = [item.work for item in found]
        say(f"   {spoken(left(works[place:], others=works[:place]))} left; {shown(stage.command)}")
        began = time.monotonic()
        command = stage.command
        status = run(command)
        if stage.after and stage.goes_on(status) and (shown_status := run(stage.after)):
            command, status = stage.after, shown_status
        if status in (INTERRUPTED, -signal.SIGINT):
            raise KeyboardInterrupt
        if status == 0:
            say(f"   {stage.name}: done in {spoken(time.monotonic() - began, about=False)}")
            continue
        worst = worst or (status if status > 0 else 128 - status)
        troubles.append(f"{stage.name} ended with status {status}: {shown(command)}")
        if not stage.goes_on(status):
            say(f"Stopped: {troubles[-1]}")
            say("The reason stands above. Once it is mended, the same command carries on.")
            return worst
        say(f"   {stage.name}: status {status}; the next stage does not need it to be 0")
    for trouble in troubles:
        say(f"To look at: {trouble}")
    return worst


def run(command: Sequence[str]) -> int:
    """Run a command with its output passed through; its exit status, negative for a signal.

    However this function is left, the command has ended: on a terminal Ctrl-C reaches it, too, so it gets
    time to end by itself before it is told again.
    """
    process = subprocess.Popen(command)
    try:
        return process.wait()
    except BaseException:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE_S)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if process.poll() is None:
                process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(GRACE_S)
        raise


def shown(command: Sequence[str]) -> str:
    """As a person types it."""
    return plain(shlex.join(["python", *command[1:]] if command[0] == sys.executable else command), 1000)


def read_command(arguments: Sequence[str]) -> tuple[ReproduceSettings, list[str]]:
    """The settings and every mistake."""
    settings, _, mistakes = read(ReproduceSettings, arguments)
    for name, folder in (("ucm", settings.ucm), ("sydney", settings.sydney)):
        if folder is None:
            continue
        mistakes += aerial_mistakes(name, folder)
        if not (CONF / "experiment" / f"captions_{name}.yaml").exists():
            mistakes.append(f"{name}={folder}: there is no recipe conf/experiment/captions_{name}.yaml")
    return settings, mistakes


def help_text() -> str:
    """What `--help` prints."""
    return "\n".join(_help_lines())


def _help_lines() -> Iterator[str]:
    yield "Makes everything the report's page needs, from nothing, then the page: data, the sweep of 24 runs,"
    yield "captions on the synthetic scenes (and on UCM or Sydney where a folder is given), theory, report."
    yield ""
    yield "  python -m src.reproduce"
    yield "  python -m src.reproduce epochs=1                    # the quick look"
    yield "  python -m src.reproduce ucm=FOLDER sydney=FOLDER"
    yield ""
    yield "Stop it with Ctrl-C whenever you like; the same command carries on. Before each stage it says what"
    yield "is done and about how long the rest takes, as far as the runs on this machine tell."
    yield ""
    yield from help_lines(ReproduceSettings)
    yield "Exit status: 0 all done; 2 a mistake in the command; 130 interrupted; else that of the first stage"
    yield "that did not end well. A statement of the theory that does not hold, or a run that diverged, is"
    yield "named at the end; anything else stops at once."


def start(arguments: Sequence[str]) -> int:
    """Run the command; its exit status (see `--help`)."""
    settings, mistakes = read_command(arguments)
    if mistakes:
        return door.refuse("src.reproduce", "Nothing was started", mistakes)
    return reproduce(stages(settings), door.say)


def main() -> None:
    """The command line."""
    again = shlex.join(["python", "-m", "src.reproduce", *sys.argv[1:]])
    door.enter(start, help_text, f"Stopped. What is finished stays; the same command carries on:\n   {again}")


if __name__ == "__main__":
    main()
