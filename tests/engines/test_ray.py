"""A sweep on a Ray cluster of two nodes on loopback, one of which is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command_line import Command, run_train, same_numbers

GRID = ("dropout=0.1,0.2,0.3", "lr=0.1,0.01", "epochs=15")
HEAD, OTHER, PORT = "127.0.0.2", "127.0.0.3", 6399  # Ray takes the outside address for 127.0.0.1
pytestmark = pytest.mark.engines


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    # Workers would give way to whatever else computes here, such as the other engines' tests.
    os.environ |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    start = [str(Path(sys.executable).parent / "ray"), "start", "--num-cpus=1", "--disable-usage-stats"]
    head = [*start, "--head", f"--node-ip-address={HEAD}", f"--port={PORT}", "--include-dashboard=false"]
    subprocess.run(head, check=True, stdout=subprocess.DEVNULL)
    other = [*start, f"--address={HEAD}:{PORT}", f"--node-ip-address={OTHER}"]
    subprocess.run(other, check=True, stdout=subprocess.DEVNULL)
    yield f"{HEAD}:{PORT}"
    subprocess.run([start[0], "stop", "--force"], check=True, stdout=subprocess.DEVNULL)


def processes(*words: str) -> list[int]:
    """Processes whose command line holds all of these."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if all(word in line for word in words):
            found.append(int(folder.name))
    return found


def test_numbers_survive_a_lost_worker_and_a_lost_node(
    tmp_path: Path, on_idx: tuple[str, ...], address: str
) -> None:
    assert run_train("-m", *GRID, *on_idx, "name=local", f"output_dir={tmp_path}").status == 0
    ray = ("-m", "hydra/launcher=ray", f"hydra.launcher.address={address}")
    command = Command("train", *ray, *GRID, *on_idx, "name=ray", f"output_dir={tmp_path}")
    command.wait_for_rows(tmp_path / "ray", 2)
    os.kill(processes("ray::train")[0], signal.SIGKILL)
    time.sleep(3)
    for process in processes("raylet/raylet", f"--node_ip_address={OTHER}"):
        os.kill(process, signal.SIGKILL)
    ended = command.end(400)
    assert ended.status == 0, ended.err
    for folder in (tmp_path / "local").glob("dropout=*"):
        same_numbers(tmp_path / "ray" / folder.name, folder)


def test_a_run_that_fails_is_told_and_the_others_go_on(
    tmp_path: Path, on_idx: tuple[str, ...], address: str
) -> None:
    ray = ("-m", "hydra/launcher=ray", f"hydra.launcher.address={address}")
    settings = ("lr=0.1,1e30", "epochs=2", *on_idx, "name=ray", f"output_dir={tmp_path}")
    ended = Command("train", *ray, *settings).end(200)
    assert ended.status == 3
    assert "1 done, 1 diverged" in ended.out
