"""What is damaged: small finished and unfinished runs with all that they read, and their commands."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import lightning as L
import pytest
import torch

from src import download
from src.captioning import show
from src.checkpoints import DamagedCheckpoint, read_checkpoint
from src.download import FILES, fetch_fashion_mnist
from src.job import run_job
from src.plan import Plan
from src.recorder import Recorder
from tests.command_line import plan, rows_of, without_times
from tests.made_up_captions import write_captioned
from tests.made_up_data import write_data_set

STOPPED_AFTER = 2  # epochs of three: what is damaged then still changes weights
COMMON = ("accelerator=cpu", "threads=1", "progress=false")
CLASSIFY = ("data=idx", "data.val_size=40", "epochs=3", "lr=0.05", "batch_size=16")
CAPTION = (
    *("task=caption", "data=karpathy", "encoder.name=tiny", "encoder.size=32", "epochs=3", "lr=0.003"),
    *("compare_beam=null", "max_words=8", "decoder.state=32", "decoder.embedding=16"),
)
SCENES = (*CAPTION, "data=scenes", "data.scenes=20", "limit_train=8", "data.scene_size=128")


@dataclass(frozen=True)
class World:
    """A folder with data and one run, and what a rerun of its command must end with.

    Attributes:
        home: everything; a case works on a copy.
        settings: of the command, `{home}` standing for the folder.
        files: by name of their kind, patterns of what the command reads back.
    """

    name: str
    home: Path
    settings: tuple[str, ...]
    files: dict[str, str]
    expected: dict[str, Any]

    def plan(self, home: Path) -> Plan:
        return plan(*(setting.format(home=home) for setting in self.settings))


def numbers(folder: Path) -> dict[str, Any]:
    """All that a finished run says, but for times and names of folders, and its weights if they are whole."""
    found = without_times(json.loads((folder / "results.json").read_text()))
    found = {key: value for key, value in found.items() if key not in ("name", "run")}
    weights = {name: _weights(folder / "checkpoints" / f"{name}.ckpt") for name in ("last", "best")}
    return {"results": found, "rows": rows_of(folder), "captions": _read(folder / "captions.json"), **weights}


def _weights(path: Path) -> str | None:
    """A checksum of a checkpoint's weights; None where it is damaged, and so nobody's number."""
    try:
        state = read_checkpoint(path)["state_dict"]
    except DamagedCheckpoint:
        return None
    digest = hashlib.sha256()
    for name, value in sorted(state.items()):
        digest.update(name.encode() + value.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _read(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def train(asked: Plan, say: Callable[[str], None]) -> dict[str, Any]:
    """The job in this process."""
    threads = torch.get_num_threads()
    try:
        # Pictures take most of the time, and are nobody's numbers.
        with contextlib.redirect_stderr(io.StringIO()), patch.object(show, "save", lambda *_: None):
            return run_job(asked.cfg, asked.run, say, show_bar=False)
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def small_fashion_mnist(home: Path) -> Iterator[None]:
    """Take the made-up files for the published ones, with nothing but .gz copies beside them as a source."""
    raw = home / "FashionMNIST" / "raw"
    known = {name: (home / "sums" / name).read_text().split() for name in FILES}
    with (
        patch.dict(FILES, {name: (int(size), digest) for name, (size, digest) in known.items()}),
        patch.object(download, "_sources", _sources),
    ):
        assert raw.is_dir()
        yield


def _sources(raw: Path, _say: object) -> Iterator[tuple[str, download.Read]]:
    yield "the .gz files beside them", partial(download._from_folder, raw)


def build(home: Path) -> list[World]:
    """Make the worlds; a few seconds."""
    run = {
        "config.yaml": "out/*/*/config.yaml",
        "identity.json": "out/*/*/identity.json",
        "metrics.csv": "out/*/*/metrics.csv",
    }
    checkpoints = {"last.ckpt": "out/*/*/checkpoints/last.ckpt", "best.ckpt": "out/*/*/checkpoints/best.ckpt"}
    results = {"results.json": "out/*/*/results.json"}
    found = []

    def add(
        name: str, settings: tuple[str, ...], finished: dict[str, str], unfinished: dict[str, str]
    ) -> None:
        place = home / name
        own = (*settings, *COMMON, "output_dir={home}/out")
        world = World(name, place, own, {**run, **results, **checkpoints, **finished}, {})
        asked = world.plan(place)
        assert not asked.mistakes(), asked.mistakes()
        ended = train(asked, lambda _: None)
        assert ended["status"] == "done", ended["cause"]
        expected = numbers(asked.run.folder)
        found.append(World(name, place, own, world.files, expected))
        cut = home / f"unfinished {name}"
        shutil.copytree(place, cut, ignore=shutil.ignore_patterns("out"))
        stopped = world.plan(cut)
        with patch.object(Recorder, "on_validation_start", _stop), pytest.raises(KeyboardInterrupt):
            train(stopped, lambda _: None)
        assert len(rows_of(stopped.run.folder)) == STOPPED_AFTER
        found.append(World(cut.name, cut, own, {**run, **checkpoints, **unfinished}, expected))

    write_data_set(home / "classifier" / "idx", train=160, test=40)
    own = {"idx data": "idx/*-ubyte"}
    add("classifier", (*CLASSIFY, "data.root={home}/idx"), own, own)

    root = home / "captioner"
    write_captioned(root / "squares", train=10, val=3, test=3)
    of_data = {"dataset.json": "squares/dataset.json", "own images": "squares/images/*.png"}
    cache = {"features .npy": "cache/*.npy", "looked_at.json": "cache/looked_at.json"}
    settings = (*CAPTION, "data.root={home}/squares", "encoder.cache={home}/cache")
    add("captioner", settings, {**of_data, "captions.json": "out/*/*/captions.json"}, {**of_data, **cache})

    drawn = {
        "scenes' dataset.json": "scenes/dataset.json",
        "scenes' images": "scenes/images/*.png",
        "scenes' SHA256SUMS": "scenes/SHA256SUMS",
    }
    of_scenes = (*SCENES, "data.root={home}/scenes", "encoder.cache={home}/cache")
    add("scenes", of_scenes, {}, {**drawn, **cache})

    place = home / "fashion"
    raw = write_data_set(place / "FashionMNIST" / "raw", train=160, test=40)
    (place / "sums").mkdir()
    for name in FILES:
        data = (raw / name).read_bytes()
        (place / "sums" / name).write_text(f"{len(data)} {hashlib.sha256(data).hexdigest()}")
        (raw / f"{name}.gz").write_bytes(gzip.compress(data))
    files = {"Fashion-MNIST": "FashionMNIST/raw/*-ubyte", "Fashion-MNIST .gz": "FashionMNIST/raw/*.gz"}
    found.append(World("fashion", place, (), files, digests(raw)))
    return found


def _stop(_recorder: Recorder, trainer: L.Trainer, _module: object) -> None:
    if trainer.current_epoch == STOPPED_AFTER:
        raise KeyboardInterrupt


def digests(raw: Path) -> dict[str, Any]:
    """The SHA-256 of Fashion-MNIST's uncompressed files."""
    return {name: hashlib.sha256((raw / name).read_bytes()).hexdigest() for name in FILES}


def fetch(home: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """What training does before it reads Fashion-MNIST."""
    with small_fashion_mnist(home):
        return digests(fetch_fashion_mnist(home, say=say))
