"""Start a command in a process forked from this one, which has imported everything once, and kill it.

The door itself runs, as after `python -m`, in a session of its own. Only two things differ from a command
typed by hand: imports are done, and workers are forked from the command instead of from a
server, which would cost seconds of imports at each start.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.faults.hook import Moment, install, writes

LIMIT_S = 300.0  # a command that has not ended by then is stuck
LINGER_S = 15.0  # as long workers may outlive their command


@dataclass(frozen=True)
class Command:
    """`module` as after `python -m`, its arguments, and what is changed in the process before it starts."""

    module: str
    arguments: tuple[str, ...]
    prepare: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Ended:
    """How a command ended.

    Attributes:
        status: as Popen has it, negative for a signal.
        said: what it printed.
        events: the writes it got to, as its journal has them.
        left: processes of its session that did not end.
    """

    status: int
    said: str
    events: list[str]
    seconds: float
    left: int


def preload() -> None:
    """Import what commands import, and start no thread: a thread does not survive a fork."""
    import torch
    import torch.utils.tensorboard

    import src.captioning.task
    import src.classification.task
    import src.fit
    import src.population.group
    import src.sweep.plots
    import src.train  # noqa: F401
    from src.provenance import code_version, commit

    torch.set_num_threads(1)
    commit()
    code_version()


def run(command: Command, folder: Path, moment: Moment | None = None) -> Ended:
    """Run `command` with its journal and output in `folder`, killed at `moment`.

    Raises:
        TimeoutError: it is stuck.
    """
    process = start(command, folder, moment)
    began = time.monotonic()
    if moment is not None and not moment.event:
        while time.monotonic() - began < moment.seconds and not process.over():
            time.sleep(0.005)
        if not process.over():
            target = os.killpg if moment.whom == "group" else os.kill
            target(process.pid, moment.number)
    return process.wait()


@dataclass
class Process:
    """A command at work."""

    pid: int
    folder: Path
    began: float
    status: int | None = None

    def over(self) -> bool:
        """Whether it has ended."""
        if self.status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
        return self.status is not None

    def wait(self) -> Ended:
        """Its end. Raises TimeoutError."""
        while not self.over():
            if time.monotonic() - self.began > LIMIT_S:
                os.killpg(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
                raise TimeoutError(f"stuck after {LIMIT_S:g} s; it said: {said(self.folder)}")
            time.sleep(0.005)
        seconds = time.monotonic() - self.began
        until = time.monotonic() + LINGER_S
        while (left := members(self.pid)) and time.monotonic() < until:
            time.sleep(0.02)
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        assert self.status is not None
        return Ended(self.status, said(self.folder), writes(self.folder / "journal"), seconds, len(left))


def start(command: Command, folder: Path, moment: Moment | None = None) -> Process:
    """Start `command`; see `run`. A moment in time is left to the caller."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("journal", "said"):
        (folder / name).unlink(missing_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _be(command, folder, moment)
    return Process(pid, folder, time.monotonic())


def _be(command: Command, folder: Path, moment: Moment | None) -> None:
    status = 70
    try:
        os.setsid()
        out = os.open(folder / "said", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        for descriptor in (1, 2):
            os.dup2(out, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # as before Python is up
            signal.signal(number, lambda number, frame: os._exit(128 + number))
        _fork_workers()
        command.prepare()
        install(folder / "journal", moment if moment and moment.event else None)
        sys.argv = [command.module, *command.arguments]
        sys.modules.pop(command.module, None)  # runpy warns of one that is imported already
        try:
            runpy.run_module(command.module, run_name="__main__", alter_sys=True)
            status = 0
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else 1 if error.code else 0
        except BaseException:
            import traceback

            traceback.print_exc()
            status = 1
        for process in multiprocessing.active_children():  # as Python waits before it leaves
            process.join()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _fork_workers() -> None:
    context = multiprocessing.get_context("fork")
    multiprocessing.get_context = lambda method=None: context  # type: ignore[assignment]


def said(folder: Path) -> str:
    """What a command has printed so far."""
    try:
        return (folder / "said").read_text(errors="replace")
    except FileNotFoundError:
        return ""


def members(session: int) -> list[int]:
    """Processes of a session that are alive."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found.append(int(place.name))
    return found
