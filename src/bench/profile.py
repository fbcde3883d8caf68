"""`make profile`: see `main`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from src.config.settings import setting
from src.entry_point import entry_point, logger


@dataclass
class ProfileSettings:
    """See `main`."""

    output: str = setting("folder of the traces", default="outputs/profile")


@entry_point("bench.profile", ProfileSettings)
def main(cfg: DictConfig) -> None:
    """Write a trace of each hot path, for https://ui.perfetto.dev, with Python's stacks."""
    import torch
    from torch.profiler import profile

    from src.bench import captions
    from src.classification.networks import ConvNet
    from src.classification.sgd import sgd_steps

    network = ConvNet(0.3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images, labels = torch.rand(128, 1, 28, 28), torch.randint(0, 10, (128,))
    paths = {
        "classifier": lambda: sgd_steps(network, images, labels, batch=8, lr=0.01),
        "captioner": captions.training_ways(49, 1280)[captions.OURS],
        "decoding": captions.decoding_ways(beam=5, images=8)[captions.OURS],
    }
    Path(cfg.output).mkdir(parents=True, exist_ok=True)
    for name, path in paths.items():
        path()  # warms up
        with profile(with_stack=True) as found:
            path()
        found.export_chrome_trace(str(Path(cfg.output) / f"{name}.json"))
        logger.info("%s/%s.json", cfg.output, name)


if __name__ == "__main__":
    main()
