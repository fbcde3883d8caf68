"""Image files as batches of tensors: read ahead in threads, the unreadable ones named and left out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from src.images import BrokenImage, read_rgb
from src.run.threads import cores

MOST_THREADS = 4  # each may hold a whole photograph


@dataclass(frozen=True)
class Skipped:
    """A file that cannot be read as an image, and why, in one sentence."""

    path: Path
    cause: str


@dataclass(frozen=True, eq=False)
class Readable:
    """A batch of what could be read: B images, and what could not."""

    paths: list[Path]  # B of them
    images: Tensor  # (B, ...); meaningless where B is 0
    skipped: list[Skipped]


def read_batches(
    paths: Sequence[Path], prepare: Callable[[Image.Image], Tensor], size: int
) -> Iterator[Readable]:
    """The files in order, `size` at a time; while one batch is used, the next one is read.

    Args:
        paths: image files.
        prepare: an RGB image to a tensor, of one shape for all.
        size: files a batch; those that cannot be read count, too.
    """

    def read(path: Path) -> Tensor | Skipped:
        try:
            return prepare(read_rgb(path))
        except BrokenImage as error:
            return Skipped(path, str(error))

    parts = [paths[first : first + size] for first in range(0, len(paths), size)]
    pool = ThreadPoolExecutor(min(MOST_THREADS, cores()), thread_name_prefix="read")
    try:
        ahead: list[Future[Tensor | Skipped]] = []
        for number, part in enumerate(parts):
            being_read = ahead or [pool.submit(read, path) for path in part]
            ahead = [pool.submit(read, path) for path in parts[number + 1]] if number + 1 < len(parts) else []
            yield _batch(part, [future.result() for future in being_read])
    finally:
        pool.shutdown(cancel_futures=True)


def _batch(paths: Sequence[Path], read: Sequence[Tensor | Skipped]) -> Readable:
    good = [(path, image) for path, image in zip(paths, read, strict=True) if isinstance(image, Tensor)]
    return Readable(
        [path for path, _ in good],
        torch.stack([image for _, image in good]) if good else torch.empty(0),
        [image for image in read if isinstance(image, Skipped)],
    )
