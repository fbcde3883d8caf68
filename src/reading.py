"""Image files as batches of tensors, read ahead in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from src.images import BrokenImage, read_image
from src.pixels import Remark
from src.run.threads import cores
from src.value_range import AUTO

MAX_THREADS = 4  # each may hold a whole photograph


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
