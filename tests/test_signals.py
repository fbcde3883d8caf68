"""Signals: what a command does before it leaves, and its exit status."""

import pytest

from tests.command_line import Ended, run

PROGRAM = """
import os, signal, time
from src.run import signals
from src.entry_point import error_boundary
{before}
with error_boundary("Stopped."):
    signals.install_signal_handlers()
{inside}
    time.sleep(30)
"""
CLEANS_UP = """
    try:
        os.kill(os.getpid(), signal.{name})
        time.sleep(30)
    finally:
        print("cleaned")
"""
DEFERRED = """
    with signals.defer():
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        print("written")
    print("never")
"""
DROPPING = """
class Dropping:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.5)
"""
IGNORED = """
    os.kill(os.getpid(), signal.SIGHUP)
    os.close(2)
    os.kill(os.getpid(), signal.SIGTERM)
"""


@pytest.mark.parametrize(
    ("before", "inside", "status", "out", "err"),
    [
        ("", CLEANS_UP.format(name="SIGINT"), 130, "cleaned\n", "Stopped.\n"),
        ("", CLEANS_UP.format(name="SIGUSR1"), 138, "cleaned\n", "Stopped.\n"),
        # Deferred writes end first; a second signal, as make passes it on, changes nothing.
        ("", DEFERRED, 143, "written\n", "Stopped.\n"),
        # Python drops what a finalizer raises.
        (DROPPING, "    thing = Dropping(); del thing", 143, "", "Stopped.\n"),
        # nohup, and a closed terminal
        ("signal.signal(signal.SIGHUP, signal.SIG_IGN)", IGNORED, 143, "", ""),
    ],
    ids=["ctrl-c", "usr1", "deferred", "finalizer", "ignored"],
)
def test_a_signal_cleans_up_and_gives_its_status(
    before: str, inside: str, status: int, out: str, err: str
) -> None:
    def program() -> None:
        exec(PROGRAM.format(before=before, inside=inside), {})

    def fake() -> None:
        import src.train

        src.train.main = program

    assert run("train", prepare=fake) == Ended(status, out, err)
