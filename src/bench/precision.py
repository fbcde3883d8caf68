"""The precision's part of `make bench`: the classifier in float32 and in bf16-mixed, over seeds, on a CPU.

Every run is the command that a person would give, `python -m src.train precision=bf16-mixed accelerator=cpu`,
on fewer images and epochs; both formats of a seed run one after the other.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from src.bench.rounds import middle_and_range

FORMATS = ("32-true", "bf16-mixed")


@dataclass
class Formats:
    """Results of both formats, a value a seed, by format.

    Attributes:
        batch: images an optimizer step.
        validation, test: accuracies after the last epoch.
        rate: training images/s.
    """

    batch: int
    seeds: list[int]
    validation: dict[str, list[float]]
    test: dict[str, list[float]]
    rate: dict[str, list[float]]


def measure_precision(
    seeds: Sequence[int] = (42, 43, 44),
    *,
    batches: Sequence[int] = (8, 256),
    images: int = 10_000,
    epochs: int = 3,
    settings: Sequence[str] = (),
) -> list[Formats]:
    """Every seed in both formats, for each batch size.

    Args:
        settings: further words of the command, e.g. another data set.

    Raises:
        SystemExit: a run did not end well.
    """
    found = []
    for batch in batches:
        validation, test, rate = (dict[str, list[float]]((name, []) for name in FORMATS) for _ in range(3))
        one = Formats(batch, list(seeds), validation, test, rate)
        for seed in seeds:
            for name in FORMATS:
                # The learning rate of the protocol suits batch 8; beyond, it grows as the batch does, to 0.1.
                lr = min(0.1, 0.01 * batch / 8)
                own = [f"precision={name}", f"seed={seed}", f"batch_size={batch}", f"lr={lr}"]
                results = one_run([*own, f"limit_train={images}", f"epochs={epochs}", *settings])
                one.validation[name].append(results["val_acc"])
                one.test[name].append(results["test_acc"])
                one.rate[name].append(results["images_per_second"])
        found.append(one)
    return found


def one_run(words: Sequence[str]) -> dict:
    """results.json of the command with these words, on a CPU.

    Raises:
        SystemExit: it did not end well.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "src.train", *words, "accelerator=cpu", "progress=false"]
        done = subprocess.run([*command, f"output_dir={folder}"], capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n" + "\n".join(done.stderr.splitlines()[-10:]))
        (path,) = Path(folder).glob("*/*/results.json")
        return json.loads(path.read_text(encoding="utf-8"))


def differences(found: Formats) -> list[float]:
    """bf16's test accuracy less float32's, a value a seed."""
    exact, coarse = (found.test[name] for name in FORMATS)
    return [ours - base for ours, base in zip(coarse, exact, strict=True)]


def precision_table(found: Sequence[Formats]) -> str:
    """Markdown: accuracies, their difference within a seed, speed."""
    lines = [
        "| batch | format | validation accuracy | test accuracy | test less 32-true's | images/s "
        "| times as fast |",
        "|---:|---|---|---|---|---|---|",
    ]
    for one in found:
        exact, coarse = (one.rate[name] for name in FORMATS)
        ratios = [ours / base for ours, base in zip(coarse, exact, strict=True)]
        for name in FORMATS:
            last = name == FORMATS[1]
            lines.append(
                f"| {one.batch} | {name} | {_mean(one.validation[name])} | {_mean(one.test[name])} "
                f"| {_mean(differences(one), sign=True) if last else ''} "
                f"| {statistics.median(one.rate[name]):,.0f} | {middle_and_range(ratios) if last else 1} |"
            )
    verdicts = [_verdict(one) for one in found]
    return "\n".join([*lines, "", " ".join(verdicts), ""])


def _verdict(one: Formats) -> str:
    exact, coarse = (statistics.median(one.rate[name]) for name in FORMATS)
    faster = f"{coarse / exact:.2f} times as fast as float32"
    gap = differences(one)
    spread = statistics.stdev(one.test[FORMATS[0]]) if len(one.seeds) > 1 else 0.0
    size = "within" if abs(statistics.fmean(gap)) <= spread else "beyond"
    return (
        f"At batch {one.batch} bf16-mixed is {faster}, its difference {size} one standard deviation of seeds."
    )


def _mean(values: Sequence[float], sign: bool = False) -> str:
    form = "+.4f" if sign else ".4f"
    spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):{form}}{spread}"


def as_content(found: Sequence[Formats]) -> dict:
    """For a JSON file."""
    return {"batches": [asdict(one) for one in found]}
