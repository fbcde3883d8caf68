"""Stored features are right, computed once, and survive whatever happens to their builder."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from src.captioning import features
from src.captioning.data import CaptionData
from src.captioning.encoder import Encoder, EncoderError, build_encoder, preprocess
from src.captioning.engines import ONNXRUNTIME, TORCH
from src.captioning.features import check_images, digests_of, features_of
from src.captioning.karpathy import read_karpathy
from src.images import BrokenImage, read_rgb
from tests.extras import needs_onnxruntime
from tests.made_up_captions import write_captioned

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


def encoder(size: int = SIZE, seed: int = 0) -> Encoder:
    return build_encoder({"_target_": "src.captioning.backbones.Tiny"}, size, seed=seed)


class Scaled(nn.Module):
    """A backbone without weights, whose features its argument changes."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, images: Tensor) -> Tensor:
        return F.avg_pool2d(images, 8) * self.factor


def scaled(factor: float) -> Encoder:
    return build_encoder({"_target_": "tests.test_features.Scaled", "factor": factor}, SIZE)


def images_of(paths: list[Path], cache: Path) -> np.ndarray:
    return features_of(paths, encoder(), cache, pixels=True)


def stored(cache: Path) -> list[Path]:
    return [path for path in cache.glob("*.npy") if not path.name.startswith("means-")]


def test_features_are_the_encoders_and_computed_once(
    paths: list[Path], cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network = encoder()
    with caplog.at_level("INFO"):
        array = features_of(paths, network, cache)
    assert (array.shape, array.dtype) == ((7, 9, 128), np.float16)
    pixels = torch.stack([preprocess(read_rgb(path), SIZE) for path in paths])
    with torch.no_grad():
        np.testing.assert_allclose(array, network(pixels).numpy(), rtol=2e-3, atol=1e-4)
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())
    (message,) = caplog.messages
    assert message.startswith("features-Tiny-48 of 7 images: computed once, kept in")
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0
    monkeypatch.setattr(features, "read_rgb", None)  # now every computation would fail
    np.testing.assert_array_equal(features_of(paths, network, cache), array)
    (file,) = stored(cache)
    assert os.system(f"cd {cache} && sha256sum --quiet -c {file.name}.sha256") == 0


def test_neither_threads_nor_neighbours_nor_file_names_change_a_bit(
    paths: list[Path], cache: Path, tmp_path: Path
) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        array = features_of(paths, encoder(), cache)
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


@needs_onnxruntime
def test_whatever_features_depend_on_names_another_file(paths: list[Path], cache: Path) -> None:
    features_of(paths, encoder(), cache)
    others: list[Callable[[], object]] = [
        lambda: features_of(paths, encoder(size=64), cache),
        lambda: features_of(paths, encoder(seed=1), cache),
        *(partial(features_of, paths, scaled(factor), cache) for factor in (1.0, 2.0)),
        lambda: features_of(paths[::-1], encoder(), cache),
        lambda: features_of(paths, encoder(), cache, value_range="full"),
        lambda: features_of(paths, encoder(), cache, engine=ONNXRUNTIME),
        lambda: images_of(paths, cache),
        lambda: Image.new("RGB", (9, 9)).save(paths[3]) or features_of(paths, encoder(), cache),  # type: ignore[func-returns-value]
    ]
    for number, other in enumerate(others, start=2):
        other()
        assert len(stored(cache)) == number


@pytest.mark.parametrize("place", [0.001, 0.5, 0.9999])
def test_a_changed_file_is_made_again(paths: list[Path], cache: Path, place: float) -> None:
    whole = np.array(images_of(paths, cache))
    (file,) = stored(cache)
    right = file.read_bytes()
    cut = int(len(right) * place)
    for content in (right[:cut] + bytes([right[cut] ^ 1]) + right[cut + 1 :], right[:cut], b""):
        file.write_bytes(content)
        np.testing.assert_array_equal(images_of(paths, cache), whole)
        assert file.read_bytes() == right


def test_one_of_many_computes_and_a_killed_one_leaves_nothing(
    paths: list[Path], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "log"

    def read_slowly(path: Path, **options: str) -> Image.Image:
        with log.open("a") as file:
            file.write("read\n")
        time.sleep(0.03)
        return read_rgb(path, **options)

    monkeypatch.setattr(features, "read_rgb", read_slowly)
    begin = [FORK.Process(target=images_of, args=(paths, cache)) for _ in range(5)]
    begin[0].start()
    while not log.exists():
        time.sleep(0.005)
    assert begin[0].pid
    os.kill(begin[0].pid, signal.SIGKILL)
    begin[0].join()
    log.unlink()
    for process in begin[1:]:
        process.start()
    for process in begin[1:]:
        process.join(60)
    assert [process.exitcode for process in begin[1:]] == [0] * 4
    assert log.read_text().count("read") == len(paths)
    assert len(stored(cache)) == 1


def test_what_cannot_be_encoded_is_named(paths: list[Path], cache: Path) -> None:
    broken = encoder()
    next(broken.parameters()).data.fill_(float("nan"))
    with pytest.raises(EncoderError, match=r"beyond float16 or NaN: its weights"):
        features_of(paths[:2], broken, cache)


def test_broken_files_are_all_named_before_anything_is_computed(paths: list[Path], cache: Path) -> None:
    paths[0].write_bytes(paths[0].read_bytes()[:500])
    paths[1].write_text("no image")
    with pytest.raises(BrokenImage, match=r"2 of 7 .*/0\.png cannot be .*/1\.png .* is not one of"):
        images_of(paths, cache)
    assert stored(cache) == []
    os.mkfifo(cache / "pipe.png")  # reading it would wait for ever
    with pytest.raises(BrokenImage, match=r"2 of 3 images .*absent\.png does not exist .*pipe\.png"):
        digests_of([paths[0], Path("absent.png"), cache / "pipe.png"])
    with pytest.raises(BrokenImage, match=r"19\.png does not exist or is no file; and 10 more$"):
        digests_of([Path(f"{number}.png") for number in range(30)])


def test_pixels_that_are_not_as_they_are_stored_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, bits in zip(paths, (12, 12, 14), strict=True):
        Image.fromarray(np.full((8, 8), 2**bits - 1, dtype=np.uint16)).save(path)
    with caplog.at_level("INFO"):
        check_images(paths)
        assert [line.split(" (")[0] for line in caplog.messages] == [
            "0.png and 1 more: 12-bit values in 16 bits, rescaled to 8 bits",
            "2.png: 14-bit values in 16 bits, rescaled to 8 bits",
        ]
        caplog.clear()
        check_images(paths, value_range="0,16383")
        assert caplog.messages == []


@needs_onnxruntime
def test_a_run_goes_on_with_the_engine_that_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    root = write_captioned(tmp_path / "captioned", train=4, val=1, test=1)

    def data(fast: bool = True) -> CaptionData:
        made = CaptionData(
            lambda: read_karpathy(root), encoder, batch_size=2, cache=tmp_path / "cache", fast=fast
        )
        made.setup()
        return made

    began, plain = data(), data(fast=False)
    assert (began.sources["engine"], plain.sources["engine"]) == (ONNXRUNTIME, TORCH)
    assert len(stored(tmp_path / "cache")) == 2
    assert began.digest == plain.digest
    np.testing.assert_allclose(began.splits["test"].inputs, plain.splits["test"].inputs, atol=1e-3)
    for first, other in ((began, plain), (plain, data())):
        other.load_state_dict(first.state_dict())
        assert other.sources == first.sources
        np.testing.assert_array_equal(other.splits["train"].inputs, first.splits["train"].inputs)
    monkeypatch.setattr("src.captioning.data.available", lambda engine: engine == TORCH)
    without = data(fast=False)
    without.load_state_dict(data().state_dict())
    assert without.sources["engine"] == TORCH
    assert "which is not installed here (extra `export`): it goes on with torch's" in messages[-1]
