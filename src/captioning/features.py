"""What encoders see, computed once and stored as memory-mapped arrays that all runs share.

A file of the store is named after the SHA-256 of all it depends on: the encoder and its weights, the
preprocessing and the bytes of every image, in order. So it never goes stale, and nobody has to delete it
for correctness. It is a plain .npy file with the SHA-256 of its own bytes behind the array, where np.load
does not look. Each process compares it once, when it opens the file: 0.1 s for 115 MB. A file that does not
fit, or has no checksum (those before 2026-11), is made again.

Dimension letters: N images, B batch, L regions, D feature, H, W.
"""

from __future__ import annotations

import contextlib
import copy
import errno
import hashlib
import io
import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor
from tqdm import tqdm

from src.captioning.encoder import PREPROCESSING, Encoder, EncoderError, preprocess
from src.captioning.folding import fold
from src.entry_point import UserError
from src.files import replacing
from src.images import BrokenImage, read_rgb
from src.run.threads import cores
from src.value_range import AUTO

# Images at once on a GPU. A CPU takes them one by one, one thread each: that is faster than batches, whose
# maps do not fit its cache, and than threads that share an image, and gives the same bits for any number.
BATCH = 64
_MARK = b"sha256="

logger = logging.getLogger(__name__)


class CannotStore(UserError):
    """The store's folder cannot be written. The message is one sentence for the user."""


def features_of(
    paths: Sequence[Path],
    encoder: Encoder,
    cache: Path,
    *,
    device: str | torch.device = "cpu",
    show_bar: bool = False,
    batch: int = BATCH,
    digests: Sequence[str] | None = None,
    value_range: str = AUTO,
) -> np.memmap:
    """The regions of every image, (N, L, D) in float16, read-only; computed only if they are not stored.

    Of several processes that ask at once one computes, the others wait. On a CPU it takes every core, a core
    an image, whatever the run's `threads`; neither their number nor an image's neighbours change a bit. A GPU
    or another CPU rounds differently, which float16 hides mostly but not wholly. The encoder itself is left
    as it is.

    Args:
        paths: the image files; their order is the rows' order.
        encoder: in eval mode.
        cache: the store's folder, made if missing.
        device: where to compute.
        show_bar: whether to show a progress bar with the time left.
        batch: images at once on a GPU, and between two moves of the progress bar.
        digests: of the files, if they are known (see `digests_of`).
        value_range: as `src.images.read_image`.

    Raises:
        ValueError: there are no images, or the encoder is in training mode.
        BrokenImage: a file cannot be read as an image.
        EncoderError: the features are not finite in float16.
        CannotStore: the folder cannot be written or its disk is full.
    """
    if encoder.training:
        raise ValueError(f"features are computed in eval mode, and the encoder {encoder.name} is in training")
    device = torch.device(device)

    def blocks() -> Iterator[np.ndarray]:
        for some, regions in _regions(paths, encoder, device, batch, value_range):
            if not np.isfinite(regions).all():
                raise EncoderError(
                    f"the encoder {encoder.name} gives values beyond float16 or NaN for one of the images "
                    f"{some[0]} to {some[-1]}: its weights are damaged or made for something else"
                )
            yield regions

    array = _Array(
        _target(
            cache,
            f"features-{encoder.name}-{encoder.size}",
            [encoder.name, encoder.digest, PREPROCESSING, encoder.size, value_range],
            digests_of(paths) if digests is None else digests,
        ),
        np.dtype(np.float16),
        (len(paths), encoder.grid[0] * encoder.grid[1], encoder.dim),
        f"features of {len(paths):,} images with {encoder.name}",
    )
    return _stored(array, blocks, show_bar)


def images_of(
    paths: Sequence[Path],
    size: int,
    cache: Path,
    *,
    show_bar: bool = False,
    digests: Sequence[str] | None = None,
    value_range: str = AUTO,
) -> np.memmap:
    """Every image as an encoder that is trained takes it, (N, 3, size, size) in uint8, read-only.

    Arguments and exceptions as `features_of` has them.
    """
    array = _Array(
        _target(
            cache,
            f"images-{size}",
            ["images", PREPROCESSING, size, value_range],
            digests_of(paths) if digests is None else digests,
        ),
        np.dtype(np.uint8),
        (len(paths), 3, size, size),
        f"pixels of {len(paths):,} images at {size}x{size}",
    )

    def blocks() -> Iterator[np.ndarray]:
        for path in paths:
            yield preprocess(read_rgb(path, value_range=value_range), size).numpy()[None]  # (1, 3, H, W)

    return _stored(array, blocks, show_bar)


def _regions(
    paths: Sequence[Path], encoder: Encoder, device: torch.device, batch: int, value_range: str
) -> Iterator[tuple[Sequence[Path], np.ndarray]]:
    """Some of the paths and their regions (B, L, D) in float16, until all had their turn."""
    network = copy.deepcopy(encoder).to(device)

    def pixels(path: Path) -> Tensor:
        return preprocess(read_rgb(path, value_range=value_range), encoder.size)  # (3, H, W)

    @torch.inference_mode()
    def look(images: Tensor) -> np.ndarray:
        return network(images.to(device)).half().cpu().numpy()  # (B, L, D)

    threads = torch.get_num_threads()
    # torch's number of threads is partly one of each thread, partly the process's: hence the restoring.
    with ThreadPoolExecutor(cores(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            torch.set_num_threads(1)
            example = torch.zeros(1, 3, encoder.size, encoder.size, device=device)
            network.backbone = fold(network.backbone, example)
            on_cpu = device.type == "cpu"
            work: Callable[[Path], Any] = (lambda path: look(pixels(path)[None])) if on_cpu else pixels
            starts = range(0, len(paths), batch)
            begun = ((some, pool.map(work, some)) for some in (paths[at : at + batch] for at in starts))
            # A batch ahead, so that no thread waits while the one before is looked at and written.
            for (some, parts), _ in pairwise(chain(begun, [((), iter(()))])):
                # parts: (1, L, D) or (3, H, W) each
                yield some, np.concatenate(list(parts)) if on_cpu else look(torch.stack(list(parts)))
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)


@dataclass(frozen=True)
class _Array:
    """One file of the store; `what` it is, in words."""

    target: Path
    dtype: np.dtype
    shape: tuple[int, ...]
    what: str

    @property
    def size(self) -> int:
        """Bytes, without the header."""
        return self.dtype.itemsize * math.prod(self.shape)


def digests_of(paths: Sequence[Path]) -> list[str]:
    """The SHA-256 of each file's bytes.

    Raises:
        BrokenImage: a file cannot be read.
    """
    return [_sha256(path) for path in paths]


def _target(cache: Path, label: str, depends_on: list[str | int], digests: Sequence[str]) -> Path:
    if not digests:
        raise ValueError("there are no images to compute anything of")
    key = json.dumps([*depends_on, list(digests)])
    return cache / f"{label}-{hashlib.sha256(key.encode()).hexdigest()[:20]}.npy"


def _stored(array: _Array, blocks: Callable[[], Iterator[np.ndarray]], show_bar: bool) -> np.memmap:
    """The array, made from `blocks` of its rows where it is missing or damaged."""
    # The way of nearly every run: no lock, so a read-only folder will do.
    if (stored := _read(array)) is not None:
        return stored
    target, cache = array.target, array.target.parent
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = _lock(target)
        try:
            held = lock.acquire(timeout=0)
        except Timeout:
            logger.info(f"waiting for another process that is computing the {array.what}")
            held = lock.acquire()
        with held:
            if (stored := _read(array)) is not None:
                return stored
            damaged = f"; {target} is damaged" if target.exists() else ""
            logger.info(f"computing the {array.what}: once, kept in {cache}{damaged}")
            _build(array, blocks, show_bar)
            stored = _read(array)
            assert stored is not None, f"{target} was just written"
            return stored
    except OSError as error:
        raise CannotStore(
            f"the {array.what} cannot be stored in {cache} ({error.strerror or error}): they take "
            f"{array.size / 1e6:,.0f} MB; make room or name another folder"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            _remove_leftovers(cache)


def _build(array: _Array, blocks: Callable[[], Iterator[np.ndarray]], show_bar: bool) -> None:
    """Write the array beside its target, flush it, rename it. Call it under the lock."""
    target, dtype, shape = array.target, array.dtype, array.shape
    if shutil.disk_usage(target.parent).free < array.size:  # better known before the work than after it
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    # Written as a file, not through a memory map: on a full disk a map kills the process.
    with (
        replacing(target, _temporary(target)) as file,
        tqdm(total=shape[0], desc="images", unit="image", disable=None if show_bar else True) as bar,
    ):
        header = io.BytesIO()
        layout = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(header, layout)
        digest = hashlib.sha256(header.getvalue())
        file.write(header.getvalue())
        for block in blocks():
            data = np.ascontiguousarray(block, dtype)
            digest.update(data.data)
            file.write(data.data)
            bar.update(len(block))
        file.write(_MARK + digest.hexdigest().encode())


def _read(array: _Array) -> np.memmap | None:
    """The stored array, or None where there is none or its bytes are not those that were written."""
    try:
        if not _is_whole(array.target):
            return None
        stored = np.load(array.target, mmap_mode="r")
    except (OSError, ValueError, EOFError):
        return None
    return stored if (stored.dtype, stored.shape) == (array.dtype, array.shape) else None


_whole: set[tuple[str, int, int, int, int, int]] = set()  # files that this process has found to be right


def _is_whole(path: Path) -> bool:
    """Whether a file ends in the SHA-256 of what stands before. Raises OSError."""
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        stamps = status.st_size, status.st_mtime_ns, status.st_ctime_ns
        state = (str(path), status.st_dev, status.st_ino, *stamps)
        if state in _whole:
            return True
        left = status.st_size - len(_MARK) - 2 * hashlib.sha256().digest_size
        digest = hashlib.sha256()
        while left > 0 and (block := file.read(min(left, 2**20))):
            digest.update(block)
            left -= len(block)
        if left or file.read() != _MARK + digest.hexdigest().encode():
            return False
    _whole.add(state)
    return True


def _temporary(target: Path) -> Path:
    return target.with_name(f".{target.name}.tmp")


def _lock(target: Path) -> FileLock:
    """Held by the one who writes `_temporary(target)`; the kernel drops it when the holder dies."""
    return FileLock(target.with_name(f".{target.name}.lock"))


def _remove_leftovers(cache: Path) -> None:
    """Delete what killed builders, also those of other arrays, left half written."""
    for leftover in cache.glob(".*.npy.tmp"):
        target = leftover.with_name(leftover.name[1 : -len(".tmp")])
        with contextlib.suppress(Timeout), _lock(target).acquire(timeout=0):
            leftover.unlink(missing_ok=True)


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise BrokenImage(f"the image {path} cannot be read: {error.strerror or error}") from error
