"""The classifier through the whole stack against plain loops, and start-up; each way is a process."""

from __future__ import annotations

import csv
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import fmean

from omegaconf import DictConfig

from src.bench.rounds import Comparison, alternate, timed
from src.entry_point import UserError
from src.run.environment import cores

PYTHON = [sys.executable, "-m"]
EPOCHS = 4  # the first one warms up
SWEEP_EPOCHS, SWEEP_SCALE = 5, 12  # with few images its start and end would weigh more than in the report's


def classifier(cfg: DictConfig) -> list[Comparison]:
    """Images a second at batch 8, with validation: plain PyTorch, one run, a sweep."""
    ways = {
        "plain PyTorch loop, all threads": partial(baseline, cfg),
        "python -m src.train": partial(one_run, cfg),
        "python -m src.train -m, a run a core, with tests": partial(sweep, cfg),
    }
    return [Comparison("training with validation", alternate(ways, cfg.rounds, warm_up=0), True)]


def baseline(cfg: DictConfig) -> float:
    """Seconds an image of src/bench/baselines.py."""
    return float(run([*PYTHON, "src.bench.baselines", str(cfg.images), str(EPOCHS)]))


def one_run(cfg: DictConfig) -> float:
    """The same of a run, by its metrics.csv."""
    with tempfile.TemporaryDirectory() as folder:
        run([*train(folder, cfg.images), f"epochs={EPOCHS}"])
        (metrics,) = Path(folder).glob("*/*/metrics.csv")
        rows = list(csv.DictReader(metrics.read_text(encoding="utf-8").splitlines()))[1:]
    return fmean(float(row["seconds"]) for row in rows) / cfg.images


def sweep(cfg: DictConfig) -> float:
    """From the first run's start to the last one's end; the launcher's own start is left out."""
    images, seeds = SWEEP_SCALE * cfg.images, ",".join(map(str, range(cores())))
    with tempfile.TemporaryDirectory() as folder:
        run([*train(folder, images), f"epochs={SWEEP_EPOCHS}", "-m", f"seed={seeds}"])
        began = min(path.stat().st_mtime for path in Path(folder).glob("*/*/config.yaml"))
        ended = max(path.stat().st_mtime for path in Path(folder).glob("*/*/results.json"))
    return (ended - began) / (cores() * SWEEP_EPOCHS * images)


def start_up(cfg: DictConfig) -> list[Comparison]:
    """Commands without work, against importing what they are made of."""
    with tempfile.TemporaryDirectory() as folder:
        tiny = [*train(folder, 8), "epochs=1", "force=true"]
        commands = {
            "importing torch and Lightning": [sys.executable, "-c", "import src, torch, lightning"],
            "python -m src.train --help": [*PYTHON, "src.train", "--help"],
            "python -m src.train, 8 images": tiny,
            "python -m src.train -m, two such runs": [*tiny, "-m", "seed=0,1"],
        }
        ways = {name: timed(partial(run, command)) for name, command in commands.items()}
        return [Comparison("from start to end", alternate(ways, cfg.rounds))]


def train(folder: str, images: int) -> list[str]:
    """A run on so many training images, and a fifth as many for validation and test."""
    limits = [f"limit_train={images}", *(f"limit_{part}={max(8, images // 5)}" for part in ("val", "test"))]
    return [*PYTHON, "src.train", f"output_dir={folder}", "accelerator=cpu", "progress=false", *limits]


def run(command: list[str]) -> str:
    """A command's standard output; a UserError with its last lines where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{' '.join(command)} failed:\n" + "\n".join(done.stderr.splitlines()[-10:]))
    return done.stdout.strip()
