"""Seeds that are functions of a run's seed and the epoch alone, so that a resumed run repeats the epoch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def epoch_order(size: int, seed: int, epoch: int) -> Tensor:
    """The shuffled indices (size,) of an epoch, the same on every device."""
    return torch.randperm(size, generator=torch.Generator().manual_seed(epoch_seed(seed, epoch, "order")))


def epoch_seed(seed: int, epoch: int, purpose: str) -> int:
    """A seed for one purpose in one epoch; streams of different purposes do not meet."""
    entropy = [seed, epoch, *purpose.encode()]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
