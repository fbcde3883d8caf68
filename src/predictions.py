"""What predictors of all tasks share: rows, and the loop over batches of images, read ahead in threads."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from src.config.settings import AUTO
from src.entry_point import UserError
from src.images import BrokenImage, read_image
from src.pixels import Remark
from src.run import signals
from src.run.environment import cores

PAGE_IMAGES = 200
MAX_THREADS = 4  # each may hold a whole photograph
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model makes of one image."""

    path: Path
    cells: tuple[str, ...]  # of the terminal's table
    values: Any  # the task's own, for its files
    detail: Any = None  # what only the page shows


class Predictor(Protocol):
    """A checkpoint that is ready for images.

    `prepare` turns an RGB image into a tensor, `predict` a batch (B, ...) of them into rows, `notes` says
    how, `write` puts all rows into a data file and the first PAGE_IMAGES on a page.
    """

    value_range: str  # how deep images are read
    columns: tuple[str, ...]  # of the terminal's table, besides the file

    def prepare(self, image: Image.Image) -> Tensor: ...

    def predict(self, paths: Sequence[Path], images: Tensor) -> list[Prediction]: ...

    def notes(self) -> list[str]: ...

    def write(
        self, folder: Path, rows: Sequence[Prediction], names: dict[Path, str], notes: Sequence[str]
    ) -> list[Path]: ...


@dataclass
class Outcome:
    """What became of the images."""

    rows: list[Prediction] = field(default_factory=list)
    broken: int = 0
    remarks: list[tuple[Path, Remark]] = field(default_factory=list)
    interrupted: int = 0  # the exit status after a signal


def predict_all(predictor: Predictor, paths: Sequence[Path], batch_size: int, show_bar: bool) -> Outcome:
    """Predict for all images; those that cannot be read are named as they are met. Ctrl-C ends it early.

    Raises:
        UserError: the memory ran out.
    """
    from src.run.job import is_out_of_memory

    outcome = Outcome()
    batches = read_batches(paths, predictor.prepare, batch_size, predictor.value_range)
    hidden = None if show_bar else True  # None: shown on a terminal only
    try:
        with tqdm(total=len(paths), desc="images", unit="image", disable=hidden, leave=False) as bar:
            for batch in batches:
                images = {item.path: item.image for item in batch if item.image is not None}
                rows = predictor.predict(list(images), torch.stack(list(images.values()))) if images else []
                for row in rows:
                    is_on_page = len(outcome.rows) < PAGE_IMAGES
                    outcome.rows.append(row if is_on_page else dataclasses.replace(row, detail=None))
                for item in batch:
                    outcome.remarks += [(item.path, remark) for remark in item.remarks]
                    if item.error is not None:
                        outcome.broken += 1
                        logger.warning("Skipped: %s", item.error)
                bar.update(len(batch))
    except KeyboardInterrupt as error:
        outcome.interrupted = signals.status_of(error)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        hint = f"batch_size={batch_size // 2}" if batch_size > 1 else "smaller images or accelerator=cpu"
        raise UserError(f"batch_size={batch_size}: memory ran out; try {hint}") from error
    return outcome


class ReadImage(NamedTuple):
    """An image file as a tensor, or why it cannot be read."""

    path: Path
    image: Tensor | None = None
    remarks: Sequence[Remark] = ()
    error: BrokenImage | None = None


def read_batches(
    paths: Sequence[Path], prepare: Callable[[Image.Image], Tensor], size: int, value_range: str = AUTO
) -> Iterator[list[ReadImage]]:
    """The files in order, `size` at a time; while one batch is used, the next one is read.

    Args:
        prepare: an RGB image to a tensor.
        value_range: as `src.images.read_image`.
    """

    def read(path: Path) -> ReadImage:
        try:
            image, remarks = read_image(path, value_range=value_range)
        except BrokenImage as error:
            return ReadImage(path, error=error)
        return ReadImage(path, prepare(image), remarks)

    pool = ThreadPoolExecutor(min(MAX_THREADS, cores()), thread_name_prefix="read")
    try:
        ahead = pool.map(read, paths[:size])
        for first in range(0, len(paths), size):
            now, ahead = ahead, pool.map(read, paths[first + size : first + 2 * size])
            yield list(now)
    finally:
        pool.shutdown(cancel_futures=True)


def names_of(paths: Sequence[Path]) -> dict[Path, str]:
    """What each image is called: its file's name, or its path where another one has the same name."""
    has_namesakes = max(Counter(path.name for path in paths).values(), default=0) > 1
    return {path: str(path) if has_namesakes else path.name for path in paths}
