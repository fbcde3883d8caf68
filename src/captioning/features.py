"""Features of encoders and pixels of images: computed once, memory-mapped, shared by all runs.

A file is named after the SHA-256 of all it depends on: the encoder and its weights, the preprocessing, the
bytes of every image, in order. So it never goes stale. It is a plain .npy file with a `.sha256` beside it,
in sha256sum's format; a file that does not fit is made again (store.py).

Dimension letters: N images, B batch, L regions, D feature, H, W.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from src.captioning.encoder import PREPROCESSING, Encoder, EncoderError, preprocess
from src.captioning.folding import fold
from src.captioning.store import Rows, Stored, digests_of, each, is_whole, split_packed, write_array
from src.config.settings import AUTO
from src.files import remove_leftovers
from src.images import BrokenImage, read_image, read_rgb
from src.pixels import sentences
from src.run.environment import cores
from src.tars import PackedImage

# Images at once on a GPU. A CPU takes them one by one, one thread each: that is faster than batches, whose
# maps do not fit its cache, and than threads that share an image, and gives the same bits for any number.
BATCH = 64
logger = logging.getLogger(__name__)


def features_of(
    paths: Sequence[Path | PackedImage],
    encoder: Encoder,
    cache: Path,
    *,
    pixels: bool = False,
    device: str | torch.device = "cpu",
    show_bar: bool = False,
    digests: Sequence[str] | None = None,
    value_range: str = AUTO,
) -> Any:
    """The regions of every image, (N, L, D) in float16, read-only; computed only if they are not stored.

    Images in shards are stored by shard, all of it, so that a command that was killed goes on with the next one.

    Of several processes that ask at once one computes, the others wait. On a CPU it takes every core, a core
    an image, whatever the run's `threads`; neither their number nor an image's neighbours change a bit. A GPU
    or another CPU rounds differently, which float16 hides mostly but not wholly.

    Args:
        paths: the image files, or images in shards; their order is the rows' order.
        encoder: in eval mode; it is left as it is.
        cache: the store's folder, made if missing.
        pixels: the images as an encoder that is trained takes them, (N, 3, size, size) in uint8, instead.
        device: where to compute.
        show_bar: whether to show a progress bar.
        digests: SHA-256 of the files, if they are known.
        value_range: as `src.images.read_image`.

    Raises:
        BrokenImage: naming the files that cannot be read as images; of shards once the others are stored.
        EncoderError: the features are not finite in float16.
        OSError: the folder cannot be written or its disk is full.
    """
    stored = partial(_stored, encoder, cache, pixels, torch.device(device), show_bar, value_range)
    packed, files = split_packed(paths)
    if not packed:
        return stored(files, digests or digests_of(files))
    arrays, errors = {}, []
    for tar in dict.fromkeys(image.tar for image in packed):
        of_tar = [image.digest for image in tar.images]
        try:
            arrays[tar] = stored(tar.images, of_tar)
        except BrokenImage as error:
            errors.append(str(error))
        tar.release()
    if errors:
        raise BrokenImage("; ".join(errors))
    number = {tar: place for place, tar in enumerate(arrays)}
    places = [(number[image.tar], image.row) for image in packed]
    return Rows(list(arrays.values()), np.array(places))


def _stored(  # noqa: PLR0917
    encoder: Encoder,
    cache: Path,
    pixels: bool,
    device: torch.device,
    show_bar: bool,
    value_range: str,
    paths: Sequence[Path] | Sequence[PackedImage],
    digests: Sequence[str],
) -> np.ndarray:
    """One file of features: see `features_of`."""
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
    depends_on = json.dumps([*key, list(digests)])
    target = cache / f"{label}-{hashlib.sha256(depends_on.encode()).hexdigest()[:20]}.npy"
    if is_whole(target):  # the way of nearly every run: no lock, so a read-only folder will do
        return np.load(target, mmap_mode="r")
    cache.mkdir(parents=True, exist_ok=True)
    with FileLock(target.with_name(f".{target.name}.lock")):  # the kernel drops it when its holder dies
        if not is_whole(target):  # another process may have made it meanwhile
            logger.info("%s of %s images: computed once, kept in %s", label, f"{count:,}", cache)
            remove_leftovers(cache)  # of killed processes
            if isinstance(paths[0], PackedImage):
                paths[0].tar.hold()
            check_images(paths, value_range)
            blocks = _pixels(paths, size, value_range)
            if not pixels:
                blocks = _regions(paths, encoder, device, value_range)
            write_array(target, shape, dtype, blocks, show_bar)
    return np.load(target, mmap_mode="r")


def means_of(features: Stored) -> Stored:
    """The means over the regions of stored features, (N, L, D) -> (N, D) in float32; kept beside them."""
    if isinstance(features, Rows):
        return Rows([np.asarray(means_of(array)) for array in features.arrays], features.places)
    assert isinstance(features, np.memmap)
    source = Path(str(features.filename))
    target = source.with_name(source.name.replace("features-", "means-", 1))
    if not is_whole(target):
        count, _, dim = features.shape
        blocks = (features[at : at + 1024].mean(1, dtype=np.float32) for at in range(0, count, 1024))
        try:
            write_array(target, (count, dim), np.dtype(np.float32), blocks)
        except PermissionError:  # a store that is only read
            return features.mean(1, dtype=np.float32)
    return np.load(target, mmap_mode="r")


def check_images(paths: Sequence[Path] | Sequence[PackedImage], value_range: str = AUTO) -> None:
    """Decode every image, so that all broken ones are known at once and before hours are spent.

    Raises:
        BrokenImage: naming the files that are truncated, too large or no images.
    """
    remarks = each(paths, lambda path: read_image(path, value_range=value_range)[1])
    pairs: Any = zip(paths, remarks, strict=True)
    for line in sentences([(path, remark) for path, of_image in pairs for remark in of_image]):
        logger.info(line)


def _pixels(
    paths: Sequence[Path] | Sequence[PackedImage], size: int, value_range: str
) -> Iterator[np.ndarray]:
    """The pixels (1, 3, H, W) of an image after the other."""
    for path in paths:
        yield preprocess(read_rgb(path, value_range=value_range), size).numpy()[None]


def _regions(
    paths: Sequence[Path] | Sequence[PackedImage], encoder: Encoder, device: torch.device, value_range: str
) -> Iterator[np.ndarray]:
    """The regions (B, L, D) in float16 of a batch after the other."""
    network = copy.deepcopy(encoder).to(device)

    def pixels(path: Path | PackedImage) -> Tensor:
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
            work: Callable[[Any], Any] = (lambda path: encode(pixels(path)[None])) if on_cpu else pixels
            begun = (pool.map(work, paths[at : at + BATCH]) for at in range(0, len(paths), BATCH))
            # A batch ahead, so that no thread waits while the one before is written.
            for parts, _ in pairwise(chain(begun, [None])):
                assert parts is not None
                # parts: (1, L, D) or (3, H, W) each
                yield np.concatenate(list(parts)) if on_cpu else encode(torch.stack(list(parts)))
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)
