"""`make bench`: our stack against the plain loop and default Lightning, by turns, and all else on speed.

    python -m src.bench [--only PART] [--rounds 5] [--images 4000] [--quick] [--sweep outputs/fashion_mnist]

The parts: classify, floor, captions, population, encoding, overheads, growth, memory, precision.

Each contender is a process of its own; a round runs each once, so that a machine whose speed drifts
drifts for all. What counts is the ratio within a round; the table gives the median over rounds.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from src.bench.captions import as_rows, captions_table, measure_captions
from src.bench.population import as_rows as rates_as_rows
from src.bench.population import measure_population, population_table
from src.bench.rounds import heading as _heading_of
from src.bench.rounds import where as _where
from src.files import write_atomically
from src.provenance import cores
from src.run import to_json
from src.streams import guard_streams

PYTHON = [sys.executable, "-m"]
EPOCHS = 4  # of one run; the first one warms up
# A run's start and end are counted: at 3,000 images they weigh 4 times what they do in 15 epochs of 50,000.
SWEEP_EPOCHS, SWEEP_SCALE = 5, 12
FOLDER = Path("outputs/bench")
Measure = dict[str, float]


def baseline(which: str, images: int) -> Measure:
    """Images/s of a baseline with all threads: of its training part, and with validation."""
    done = _run([*PYTHON, "src.bench.baselines", which, str(images), str(cores())])
    seconds = json.loads(done.strip().splitlines()[-1])
    return {"training": images / seconds["train_s"], "with validation": images / seconds["epoch_s"]}


def one_run(images: int) -> Measure:
    """Images/s of one run after its first epoch, through the whole stack, with its default threads."""
    with tempfile.TemporaryDirectory() as folder:
        _run([*_train(folder, images), f"epochs={EPOCHS}"])
        (metrics,) = Path(folder).glob("*/*/metrics.csv")
        rows = list(csv.DictReader(metrics.open(encoding="utf-8")))[1:]
    return {
        "training": statistics.harmonic_mean([float(row["images_per_second"]) for row in rows]),
        "with validation": images * len(rows) / sum(float(row["seconds"]) for row in rows),
    }


def sweep(images: int) -> Measure:
    """Images/s of a sweep of a run a core: reading, validation, tests, checkpoints and events included.

    From the first run's start to the last one's end, as their files have it. The launcher's own start,
    some seconds once a sweep, is left out, as it is for the baselines.
    """
    seeds = ",".join(map(str, range(cores())))
    with tempfile.TemporaryDirectory() as folder:
        _run([*_train(folder, SWEEP_SCALE * images), f"epochs={SWEEP_EPOCHS}", "-m", f"seed={seeds}"])
        began = min(path.stat().st_mtime for path in Path(folder).glob("*/*/config.yaml"))
        ended = max(path.stat().st_mtime for path in Path(folder).glob("*/*/results.json"))
    return {"with validation": cores() * SWEEP_EPOCHS * SWEEP_SCALE * images / (ended - began)}


def start_up() -> Measure:
    """Seconds of `--help`, of sweeps of 1 and 24 runs with next to no work, of one run more in a sweep."""
    help_s = _seconds([*PYTHON, "src.train", "--help"])
    grid = ["dropout=0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8", "lr=0.1,0.01,0.001"]
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as many:
        one_s, many_s = (
            _seconds([*_train(folder, 8), "limit_val=8", "limit_test=8", "epochs=1", "-m", *values])
            for folder, values in ((one, ["dropout=0.1"]), (many, grid))
        )
    return {"help_s": help_s, "one_s": one_s, "many_s": many_s, "another_run_s": (many_s - one_s) / 23}


def main() -> None:
    """Measure, print the tables, write outputs/bench/."""
    parser = argparse.ArgumentParser(prog="python -m src.bench", description=__doc__.split("\n\n", 1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=4_000, help="training images an epoch")
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that the later parts work")
    parser.add_argument(
        "--sweep",
        type=Path,
        default=Path("outputs/fashion_mnist"),
        help="a finished sweep, to weigh its files",
    )
    parser.add_argument("--only", choices=tuple(PARTS), help="one part instead of all")
    options = parser.parse_args()
    for name, part in PARTS.items():
        if options.only in (None, name):
            part(options)


def captions(options: argparse.Namespace) -> None:
    """The captioner's part."""
    comparisons = measure_captions(options.rounds, say=lambda line: print(line, flush=True))
    table = f"{_heading()} Medians of {options.rounds} rounds.\n\n{captions_table(comparisons)}"
    print(f"\n{table}")
    folder = Path("outputs/bench")
    write_atomically(folder / "captions.md", table)
    write_atomically(folder / "captions.json", to_json({"comparisons": as_rows(comparisons), **_where()}))
    print(f"Files: {folder}/captions.md, {folder}/captions.json")


def population(options: argparse.Namespace) -> None:
    """The population's part."""
    device, found = measure_population(options.rounds)
    table = f"{_heading()} Device: {device}. Medians of {options.rounds} rounds.\n\n{population_table(found)}"
    print(f"\n{table}")
    folder = Path("outputs/bench")
    write_atomically(folder / "population.md", table)
    content = {"device": device, "throughput": rates_as_rows(found), **_where()}
    write_atomically(folder / "population.json", to_json(content))
    print(f"Files: {folder}/population.md, {folder}/population.json")


def encoding(options: argparse.Namespace) -> None:
    """The encoder's part."""
    from src.bench import encoding as part

    images, size = (4, 64) if options.quick else (256, 256)
    found = part.measure_encoding(options.rounds, images, size=size)
    _keep("encoding", part.encoding_table(found), part.as_content(found), options.rounds)


def overheads(options: argparse.Namespace) -> None:
    """What Lightning, logging, checkpoints and Hydra cost."""
    from src.bench import overheads as part

    found = part.measure_overheads(
        options.rounds, 400 if options.quick else options.images, sweep=options.sweep
    )
    _keep("overheads", part.overheads_table(found), part.as_content(found), options.rounds)


def growth(options: argparse.Namespace) -> None:
    """Time and memory against size."""
    from src import figures
    from src.bench import growth as part
    from src.bench.growth_figure import growth_figure

    found = part.measure_growth(options.rounds, quick=options.quick, say=lambda line: print(line, flush=True))
    _keep("growth", part.growth_table(found), part.as_content(found), options.rounds)
    print(*figures.save(growth_figure(found), FOLDER / "growth"), sep="\n")


def floor(options: argparse.Namespace) -> None:
    """A step's time against what one core can do at best."""
    from src.bench import floor as part

    found = part.measure_floor(3 * options.rounds)
    _keep("floor", part.floor_table(found), part.as_content(found), 3 * options.rounds)


def memory(options: argparse.Namespace) -> None:
    """Features larger than the memory allowed: 300 MB in 200, then 5 GB in 1."""
    from src.bench import memory as part

    sizes = [(2_400, 200)] if options.quick else [(2_400, 200), (40_000, 1_000)]
    found = [part.measure_memory(images, limit_mb) for images, limit_mb in sizes]
    _keep("memory", part.memory_table(found), part.as_content(found), 1)


def precision(options: argparse.Namespace) -> None:
    """float32 and bf16-mixed over three seeds."""
    from src.bench import precision as part

    seeds, images, epochs = ((42,), 400, 1) if options.quick else ((42, 43, 44), 10_000, 3)
    found = part.measure_precision(seeds, images=images, epochs=epochs)
    _keep("precision", part.precision_table(found), part.as_content(found), len(found[0].seeds))


def _keep(part: str, table: str, content: dict, rounds: int) -> None:
    """Print a part's table and write it beside its numbers."""
    text = f"{_heading_of(part)} {rounds} rounds or seeds; ratios within one (lowest to highest).\n\n{table}"
    print(f"\n{text}")
    write_atomically(FOLDER / f"{part}.md", text)
    write_atomically(FOLDER / f"{part}.json", to_json({**content, **_where()}))
    print(f"Files: {FOLDER}/{part}.md, {FOLDER}/{part}.json")


def classify(options: argparse.Namespace) -> None:
    """The classifier's part."""
    contenders: dict[str, Callable[[], Measure]] = {
        "plain": lambda: baseline("plain", options.images),
        "lightning": lambda: baseline("lightning", options.images),
        "one run": lambda: one_run(options.images),
        "sweep": lambda: sweep(options.images),
    }
    rounds: list[dict[str, Measure]] = []
    for index in range(options.rounds):
        rounds.append({})
        for name, measure in contenders.items():
            rounds[-1][name] = measure()
            rates = ", ".join(f"{what} {rate:.0f} images/s" for what, rate in rounds[-1][name].items())
            print(f"round {index + 1}/{options.rounds}  {name:10} {rates}", flush=True)
    starts = [start_up() for _ in range(3)]
    table = report(rounds, starts, options.images)
    print(f"\n{table}")
    folder = Path("outputs/bench")
    write_atomically(folder / "bench.md", table)
    write_atomically(folder / "bench.json", to_json({"rounds": rounds, "start_up": starts, **_where()}))
    print(f"Files: {folder}/bench.md, {folder}/bench.json")


def report(rounds: list[dict[str, Measure]], starts: list[Measure], images: int) -> str:
    """The measurements as Markdown."""

    def rate(name: str, what: str) -> str:
        return f"{statistics.median(measured[name][what] for measured in rounds):,.0f}"

    def ratio(name: str, other: str, what: str) -> str:
        ratios = sorted(measured[name][what] / measured[other][what] for measured in rounds)
        return f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"

    def start(what: str) -> str:
        return f"{statistics.median(measured[what] for measured in starts):.2f}"

    whole, training = "with validation", "training"
    lines = [
        f"{_heading()} Batch 8, {images:,} "
        f"training and {images // 5:,} validation images an epoch, medians of {len(rounds)} rounds, "
        "ratios within a round (lowest to highest).",
        "",
        "| what | images/s | against (a) | target |",
        "|---|---|---|---|",
        f"| (a) plain PyTorch loop, all threads | {rate('plain', training)} | 1 | |",
        f"| (b) Lightning with its defaults, all threads | {rate('lightning', training)} "
        f"| {ratio('lightning', 'plain', training)} | |",
        f"| one run of ours, training | {rate('one run', training)} "
        f"| {ratio('one run', 'plain', training)} | 1.25 |",
        f"| (a) with validation | {rate('plain', whole)} | 1 | |",
        f"| our sweep, a run a core, with validation, tests and files | {rate('sweep', whole)} "
        f"| {ratio('sweep', 'plain', whole)} | 2.5 |",
        "",
        "| start-up | seconds | target |",
        "|---|---|---|",
        f"| `python -m src.train --help` | {start('help_s')} | 2 |",
        f"| a sweep of 1 run without work | {start('one_s')} | |",
        f"| a sweep of 24 runs without work | {start('many_s')} | |",
        f"| what a run without work adds: their difference / 23 | {start('another_run_s')} | 0.5 |",
        "",
    ]
    return "\n".join(lines)


def _train(folder: str, images: int) -> list[str]:
    limits = [f"limit_train={images}", f"limit_val={images // 5}", f"limit_test={images // 5}"]
    return [*PYTHON, "src.train", f"output_dir={folder}", "accelerator=cpu", "progress=false", *limits]


def _seconds(command: list[str]) -> float:
    """A command's wall time."""
    began = time.perf_counter()
    _run(command)
    return time.perf_counter() - began


def _heading() -> str:
    return _heading_of("")


def _run(command: list[str]) -> str:
    """A command's standard output.

    Raises:
        SystemExit: it failed; its last lines are shown.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ})
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n" + "\n".join(done.stderr.splitlines()[-10:]))
    return done.stdout


PARTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "classify": classify,
    "floor": floor,
    "captions": captions,
    "population": population,
    "encoding": encoding,
    "overheads": overheads,
    "growth": growth,
    "memory": memory,
    "precision": precision,
}

if __name__ == "__main__":
    guard_streams()
    main()
