"""An exported model against PyTorch on real images, batches of 1, 3 and 32: the same captions, the same scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from src.captioning.predict import CaptionPredictor
from src.captioning.task import test_images
from src.classification.predict import LabelPredictor
from src.classification.task import data_of_run
from src.entry_point import UserError
from src.export.caption_onnx import Model
from src.images import find_images, read_rgb
from src.run.trained import Trained

BATCHES = (1, 3, 32)
BEAMS = (1, 3)  # and the run's own
TOLERANCE = 1e-4  # of scores and log-probabilities


class ExportDiffers(UserError):
    """An exported model gives other results than PyTorch."""


def predictor_of(trained: Trained, encoder_weights: str | None = None) -> Any:
    """What the exported model is compared with: prediction by torch, on the CPU."""
    device = torch.device("cpu")
    if trained.task == "classify":
        return LabelPredictor(trained, device)
    return CaptionPredictor(trained, device, encoder_weights=encoder_weights, fast=False)


def real_images(trained: Trained, predictor: Any, inputs: Sequence[str], trust: Sequence[str] = ()) -> Tensor:
    """32 images (32, C, H, W) in uint8: of the files and folders in `inputs`, else the run's own test images.

    Raises:
        UserError: they cannot be read.
    """
    if trained.task == "classify" and not inputs:
        images, _, places = data_of_run(trained.folder, trust).splits["test"]
        found = images[places[:32]]
    else:
        own = [] if inputs else test_images(trained.folder, trust)
        paths = find_images(inputs) if inputs else [image.path for image in own]
        read = [read_rgb(path, value_range=predictor.value_range) for path in paths[:32]]
        found = torch.stack([predictor.prepare(image) for image in read])
    return found[torch.arange(32) % len(found)]


def check_parity(model: Model, predictor: Any, images: Tensor) -> float:
    """The greatest difference of scores between an exported model and prediction by torch.

    Args:
        predictor: of `predictor_of`.
        images: (32, C, H, W) in uint8.

    Raises:
        ExportDiffers: a label or a caption is another one, or a score differs by more than TOLERANCE.
    """
    compare = _labels if isinstance(predictor, LabelPredictor) else _captions
    with torch.inference_mode():
        return max(compare(model, predictor, images[:batch]) for batch in BATCHES)


def _labels(model: Model, predictor: Any, images: Tensor) -> float:
    probabilities, places = predictor.module(images).softmax(1).max(1)
    expected = [(predictor.class_names[k], p) for k, p in zip(places, probabilities, strict=True)]
    return _compared([row[0] for row in model.labels(images.numpy(), top=1)], expected)


def _captions(model: Model, predictor: Any, images: Tensor) -> float:
    regions, worst = predictor.regions(images), 0.0
    for beam in sorted({*BEAMS, predictor.search["beam"]}):
        expected = [(" ".join(words), score) for words, score, _ in predictor.captions(regions, beam)]
        worst = max(worst, _compared(model.captions(images.numpy(), beam=beam), expected))
    return worst


def _compared(found: list[tuple[str, float]], expected: list[tuple[str, Any]]) -> float:
    differences = []
    for (text, score), (needed, its_score) in zip(found, expected, strict=True):
        differences.append(abs(score - float(its_score)))
        if text != needed or not differences[-1] <= TOLERANCE:
            raise ExportDiffers(
                f"in a batch of {len(found)} the exported model gives {text!r} ({score:g}), PyTorch {needed!r} "
                f"({its_score:g}; {TOLERANCE:g} is allowed): nothing was written"
            )
    return max(differences)
