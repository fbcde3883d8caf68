"""The sweeps that are killed: small ones that go through every phase, from data to ranking."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.faults.launch import Command
from tests.made_up_captions import write_captioned
from tests.made_up_data import write_data_set

TRAIN = ("-m", "accelerator=cpu", "threads=1", "progress=false")
CLASSIFY = (
    *("data=fashion_mnist", "data.val_size=40", "dropout=0.1,0.5", "lr=0.1", "momentum=0.5", "epochs=3"),
    "augment=flip_crop",
)
CAPTION = (
    *("task=caption", "encoder.size=64", "attention=false,true", "epochs=2", "lr=0.003", "batch_size=32"),
    *("decoder.embedding=16", "decoder.state=24", "decoder.attention_size=16", "max_words=8"),
)
RUNS = 2  # of each sweep


@dataclass(frozen=True)
class Scenario:
    """A sweep's commands, in their order: they read below `given` and write below another folder."""

    name: str
    commands: Callable[[Path, Path], tuple[Command, ...]]


def slug(name: str) -> str:
    """A scenario's name for a folder: a command line would split a path at a comma."""
    return name.replace(", ", "-")


def write_given(given: Path) -> None:
    """What scenarios start from: an 'installed' package of images, captions."""
    plain = write_data_set(given / "plain", train=200, test=60)
    package = given / "system" / "usr/share/datasets/fashion-mnist"
    package.mkdir(parents=True)
    for path in plain.iterdir():
        (package / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    write_captioned(given / "captions", train=16, val=4, test=4)


def _small_fashion_mnist(given: Path) -> None:
    """In a command's process: the made-up files are the published ones, and an installed package has them."""
    from src import download

    for path in (given / "plain").iterdir():
        content = path.read_bytes()
        download.FILES[path.name] = (len(content), hashlib.sha256(content).hexdigest())
    download.SYSTEM_ROOT = given / "system"


def _classify(launcher: str, given: Path, out: Path) -> tuple[Command, ...]:
    chosen = ("workers=2",) if launcher == "workers" else (f"hydra/launcher={launcher}",)
    arguments = (*TRAIN, *CLASSIFY, *chosen, f"data.root={out / 'data'}", f"output_dir={out / 'outputs'}")
    return (Command("src.train", arguments, partial(_small_fashion_mnist, given)),)


def _caption(kind: str, given: Path, out: Path) -> tuple[Command, ...]:
    on = {
        "karpathy": ("data=karpathy", f"data.root={given / 'captions'}", "encoder.name=efficientnet_lite0"),
        "scenes": (
            *("data=scenes", "data.scenes=20", "data.scene_size=128", "encoder.name=tiny"),
            *(f"data.root={out / 'data' / 'scenes'}", "gallery=[00009]"),
        ),
    }[kind]
    arguments = (
        *(*TRAIN, *CAPTION, *on, "workers=2", "name=sweep"),
        *(f"encoder.cache={out / 'data' / 'features'}", f"output_dir={out / 'outputs'}"),
    )
    return (
        Command("src.train", arguments),
        Command("src.sweep.captions", (str(out / "outputs" / "sweep"),)),
        Command("src.sweep.ranking", (str(out / "outputs" / "sweep"),)),
    )


SCENARIOS = (
    Scenario("classifier, workers", partial(_classify, "workers")),
    Scenario("captioner, features", partial(_caption, "karpathy")),
    Scenario("classifier, population", partial(_classify, "population")),
    Scenario("captioner, scenes", partial(_caption, "scenes")),
    Scenario("classifier, serial", partial(_classify, "basic")),
)
