"""What predictors of all tasks share: the loop over batches of images."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from src.entry_point import UserError
from src.images import BrokenImage, read_image
from src.pixels import sentences
from src.run import signals
from src.run.environment import cores

PAGE_IMAGES = 200
PAGE_SIDE = 300  # pixels
MAX_THREADS = 4  # each may hold a whole photograph
logger = logging.getLogger(__name__)


class Prediction(NamedTuple):
    """What a model makes of one image."""

    cells: tuple[str, ...]  # of the terminal: the file's name and what is said of it
    record: Any  # the task's own, for its data file
    card: Any = None  # the task's own, for the page; only where there is a thumbnail


class Predictor(Protocol):
    """A checkpoint that is ready for images.

    `prepare` turns an RGB image into a tensor. `predict` turns names, a batch (B, ...) of tensors on the
    device, and thumbnails for the page (None where it is full) into predictions. `notes` says how, `write`
    puts all predictions into a data file and on a page.
    """

    device: torch.device
    value_range: str  # how deep images are read
    columns: tuple[str, ...]  # of the terminal's table

    def prepare(self, image: Image.Image) -> Tensor: ...

    def predict(
        self, names: Sequence[str], images: Tensor, thumbnails: Sequence[Image.Image | None]
    ) -> list[Prediction]: ...

    def notes(self) -> list[str]: ...

    def write(self, folder: Path, rows: Sequence[Prediction], notes: Sequence[str]) -> list[Path]: ...


@dataclass
class Outcome:
    """What became of the images."""

    rows: list[Prediction] = field(default_factory=list)
    broken: int = 0
    remarks: list[tuple[Path, str]] = field(default_factory=list)
    interrupted: int = 0  # the exit status after a signal

    def notes(self, images: int) -> list[str]:
        """What was strange about the images, and how many of them were read and are shown."""
        done = len(self.rows)
        notes = list(sentences(self.remarks))
        if self.interrupted:
            notes.append(f"Stopped after {done + self.broken:,} of {images:,} images.")
        if self.broken:
            notes.append(f"{self.broken:,} of {images:,} images could not be read.")
        if done > PAGE_IMAGES:
            notes.append(f"The page shows the first {PAGE_IMAGES} of {done:,} images.")
        return notes


def predict_all(predictor: Predictor, paths: Sequence[Path], batch_size: int, show_bar: bool) -> Outcome:
    """Predict for all images; those that cannot be read are named as they are met. Ctrl-C ends it early.

    Raises:
        UserError: the memory ran out.
    """
    from src.run.job import is_out_of_memory

    def read(path: Path) -> tuple[Path, Tensor, Image.Image, list[str]] | BrokenImage:
        try:
            image, remarks = read_image(path, value_range=predictor.value_range)
        except BrokenImage as error:
            return error
        prepared = predictor.prepare(image)
        image.thumbnail((PAGE_SIDE, PAGE_SIDE), Image.Resampling.LANCZOS)
        return path, prepared, image, remarks

    outcome = Outcome()
    has_namesakes = max(Counter(path.name for path in paths).values(), default=0) > 1
    batches = [paths[first : first + batch_size] for first in range(0, len(paths), batch_size)]
    hidden = None if show_bar else True  # None: shown on a terminal only
    try:
        with (
            ThreadPoolExecutor(min(MAX_THREADS, cores())) as pool,
            tqdm(total=len(paths), desc="images", unit="image", disable=hidden, leave=False) as bar,
        ):
            for batch in batches:
                names: list[str] = []
                images, thumbnails = [], []
                for found in pool.map(read, batch):
                    if isinstance(found, BrokenImage):
                        outcome.broken += 1
                        logger.warning("Skipped: %s", found)
                        continue
                    path, prepared, thumbnail, remarks = found
                    is_shown = len(outcome.rows) + len(names) < PAGE_IMAGES
                    names.append(str(path) if has_namesakes else path.name)
                    images.append(prepared)
                    thumbnails.append(thumbnail if is_shown else None)
                    outcome.remarks += [(path, remark) for remark in remarks]
                if images:
                    stacked = torch.stack(images).to(predictor.device)  # (B, ...)
                    outcome.rows += predictor.predict(names, stacked, thumbnails)
                bar.update(len(batch))
    except KeyboardInterrupt as error:
        outcome.interrupted = signals.status_of(error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        hint = f"batch_size={batch_size // 2}" if batch_size > 1 else "smaller images or accelerator=cpu"
        raise UserError(f"batch_size={batch_size}: memory ran out; try {hint}") from error
    return outcome
