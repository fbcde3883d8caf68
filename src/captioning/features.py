"""Features of encoders and pixels of images: computed once, memory-mapped, shared by all runs.

A file is named after the SHA-256 of all it depends on: the encoder, its weights and arguments, what computes it, the
preprocessing, the bytes of every image, in order. So it never goes stale. It is a plain .npy file with a
`.sha256` beside it, in sha256sum's format; a file that does not fit is made again (store.py).

Dimension letters: N images, B batch, L regions, D feature, H, W.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from src.captioning.encoder import PREPROCESSING, Encoder, preprocess
from src.captioning.engines import ONNXRUNTIME, TORCH, computed_by, encode_all, network_of
from src.captioning.store import Rows, Stored, digests_of, each, is_whole, split_packed, write_array
from src.config.image_range import AUTO
from src.files import remove_leftovers
from src.images import BrokenImage, read_image, read_rgb
from src.locks import lock_at
from src.pixels import sentences
from src.tars import PackedImage

logger = logging.getLogger(__name__)


def features_of(
    paths: Sequence[Path | PackedImage],
    encoder: Encoder,
    cache: Path,
    *,
    pixels: bool = False,
    device: str | torch.device = "cpu",
    engine: str = TORCH,
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
        engine: what computes (engines.py); each has files of its own.
        show_bar: whether to show a progress bar.
        digests: SHA-256 of the files, if they are known.
        value_range: as `src.images.read_image`.

    Raises:
        BrokenImage: naming the files that cannot be read as images; of shards once the others are stored.
        UnsupportedEncoder: the engine cannot compute this encoder.
        EncoderError: the features are not finite in float16.
        OSError: the folder cannot be written or its disk is full.
    """
    stored = partial(_stored, encoder, cache, pixels, torch.device(device), engine, show_bar, value_range)
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


def features_by(
    engine: str, paths: Sequence[Path | PackedImage], encoder: Encoder, cache: Path, **options: Any
) -> tuple[Any, str]:
    """`features_of` by an engine, or by torch where that one cannot compute this encoder, and which it was."""

    def compute(engine: str) -> Any:
        place = {"device": "cpu"} if engine == ONNXRUNTIME else {}
        return features_of(paths, encoder, cache, engine=engine, **options | place)

    return computed_by(engine, compute)


def _stored(  # noqa: PLR0917
    encoder: Encoder,
    cache: Path,
    pixels: bool,
    device: torch.device,
    engine: str,
    show_bar: bool,
    value_range: str,
    paths: Sequence[Path] | Sequence[PackedImage],
    digests: Sequence[str],
) -> np.ndarray:
    """One file of features: see `features_of`."""
    count, size = len(paths), encoder.size

    def pixels_of(path: Path | PackedImage) -> torch.Tensor:
        return preprocess(read_rgb(path, value_range=value_range), size)  # (3, size, size)

    shape: tuple[int, ...]
    dtype: np.dtype
    if pixels:
        label, key = f"images-{size}", ["images", PREPROCESSING, size, value_range]
        shape, dtype = (count, 3, size, size), np.dtype(np.uint8)
    else:
        label = f"features-{encoder.name}-{size}"
        key = [encoder.name, encoder.digest, encoder.made_by, PREPROCESSING, size, value_range, engine]
        shape, dtype = (count, encoder.grid[0] * encoder.grid[1], encoder.dim), np.dtype(np.float16)
    depends_on = json.dumps([*key, list(digests)])
    target = cache / f"{label}-{hashlib.sha256(depends_on.encode()).hexdigest()[:20]}.npy"
    if is_whole(target):  # the way of nearly every run: no lock, so a read-only folder will do
        return np.load(target, mmap_mode="r")
    cache.mkdir(parents=True, exist_ok=True)
    with lock_at(target.with_name(f".{target.name}.lock")):
        if not is_whole(target):  # another process may have made it meanwhile
            logger.info("%s of %s images: computed once, kept in %s", label, f"{count:,}", cache)
            remove_leftovers(cache)  # of killed processes
            if isinstance(paths[0], PackedImage):
                paths[0].tar.hold()
            check_images(paths, value_range)
            blocks: Iterator[np.ndarray] = (pixels_of(path).numpy()[None] for path in paths)
            if not pixels:
                blocks = encode_all(
                    network_of(copy.deepcopy(encoder), device, engine), paths, pixels_of, device
                )
            write_array(target, shape, dtype, blocks, show_bar)
            is_whole(target, settled=True)  # the next command need not read it
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
