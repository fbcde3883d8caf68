"""Full disks, folders that vanish or cannot be written: a clear error, whole files, and it goes on later."""

import errno
import json
import os
import resource
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from src import files
from src.checkpoints import read_checkpoint
from src.job import run_job
from src.recorder import Recorder
from tests.command_line import ROOT, Plan, plan, run_train, same_numbers
from tests.made_up_data import write_data_set

SETTINGS = ("data=idx", "data.val_size=40", "accelerator=cpu", "epochs=2", "threads=1")


@pytest.fixture(scope="module")
def on_few(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    root = write_data_set(tmp_path_factory.mktemp("few"), train=160, test=40)
    return (*SETTINGS, f"data.root={root}")


@pytest.fixture(scope="module")
def reference(on_few: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    asked = plan(*on_few, f"output_dir={tmp_path_factory.mktemp('reference')}")
    assert train(asked)["status"] == "done"
    return asked.run.folder


def train(asked: Plan) -> dict:
    threads = torch.get_num_threads()
    try:
        return run_job(asked.cfg, asked.run, lambda _: None, show_bar=False)
    finally:
        torch.set_num_threads(threads)


class FullDisk:
    """No file reaches the disk after the first `room` ones."""

    def __init__(self, room: int) -> None:
        self.room, self.fsync = room, os.fsync

    def __call__(self, descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            self.room -= 1
            if self.room < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.fsync(descriptor)


def test_a_disk_that_is_full_at_any_write(
    on_few: tuple[str, ...], reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for room in range(30):
        asked = plan(*on_few, f"output_dir={tmp_path / str(room)}")
        folder = asked.run.folder
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "fsync", FullDisk(room))
            results = train(asked)
        if results["status"] == "done":
            break
        assert "No space left on device" in results["cause"]
        assert str(folder) in results["cause"]  # which file
        for path in folder.glob("checkpoints/*.ckpt"):
            read_checkpoint(path)
        for path in folder.glob("*.json"):
            json.loads(path.read_text())
        assert not list(folder.rglob("*.tmp"))
        assert train(asked)["status"] == "done"
        same_numbers(folder, reference)
    assert room >= 9  # settings, identity, metrics, then best, metrics, last an epoch, results


def test_a_file_size_limit_on_the_real_command(
    on_few: tuple[str, ...], reference: Path, tmp_path: Path
) -> None:
    arguments = (*on_few, f"output_dir={tmp_path}")
    # A limit of 30 kB: settings go through, a checkpoint does not.
    ended = subprocess.run(
        [sys.executable, "-m", "src.train", *arguments],
        cwd=ROOT,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000)),
    )
    assert ended.returncode == 1
    assert "File too large" in ended.stderr
    assert "best.ckpt" in ended.stderr
    assert "Traceback" not in ended.stderr
    ended_well = run_train(*arguments)
    assert ended_well.status == 0, ended_well.err
    (folder,) = (tmp_path / "idx").glob("dropout=*")
    same_numbers(folder, reference)


def test_an_output_folder_that_cannot_be_made_is_a_mistake(on_few: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = f"{tmp_path / 'file'} is not a folder; name another one (output_dir=...)"
    arguments = (*on_few, f"output_dir={tmp_path / 'file' / 'inner'}")
    (mistake,) = plan(*arguments).mistakes()
    assert mistake.endswith(said)
    ended = run_train(*arguments, "-m", "lr=0.1,0.01")  # Hydra would make the folder before any check
    assert ended.status == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("several", [False, True])
def test_a_refused_command_leaves_no_folder(on_few: tuple[str, ...], tmp_path: Path, several: bool) -> None:
    more = ("-m", "lr=0.1,0.01") if several else ()
    elsewhere = [part for part in on_few if not part.startswith("data.root=")]
    ended = run_train(*elsewhere, *more, "data.root=nowhere", f"output_dir={tmp_path / 'out'}")
    assert ended.status == 2
    assert "data.root=nowhere: there is no such folder" in ended.err
    assert not list(tmp_path.glob("out/*"))


def test_a_folder_that_is_deleted_while_the_run_trains(
    on_few: tuple[str, ...], reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = plan(*on_few, f"output_dir={tmp_path}")
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "on_validation_start", lambda *_: shutil.rmtree(asked.run.folder))
        results = train(asked)
    assert results["status"] == "failed"
    assert results["cause"] == f"the folder {asked.run.folder} was deleted or moved while the run trained"
    assert not asked.run.folder.exists()
    assert train(asked)["status"] == "done"
    same_numbers(asked.run.folder, reference)


def test_a_folder_on_another_file_system(on_few: tuple[str, ...], reference: Path, tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no other file system")
    place = memory / f"test-{os.getpid()}"
    place.mkdir()
    try:
        (tmp_path / "link").symlink_to(place)
        asked = plan(*on_few, f"output_dir={tmp_path / 'link'}")
        assert train(asked)["status"] == "done"
        same_numbers(asked.run.folder, reference)
    finally:
        shutil.rmtree(place)
