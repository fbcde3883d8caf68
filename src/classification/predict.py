"""Label own images with a trained classifier.

Dimension letters: B batch, H, W, K classes.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from src.classification.data import FASHION_MNIST_CLASSES
from src.classification.label_page import Bar, LabelledImage, write_page
from src.classification.module import Classifier
from src.files import write_atomically
from src.pixels import Remark, sentences
from src.reading import Skipped, read_batches
from src.trained import CheckpointError, Trained, rebuilt
from src.value_range import AUTO

TOP = 3  # classes that are reported


@dataclass(frozen=True)
class Guess:
    """A class and how probable the model takes it to be."""

    label: int
    name: str  # "" where the classes have none
    probability: float

    @property
    def text(self) -> str:
        return f"{self.label} {self.name}".rstrip()


@dataclass(frozen=True, eq=False)
class Labels:
    """The most probable classes of one image, the best first; `TOP` of them, or K where that is less."""

    path: Path
    guesses: tuple[Guess, ...]
    seen: np.ndarray | None  # what the classifier saw, (H, W) uint8
    light_border: bool  # whether the object seems to be dark on light


@dataclass(frozen=True, eq=False)
class Labeller:
    """A classifier that is ready to label."""

    module: Classifier
    size: tuple[int, int]  # H, W
    class_names: tuple[str, ...]  # () where nobody knows them
    invert: bool  # see `prepare`
    device: torch.device
    value_range: str = AUTO  # of deep images, see `read_image`
    noticed: list[tuple[Path, Remark]] = field(default_factory=list)  # on the images so far

    columns = ("most probable", "second", "third")

    def rows_of(self, paths: Sequence[Path], batch_size: int) -> Iterator[list[Labels | Skipped]]:
        """The labels of every image that can be read, batch by batch and in order, a batch's skipped last.

        Args:
            paths: image files.
            batch_size: images in memory at once (and as many more being read).
        """
        preparation = functools.partial(prepare, size=self.size, invert=self.invert)
        for batch in read_batches(paths, preparation, batch_size, self.value_range):
            self.noticed.extend(batch.remarks)
            labelled = self._labelled(batch.paths, batch.images) if batch.paths else []
            yield [*labelled, *batch.skipped]

    @torch.inference_mode()
    def _labelled(self, paths: list[Path], images: Tensor) -> list[Labels]:
        scores = self.module(images.to(self.device))  # (B, K)
        best = scores.softmax(1).topk(min(TOP, scores.shape[1]))
        found = zip(paths, images[:, 0], best.indices.tolist(), best.values.tolist(), strict=True)
        return [
            Labels(
                path,
                tuple(
                    Guess(label, self.class_names[label] if self.class_names else "", value)
                    for label, value in zip(labels, values, strict=True)
                ),
                image.numpy(),
                _light_border(image),
            )
            for path, image, labels, values in found
        ]

    def cells(self, row: Labels) -> tuple[str, ...]:
        """The classes with their probabilities, for a table."""
        found = [f"{guess.probability:4.0%} {guess.text}" for guess in row.guesses]
        return (*found, *[""] * (TOP - len(found)))

    def slim(self, row: Labels) -> Labels:
        """The row without its image."""
        return dataclasses.replace(row, seen=None)

    def remarks(self, rows: Sequence[Labels]) -> list[str]:
        """What the classifier saw, and whether it looks like what it knows."""
        height, width = self.size
        inverted = ", inverted" if self.invert else ""
        found = [f"The classifier sees an image in grey at {width}x{height} pixels{inverted}."]
        light = sum(row.light_border for row in rows)
        if self.class_names and light:
            other = str(not self.invert).lower()
            found.append(
                f"{light:,} of {len(rows):,} have a light border, but Fashion-MNIST shows light objects on "
                f"black: compare with invert={other}."
            )
        return [*found, *sentences(self.noticed)]

    def write(
        self,
        folder: Path,
        rows: Sequence[Labels],
        shown: int,
        names: dict[Path, str],
        notes: Sequence[str],
    ) -> list[Path]:
        """Write labels.csv and gallery.html.

        Args:
            folder: made if missing.
            rows: all of them go to labels.csv.
            shown: so many of the first ones go to the page.
            names: what an image is called.
            notes: sentences at the page's head.

        Returns:
            The paths of both files.

        Raises:
            OSError: a file cannot be written.
            BrokenImage: a shown image's file is no longer what it was.
        """
        table, page = folder / "labels.csv", folder / "gallery.html"
        write_atomically(table, _csv(rows, names))
        items = [
            LabelledImage(
                names[row.path],
                row.path,
                None if row.seen is None else Image.fromarray(row.seen),
                [Bar(guess.text, guess.probability) for guess in row.guesses],
                self.value_range,
            )
            for row in rows[:shown]
        ]
        seen = "The small picture is what the classifier saw, the bars are its most probable classes."
        write_page(page, "Labels", items, [*notes, seen])
        return [table, page]


def load_labeller(
    trained: Trained, device: torch.device, invert: bool = False, value_range: str = AUTO
) -> Labeller:
    """The classifier of a checkpoint. Its classes have names if its run was on Fashion-MNIST.

    Args:
        trained: its checkpoint.
        device: where to compute.
        invert: see `prepare`.
        value_range: of deep images, see `read_image`.

    Raises:
        CheckpointError: it does not fit this code, or takes images other than grey ones.
    """
    module: Classifier = rebuilt(trained, Classifier)
    channels, height, width = module.hparams["image_size"]
    if channels != 1:
        raise CheckpointError(
            f"the classifier {trained.path} takes images of {channels} channels; only grey ones can be "
            "labelled"
        )
    known = trained.data == "fashion_mnist" and module.hparams["classes"] == len(FASHION_MNIST_CLASSES)
    names = FASHION_MNIST_CLASSES if known else ()
    return Labeller(module.to(device), (height, width), names, invert, device, value_range)


def prepare(image: Image.Image, size: tuple[int, int], invert: bool) -> Tensor:
    """An RGB image as a grey uint8 tensor (1, H, W): the whole of it, centred, on black.

    An image of that size already stays as it is. Fashion-MNIST's own images were fitted so, too (Xiao,
    Rasul, Vollgraf 2017, section 2); what else was done there (trimming, sharpening) is not done here.

    Args:
        image: of any size.
        size: (H, W).
        invert: turn dark on light into light on dark.
    """
    height, width = size
    grey = image.convert("L")
    grey = ImageOps.invert(grey) if invert else grey
    scale = min(height / grey.height, width / grey.width)
    fitted = grey.resize(
        (max(1, round(grey.width * scale)), max(1, round(grey.height * scale))), Image.Resampling.BILINEAR
    )
    whole = Image.new("L", (width, height))
    whole.paste(fitted, ((width - fitted.width) // 2, (height - fitted.height) // 2))
    return torch.from_numpy(np.array(whole)).unsqueeze(0)  # (H, W) -> (1, H, W)


def _light_border(image: Tensor) -> bool:
    """Whether half of the outermost pixels of a grey image (H, W), less its black margins, are light."""
    lit = image != 0
    inside = image[lit.any(1)][:, lit.any(0)]
    if not len(inside):
        return False
    edges = torch.cat([inside[0], inside[-1], inside[1:-1, 0], inside[1:-1, -1]])
    return bool(edges.median() > 127)


def _csv(rows: Sequence[Labels], names: dict[Path, str]) -> str:
    """A line an image: file, then label, name and probability of the best class, the second, the third."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    places = ["", *(f"_{place}" for place in range(2, len(rows[0].guesses) + 1))]
    columns = [f"{column}{place}" for place in places for column in ("label", "class", "probability")]
    writer.writerow(["file", *columns])
    for row in rows:
        cells = [cell for g in row.guesses for cell in (g.label, g.name, f"{g.probability:.6f}")]
        # File names may hold bytes that are no UTF-8.
        writer.writerow([names[row.path].encode("utf-8", "backslashreplace").decode(), *cells])
    return file.getvalue()
