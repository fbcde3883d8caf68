"""Locks where flock does not reach other nodes."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from src.locks import flock_reaches
from tests.command_line import Command, results_of

MOUNTS = """\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:40 / {nfs} rw,relatime shared:2 - nfs host:/a rw,vers=3,local_lock=none,addr=10.0.0.1
41 22 0:41 / {local} rw,relatime - nfs host:/b rw,vers=3,nolock,local_lock=all,addr=10.0.0.1
42 22 0:42 / {sshfs} rw - fuse.sshfs host: rw,user_id=0
"""


@pytest.mark.parametrize(("name", "reaches"), [("nfs", True), ("local", False), ("sshfs", False), ("", True)])
def test_mounts_are_known_by_their_options(tmp_path: Path, name: str, reaches: bool) -> None:
    folders = {kind: tmp_path / kind for kind in ("nfs", "local", "sshfs")}
    for folder in folders.values():
        folder.mkdir()
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.format(**folders))
    assert flock_reaches(tmp_path / name, mounts) is reaches


def without_flock() -> None:
    """As on an NFS without lock manager."""
    import fcntl

    def flock(file: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    fcntl.flock = flock


def test_commands_wait_for_each_other_without_flock(tmp_path: Path, on_idx: tuple[str, ...]) -> None:
    """One is killed; of the others one takes its lock over at once and goes on, and nobody trains an epoch again."""
    arguments = (*on_idx, "epochs=15", "name=one", f"output_dir={tmp_path}")
    first = Command("train", *arguments, prepare=without_flock)
    first.wait_for_rows(tmp_path / "one", 2)
    others = [Command("train", *arguments, prepare=without_flock) for _ in range(2)]
    first.send(9)
    first.end()
    ended = [other.end() for other in others]
    assert [one.status for one in ended] == [0, 0], ended
    assert all("flock does not reach other nodes here" in one.err for one in ended)
    (folder,) = (tmp_path / "one").glob("dropout=*")
    rows = (folder / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows[1:]] == [str(epoch) for epoch in range(1, 16)]
    assert results_of(folder)["status"] == "done"
    assert not list((tmp_path / "one" / ".locks").glob("*.lease"))
