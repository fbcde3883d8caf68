"""Features of encoders and pixels of images: computed once, memory-mapped, shared by all runs.

A file is named after the SHA-256 of all it depends on: the encoder and its weights, what computes it, the
preprocessing, the bytes of every image, in order. So it never goes stale. It is a plain .npy file with a
`.sha256` beside it, in sha256sum's format, which is compared at every opening (0.1 s for 115 MB); a file that
does not fit is made again.

Dimension letters: N images, B batch, L regions, D feature, H, W.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from src.captioning.captioned import is_file, listed
from src.captioning.encoder import PREPROCESSING, Encoder, preprocess
from src.captioning.engines import TORCH, encode_all, network_of
from src.config.settings import AUTO
from src.files import file_digest, remove_leftovers, replacing, write_atomically
from src.images import BrokenImage, read_image, read_rgb
from src.locks import lock_at
from src.pixels import sentences
from src.run.environment import cores

logger = logging.getLogger(__name__)


def features_of(
    paths: Sequence[Path],
    encoder: Encoder,
    cache: Path,
    *,
    pixels: bool = False,
    device: str | torch.device = "cpu",
    engine: str = TORCH,
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
        engine: what computes (engines.py); each has files of its own.
        show_bar: whether to show a progress bar.
        digests: SHA-256 of the files, if they are known.
        value_range: as `src.images.read_image`.

    Raises:
        BrokenImage: naming the files that cannot be read as images.
        UnsupportedEncoder: the engine cannot compute this encoder.
        EncoderError: the features are not finite in float16.
        OSError: the folder cannot be written or its disk is full.
    """
    count, size = len(paths), encoder.size

    def pixels_of(path: Path) -> torch.Tensor:
        return preprocess(read_rgb(path, value_range=value_range), size)  # (3, size, size)

    shape: tuple[int, ...]
    dtype: np.dtype
    if pixels:
        label, key = f"images-{size}", ["images", PREPROCESSING, size, value_range]
        shape, dtype = (count, 3, size, size), np.dtype(np.uint8)
    else:
        label = f"features-{encoder.name}-{size}"
        key = [encoder.name, encoder.digest, PREPROCESSING, size, value_range, engine]
        shape, dtype = (count, encoder.grid[0] * encoder.grid[1], encoder.dim), np.dtype(np.float16)
    depends_on = json.dumps([*key, list(digests or digests_of(paths))])
    target = cache / f"{label}-{hashlib.sha256(depends_on.encode()).hexdigest()[:20]}.npy"
    if _is_whole(target):  # the way of nearly every run: no lock, so a read-only folder will do
        return np.load(target, mmap_mode="r")
    cache.mkdir(parents=True, exist_ok=True)
    with lock_at(target.with_name(f".{target.name}.lock")):
        if not _is_whole(target):  # another process may have made it meanwhile
            logger.info("%s of %s images: computed once, kept in %s", label, f"{count:,}", cache)
            remove_leftovers(cache)  # of killed processes
            check_images(paths, value_range)
            blocks: Iterator[np.ndarray] = (pixels_of(path).numpy()[None] for path in paths)
            if not pixels:
                place = torch.device(device)
                network = network_of(copy.deepcopy(encoder), place, engine)
                blocks = encode_all(network, paths, pixels_of, place)
            with replacing(target) as file, tqdm(total=count, disable=None if show_bar else True) as bar:
                # Written as a file, not through a memory map: on a full disk a map kills the process.
                header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for block in blocks:
                    file.write(np.ascontiguousarray(block, dtype).data)
                    bar.update(len(block))
            write_atomically(_sum_of(target), f"{file_digest(target)}  {target.name}\n")
    return np.load(target, mmap_mode="r")


def digests_of(paths: Sequence[Path]) -> list[str]:
    """The SHA-256 of each file's bytes.

    Raises:
        BrokenImage: naming the files that cannot be read.
    """

    def digest(path: Path) -> str:
        if not is_file(path):  # reading a pipe would wait for ever
            raise BrokenImage(f"the image {path} does not exist or is no file")
        return file_digest(path)

    return _each(paths, digest)


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


def _sum_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.sha256")


def _is_whole(target: Path) -> bool:
    """Whether a file's bytes are those that were written."""
    try:
        return _sum_of(target).read_text()[:64] == file_digest(target)
    except (OSError, ValueError):
        return False
