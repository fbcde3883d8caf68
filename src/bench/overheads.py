"""The overheads' part of `make bench`: what Lightning, logging, checkpoints and Hydra cost at batch 8.

Each is measured by leaving it out. Lightning's work grows with the images, that of files with the epochs,
Hydra's with the runs; so each is measured where it shows, and put together for a run of the protocol's size:
15 epochs of 50,000 training and 10,000 validation images.
"""

from __future__ import annotations

import math
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch
import torch.nn.functional as F

import src  # noqa: F401  first: lets torchvision load beside a CPU-only torch
from src.bench.rounds import middle_and_range
from src.checkpoints import SafeCheckpointIO
from src.classification.data import CHUNK_IMAGES, EVALUATION_BATCH, Chunks
from src.classification.module import Classifier, scaled
from src.classification.sgd import sgd_steps
from src.classification.task import COLUMNS, MONITOR, RATE, TAGS
from src.job import quiet
from src.run import Run
from src.run.recorder import Recorder, RunLogger
from src.run.seeds import epoch_order

BATCH = 8
FEW = 40  # training images of an epoch whose files are to show
EPOCHS, TRAIN, VALIDATION = 15, 50_000, 10_000  # the protocol's
TARGET_PERCENT, TARGET_HELP_S, TARGET_DISK_MB = 8.0, 2.0, 150.0
RUNS = 24


@dataclass
class Overheads:
    """Seconds, a value a round: of an epoch by what takes part, of small epochs by what is left out.

    Attributes:
        images: training images of the epochs in `steps`; a fifth as many for validation.
        steps: "plain loop" and "with Lightning", an epoch of each; "start and end", the rest of that fit.
        files: an epoch of next to no images with everything, and with one thing left out.
        hydra: importing Hydra, composing and checking one command, in a fresh process.
        imports: importing Lightning in a process that has torch.
        help: of `python -m src.train --help`.
        disk: bytes of a finished run by file, and of whole sweeps by what they are.
    """

    images: int
    steps: dict[str, list[float]] = field(default_factory=dict)
    files: dict[str, list[float]] = field(default_factory=dict)
    hydra: list[float] = field(default_factory=list)
    imports: list[float] = field(default_factory=list)
    help: list[float] = field(default_factory=list)
    disk: dict[str, int] = field(default_factory=dict)


class Resident(L.LightningDataModule):
    """Random images, as `ImageData` hands over real ones."""

    def __init__(self, images: int) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(0)
        shape = (images + images // 5, 1, 28, 28)
        self.pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)
        self.labels = torch.randint(0, 10, (len(self.pixels),), generator=random)
        self.examples = images

    def train_dataloader(self) -> Chunks:
        chunk = CHUNK_IMAGES // BATCH * BATCH
        parts = self.pixels[: self.examples], self.labels[: self.examples]
        return Chunks(*parts, chunk, lambda: epoch_order(self.examples, 42, 0))

    def val_dataloader(self) -> Chunks:
        return Chunks(self.pixels[self.examples :], self.labels[self.examples :], EVALUATION_BATCH)


class NoCheckpoints(Recorder):
    """A Recorder that asks for no checkpoints."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """As Recorder's, without saving."""
        save, trainer.save_checkpoint = trainer.save_checkpoint, lambda *_, **__: None  # type: ignore[method-assign]
        try:
            super().on_train_epoch_end(trainer, pl_module)
        finally:
            trainer.save_checkpoint = save  # type: ignore[method-assign]


def measure_overheads(
    rounds: int = 5, images: int = 4_000, *, epochs: int = 8, sweep: Path | None = None, starts: bool = True
) -> Overheads:
    """All of them; one thread, as a run at batch 8 takes.

    Args:
        rounds: of everything; one more comes first and does not count.
        images: of an epoch of the steps' part.
        epochs: of the files' part; the first one does not count.
        sweep: a finished sweep's folder, weighed if it is there.
        starts: whether to start processes, for Hydra and `--help`.
    """
    quiet()
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        found = Overheads(images)
        data, small = Resident(images), Resident(FEW)
        parts = ("everything", "no checkpoints", "no events", "no files at all")
        for index in range(rounds + 1):
            _note(found.steps, "plain loop", plain_epoch(data), index)
            epoch_s, rest_s = lightning_epoch(data)
            _note(found.steps, "with Lightning", epoch_s, index)
            _note(found.steps, "start and end", rest_s, index)
            for name in parts:
                seconds, weight = epoch_with_files(small, name, epochs)
                _note(found.files, name, seconds, index)
                found.disk.update({"of a run: " + file: size for file, size in weight.items()})
        if starts:
            for _ in range(rounds):
                found.hydra.append(_in_a_process(_COMPOSE))
                found.imports.append(_in_a_process(_IMPORT))
                began = time.perf_counter()
                subprocess.run([sys.executable, "-m", "src.train", "--help"], capture_output=True, check=True)
                found.help.append(time.perf_counter() - began)
        if sweep is not None and sweep.is_dir():
            found.disk[f"of {sweep}"] = sum(
                file.stat().st_size for file in sweep.rglob("*") if file.is_file()
            )
    finally:
        torch.set_num_threads(before)
    return found


def plain_epoch(data: Resident) -> float:
    """Seconds of training and validating with the same network, steps and chunks, and nothing around them."""
    module = Classifier(dropout=0.3, lr=0.01)
    network = module.network
    began = time.perf_counter()
    network.train()
    total = 0.0
    for images, labels in data.train_dataloader():
        losses = sgd_steps(network, scaled(images), labels, BATCH, lr=0.01)
        total += math.fsum(losses.tolist())
    network.eval()
    with torch.inference_mode():
        scores = [(network(scaled(images)), labels) for images, labels in data.val_dataloader()]
        sum(int((score.argmax(1) == labels).sum()) for score, labels in scores)
        sum(float(F.cross_entropy(score, labels)) for score, labels in scores)
    return time.perf_counter() - began


class Clock(L.Callback):
    """When each epoch began, and when the last one ended."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_train_epoch_start(self, *_: Any) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())

    def on_train_end(self, *_: Any) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())


def lightning_epoch(data: Resident) -> tuple[float, float]:
    """Seconds of the same epoch through a Trainer that writes nothing, and of its start and end around it."""
    clock = Clock()
    began = time.perf_counter()
    _fit(data, 1, clock, logger=False)
    whole, epoch = time.perf_counter() - began, clock.times[-1] - clock.times[0]
    return epoch, whole - epoch


def epoch_with_files(data: Resident, part: str, epochs: int) -> tuple[float, dict[str, int]]:
    """Mean seconds of an epoch after the first, and the bytes of what the run's folder then holds.

    Args:
        data: few images, so that the files show.
        part: "everything" as src.run.fit.py has it, "no checkpoints", "no events" or "no files at all".
        epochs: at least 2.
    """
    clock = Clock()
    with tempfile.TemporaryDirectory() as place:
        run = Run(Path(place), {}, "")
        kind = NoCheckpoints if part == "no checkpoints" else Recorder
        recorder = kind(run, COLUMNS, TAGS, MONITOR, RATE)
        callbacks = [clock] if part == "no files at all" else [recorder, clock]
        events = part in ("everything", "no checkpoints")
        _fit(data, epochs, *callbacks, logger=RunLogger(run.folder) if events else False)
        found = {_plain_name(file): file.stat().st_size for file in run.folder.rglob("*") if file.is_file()}
    return (clock.times[-1] - clock.times[1]) / (epochs - 1), found if part == "everything" else {}


def _fit(data: Resident, epochs: int, *callbacks: L.Callback, logger: Any) -> None:
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=epochs,
        logger=logger,
        callbacks=list(callbacks),
        plugins=[SafeCheckpointIO()],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=any(isinstance(callback, Recorder) for callback in callbacks),
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )
    trainer.fit(Classifier(dropout=0.3, lr=0.01), datamodule=data)


_COMPOSE = """
import time
began = time.perf_counter()
import sys
sys.argv = ["src.train"]
import src.train
from hydra import compose, initialize_config_dir
from src.config import register
from src.command import read_command
from src.plan import plan_of
register()
read_command(["dropout=0.5", "lr=0.01"])
with initialize_config_dir(version_base="1.3", config_dir=str(src.train.ROOT / "conf")):
    plan_of(compose("train", overrides=["dropout=0.5", "lr=0.01"], return_hydra_config=True)).mistakes()
print(time.perf_counter() - began)
"""


_IMPORT = """
import time
import src
import torch
began = time.perf_counter()
import lightning
print(time.perf_counter() - began)
"""


def _in_a_process(code: str) -> float:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def _note(found: dict[str, list[float]], name: str, seconds: float, index: int) -> None:
    if index:
        found.setdefault(name, []).append(seconds)


def _plain_name(file: Path) -> str:
    return "events" if file.name.startswith("events.out") else file.name


def shares(found: Overheads) -> dict[str, list[float]]:
    """Percent of a run of the protocol's size that each costs, a value a round.

    Values within a round are subtracted: what the machine's noise hides comes out on either side of 0.
    """
    result: dict[str, list[float]] = {}
    scale = TRAIN / found.images
    hydra, imports = (statistics.median(part) if part else 0.0 for part in (found.hydra, found.imports))
    for index, plain in enumerate(found.steps["plain loop"]):
        at = {name: seconds[index] for name, seconds in found.files.items()}
        costs = {
            "Lightning": (found.steps["with Lightning"][index] - plain) * scale * EPOCHS
            + found.steps["start and end"][index]
            + imports,
            "checkpoints": (at["everything"] - at["no checkpoints"]) * EPOCHS,
            "logging": (at["no checkpoints"] - at["no files at all"]) * EPOCHS,
            "of which TensorBoard's events": (at["everything"] - at["no events"]) * EPOCHS,
            "Hydra": hydra,
        }
        counted = [name for name in costs if not name.startswith("of which")]
        whole = plain * scale * EPOCHS + sum(costs[name] for name in counted)
        costs["together"] = sum(costs[name] for name in counted)
        for name, seconds in costs.items():
            result.setdefault(name, []).append(100 * seconds / whole)
    return result


def estimated_disk(found: Overheads, runs: int = RUNS) -> int:
    """Bytes of a finished sweep without its plots: those of the run that this bench left, times `runs`."""
    of_run = {name.removeprefix("of a run: "): size for name, size in found.disk.items() if "a run: " in name}
    of_run["best.ckpt"] = of_run["last.ckpt"]
    return runs * sum(of_run.values())


def overheads_table(found: Overheads) -> str:
    """Markdown: shares, start-up and disk against their targets."""
    rows = [
        f"A run of {EPOCHS} epochs, {TRAIN:,} training and {VALIDATION:,} validation images; "
        "below 0 is noise.",
        "",
        "| of a run's time at batch 8, left out in turn | percent | target |",
        "|---|---|---|",
    ]
    for name, values in shares(found).items():
        target = f"{TARGET_PERCENT:g}" if name == "together" else ""
        rows.append(f"| {name} | {middle_and_range(values)} | {target} |")
    rows += ["", "| start and disk | | target |", "|---|---|---|"]
    if found.help:
        rows.append(
            f"| `python -m src.train --help`, s | {middle_and_range(found.help)} | {TARGET_HELP_S:g} |"
        )
        rows.append(
            f"| importing Hydra, composing and checking a command, s | {middle_and_range(found.hydra)} | |"
        )
    estimate = estimated_disk(found) / 1e6
    rows.append(f"| {RUNS} runs without plots, estimated, MB | {estimate:.1f} | {TARGET_DISK_MB:g} |")
    for name, size in found.disk.items():
        if not name.startswith("of a run: "):
            rows.append(f"| {name.removeprefix('of ')}, MB | {size / 1e6:.1f} | {TARGET_DISK_MB:g} |")
    return "\n".join([*rows, ""])


def as_content(found: Overheads) -> dict:
    """For a JSON file."""
    return {**asdict(found), "percent": shares(found)}
