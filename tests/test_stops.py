"""Told to stop: real commands that get SIGTERM, SIGHUP or Ctrl-C, and what they leave."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from src.files import LEFTOVER, remove_leftovers
from tests.command_line import ROOT, finish, rows_of, start_train, wait_for_rows

LONG = ("limit_train=240", "threads=1", "epochs=400")


def in_python(code: str) -> subprocess.CompletedProcess[str]:
    """A program that imports `stops` and nothing heavy."""
    program = "import os, signal, sys, time\nfrom src import stops\n" + textwrap.dedent(code)
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2"])
def test_a_door_cleans_up_says_so_and_leaves_with_the_signals_status(name: str) -> None:
    ended = in_python(f"""
        with stops.door("Stopped; go on."):
            try:
                os.kill(os.getpid(), signal.{name})
                time.sleep(30)
            finally:
                print("cleaned")
    """)
    assert ended.returncode == 128 + getattr(signal, name)
    assert (ended.stdout, ended.stderr) == ("cleaned\n", "Stopped; go on.\n")


def test_what_is_held_comes_to_its_end_and_a_lost_stop_is_raised_again() -> None:
    ended = in_python("""
        class Swallows:
            def __del__(self):
                os.kill(os.getpid(), signal.SIGTERM)
                for _ in range(1000): pass
        with stops.door("Stopped."):
            sys.unraisablehook = lambda raised: None  # Python drops what a finalizer raises
            swallows = Swallows()
            del swallows
            print("lost")
            with stops.held():
                print("written")
            stops.check()
            print("never")
    """)
    assert (ended.returncode, ended.stdout) == (143, "lost\nwritten\n")
    ended = in_python("""
        with stops.door("Stopped."), stops.held():
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)  # as make passes on a second one
            print("written")
    """)
    assert (ended.returncode, ended.stdout, ended.stderr) == (143, "written\n", "Stopped.\n")


def test_an_ignored_signal_stays_ignored_and_a_closed_terminal_is_no_error() -> None:
    ended = in_python("""
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
        with stops.door("Stopped."):
            os.kill(os.getpid(), signal.SIGHUP)
            os.close(2)
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(30)
    """)
    assert ended.returncode == 143


def test_only_old_leftovers_are_removed(tmp_path: Path) -> None:
    names = [f".{number:016x}.tmp" for number in (1, 2)]
    for name in (*names, "ranking.csv", ".mine.tmp"):
        (tmp_path / name).touch()
    os.utime(tmp_path / names[0], (0, time.time() - 3600))
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [names[1], ".mine.tmp", "ranking.csv"]
    assert LEFTOVER.fullmatch(names[1])


def test_sigterm_to_a_run_keeps_its_epochs_and_leaves_with_143(
    on_idx: tuple[str, ...], tmp_path: Path
) -> None:
    process = start_train(*on_idx, *LONG, f"output_dir={tmp_path}")
    wait_for_rows(process, tmp_path / "idx", 2)
    process.send_signal(signal.SIGTERM)
    ended = finish(process)
    assert ended.status == 143, ended.err
    (folder,) = (tmp_path / "idx").glob("dropout=*")
    done = len(rows_of(folder))
    assert ended.err.strip().endswith(f"Stopped after epoch {done}; the same command carries on.")
    assert "Traceback" not in ended.err
    assert (folder / "checkpoints" / "last.ckpt").exists()
    assert not (folder / "results.json").exists()
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_stop_that_falls_into_a_finalizer_is_not_lost() -> None:
    ended = in_python(
        "class Dropping:\n"
        "    def __del__(self):\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        time.sleep(1)\n"  # in which it is raised, and dropped
        "with stops.door('Stopped.'):\n"
        "    thing = Dropping()\n"
        "    del thing\n"
        "    time.sleep(30)\n"
    )
    assert (ended.returncode, ended.stderr) == (143, "Stopped.\n")


def test_a_stop_while_hydra_composes_ends_at_once() -> None:
    """OmegaConf, stopped half-way, fails with an error of its own."""
    ended = in_python(
        "import runpy, hydra\n"
        "def composing():\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)\n"
        "    except BaseException:\n"
        "        raise AttributeError('half done')\n"
        "hydra.main = lambda **_: lambda job: composing\n"
        "sys.argv = ['train']\n"
        "runpy.run_module('src.train', run_name='__main__')\n"
    )
    assert ended.returncode == 143
    assert ended.stderr == "Stopped before anything was done; the same command does it.\n"
