"""Being told to stop, by a signal.

Ctrl-C, a cluster's preemption (SIGTERM), a closed terminal (SIGHUP), a batch job that will soon be over (SIGUSR1,
SIGUSR2: `#SBATCH --signal=USR1@90`).

Each raises `Stop` in the main thread, so that code which cleans up after Ctrl-C cleans up after each of
them, and the process leaves with 128 + the signal's number, as a shell has it: 130, 143, 129, 138, 140.
Nothing has to be saved in a hurry: what a run needs to go on lies on the disk after every epoch. The few
writes that end an epoch are not cut short (`defer`). To requeue a job is its script's affair.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import wait
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
# A second signal within it changes nothing (make and a shell both pass theirs on); after it, it kills.
GRACE_S = 5.0


class Stop(KeyboardInterrupt):
    """A signal that asks this process to stop, and its number."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


_pending: Stop | None = None
_pending_since = 0.0
_deferred = 0


def install_signal_handlers() -> None:
    """From now on each signal raises `Stop` in the main thread."""
    _handle(_on_signal)
    sys.unraisablehook = _on_unraisable


def exit_on_signal(words: str) -> None:
    """Until `install_signal_handlers`: a signal prints `words` and ends the process at once.

    For imports and for Hydra's composing, where nothing needs cleaning up: stopped half-way, both may fail
    with another error than `Stop` (OmegaConf restores flags of what is not there yet).
    """

    def leave(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(OSError):  # the terminal is gone
            os.write(2, f"{words}\n".encode())
        os._exit(128 + number)

    _handle(leave)


def _handle(handler: Callable[[int, FrameType | None], None]) -> None:
    """Set the handler of all signals but of those that are ignored (nohup, a shell's background)."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def status_of(error: KeyboardInterrupt) -> int:
    """The exit status after `error`."""
    return 128 + (error.number if isinstance(error, Stop) else signal.SIGINT)


def check() -> None:
    """Raise what was told and got lost: Python drops an exception raised within a finalizer or a callback."""
    if _pending is not None and not _deferred:
        raise _pending


@contextmanager
def kept() -> Iterator[None]:
    """Raise `Stop` where the block has turned it into another error, as OmegaConf does when it restores flags."""
    try:
        yield
    except Exception:
        check()
        raise


@contextmanager
def defer() -> Iterator[None]:
    """Bring what is inside to its end first; then raise what was told meanwhile."""
    global _deferred
    before = _pending
    _deferred += 1
    try:
        yield
    finally:
        _deferred -= 1
    if _pending is not None and before is None and not _deferred:
        raise _pending


def restore() -> None:
    """All is done: a signal while Python shuts down is ignored, and the exit status tells the truth."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _on_signal(number: int, frame: FrameType | None) -> None:
    global _pending, _pending_since
    now = time.monotonic()
    if _pending is not None:
        if now - _pending_since > GRACE_S and not _deferred:
            os._exit(128 + number)  # cleaning up hangs, or the user has waited enough
        return
    _pending, _pending_since = Stop(number), now
    if not _deferred:
        raise _pending


def _on_unraisable(unraisable: sys.UnraisableHookArgs) -> None:
    """Tell again what Python drops because it was raised in a finalizer or a callback."""
    global _pending
    if isinstance(unraisable.exc_value, Stop):
        _pending = None
        threading.Timer(0.05, os.kill, (os.getpid(), unraisable.exc_value.number)).start()
    else:
        sys.__unraisablehook__(unraisable)


def reset() -> None:
    """As if nobody had asked to stop: for a process forked from one that was told, and for tests."""
    global _pending, _deferred
    _pending, _deferred = None, 0


def obey_parent() -> None:
    """Leave Ctrl-C to the parent of this child process, and end when the parent is gone, however it went."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    reset()
    install_signal_handlers()
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
