"""Standard output and error that are closed or go into a pipe whose reader has left."""

import csv
import os
import subprocess
import sys
from pathlib import Path

from tests.command_line import NO_GPU, ROOT
from tests.sweep_folders import make_table_2


def shell(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A bash script with the command's words as `$@`; its status is the command's, not the pipe's."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script}", "bash", sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, **NO_GPU},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_reader_that_leaves_ends_no_command_in_a_traceback(tmp_path: Path) -> None:
    sweep = make_table_2(tmp_path / "sweep")
    # `true` reads nothing: the first line already meets a closed pipe.
    for arguments in (
        ("src.train", "--help"),
        ("src.theory", "parameters"),
        ("src.sweep.ranking", str(sweep)),
    ):
        ended = shell('"$@" | true', "-m", *arguments)
        assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", ""), arguments
    assert (sweep / "plots" / "heat_map.png").exists()
    refused = shell('"$@" 2>&1 | true', "-m", "src.train", "lr=abc")
    assert refused.returncode == 2


def test_a_sweep_without_streams_writes_all_its_files(on_idx: tuple[str, ...], tmp_path: Path) -> None:
    sweep = ("-m", "src.train", "-m", *on_idx, "lr=0.1,0.01", "limit_train=16", "epochs=1", "name=sweep")
    ended = shell('"$@" 2>&1 >&- | true', *sweep, f"output_dir={tmp_path}")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    with (tmp_path / "sweep" / "ranking.csv").open(newline="") as file:
        assert [row["status"] for row in csv.DictReader(file)] == ["done", "done"]
    assert (tmp_path / "sweep" / "plots" / "all_runs.png").exists()
