"""Sweeps that are killed, crowded or damaged end with the very numbers of one that was left alone.

A short form runs always, the long one by `make test-slow`.
"""

import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import src.run.folder
from src.run.checkpoints import read_checkpoint
from src.sweep.ranking import rank
from tests.command_line import Command, plan, rows_of, run_train, same_numbers, train_here

SWEEP = ("epochs=4", "limit_train=240", "lr=0.1", "workers=2", "progress=false")
DROPOUTS = ("0.1", "0.5")
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


def command(on_idx: tuple[str, ...], output: Path) -> tuple[str, ...]:
    return ("-m", *on_idx, *SWEEP, f"dropout={','.join(DROPOUTS)}", f"output_dir={output}")


@pytest.fixture(scope="module")
def undisturbed(on_idx: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("undisturbed")
    ended = run_train(*command(on_idx, output))
    assert ended.status == 0, ended.err
    return output / "idx"


def same_sweep(sweep: Path, expected: Path) -> None:
    names = {path.parent.name for path in expected.glob("*/results.json")}
    assert {path.parent.name for path in sweep.glob("*/results.json")} == names
    for name in names:
        same_numbers(sweep / name, expected / name)
        assert not list((sweep / name).glob("**/*.tmp"))
    assert [run.name for _, run in rank(sweep).rows] == [run.name for _, run in rank(expected).rows]


def kill_at_write(number: int) -> Callable[[], None]:
    """Makes a command, or a worker of it, die within the write of so many files."""

    def prepare() -> None:
        sync, calls = os.fsync, itertools.count(1)

        def fsync(descriptor: int) -> None:
            if next(calls) == number:
                os.kill(os.getpid(), signal.SIGKILL)
            sync(descriptor)

        os.fsync = fsync  # type: ignore[assignment]

    return prepare


def whole_files(output: Path) -> None:
    """Assert that no file below `output` is a part of one, right after a kill."""
    for path in output.rglob("*.*"):
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".ckpt":
            read_checkpoint(path)
        elif path.suffix in (".csv", ".md", ".yaml") and path.name != "multirun.yaml":  # Hydra's own
            assert path.read_text().endswith("\n")


@pytest.mark.parametrize("kills", [3, pytest.param(200, marks=pytest.mark.slow)])
def test_killed_sweeps_end_with_the_same_numbers(
    on_idx: tuple[str, ...], undisturbed: Path, tmp_path: Path, kills: int
) -> None:
    rand = random.Random(kills)
    done = sweeps = 0
    while done < kills:
        output = tmp_path / str(sweeps)
        sweeps += 1
        while True:
            if done < kills and rand.random() < 0.5:
                process = Command(
                    "train", *command(on_idx, output), prepare=kill_at_write(rand.randint(1, 40))
                )
                done += 1
            else:
                process = Command("train", *command(on_idx, output))
                time.sleep(rand.uniform(0.1, 1.5))
                if done < kills and not process.is_over():
                    process.send(rand.choice(SIGNALS), to_group=rand.random() < 0.7)
                    done += 1
            ended = process.end()
            whole_files(output)
            if ended.status == 0:
                break
            # 1: a worker died
            assert ended.status in {1, -signal.SIGKILL, *(128 + number for number in SIGNALS)}, ended.err
            assert "Traceback" not in ended.err
        same_sweep(output / "idx", undisturbed)
        shutil.rmtree(output)


def test_workers_that_die_before_their_checksums_fail(
    on_idx: tuple[str, ...], undisturbed: Path, tmp_path: Path
) -> None:
    def prepare() -> None:
        write = src.run.folder.write_sums

        def write_sums(folder: Path, names: Sequence[str]) -> None:
            if '"status": "done"' in (folder / "results.json").read_text():
                os.kill(os.getpid(), signal.SIGKILL)
            write(folder, names)

        src.run.folder.write_sums = write_sums

    ended = Command("train", *command(on_idx, tmp_path), prepare=prepare).end()
    assert (ended.status, ended.err.count("its process ended with status -9")) == (1, 2), ended.err
    assert run_train(*command(on_idx, tmp_path)).status == 0
    same_sweep(tmp_path / "idx", undisturbed)


@pytest.mark.parametrize("rivals", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_the_same_sweep_at_once_trains_each_run_once(
    on_idx: tuple[str, ...], undisturbed: Path, tmp_path: Path, rivals: int
) -> None:
    context = multiprocessing.get_context("fork")
    trained = context.Value("i", 0)

    def count_epochs() -> None:
        from src.run.checkpoints import Recorder

        write = Recorder.on_train_epoch_end

        def counted(self: Recorder, *arguments: object) -> None:
            write(self, *arguments)  # type: ignore[arg-type]
            with trained:
                trained.value += 1

        Recorder.on_train_epoch_end = counted  # type: ignore[assignment, method-assign]

    every = [Command("train", *command(on_idx, tmp_path), prepare=count_epochs) for _ in range(rivals)]
    for process in every:
        ended = process.end(300)
        assert ended.status == 0, ended.err
    same_sweep(tmp_path / "idx", undisturbed)
    assert trained.value == len(DROPOUTS) * 4


def cut(data: bytes, rand: random.Random) -> bytes:
    return data[: rand.randrange(len(data) + 1)]


def flip(data: bytes, rand: random.Random) -> bytes:
    if not data:
        return data
    place = rand.randrange(len(data))
    digit = data[place : place + 1].isdigit() and rand.random() < 0.5
    other = (b"%d" % ((data[place] - 47) % 10))[0] if digit else data[place] ^ (1 << rand.randrange(8))
    return data[:place] + bytes([other]) + data[place + 1 :]


def scramble(data: bytes, rand: random.Random) -> bytes:
    start = rand.randrange(len(data) + 1)
    return data[:start] + rand.randbytes(min(100, len(data) - start)) + data[start + 100 :]


@pytest.mark.parametrize("cases", [4, pytest.param(500, marks=pytest.mark.slow)])
def test_no_damaged_file_makes_another_number(
    on_idx: tuple[str, ...], undisturbed: Path, tmp_path: Path, cases: int
) -> None:
    """The same command ends with the same numbers, or names what is wrong; the ranking never takes what is damaged."""
    rand = random.Random(cases)
    settings = (*on_idx, *SWEEP[:-2], "threads=1", "dropout=0.5", f"output_dir={tmp_path}")
    asked = plan(*settings)
    whole = tmp_path / "whole"
    train_here(asked)
    shutil.copytree(asked.run.folder, whole)
    expected = rows_of(whole)
    named = 0
    for _ in range(cases):
        shutil.rmtree(asked.run.folder)
        shutil.copytree(whole, asked.run.folder)
        if rand.random() < 0.5:  # as after a kill: the run goes on
            for name in ("results.json", "SHA256SUMS"):
                (asked.run.folder / name).unlink()
        files = [
            path for path in asked.run.folder.rglob("*") if path.is_file() and "tfevents" not in path.name
        ]
        victim = rand.choice(sorted(files))
        before = victim.read_bytes()
        after = rand.choice((cut, flip, scramble))(before, rand)
        victim.write_bytes(after)
        for _, run in rank(asked.run.folder.parent).rows:
            if run.status == "done" and after != before:
                assert victim.suffix == ".ckpt" or run.number("val_acc") == float(expected[-1]["val_acc"]), (
                    victim
                )
        fresh = plan(*settings)
        if errors := fresh.errors():
            assert "there, " in errors[0] or "gone or damaged" in errors[0], errors
            named += 1
            continue
        train_here(fresh)
        assert rows_of(asked.run.folder) == expected, victim
    assert named <= cases / 2
