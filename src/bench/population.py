"""The population's part of `make bench`: the report's 24 networks at batch 8, together and one at a time.

The images are random: what is measured does not depend on what they show. All ways run in this process,
by turns, on the device that training would take.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from src.classification.network import ConvNet
from src.classification.sgd import sgd_steps
from src.devices import device_name, device_of
from src.population.files import stack_of
from src.population.training import Knobs, Population
from src.provenance import cores

DROPOUTS, RATES = [0.1 * tenth for tenth in range(1, 9)], [0.1, 0.01, 0.001]  # the report's Table 2
BATCH = 8
STEPS = {"cpu": 8, "cuda": 256}  # of the population in one measurement


@dataclass
class Throughput:
    """Images a second, counted once for every network that sees them, a value a round."""

    what: str
    rates: list[float]


def measure_population(rounds: int = 5, threads: int | None = None) -> tuple[str, list[Throughput]]:
    """The device's name and each way's throughput; a round runs each once, after one that warms up."""
    device = device_of("auto")
    before = torch.get_num_threads()
    torch.set_num_threads(threads or cores())  # of the population
    try:
        steps = STEPS.get(device.type, STEPS["cpu"])
        grid = [Knobs(dropout, lr, 42) for dropout, lr in itertools.product(DROPOUTS, RATES)]
        apart = [Knobs(knob.dropout, knob.lr, seed) for seed, knob in enumerate(grid)]
        images = torch.randint(0, 256, (steps * BATCH, 1, 28, 28), dtype=torch.uint8, device=device)
        labels = torch.randint(0, 10, (len(images),), device=device)
        ways: dict[str, tuple[Callable[[], object], int]] = {
            "one network after another": (serial(device, images, labels), len(images)),
            f"a population of {len(grid)}": (together(grid, device, images, labels), len(grid) * len(images)),
            f"a population of {len(grid)}, every seed another": (
                together(apart, device, images, labels),
                len(apart) * len(images),
            ),
        }
        found = [Throughput(what, []) for what in ways]
        for index in range(rounds + 1):
            for throughput, (run, seen) in zip(found, ways.values(), strict=True):
                seconds = _seconds(run, device)
                if index:
                    throughput.rates.append(seen / seconds)
    finally:
        torch.set_num_threads(before)
    return device_name(device), found


def together(grid: list[Knobs], device: torch.device, images: Tensor, labels: Tensor) -> Callable[[], object]:
    """An epoch of a population over the images, everything but files included."""
    parts = [dict(ConvNet(knob.dropout).named_parameters()) for knob in grid]
    leaves = {name: weight.detach().requires_grad_() for name, weight in stack_of(parts, device).items()}
    population = Population(grid, leaves)

    def epoch() -> None:
        for _ in population.train_epoch(images, labels, epoch=0, batch=BATCH, chunk=64 * BATCH):
            pass

    return epoch


def serial(device: torch.device, images: Tensor, labels: Tensor) -> Callable[[], object]:
    """Steps of one network as a run that is alone takes them, without Lightning."""
    threads = torch.get_num_threads()
    network = ConvNet(0.3).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, fused=True)

    def steps() -> None:
        pixels = images.float().div_(256)
        if device.type == "cpu":
            torch.set_num_threads(1)  # as a run of so small batches takes
            sgd_steps(network, pixels, labels, BATCH, lr=0.01)
            torch.set_num_threads(threads)
            return
        for x, y in zip(pixels.split(BATCH), labels.split(BATCH), strict=True):
            loss = F.cross_entropy(network(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return steps


def population_table(found: list[Throughput]) -> str:
    """Markdown: medians, and ratios to the first way within a round (lowest to highest)."""
    lines = ["| what | images/s | times one after another |", "|---|---|---|"]
    for throughput in found:
        ratios = sorted(ours / base for ours, base in zip(throughput.rates, found[0].rates, strict=True))
        lines.append(
            f"| {throughput.what} | {statistics.median(throughput.rates):,.0f} "
            f"| {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
        )
    return "\n".join([*lines, ""])


def as_rows(found: list[Throughput]) -> list[dict]:
    """For a JSON file."""
    return [asdict(throughput) for throughput in found]


def _seconds(run: Callable[[], object], device: torch.device) -> float:
    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    wait()
    began = time.perf_counter()
    run()
    wait()
    return time.perf_counter() - began
