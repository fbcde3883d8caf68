"""Files are whole or not there, whatever happens while they are written."""

import multiprocessing
import os
import resource
import signal
from pathlib import Path

import pytest

from src.files import remove_leftovers, replacing, write_atomically

OLD, NEW = b"old" * 1000, b"new" * 400_000


def in_a_child(work: object) -> int:
    """Run a function in a process of its own; its exit code."""
    process = multiprocessing.get_context("fork").Process(target=work)  # type: ignore[arg-type]
    process.start()
    process.join()
    return int(process.exitcode or 0)


@pytest.mark.parametrize("written", [0, 1, len(NEW) // 2, len(NEW)])
def test_a_killed_writer_leaves_the_old_content(tmp_path: Path, written: int) -> None:
    path = tmp_path / "file"
    write_atomically(path, OLD)

    def work() -> None:
        with replacing(path) as file:
            file.write(NEW[:written])
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_child(work) == -signal.SIGKILL
    assert path.read_bytes() == OLD
    (left,) = (other for other in tmp_path.iterdir() if other != path)
    os.utime(left, (0, 0))  # nobody can be writing it any more
    remove_leftovers(tmp_path)
    assert [*tmp_path.iterdir()] == [path]


def test_a_disk_that_fills_leaves_the_old_content_and_no_other_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, OLD)

    def work() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(NEW) // 2, len(NEW) // 2))
        try:
            write_atomically(path, NEW)
        except OSError as error:
            os._exit(7 if error.filename == str(path) else 1)

    assert in_a_child(work) == 7
    assert path.read_bytes() == OLD
    assert [*tmp_path.iterdir()] == [path]


def test_the_folder_is_made_and_the_content_is_synced_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a" / "b" / "file"
    calls = []
    sync, rename = os.fsync, Path.replace

    def synced(number: int) -> None:
        calls.append("sync")
        sync(number)

    def renamed(path: Path, target: Path) -> Path:
        calls.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    write_atomically(path, "ü\r\n")
    assert calls == ["sync", "rename", "sync"]
    assert path.read_bytes() == "ü\r\n".encode()
