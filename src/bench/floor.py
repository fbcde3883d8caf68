"""How near the classifier's step at batch 8 is to what one core can do: arithmetic and memory traffic.

The counts are those of the protocol's network at 28x28 (docs/PERFORMANCE.md, "The floor").
"""

from __future__ import annotations

import statistics
from dataclasses import asdict, dataclass
from typing import Any

import torch

from src.bench.rounds import Way, by_turns
from src.classification.networks import ConvNet
from src.classification.sgd import sgd_steps

BATCH, STEPS = 8, 64
WEIGHTS = 769_930
# Multiply-adds of an image forward: two convolutions, three dense layers.
MULTIPLY_ADDS = (28 * 28 * 16 * 9, 12 * 12 * 32 * 144, 1152 * 600 + 600 * 120 + 120 * 10)
# Backward takes as many again for the weights and for the inputs, less the first layer's input.
FLOP = BATCH * 2 * (3 * sum(MULTIPLY_ADDS) - MULTIPLY_ADDS[0])
BYTES = 4 * 4 * WEIGHTS  # read forward, read for the inputs' gradients, read and written by the step
SQUARE = 1024  # side of the product that shows a core's arithmetic


@dataclass
class Floor:
    """Medians over rounds, one thread."""

    flops: float  # FLOP/s of a large product in float32
    bandwidth: float  # bytes/s of copying as many values as there are weights, read and written
    step: float  # seconds

    @property
    def arithmetic(self) -> float:
        """Seconds that a step's arithmetic takes at least."""
        return FLOP / self.flops

    @property
    def traffic(self) -> float:
        """Seconds that moving the weights takes at least."""
        return BYTES / self.bandwidth


def measure_floor(rounds: int = 15) -> Floor:
    """Measure by turns, so that a machine whose speed drifts drifts for all; torch's threads as before."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        square = torch.rand(SQUARE, SQUARE)
        values, copied = torch.rand(WEIGHTS), torch.empty(WEIGHTS)
        network = ConvNet(0.3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        pixels, labels = torch.rand(BATCH * STEPS, 1, 28, 28), torch.arange(BATCH * STEPS) % 10
        product = torch.empty_like(square)
        ways: dict[str, Way] = {
            "product": lambda: torch.mm(square, square, out=product),
            "copy": lambda: [copied.copy_(values) for _ in range(20)],
            "steps": lambda: sgd_steps(network, pixels, labels, BATCH, lr=0.01),
        }
        times = by_turns(ways, rounds)
    finally:
        torch.set_num_threads(threads)
    middle = {name: statistics.median(seconds) for name, seconds in times.items()}
    return Floor(
        2 * SQUARE**3 / middle["product"], 20 * 2 * 4 * WEIGHTS / middle["copy"], middle["steps"] / STEPS
    )


def floor_table(found: Floor) -> str:
    """Markdown."""
    floor = max(found.arithmetic, found.traffic)
    return "\n".join(
        [
            "| one core, float32 | |",
            "|---|---|",
            f"| a product of {SQUARE} x {SQUARE}, GFLOP/s | {found.flops / 1e9:.1f} |",
            f"| copying {WEIGHTS:,} values, GB/s | {found.bandwidth / 1e9:.1f} |",
            f"| arithmetic of a step, {FLOP / 1e6:.0f} MFLOP, microseconds | {found.arithmetic * 1e6:,.0f} |",
            f"| traffic of a step, {BYTES / 1e6:.1f} MB, microseconds | {found.traffic * 1e6:,.0f} |",
            f"| a step, microseconds | {found.step * 1e6:,.0f} |",
            f"| a step, times the larger of the two | {found.step / floor:.2f} |",
            "",
        ]
    )


def as_content(found: Floor) -> dict[str, Any]:
    """For floor.json."""
    return {**asdict(found), "arithmetic": found.arithmetic, "traffic": found.traffic}
