"""`make bench`: see `main`."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from omegaconf import DictConfig

from src.config.settings import setting
from src.entry_point import entry_point

PARTS = {  # module and function
    "classify": ("classification", "classifier"),
    "start_up": ("classification", "start_up"),
    "captions": ("captions", "captioner"),
    "encoding": ("captions", "encoding"),
}


@dataclass
class BenchSettings:
    """See `main`."""

    only: str | None = setting("one part instead of all", default=None, choices=tuple(PARTS))
    rounds: int = setting("rounds; each runs every contender once", default=5, at_least=1)
    images: int = setting("training images an epoch of the classifier", default=2000, at_least=8)


@entry_point("bench", BenchSettings, positional="only")
def main(cfg: DictConfig) -> None:
    """Measure speed against the straightforward way, side by side; take it on a quiet machine."""
    from src.bench.rounds import show  # late: --help needs none of it

    for part in [cfg.only] if cfg.only else PARTS:
        module, function = PARTS[part]
        measure = getattr(importlib.import_module(f"src.bench.{module}"), function)
        show(part, measure(cfg), cfg.rounds)


if __name__ == "__main__":
    main()
