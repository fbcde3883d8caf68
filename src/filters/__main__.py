"""Draw a classifier's filters and what they answer to: `python -m src.filters outputs/fashion_mnist`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from src.config.settings import setting
from src.entry_point import UserError, entry_point
from src.findings import Picture

logger = logging.getLogger("src.filters")  # __name__ may be __main__


@dataclass
class FilterSettings:
    """Settings of `python -m src.filters`."""

    checkpoint: str = setting("of a classifier; or a run's or a sweep's folder")
    image: str | None = setting("draw the activation maps of this image", default=None)
    layer: str | None = setting(
        "convolution whose top training images are drawn (null: the second)", default=None
    )
    out: str = setting("folder for the pictures, as PNG and SVG", default="outputs/filters")
    trust: list[str] = setting("packages whose classes the checkpoint may name", default=[])


@entry_point("filters", FilterSettings, positional="checkpoint")
def main(cfg: DictConfig) -> None:
    """Draw kernels, activation maps, top activating training images and synthetic inputs of a classifier."""
    from src import figures

    for picture in _pictures(cfg):
        for path in figures.save(picture.figure, Path(cfg.out).expanduser() / picture.name):
            sys.stdout.write(f"{path}\n")


def _pictures(cfg: DictConfig) -> Iterator[Picture]:
    from src.classification.module import Classifier
    from src.classification.predict import prepare
    from src.classification.task import data_of_run
    from src.filters import pictures
    from src.filters.activations import convolutions
    from src.images import read_rgb
    from src.run.trained import load_trained

    trained = load_trained(cfg.checkpoint, cfg.trust)
    module = trained.module
    if not isinstance(module, Classifier) or not (layers := list(convolutions(module.network))):
        raise UserError(f"{trained.path} holds no classifier with 2-d convolutions, whose filters are drawn")
    layer = cfg.layer or layers[:2][-1]
    if layer not in layers:
        raise UserError(f"layer={layer}: the network's convolutions are {', '.join(layers)}")
    given = None if cfg.image is None else read_rgb(Path(cfg.image).expanduser())
    yield from pictures.kernel_pictures(module)
    if given is not None:
        image = prepare(given, module.hparams["image_size"], invert=False)
        yield pictures.map_picture(module, image, Path(cfg.image).name)
    yield pictures.synthetic_picture(module)
    if (trained.folder / "config.yaml").is_file():
        images, _, indices = data_of_run(trained.folder, cfg.trust).splits["train"]
        yield pictures.top_picture(module, layer, images[indices])
    else:
        logger.info("%s lies in no run's folder: its training images are unknown", trained.path)


if __name__ == "__main__":
    main()
