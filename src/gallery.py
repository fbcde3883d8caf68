"""Captions of several runs on the same test images: `python -m src.gallery RUN RUN images=30`."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig

from src.config.settings import ACCELERATORS, setting
from src.entry_point import UserError, entry_point

logger = logging.getLogger("src.gallery")  # __name__ may be __main__


@dataclass
class GallerySettings:
    """Settings of `python -m src.gallery`."""

    runs: list[str] = setting(
        "captioners: checkpoints, or runs' or sweeps' folders; words without = are runs, too"
    )
    images: int = setting("test images, evenly spaced: none is chosen by its score", default=30, at_least=1)
    output: str = setting("folder for gallery.html", default="outputs/gallery")
    trust: list[str] = setting("packages whose classes the checkpoints may name", default=[])
    accelerator: str = setting(
        "where to compute; auto takes a GPU if there is one", default="auto", choices=ACCELERATORS
    )


@entry_point("gallery", GallerySettings, positional="runs")
def main(cfg: DictConfig) -> None:
    """Show what several captioners write for the same test images, with attention and references, on a page.

    The images are those of the first run's data.
    """
    import numpy as np
    import torch

    from src.captioning.attention_maps import scaled
    from src.captioning.gallery import IMAGE_SIDE, GalleryItem, write_gallery
    from src.captioning.metrics import sentence_bleu4
    from src.captioning.predict import CaptionPredictor
    from src.captioning.task import test_images
    from src.images import read_rgb
    from src.run.environment import device_of
    from src.run.trained import load_trained

    runs = [load_trained(run, cfg.trust) for run in cfg.runs]
    if others := [str(run.path) for run in runs if run.task != "caption"]:
        raise UserError(f"runs: {', '.join(others)} is no captioner")
    every = test_images(runs[0].folder, cfg.trust)
    rows = np.linspace(0, len(every) - 1, min(cfg.images, len(every))).round().astype(int)
    chosen = [every[row] for row in rows]
    items: list[list[GalleryItem]] = [[] for _ in chosen]
    notes = [f"{len(chosen)} of {len(every)} test images, evenly spaced: none is chosen by its score."]
    for run in runs:
        predictor = CaptionPredictor(run, device_of(cfg.accelerator))
        pictures = [read_rgb(image.path, value_range=predictor.value_range) for image in chosen]
        prepared = torch.stack([predictor.prepare(picture) for picture in pictures]).to(predictor.device)
        names = [f"{image.filename} · {run.name}" for image in chosen]
        thumbnails = [scaled(picture, IMAGE_SIDE) for picture in pictures]
        predictions = predictor.predict(names, prepared, thumbnails)
        for image, (_, _, card), of_image in zip(chosen, predictions, items, strict=True):
            score = sentence_bleu4(card.caption, image.captions)
            of_image.append(replace(card, references=image.captions, score=score, boxes=image.objects))
        notes += [f"{run.name}: {note}" for note in predictor.notes()]
    target = Path(cfg.output).expanduser() / "gallery.html"
    write_gallery(
        target, "Captions of the same test images", [item for several in items for item in several], notes
    )
    logger.info("File: %s", target)


if __name__ == "__main__":
    main()
