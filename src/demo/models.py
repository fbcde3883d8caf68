"""Trained models for the demo: an image in, what the page shows out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from PIL import Image, ImageStat

from src import page
from src.captioning.attention_maps import top_of_scale
from src.captioning.predict import Caption, CaptionPredictor
from src.classification.predict import LabelPredictor, prepare
from src.entry_point import UserError
from src.run.environment import device_error, device_of
from src.run.trained import Trained, load_trained


class LabelModel:
    """A classifier: the most probable classes, and the image as the network sees it."""

    task = "classify"

    def __init__(self, trained: Trained, device: torch.device) -> None:
        self.predictor = LabelPredictor(trained, device)
        self.is_grey = self.predictor.size[0] == 1

    def __call__(self, image: Image.Image, *, invert: bool) -> dict[str, Any]:
        tensor = prepare(image, self.predictor.size, invert and self.is_grey).to(self.predictor.device)
        (row,) = self.predictor.predict([""], tensor.unsqueeze(0), [image])
        bars = [{"name": bar.name, "probability": bar.probability} for bar in row.card["bars"]]
        return {"labels": bars, "seen": row.card["seen"].uri}


class CaptionModel:
    """A captioner: a caption by greedy and one by beam search, each with its words' attention.

    The decoder's own captions, also of a run whose test chose them by consensus.
    """

    task = "caption"
    is_grey = False

    def __init__(self, trained: Trained, device: torch.device, weights: str | None, beam: int) -> None:
        self.predictor = CaptionPredictor(trained, device, encoder_weights=weights)
        self.beam = beam

    def __call__(self, image: Image.Image, *, invert: bool) -> dict[str, Any]:
        tensor = self.predictor.prepare(image).to(self.predictor.device)
        regions = self.predictor.regions(tensor.unsqueeze(0))
        found = {beam: self.predictor.captions(regions, beam)[0] for beam in (1, self.beam)}
        return {"grid": self.predictor.grid, "captions": [_shown(*each) for each in found.items()]}


def _shown(beam: int, caption: Caption) -> dict[str, Any]:
    """A caption as JSON; attention (T, L), 1 at the top of the scale, None without attention."""
    attention = None
    if caption.alphas is not None and caption.words:
        scaled = caption.alphas / top_of_scale(caption.alphas)
        attention = scaled[: len(caption.words)].round(3).tolist()
    search = "greedy" if beam == 1 else f"{beam} beams"
    return {"search": search, "words": caption.words, "score": caption.score, "attention": attention}


def load_models(checkpoints: Sequence[Path], cfg: DictConfig) -> list[tuple[str, LabelModel | CaptionModel]]:
    """The models of checkpoints, each with its name, warm.

    Raises:
        UserError: one cannot be loaded.
    """
    if error := device_error(cfg.accelerator):
        raise UserError(error)
    device = device_of(cfg.accelerator)
    found: list[tuple[str, LabelModel | CaptionModel]] = []
    for path in checkpoints:
        trained = load_trained(str(path), cfg.trust)
        is_captioner = trained.task == "caption"
        model: LabelModel | CaptionModel = (
            CaptionModel(trained, device, cfg.encoder_weights, cfg.beam)
            if is_captioner
            else LabelModel(trained, device)
        )
        model(Image.new("RGB", (64, 64)), invert=False)  # the first call is several times slower
        found.append((str(trained.name), model))
    return found


def hidden(image: Image.Image, mask: Image.Image) -> Image.Image:
    """The image with its mean colour wherever the mask, scaled to its size, is bright."""
    mean = tuple(round(value) for value in ImageStat.Stat(image).mean)
    cover = mask.convert("L").resize(image.size, Image.Resampling.BILINEAR).point(lambda v: 255 * (v > 127))
    return Image.composite(Image.new("RGB", image.size, mean), image, cover)


def picture(image: Image.Image) -> str:
    """The image as a data URI for the page, at most 640 pixels wide and high."""
    return page.photo(image, 640).uri
