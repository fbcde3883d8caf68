"""An exported model against PyTorch on real images, batches of 1, 3 and 32: the same captions, the same scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from src.build import build, refuse_untrusted
from src.captioning.encoder import preprocess
from src.captioning.search import decode
from src.captioning.task import NOT_ARGUMENTS
from src.classification.predict import prepare
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


def real_images(trained: Trained, inputs: list[str]) -> Tensor:
    """32 images (32, C, H, W) in uint8: of the files and folders in `inputs`, else the run's own test images.

    Raises:
        UserError: there are none.
    """
    known, folder = trained.module.hparams, trained.path.absolute().parent.parent
    if not inputs and not (folder / "config.yaml").is_file():
        raise UserError(f"{trained.path} has no run around it that names its data: give images as inputs")
    if trained.task == "classify":
        size = tuple(known["image_size"])
        if inputs:
            found = torch.stack([prepare(read_rgb(path), size, False) for path in find_images(inputs)[:32]])
        else:
            images, _, places = data_of_run(folder).splits["test"]
            found = images[places[:32]].contiguous()
    else:
        paths = find_images(inputs) if inputs else _test_images(folder)
        options = {"value_range": known["encoder"].get("value_range", "auto")}
        size = known["encoder"]["size"]
        found = torch.stack([preprocess(read_rgb(path, **options), size) for path in paths[:32]])
    return found[torch.arange(32) % len(found)]


def _test_images(folder: Path) -> list[Path]:
    data: Any = OmegaConf.to_container(OmegaConf.load(folder / "config.yaml").data, resolve=True)
    refuse_untrusted(data)
    images = build({key: value for key, value in data.items() if key not in NOT_ARGUMENTS["data"]})
    return [image.path for image in images if image.split == "test"] or [image.path for image in images]


def check_parity(model: Model, module: Any, encode: nn.Module | None, images: Tensor) -> float:
    """The greatest difference of scores between an exported model and the module that it was made of.

    Args:
        encode: a captioner's encoder graph's network.
        images: (32, C, H, W) in uint8.

    Raises:
        ExportDiffers: a label or a caption is another one, or a score differs by more than TOLERANCE.
    """
    compare: Any = _labels if encode is None else _captions
    with torch.inference_mode():
        return max(compare(model, module, encode, images[:batch]) for batch in BATCHES)


def _labels(model: Model, module: Any, _: None, images: Tensor) -> float:
    expected = module(images).softmax(1)
    names = [module.hparams["class_names"][k] for k in expected.argmax(1)]
    found = model.labels(images.numpy(), top=1)
    return _compared([label for ((label, _),) in found], names, [p for ((_, p),) in found], expected.amax(1))


def _captions(model: Model, module: Any, encode: Any, images: Tensor) -> float:
    worst, known = 0.0, module.hparams
    search = {"max_steps": known["max_words"], "length_penalty": known["length_penalty"]}
    regions = torch.cat([encode(image) for image in images.split(1)])
    for beam in sorted({*BEAMS, known["beam"]}):
        expected = decode(module.decoder, regions, beam=beam, **search)
        found = model.captions(images.numpy(), beam=beam)
        texts = [" ".join(module.vocabulary.decode(tokens)) for tokens in expected.tokens]
        worst = max(
            worst, _compared([text for text, _ in found], texts, [s for _, s in found], expected.scores)
        )
    return worst


def _compared(found: list[str], expected: list[str], scores: Any, needed: Any) -> float:
    for place, (one, other) in enumerate(zip(found, expected, strict=True)):
        if one != other:
            raise ExportDiffers(
                f"the exported model gives {one!r} for image {place} of a batch of {len(found)}, PyTorch {other!r}: "
                "nothing was written"
            )
    difference = float(np.abs(np.asarray(scores) - np.asarray(needed)).max())
    if not difference <= TOLERANCE:
        raise ExportDiffers(
            f"scores of the exported model differ from PyTorch's by {difference:.2g} in a batch of {len(found)}, more "
            f"than {TOLERANCE:g}: nothing was written"
        )
    return difference
