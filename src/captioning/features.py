"""Features of encoders and pixels of images: computed once, memory-mapped, shared by all runs.

A file is named after the SHA-256 of all it depends on: the encoder and its weights, the preprocessing, the
bytes of every image, in order. So it never goes stale. It is a plain .npy file with a `.sha256` beside it,
in sha256sum's format; a file that does not fit is made again. The digests of images and of stored files are
remembered for as long as size and times of a file stay, so that opening 120,000 images and 15 GB of features reads
none of them.

Dimension letters: N images, B batch, L regions, D feature, H, W.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor
from tqdm import tqdm

from src.captioning.captioned import is_file, listed
from src.captioning.encoder import PREPROCESSING, Encoder, EncoderError, preprocess
from src.captioning.folding import fold
from src.config.settings import AUTO
from src.files import file_digest, remove_leftovers, replacing, write_atomically
from src.images import BrokenImage, read_image, read_rgb
from src.pixels import sentences
from src.run.environment import cores

# Images at once on a GPU. A CPU takes them one by one, one thread each: that is faster than batches, whose
# maps do not fit its cache, and than threads that share an image, and gives the same bits for any number.
BATCH = 64
STAMP = np.dtype([("size", "<i8"), ("mtime", "<i8"), ("ctime", "<i8"), ("digest", "S64")])
RECENT_NS = 2_000_000_000  # a file changed so shortly ago may change again within one tick of its clock
logger = logging.getLogger(__name__)


def features_of(
    paths: Sequence[Path],
    encoder: Encoder,
    cache: Path,
    *,
    pixels: bool = False,
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
        pixels: the images as an encoder that is trained takes them, (N, 3, size, size) in uint8, instead.
        device: where to compute.
        show_bar: whether to show a progress bar.
        digests: SHA-256 of the files, if they are known.
        value_range: as `src.images.read_image`.

    Raises:
        BrokenImage: naming the files that cannot be read as images.
        EncoderError: the features are not finite in float16.
        OSError: the folder cannot be written or its disk is full.
    """
    count, size = len(paths), encoder.size
    shape: tuple[int, ...]
    dtype: np.dtype
    if pixels:
        label, key = f"images-{size}", ["images", PREPROCESSING, size, value_range]
        shape, dtype = (count, 3, size, size), np.dtype(np.uint8)
    else:
        label = f"features-{encoder.name}-{size}"
        key = [encoder.name, encoder.digest, PREPROCESSING, size, value_range]
        shape, dtype = (count, encoder.grid[0] * encoder.grid[1], encoder.dim), np.dtype(np.float16)
    depends_on = json.dumps([*key, list(digests or digests_of(paths))])
    target = cache / f"{label}-{hashlib.sha256(depends_on.encode()).hexdigest()[:20]}.npy"
    if _is_whole(target):  # the way of nearly every run: no lock, so a read-only folder will do
        return np.load(target, mmap_mode="r")
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):  # the kernel drops it when its holder dies
        if not _is_whole(target):  # another process may have made it meanwhile
            logger.info("%s of %s images: computed once, kept in %s", label, f"{count:,}", cache)
            remove_leftovers(cache)  # of killed processes
            check_images(paths, value_range)
            blocks = _pixels(paths, size, value_range)
            if not pixels:
                blocks = _regions(paths, encoder, torch.device(device), value_range)
            _write(target, shape, dtype, blocks, show_bar)
    return np.load(target, mmap_mode="r")


def means_of(features: np.memmap) -> np.ndarray:
    """The means over the regions of stored features, (N, L, D) -> (N, D) in float32; kept beside them."""
    source = Path(str(features.filename))
    target = source.with_name(source.name.replace("features-", "means-", 1))
    if not _is_whole(target):
        count, _, dim = features.shape
        blocks = (features[at : at + 1024].mean(1, dtype=np.float32) for at in range(0, count, 1024))
        try:
            _write(target, (count, dim), np.dtype(np.float32), blocks)
        except PermissionError:  # a store that is only read
            return features.mean(1, dtype=np.float32)
    return np.load(target, mmap_mode="r")


def _write(
    target: Path,
    shape: tuple[int, ...],
    dtype: np.dtype,
    blocks: Iterable[np.ndarray],
    show_bar: bool = False,
) -> None:
    """Store an array, block by block, and its checksum."""
    with replacing(target) as file, tqdm(total=shape[0], disable=None if show_bar else True) as bar:
        # Written as a file, not through a memory map: on a full disk a map kills the process.
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype).data)
            bar.update(len(block))
    write_atomically(_sum_of(target), f"{file_digest(target)}  {target.name}\n")


def digests_of(paths: Sequence[Path], memory: Path | None = None) -> list[str]:
    """The SHA-256 of each file's bytes.

    Args:
        paths: the files.
        memory: a folder that remembers them from one command to the next: a file whose size, mtime and ctime are
            as they were is not read again, unless it had changed within RECENT_NS of being read.

    Raises:
        BrokenImage: naming the files that cannot be read.
    """

    def digest(path: Path) -> str:
        if not is_file(path):  # reading a pipe would wait for ever
            raise BrokenImage(f"the image {path} does not exist or is no file")
        return file_digest(path)

    if memory is None:
        return _each(paths, digest)
    begun, stamps = time.time_ns(), np.zeros(len(paths), STAMP)
    for row, path in enumerate(paths):
        with suppress(OSError, ValueError):  # named below
            status = path.stat()
            stamps[row] = (status.st_size, status.st_mtime_ns, status.st_ctime_ns, b"")
    names = "\0".join(map(os.path.abspath, paths))
    target = memory / f"digests-{hashlib.sha256(os.fsencode(names)).hexdigest()[:20]}"
    times, known = ["size", "mtime", "ctime"], np.zeros(len(paths), bool)
    with suppress(OSError, ValueError):
        if _sum_of(target).read_text()[:64] == file_digest(target):
            remembered = np.load(target)
            known = (remembered[times] == stamps[times]) & (remembered["digest"] != b"")
            stamps["digest"][known] = remembered["digest"][known]
    unknown = np.flatnonzero(~known).tolist()
    stamps["digest"][unknown] = _each([paths[row] for row in unknown], digest)
    lasting = stamps.copy()
    lasting["digest"][np.maximum(stamps["mtime"], stamps["ctime"]) > begun - RECENT_NS] = b""
    if (lasting["digest"][unknown] != b"").any():
        with suppress(OSError):  # a folder that is only read, a full disk: they are computed again
            _write(target, lasting.shape, STAMP, [lasting])
    return stamps["digest"].astype(str).tolist()


def check_images(paths: Sequence[Path], value_range: str = AUTO) -> None:
    """Decode every image, so that all broken ones are known at once and before hours are spent.

    Raises:
        BrokenImage: naming the files that are truncated, too large or no images.
    """
    remarks = _each(paths, lambda path: read_image(path, value_range=value_range)[1])
    pairs = zip(paths, remarks, strict=True)
    for line in sentences([(path, remark) for path, of_image in pairs for remark in of_image]):
        logger.info(line)


def _each(paths: Sequence[Path], function: Callable[[Path], Any]) -> list[Any]:
    """What a function gives for each file; the files that it refuses are named in one error."""

    def attempt(path: Path) -> Any:
        try:
            return function(path)
        except (OSError, BrokenImage) as error:
            return error

    with ThreadPoolExecutor(cores()) as pool:
        results = list(pool.map(attempt, paths))
    if errors := [str(one) for one in results if isinstance(one, Exception)]:
        raise BrokenImage(f"{len(errors)} of {len(paths)} images cannot be used: {listed(errors, '; ')}")
    return results


def _pixels(paths: Sequence[Path], size: int, value_range: str) -> Iterator[np.ndarray]:
    """The pixels (1, 3, H, W) of an image after the other."""
    for path in paths:
        yield preprocess(read_rgb(path, value_range=value_range), size).numpy()[None]


def _regions(
    paths: Sequence[Path], encoder: Encoder, device: torch.device, value_range: str
) -> Iterator[np.ndarray]:
    """The regions (B, L, D) in float16 of a batch after the other."""
    network = copy.deepcopy(encoder).to(device)

    def pixels(path: Path) -> Tensor:
        return preprocess(read_rgb(path, value_range=value_range), encoder.size)  # (3, H, W)

    @torch.inference_mode()
    def encode(images: Tensor) -> np.ndarray:
        regions = network(images.to(device)).half().cpu().numpy()  # (B, L, D)
        if not np.isfinite(regions).all():
            raise EncoderError(
                f"the encoder {encoder.name} gives values beyond float16 or NaN: its weights are damaged or "
                "made for something else"
            )
        return regions

    threads = torch.get_num_threads()
    # torch's number of threads is partly one of each thread, partly the process's: hence the restoring.
    with ThreadPoolExecutor(cores(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            torch.set_num_threads(1)
            example = torch.zeros(1, 3, encoder.size, encoder.size, device=device)
            network.backbone = fold(network.backbone, example)
            on_cpu = device.type == "cpu"
            work: Callable[[Path], Any] = (lambda path: encode(pixels(path)[None])) if on_cpu else pixels
            begun = (pool.map(work, paths[at : at + BATCH]) for at in range(0, len(paths), BATCH))
            # A batch ahead, so that no thread waits while the one before is written.
            for parts, _ in pairwise(chain(begun, [None])):
                assert parts is not None
                # parts: (1, L, D) or (3, H, W) each
                yield np.concatenate(list(parts)) if on_cpu else encode(torch.stack(list(parts)))
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)


def _sum_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _is_whole(target: Path) -> bool:
    """Whether a file's bytes are those that were written."""
    try:
        return _sum_of(target).read_text()[:64] == digests_of([target], target.parent)[0]
    except (OSError, ValueError, BrokenImage):
        return False
