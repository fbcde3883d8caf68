"""Label images with a trained classifier.

Dimension letters: B batch, C channels, H, W, K classes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from src import page
from src.classification.datasets import FASHION_MNIST_CLASSES
from src.config.settings import AUTO
from src.files import write_atomically
from src.images import read_rgb
from src.predictions import PAGE_IMAGES, Prediction

TOP = 3  # classes that are reported
IMAGE_SIDE, INPUT_SIDE = 300, 96  # pixels on the page


class Label(NamedTuple):
    """A class of an image and its probability."""

    label: int
    name: str
    probability: float

    @property
    def text(self) -> str:
        return self.name if self.name == str(self.label) else f"{self.label} {self.name}"


class LabelPredictor:
    """A classifier that is ready to label images.

    Args:
        module: a `Classifier`.
        device: where to compute.
        invert: see `prepare`.
        value_range: of deep images, see `src.images.read_image`.
    """

    columns: tuple[str, ...] = ("most probable", "second", "third")

    def __init__(
        self, module: Any, device: torch.device, invert: bool = False, value_range: str = AUTO
    ) -> None:
        self.module, self.device = module.to(device), device
        self.size: tuple[int, int, int] = tuple(module.hparams["image_size"])
        self.class_names: list[str] = module.hparams["class_names"]
        self.invert, self.value_range = invert, value_range

    def prepare(self, image: Image.Image) -> Tensor:
        """As `prepare` below."""
        return prepare(image, self.size, self.invert)

    @torch.inference_mode()
    def predict(self, paths: Sequence[Path], images: Tensor) -> list[Prediction]:
        """The most probable classes of images (B, C, H, W)."""
        scores = self.module(images.to(self.device))  # (B, K)
        best = scores.softmax(1).topk(min(TOP, scores.shape[1]))
        rows = []
        for path, image, classes, values in zip(
            paths, images, best.indices.tolist(), best.values.tolist(), strict=True
        ):
            labels = [Label(k, self.class_names[k], value) for k, value in zip(classes, values, strict=True)]
            texts = [f"{label.probability:4.0%} {label.text}" for label in labels]
            cells = (*texts, *[""] * (TOP - len(texts)))
            rows.append(Prediction(path, cells, labels, image.permute(1, 2, 0).numpy()))
        return rows

    def notes(self) -> list[str]:
        """What the classifier sees."""
        channels, height, width = self.size
        seen = "in colour, resized to" if channels == 3 else "in grey, fitted on black into"
        found = [f"The classifier sees an image {seen} {height}x{width} pixels{', inverted' * self.invert}."]
        if tuple(self.class_names) == FASHION_MNIST_CLASSES:
            found.append("Fashion-MNIST shows light objects on black: invert=true is for dark ones on light.")
        return found

    def write(
        self, folder: Path, rows: Sequence[Prediction], names: dict[Path, str], notes: Sequence[str]
    ) -> list[Path]:
        """Write predictions.csv and gallery.html.

        Raises:
            BrokenImage: a shown image's file is no longer what it was.
        """
        table, gallery = folder / "predictions.csv", folder / "gallery.html"
        write_atomically(table, _csv(rows, names))
        cards = [self._card(row, names[row.path]) for row in rows[:PAGE_IMAGES]]
        context = {"title": "Labels", "notes": notes, "cards": cards, "ramp": "none"}
        write_atomically(gallery, page.render("classification/templates/labels.html.j2", **context))
        return [table, gallery]

    def _card(self, row: Prediction, name: str) -> dict[str, Any]:
        small = Image.fromarray(row.detail.squeeze())
        factor = max(1, INPUT_SIDE // max(small.size))
        large = small.resize((factor * small.width, factor * small.height), Image.Resampling.NEAREST)
        picture = page.photo(read_rgb(row.path, value_range=self.value_range), IMAGE_SIDE)
        return {
            "picture": picture,
            "filename": name,
            "bars": row.values,
            "seen": page.photo(large, INPUT_SIDE),
        }


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
    grey = image.convert("L")
    scale = min(height / grey.height, width / grey.width)
    fitted = grey.resize(
        (max(1, round(grey.width * scale)), max(1, round(grey.height * scale))), Image.Resampling.BILINEAR
    )
    whole = Image.new("L", (width, height))
    whole.paste(fitted, ((width - fitted.width) // 2, (height - fitted.height) // 2))
    return torch.from_numpy(np.array(whole)).unsqueeze(0)  # (H, W) -> (1, H, W)


def _csv(rows: Sequence[Prediction], names: dict[Path, str]) -> str:
    """A line an image: file, then label, class and probability of the best class, the second, the third."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    places = ["", *(f"_{place}" for place in range(2, len(rows[0].values) + 1))]
    columns = [f"{column}{place}" for place in places for column in ("label", "class", "probability")]
    writer.writerow(["file", *columns])
    for row in rows:
        cells = [cell for k, name, probability in row.values for cell in (k, name, f"{probability:.6f}")]
        # File names may hold bytes that are no UTF-8.
        writer.writerow([names[row.path].encode("utf-8", "backslashreplace").decode(), *cells])
    return file.getvalue()
