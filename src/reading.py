"""Image files as batches of tensors, read ahead in threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path


from PIL import Image
from torch import Tensor

from src.images import BrokenImage, read_image
from src.pixels import Remark
from src.run.threads import cores
from src.value_range import AUTO

MAX_THREADS = 4  # each may hold a whole photograph


@dataclass
class ReadBatch:
    """What could be read of a batch of files, and what could not."""

    paths: list[Path] = field(default_factory=list)
    images: list[Tensor] = field(default_factory=list)  # one for each path, all of one shape
    broken: list[BrokenImage] = field(default_factory=list)
    remarks: list[tuple[Path, Remark]] = field(default_factory=list)  # on what could be read


def read_batches(
    paths: Sequence[Path], prepare: Callable[[Image.Image], Tensor], size: int, value_range: str = AUTO
) -> Iterator[ReadBatch]:
    """The files in order, `size` at a time; while one batch is used, the next one is read.

    Args:
        paths: image files.
        prepare: an RGB image to a tensor, of one shape for all.
        size: files a batch; those that cannot be read count, too.
        value_range: as `src.images.read_image`.
    """

    def read(path: Path) -> tuple[Tensor, list[Remark]]:
        image, remarks = read_image(path, value_range=value_range)
        return prepare(image), remarks

    pool = ThreadPoolExecutor(min(MAX_THREADS, cores()), thread_name_prefix="read")
    try:
        ahead: list[Future[tuple[Tensor, list[Remark]]]] = []
        for first in range(0, len(paths), size):
            now, after = paths[first : first + size], paths[first + size : first + 2 * size]
            reading = ahead or [pool.submit(read, path) for path in now]
            ahead = [pool.submit(read, path) for path in after]
            batch = ReadBatch()
            for path, future in zip(now, reading, strict=True):
                try:
                    image, remarks = future.result()
                except BrokenImage as error:
                    batch.broken.append(error)
                    continue
                batch.paths.append(path)
                batch.images.append(image)
                batch.remarks += [(path, remark) for remark in remarks]
            yield batch
    finally:
        pool.shutdown(cancel_futures=True)
