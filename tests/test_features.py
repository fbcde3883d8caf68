"""Stored features are right, computed once, and survive whatever happens to their builder."""

from __future__ import annotations

import errno
import multiprocessing
import os
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from src import files
from src.captioning import features
from src.captioning.encoder import Encoder, EncoderError, build_encoder, preprocess
from src.captioning.features import CannotStore, features_of, images_of
from src.images import BrokenImage, read_rgb

SIZE = 48
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    generator = np.random.default_rng(0)
    found = [tmp_path / "images" / f"{index}.png" for index in range(7)]
    found[0].parent.mkdir()
    for path in found:
        Image.fromarray(generator.integers(0, 256, (60, 50, 3), np.uint8)).save(path)
    return found


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def encoder(size: int = SIZE, seed: int = 0, name: str = "tiny") -> Encoder:
    torch.manual_seed(seed)
    return build_encoder(name, size, pretrained=False).eval()


def stored(cache: Path) -> set[str]:
    return {path.name for path in cache.glob("*.npy")}


def pixels(paths: Sequence[Path]) -> np.ndarray:
    return np.stack([preprocess(read_rgb(path), SIZE).numpy() for path in paths])


def test_features_are_the_encoders_and_computed_once(
    paths: list[Path], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = encoder()
    said: list[str] = []
    array = features_of(paths, network, cache, say=said.append)
    assert (array.shape, array.dtype) == ((7, 9, 128), np.float16)
    with torch.no_grad():
        expected = network(torch.from_numpy(pixels(paths))).numpy()
    np.testing.assert_allclose(array, expected, rtol=2e-3, atol=1e-4)
    assert isinstance(array, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    assert len(said) == 1
    assert said[0].startswith("computing the features of 7 images with tiny: once, kept in")

    monkeypatch.setattr(features, "read_rgb", None)  # now every computation would fail
    np.testing.assert_array_equal(features_of(paths, network, cache, say=said.append), array)
    assert len(said) == 1
    assert not list(cache.glob("*.tmp"))


def test_neither_threads_nor_neighbours_nor_file_names_change_a_bit(
    paths: list[Path], cache: Path, tmp_path: Path
) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        array = features_of(paths, encoder(), cache, batch=3)
        torch.set_num_threads(2)
        again = features_of(paths, encoder(), tmp_path / "again")
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(again, array)
    np.testing.assert_array_equal(features_of(paths[5:], encoder(), cache), array[5:])
    copies = [Path(shutil.copy(path, tmp_path / path.name)) for path in paths]
    features_of(copies, encoder(), cache)
    assert len(stored(cache)) == 2


def test_whatever_features_depend_on_names_another_file(paths: list[Path], cache: Path) -> None:
    features_of(paths, encoder(), cache)
    others: list[Callable[[], object]] = [
        lambda: features_of(paths, encoder(size=64), cache),
        lambda: features_of(paths, encoder(seed=1), cache),
        lambda: features_of(paths, encoder(name="resnet18"), cache),
        lambda: features_of(paths[::-1], encoder(), cache),
        lambda: features_of(paths[:-1], encoder(), cache),
        lambda: images_of(paths, SIZE, cache),
    ]
    for number, other in enumerate(others, start=2):
        other()
        assert len(stored(cache)) == number
    state = paths[3].stat()
    Image.new("RGB", (60, 50), (9, 9, 9)).save(paths[3])
    os.utime(paths[3], ns=(state.st_atime_ns, state.st_mtime_ns))  # a time stamp proves nothing
    array = images_of(paths, SIZE, cache)
    assert (array[3] == 9).all()
    assert len(stored(cache)) == len(others) + 2


def test_pixels_are_those_of_preprocess(paths: list[Path], cache: Path) -> None:
    array = images_of(paths, SIZE, cache)
    assert (array.shape, array.dtype) == ((7, 3, SIZE, SIZE), np.uint8)
    np.testing.assert_array_equal(array, pixels(paths))


def _build_slowly(
    paths: list[Path], cache: Path, log: Path, seconds: float, gate: Path | None = None
) -> None:
    torch.set_num_threads(1)

    def slow(path: Path, value_range: str) -> Image.Image:
        with log.open("a") as file:
            file.write(f"read {path.name}\n")
        time.sleep(seconds)
        while gate is not None and path.name == "3.png" and not gate.exists():
            time.sleep(0.01)
        return read_rgb(path, value_range=value_range)

    def say(line: str) -> None:
        with log.open("a") as file:
            file.write(line + "\n")

    features.read_rgb = slow  # type: ignore[assignment]
    np.testing.assert_array_equal(images_of(paths, SIZE, cache, say=say), pixels(paths))


def _wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def _text(log: Path) -> str:
    return log.read_text() if log.exists() else ""


def test_of_two_processes_one_computes(paths: list[Path], cache: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    first = FORK.Process(target=_build_slowly, args=(paths, cache, log, 0.1))
    second = FORK.Process(target=_build_slowly, args=(paths, cache, log, 0.1))
    first.start()
    _wait_for(lambda: "read" in _text(log))
    second.start()
    first.join(20)
    second.join(20)
    assert (first.exitcode, second.exitcode) == (0, 0)
    lines = _text(log).splitlines()
    assert sorted(line for line in lines if line.startswith("read")) == [
        f"read {path.name}" for path in paths
    ]
    assert sum(line.startswith("computing the pixels of 7 images") for line in lines) == 1
    assert sum(line.startswith("waiting for another process") for line in lines) == 1


def test_a_killed_builder_leaves_nothing_that_counts(paths: list[Path], cache: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    builder = FORK.Process(target=_build_slowly, args=(paths, cache, log, 0.1))
    builder.start()
    _wait_for(lambda: "read 3.png" in _text(log))
    builder.kill()
    builder.join()
    assert [path.stat().st_size > 3 * 3 * SIZE * SIZE for path in cache.glob(".*.tmp")] == [True]
    assert not stored(cache)
    # Another array's builder clears it away, too, but not while it is at work.
    other = FORK.Process(target=_build_slowly, args=(paths[1:], cache, tmp_path / "log2", 0.2))
    other.start()
    _wait_for(lambda: "read" in _text(tmp_path / "log2"))
    images_of(paths[:2], SIZE, cache)
    assert len(list(cache.glob(".*.tmp"))) == 1
    np.testing.assert_array_equal(images_of(paths, SIZE, cache), pixels(paths))
    other.join(20)
    assert other.exitcode == 0
    assert not list(cache.glob(".*.tmp"))
    assert len(stored(cache)) == 3


def test_of_a_crowd_one_computes_also_after_the_builder_was_killed(
    paths: list[Path], cache: Path, tmp_path: Path
) -> None:
    logs = [tmp_path / f"log{number}" for number in range(8)]
    gate = tmp_path / "gate"
    crowd = [FORK.Process(target=_build_slowly, args=(paths, cache, log, 0, gate)) for log in logs]
    for process in crowd:
        process.start()
    _wait_for(lambda: any("read 3.png" in _text(log) for log in logs))
    (builder,) = [number for number, log in enumerate(logs) if "read" in _text(log)]
    _wait_for(lambda: all("waiting" in _text(log) for log in logs[:builder] + logs[builder + 1 :]))
    crowd[builder].kill()
    gate.touch()
    for process in crowd:
        process.join(60)
    # `_build_slowly` compares what it got with the right pixels
    assert [process.exitcode for process in crowd].count(0) == 7
    whole = [number for number, log in enumerate(logs) if number != builder and "read" in _text(log)]
    assert len(whole) == 1
    assert _text(logs[whole[0]]).count("read ") == len(paths)
    assert len(stored(cache)) == 1
    assert not list(cache.glob(".*.tmp"))


@pytest.mark.parametrize("place", [0.001, 0.3, 0.9, 0.9999])
def test_a_flipped_byte_makes_the_file_again(
    paths: list[Path], cache: Path, place: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = np.array(images_of(paths, SIZE, cache))
    (file,) = cache.glob("*.npy")
    np.testing.assert_array_equal(np.load(file), whole)  # the checksum behind it does not matter to numpy
    right = file.read_bytes()
    data = bytearray(right)
    data[int(len(data) * place)] ^= 1
    file.write_bytes(data)
    said: list[str] = []
    np.testing.assert_array_equal(images_of(paths, SIZE, cache, say=said.append), whole)
    assert said[0].endswith(f"{file} is damaged")
    assert file.read_bytes() == right
    monkeypatch.setattr(features.hashlib, "sha256", None)  # a file that was found right is not read again
    assert features._is_whole(file)


@pytest.mark.parametrize("keep", [-1, 0.5, 40, 0])
def test_a_file_that_is_cut_off_is_made_again(paths: list[Path], cache: Path, keep: float) -> None:
    whole = np.array(images_of(paths, SIZE, cache))
    (file,) = cache.glob("*.npy")
    size = file.stat().st_size
    os.truncate(file, int(size * keep) if keep == 0.5 else int(keep) % size)
    said: list[str] = []
    np.testing.assert_array_equal(images_of(paths, SIZE, cache, say=said.append), whole)
    assert said[0].endswith(f"{file} is damaged")
    assert file.stat().st_size == size


def test_a_full_disk_is_one_sentence(paths: list[Path], cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(files.os, "fsync", full)
        with pytest.raises(CannotStore, match="No space left on device") as caught:
            images_of(paths, SIZE, cache)
    assert "\n" not in str(caught.value)
    with monkeypatch.context() as patch:
        patch.setattr(features.shutil, "disk_usage", lambda _folder: SimpleNamespace(free=100))
        patch.setattr(features, "read_rgb", None)  # said before any work
        with pytest.raises(CannotStore, match=r"No space left on device.*they take 0 MB; make room"):
            images_of(paths, SIZE, cache)
    assert not stored(cache)
    assert not list(cache.glob(".*.tmp"))
    cache.joinpath("file").touch()
    with pytest.raises(CannotStore, match=r"cannot be stored in .*file"):
        images_of(paths, SIZE, cache / "file")


def test_what_cannot_be_seen_is_named(paths: list[Path], cache: Path) -> None:
    paths[4].write_bytes(paths[4].read_bytes()[:500])
    with pytest.raises(BrokenImage, match=r"4\.png"):
        images_of(paths, SIZE, cache)
    assert not list(cache.glob(".*.tmp"))
    with pytest.raises(BrokenImage, match=r"absent\.png"):
        images_of([Path("absent.png")], SIZE, cache)
    broken = encoder()
    next(broken.parameters()).data.fill_(float("nan"))
    with pytest.raises(EncoderError, match=r"beyond float16 or NaN for one of the images .*0\.png to "):
        features_of(paths[:2], broken, cache)
    with pytest.raises(ValueError, match="no images"):
        features_of([], encoder(), cache)
    with pytest.raises(ValueError, match="in training"):
        features_of(paths, encoder().train(), cache)
