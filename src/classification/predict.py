"""Label images with a trained classifier.

Dimension letters: B batch, C channels, H, W, K classes.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from src import page
from src.classification.datasets import FASHION_MNIST_CLASSES
from src.config.image_range import AUTO
from src.files import write_atomically
from src.predictions import PAGE_SIDE, Prediction
from src.run.trained import Trained

TOP = 3  # classes that are reported


class Label(NamedTuple):
    """A class of an image and its probability."""

    label: int
    name: str
    probability: float


class LabelPredictor:
    """A classifier that is ready to label images.

    Args:
        trained: a checkpoint's `Classifier`.
        device: where to compute.
        value_range: of deep images, see `src.images.read_image`.
        invert: see `prepare`.
    """

    columns: tuple[str, ...] = ("file", "most probable", "second", "third")

    def __init__(
        self, trained: Trained, device: torch.device, value_range: str | None = None, invert: bool = False
    ) -> None:
        module: Any = trained.module.to(device)
        self.module, self.device, self.invert = module, device, invert
        self.size: tuple[int, int, int] = tuple(module.hparams["image_size"])
        self.prepare = partial(prepare, size=self.size, invert=invert)
        self.class_names: list[str] = module.hparams["class_names"]
        self.value_range = value_range or AUTO

    @torch.inference_mode()
    def predict(
        self, names: Sequence[str], images: Tensor, thumbnails: Sequence[Image.Image | None]
    ) -> list[Prediction]:
        """The most probable classes of images (B, C, H, W)."""
        scores = self.module(images)  # (B, K)
        best = scores.softmax(1).topk(min(TOP, scores.shape[1]))
        rows = []
        for name, image, thumbnail, classes, values in zip(
            names, images.cpu(), thumbnails, best.indices.tolist(), best.values.tolist(), strict=True
        ):
            labels = [Label(k, self.class_names[k], value) for k, value in zip(classes, values, strict=True)]
            card = None
            if thumbnail is not None:
                seen = Image.fromarray(image.permute(1, 2, 0).squeeze(2).numpy())  # (H, W) or (H, W, 3)
                pictures = {"picture": page.photo(thumbnail, PAGE_SIDE), "seen": page.drawing(seen)}
                card = {"filename": name, "bars": labels, **pictures}
            texts = [f"{label.probability:4.0%} {label.name}" for label in labels]
            rows.append(Prediction((name, *texts), (name, *labels), card))
        return rows

    def notes(self) -> list[str]:
        """What the classifier sees."""
        channels, height, width = self.size
        seen = "in colour, resized to" if channels == 3 else "in grey, fitted on black into"
        found = [f"The classifier sees an image {seen} {height}x{width} pixels{', inverted' * self.invert}."]
        if tuple(self.class_names) == FASHION_MNIST_CLASSES:
            found.append("Fashion-MNIST shows light objects on black: invert=true is for dark ones on light.")
        return found

    def write(self, folder: Path, rows: Sequence[Prediction], notes: Sequence[str]) -> list[Path]:
        """Write predictions.csv and gallery.html."""
        table, gallery = folder / "predictions.csv", folder / "gallery.html"
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        places = ["", "_2", "_3"][: len(rows[0].record) - 1]
        writer.writerow(
            ["file", *(f"{column}{n}" for n in places for column in ("label", "class", "probability"))]
        )
        for row in rows:
            name, *labels = row.record
            cells = [cell for k, label, probability in labels for cell in (k, label, f"{probability:.6f}")]
            # File names may hold bytes that are no UTF-8.
            writer.writerow([name.encode("utf-8", "backslashreplace").decode(), *cells])
        write_atomically(table, file.getvalue())
        cards = [row.card for row in rows if row.card is not None]
        context = {"title": "Labels", "notes": notes, "cards": cards}
        write_atomically(gallery, page.render("classification/templates/labels.html.j2", **context))
        return [table, gallery]


def prepare(image: Image.Image, size: tuple[int, int, int], invert: bool) -> Tensor:
    """An RGB image as a uint8 tensor (C, H, W).

    In colour it is resized, as an image folder's images are. In grey the whole of it is fitted on black,
    centred, as Fashion-MNIST's images were (Xiao, Rasul, Vollgraf 2017, section 2; without their trimming and
    sharpening).

    Args:
        image: of any size; one of the right size already keeps its pixels.
        size: (C, H, W).
        invert: turn dark on light into light on dark.
    """
    channels, height, width = size
    image = ImageOps.invert(image) if invert else image
    if channels == 3:
        colours = image.resize((width, height), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(colours)).permute(2, 0, 1)  # (H, W, C) -> (C, H, W)
    # a longer or thinner one would be fitted to a width or height of 0
    sides = (
        max(image.width, math.ceil(image.height / height)),
        max(image.height, math.ceil(image.width / width)),
    )
    grey = ImageOps.pad(image.convert("L").resize(sides), (width, height), Image.Resampling.BILINEAR, color=0)
    return torch.from_numpy(np.array(grey)).unsqueeze(0)  # (H, W) -> (1, H, W)
