"""Image files as batches of tensors: read ahead in threads, the unreadable ones named and left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image
from torch import Tensor

from src.images import BrokenImage, read_image
from src.pixels import Remark
from src.run.threads import cores
from src.value_range import AUTO

MOST_THREADS = 4  # each may hold a whole photograph


@dataclass(frozen=True)
class Skipped:
    """A file that cannot be read as an image, and why, in one sentence."""

    path: Path
    cause: str


class _Read(NamedTuple):
    path: Path
    image: Tensor
    remarks: list[Remark]


@dataclass(frozen=True, eq=False)
class Readable:
    """A batch of what could be read: B images, and what could not."""

    paths: list[Path]  # B of them
    images: Tensor  # (B, ...); meaningless where B is 0
    skipped: list[Skipped]
    remarks: list[tuple[Path, Remark]]  # on what could be read


def read_batches(
    paths: Sequence[Path], prepare: Callable[[Image.Image], Tensor], size: int, value_range: str = AUTO
) -> Iterator[Readable]:
    """The files in order, `size` at a time; while one batch is used, the next one is read.

    Args:
        paths: image files.
        prepare: an RGB image to a tensor, of one shape for all.
        size: files a batch; those that cannot be read count, too.
        value_range: as `src.images.read_image`.
    """

    def read(path: Path) -> _Read | Skipped:
        try:
            image, remarks = read_image(path, value_range=value_range)
            return _Read(path, prepare(image), remarks)
        except BrokenImage as error:
            return Skipped(path, str(error))

    parts = [paths[first : first + size] for first in range(0, len(paths), size)]
    pool = ThreadPoolExecutor(min(MOST_THREADS, cores()), thread_name_prefix="read")
    try:
        ahead: list[Future[_Read | Skipped]] = []
        for number, part in enumerate(parts):
            being_read = ahead or [pool.submit(read, path) for path in part]
            ahead = [pool.submit(read, path) for path in parts[number + 1]] if number + 1 < len(parts) else []
            yield _batch([future.result() for future in being_read])
    finally:
        pool.shutdown(cancel_futures=True)


def _batch(read: Sequence[_Read | Skipped]) -> Readable:
    good = [one for one in read if isinstance(one, _Read)]
    return Readable(
        [one.path for one in good],
        torch.stack([one.image for one in good]) if good else torch.empty(0),
        [one for one in read if isinstance(one, Skipped)],
        [(one.path, remark) for one in good for remark in one.remarks],
    )
