"""How runs end that cannot be finished: errors, divergence, a full disk; and one that waits for another process."""

import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from filelock import FileLock

from src import files
from src.classification.module import Classifier
from src.run.checkpoints import read_checkpoint
from tests.command_line import Command, plan, run_train, same_numbers, train_here

LIMITS = ("limit_train=40", "limit_val=40", "limit_test=40", "threads=1")


def test_a_failure_is_one_line_and_its_traceback_is_kept(on_idx: tuple[str, ...], tmp_path: Path) -> None:
    def break_training() -> None:
        Classifier.training_step = lambda *_: torch.zeros(10**16)  # type: ignore[method-assign]

    asked = (*on_idx, *LIMITS, "epochs=1", "fast=false", f"output_dir={tmp_path}")
    ended = run_train(*asked, prepare=break_training)
    assert ended.status == 1
    assert "Traceback" not in ended.err
    assert "memory ran out: try batch_size=4 trainer.accumulate_grad_batches=2" in ended.err
    (folder,) = (path.parent for path in tmp_path.glob("idx/*/config.yaml"))
    assert "Traceback" in (folder / "failure.txt").read_text()
    ended = run_train(*asked)
    assert (ended.status, (folder / "failure.txt").exists()) == (0, False)


def test_an_infinite_weight_is_divergence_where_no_loss_shows_it(
    on_idx: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_a_filter(module: Classifier, *_: Any) -> None:
        if module.current_epoch == 1:  # a ReLU hides it from every loss
            module.network.conv1.bias.data[3] = -float("inf")

    monkeypatch.setattr(Classifier, "on_train_batch_end", lose_a_filter, raising=False)
    asked = plan(*on_idx, *LIMITS, "epochs=2", "fast=false", f"output_dir={tmp_path}")
    results = train_here(asked, "diverged")
    assert results["cause"] == "network.conv1.bias holds -inf at step 10, in epoch 2"
    assert (results["val_acc"] is None, "test_acc" in results) == (False, False)
    assert asked.run.is_finished()


def test_scores_that_are_nan_on_the_test_images_are_divergence(
    on_idx: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_scores(module: Classifier, *_: Any) -> None:
        module.network.dense3.bias.data.fill_(float("nan"))

    monkeypatch.setattr("src.classification.data.EVALUATION_BATCH", 20)
    # After the first of two batches.
    monkeypatch.setattr(Classifier, "on_test_batch_end", lose_scores, raising=False)
    results = train_here(plan(*on_idx, *LIMITS, "epochs=1", f"output_dir={tmp_path}"), "diverged")
    assert results["cause"] == "test_loss became nan on the test images at step 5, in epoch 1"


class FullDisk:
    """No file reaches the disk after the first `room` ones."""

    def __init__(self, room: int) -> None:
        self.room, self.fsync = room, os.fsync

    def __call__(self, descriptor: int) -> None:
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            self.room -= 1
            if self.room < 0:
                raise OSError(28, "No space left on device")
        self.fsync(descriptor)


def test_a_disk_that_is_full_at_any_write(
    on_idx: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = (*on_idx, *LIMITS, "epochs=2")
    reference = plan(*few, f"output_dir={tmp_path}/reference")
    train_here(reference)
    for room in range(0, 30, 2):
        asked = plan(*few, f"output_dir={tmp_path}/{room}")
        folder = asked.run.folder
        with monkeypatch.context() as patch:
            patch.setattr(files.os, "fsync", FullDisk(room))
            try:
                cause = str(train_here(asked, "failed")["cause"])
            except AssertionError:  # it is done
                break
        assert "No space left on device" in cause
        assert str(folder) in cause  # which file
        for path in folder.glob("checkpoints/*.ckpt"):
            read_checkpoint(path)
        for path in folder.glob("*.json"):
            json.loads(path.read_text())
        assert not list(folder.rglob("*.tmp"))
        train_here(asked)
        same_numbers(folder, reference.run.folder)
    assert room >= 8  # settings, metrics, then best, metrics, last an epoch, results, sums


def test_a_wait_for_another_process_is_said(on_idx: tuple[str, ...], tmp_path: Path) -> None:
    arguments = (*on_idx, *LIMITS, "epochs=1", f"output_dir={tmp_path}")
    run, until = plan(*arguments).run, time.monotonic() + 60
    said = f"{run.name}: another process works on it; waiting"
    run.lock_file.parent.mkdir(parents=True)
    with FileLock(run.lock_file):
        command = Command("train", *arguments)
        while said not in command.texts[1].read_text() and time.monotonic() < until:
            time.sleep(0.05)
    ended = command.end()
    assert (ended.status, said in ended.err) == (0, True)
