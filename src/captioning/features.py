"""Features of encoders and pixels of images: computed once, memory-mapped, shared by all runs.

A file is named after the SHA-256 of all it depends on: the encoder and its weights, the preprocessing, the
bytes of every image, in order. So it never goes stale. It is a plain .npy file with a `.sha256` beside it,
in sha256sum's format, which each process compares once (0.1 s for 115 MB); a file that does not fit is made
again.

Dimension letters: N images, B batch, L regions, D feature, H, W.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from src.config.settings import AUTO
from src.entry_point import UserError
from src.files import file_digest, remove_leftovers, replacing, write_atomically
from src.images import BrokenImage, read_rgb
from src.run.environment import cores

# Images at once on a GPU. A CPU takes them one by one, one thread each: that is faster than batches, whose
# maps do not fit its cache, and than threads that share an image, and gives the same bits for any number.
BATCH = 64
logger = logging.getLogger(__name__)
_whole: set[tuple[Path, int, int]] = set()  # files that this process has found to be right


class CannotStore(UserError):
    """The store's folder cannot be written."""


def features_of(
    paths: Sequence[Path],
    encoder: Encoder,
    cache: Path,
    *,
    device: str | torch.device = "cpu",
    show_bar: bool = False,
    digests: Sequence[str] | None = None,
    value_range: str = AUTO,
) -> np.ndarray:
    """The regions of every image, (N, L, D) in float16, read-only; computed only if they are not stored.

    Of several processes that ask at once one computes, the others wait. On a CPU it takes every core, a core
    an image, whatever the run's `threads`; neither their number nor an image's neighbours change a bit. A GPU
    or another CPU rounds differently, which float16 hides mostly but not wholly.

    Args:
        paths: the image files; their order is the rows' order.
        encoder: in eval mode; it is left as it is.
        cache: the store's folder, made if missing.
        device: where to compute.
        show_bar: whether to show a progress bar.
        digests: SHA-256 of the files, if they are known.
        value_range: as `src.images.read_image`.

    Raises:
        BrokenImage: a file cannot be read as an image.
        EncoderError: the features are not finite in float16.
        CannotStore: the folder cannot be written or its disk is full.
    """

    def blocks() -> Iterator[np.ndarray]:
        for some, regions in _regions(paths, encoder, torch.device(device), value_range):
            if not np.isfinite(regions).all():
                raise EncoderError(
                    f"the encoder {encoder.name} gives values beyond float16 or NaN for one of the images "
                    f"{some[0]} to {some[-1]}: its weights are damaged or made for something else"
                )
            yield regions

    key = [encoder.name, encoder.digest, PREPROCESSING, encoder.size, value_range]
    target = _target(cache, f"features-{encoder.name}-{encoder.size}", key, digests or digests_of(paths))
    shape = (len(paths), encoder.grid[0] * encoder.grid[1], encoder.dim)
    what = f"features of {len(paths):,} images with {encoder.name}"
    kind = np.dtype(np.float16)
    return _stored(target, blocks, dtype=kind, shape=shape, what=what, show_bar=show_bar)


def images_of(
    paths: Sequence[Path],
    size: int,
    cache: Path,
    *,
    show_bar: bool = False,
    digests: Sequence[str] | None = None,
    value_range: str = AUTO,
) -> np.ndarray:
    """Every image as an encoder that is trained takes it, (N, 3, size, size) in uint8, read-only.

    Arguments and exceptions as `features_of` has them.
    """

    def blocks() -> Iterator[np.ndarray]:
        for path in paths:
            yield preprocess(read_rgb(path, value_range=value_range), size).numpy()[None]  # (1, 3, H, W)

    key = ["images", PREPROCESSING, size, value_range]
    target = _target(cache, f"images-{size}", key, digests or digests_of(paths))
    what = f"pixels of {len(paths):,} images at {size}x{size}"
    shape, kind = (len(paths), 3, size, size), np.dtype(np.uint8)
    return _stored(target, blocks, dtype=kind, shape=shape, what=what, show_bar=show_bar)


def digests_of(paths: Sequence[Path]) -> list[str]:
    """The SHA-256 of each file's bytes.

    Raises:
        BrokenImage: a file cannot be read.
    """
    try:
        return [file_digest(path) for path in paths]
    except OSError as error:
        raise BrokenImage(f"the image {error.filename} cannot be read: {error.strerror}") from error


def _regions(
    paths: Sequence[Path], encoder: Encoder, device: torch.device, value_range: str
) -> Iterator[tuple[Sequence[Path], np.ndarray]]:
    """Some of the paths and their regions (B, L, D) in float16, until all had their turn."""
    network = copy.deepcopy(encoder).to(device)

    def pixels(path: Path) -> Tensor:
        return preprocess(read_rgb(path, value_range=value_range), encoder.size)  # (3, H, W)

    @torch.inference_mode()
    def encode(images: Tensor) -> np.ndarray:
        return network(images.to(device)).half().cpu().numpy()  # (B, L, D)

    threads = torch.get_num_threads()
    # torch's number of threads is partly one of each thread, partly the process's: hence the restoring.
    with ThreadPoolExecutor(cores(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            torch.set_num_threads(1)
            example = torch.zeros(1, 3, encoder.size, encoder.size, device=device)
            network.backbone = fold(network.backbone, example)
            on_cpu = device.type == "cpu"
            work: Callable[[Path], Any] = (lambda path: encode(pixels(path)[None])) if on_cpu else pixels
            starts = range(0, len(paths), BATCH)
            begun = ((some, pool.map(work, some)) for some in (paths[at : at + BATCH] for at in starts))
            # A batch ahead, so that no thread waits while the one before is checked and written.
            for (some, parts), _ in pairwise(chain(begun, [((), iter(()))])):
                # parts: (1, L, D) or (3, H, W) each
                yield some, np.concatenate(list(parts)) if on_cpu else encode(torch.stack(list(parts)))
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)


def _target(cache: Path, label: str, depends_on: Sequence[object], digests: Sequence[str]) -> Path:
    key = json.dumps([*depends_on, list(digests)])
    return cache / f"{label}-{hashlib.sha256(key.encode()).hexdigest()[:20]}.npy"


def _stored(
    target: Path,
    blocks: Callable[[], Iterator[np.ndarray]],
    *,
    dtype: np.dtype,
    shape: tuple[int, ...],
    what: str,
    show_bar: bool,
) -> np.ndarray:
    """The array, made from `blocks` of its rows where it is missing or damaged."""
    if _is_whole(target):  # the way of nearly every run: no lock, so a read-only folder will do
        return np.load(target, mmap_mode="r")
    cache = target.parent
    try:
        cache.mkdir(parents=True, exist_ok=True)
        lock = FileLock(target.with_name(f".{target.name}.lock"))  # the kernel drops it when its holder dies
        try:
            held = lock.acquire(timeout=0)
        except Timeout:
            logger.info("waiting for another process that is computing the %s", what)
            held = lock.acquire()
        with held:
            if not _is_whole(target):
                damaged = f"; {target} is damaged" if target.exists() else ""
                logger.info("computing the %s: once, kept in %s%s", what, cache, damaged)
                remove_leftovers(cache)  # of killed processes
                with (
                    replacing(target) as file,
                    tqdm(total=shape[0], desc="images", disable=None if show_bar else True) as bar,
                ):
                    # Written as a file, not through a memory map: on a full disk a map kills the process.
                    layout = {
                        "descr": np.lib.format.dtype_to_descr(dtype),
                        "fortran_order": False,
                        "shape": shape,
                    }
                    np.lib.format.write_array_header_1_0(file, layout)
                    for block in blocks():
                        file.write(np.ascontiguousarray(block, dtype).data)
                        bar.update(len(block))
                write_atomically(_sum_of(target), f"{file_digest(target)}  {target.name}\n")
    except OSError as error:
        size = dtype.itemsize * np.prod(shape, dtype=float) / 1e6
        raise CannotStore(
            f"the {what} cannot be stored in {cache} ({error.strerror or error}): they take {size:,.0f} MB; "
            "make room or name another folder with encoder.cache"
        ) from error
    return np.load(target, mmap_mode="r")


def _sum_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _is_whole(target: Path) -> bool:
    """Whether a file's bytes are those that were written."""
    try:
        status = target.stat()
        state = (target, status.st_size, status.st_mtime_ns)
        if state not in _whole and _sum_of(target).read_text()[:64] == file_digest(target):
            _whole.add(state)
    except (OSError, ValueError):
        return False
    return state in _whole
