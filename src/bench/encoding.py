"""The encoder's part of `make bench`: image files to regions, one image at a time against faster ways.

All ways start from the same files on the disk and end in regions in half precision: decoding, resizing and
normalising count. Each way after the first two changes one thing, so that the table shows what wins.

Dimension letters: B batch, L regions, D feature, S side in pixels.
"""

from __future__ import annotations

import copy
import statistics
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

import src  # noqa: F401  first: lets torchvision load beside a CPU-only torch
from src.bench.rounds import by_turns, middle_and_range, photographs, times_faster
from src.captioning.encoder import Encoder, build_encoder, preprocess
from src.captioning.features import features_of
from src.captioning.folding import fold
from src.images import read_rgb
from src.reading import read_batches
from src.run.threads import cores

TARGET = 2.0
BATCH = 16
FIRST = "one image at a time, as it is first written"
OURS = "ours: `features_of`, with hashing the files and writing the store"
BF16 = "an image a thread, folded, bf16"


@dataclass
class Encoding:
    """Seconds for `images` images, a value a round for every way.

    Attributes:
        error: bf16's regions less float32's, root mean square over the regions' own; None where bf16 was
            not measured.
    """

    encoder: str
    size: int
    images: int
    threads: int
    seconds: dict[str, list[float]]
    error: float | None = None


def bf16_is_fast() -> bool:
    """Whether the processor multiplies bf16 by itself; elsewhere bf16 is slower than float32."""
    found = torch.cpu.get_capabilities()
    return any(found.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def measure_encoding(
    rounds: int = 5,
    images: int = 256,
    *,
    name: str = "efficientnet_lite0",
    size: int = 256,
    threads: int | None = None,
) -> Encoding:
    """All ways by turns, on photographs of `size` x `size` pixels; torch's threads as before afterwards."""
    before = torch.get_num_threads()
    threads = threads or cores()
    torch.set_num_threads(threads)
    try:
        encoder = build_encoder(name, size)
        with tempfile.TemporaryDirectory() as folder:
            paths = photographs(Path(folder) / "images", images, size)
            ways = ways_to_encode(encoder, paths, threads, Path(folder))
            found = Encoding(name, size, images, threads, by_turns(ways, rounds))
            if BF16 in ways:
                exact, coarse = (ways[way]() for way in (FIRST, BF16))
                found.error = float((coarse - exact).square().mean().sqrt() / exact.square().mean().sqrt())
    finally:
        torch.set_num_threads(before)
    return found


def ways_to_encode(
    encoder: Encoder, paths: Sequence[Path], threads: int, folder: Path
) -> dict[str, Callable[[], Tensor]]:
    """Each way gives the regions of all images, (N, L, D) in float32 that float16 can hold.

    Args:
        encoder: on the CPU, in eval mode.
        paths: image files.
        threads: of the ways that share the work among images.
        folder: for the store's files.
    """
    nchw = copy.deepcopy(encoder.backbone).to(memory_format=torch.contiguous_format)
    folded = copy.deepcopy(encoder)
    folded.backbone = fold(folded.backbone, torch.zeros(1, 3, encoder.size, encoder.size))

    def pixels(path: Path) -> Tensor:
        return preprocess(read_rgb(path), encoder.size)  # (3, S, S)

    def plain(images: Tensor) -> Tensor:
        normal = (images.float() - encoder.mean) / encoder.std
        return nchw(normal).flatten(2).transpose(1, 2)  # (B, D, H, W) -> (B, L, D)

    def one_by_one(look: Callable[[Tensor], Tensor]) -> Callable[[], Tensor]:
        @torch.inference_mode()
        def run() -> Tensor:
            return torch.cat([look(pixels(path)[None]).half() for path in paths]).float()

        return run

    @torch.inference_mode()
    def batched() -> Tensor:
        images = torch.stack([pixels(path) for path in paths])
        return torch.cat([folded(some).half() for some in images.split(BATCH)]).float()

    @torch.inference_mode()
    def batched_read_ahead() -> Tensor:
        batches = read_batches(paths, lambda image: preprocess(image, encoder.size), BATCH)
        return torch.cat([folded(batch.images).half() for batch in batches]).float()

    def image_a_thread(bf16: bool) -> Callable[[], Tensor]:
        @torch.inference_mode()
        def look(path: Path) -> Tensor:
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
                return folded(pixels(path)[None]).half()

        def run() -> Tensor:
            with ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
                torch.set_num_threads(1)
                try:
                    return torch.cat(list(pool.map(look, paths))).float()
                finally:
                    torch.set_num_threads(threads)

        return run

    def stored() -> Tensor:
        with tempfile.TemporaryDirectory(dir=folder) as cache:  # nothing may be there already
            found = features_of(paths, encoder, Path(cache), say=lambda _: None)
            return torch.from_numpy(np.array(found)).float()  # torch converts faster than numpy

    ways: dict[str, Callable[[], Tensor]] = {
        FIRST: one_by_one(plain),
        "one at a time, channels_last": one_by_one(encoder),
        "one at a time, channels_last, folded": one_by_one(folded),
        f"batches of {BATCH}, folded": batched,
        f"batches of {BATCH}, folded, files decoded ahead in threads": batched_read_ahead,
        "an image a thread, folded": image_a_thread(bf16=False),
    }
    if bf16_is_fast():
        ways[BF16] = image_a_thread(bf16=True)
    ways[OURS] = stored
    return ways


def encoding_table(found: Encoding) -> str:
    """Markdown: medians, ratios to the first way within a round (lowest to highest), and what they say."""
    base = found.seconds[FIRST]
    lines = [
        f"{found.encoder} at {found.size} x {found.size}, {found.images} JPEG files, "
        f"{found.threads} threads.",
        "",
        "| image files to regions | images/s | times as fast | target |",
        "|---|---|---|---|",
    ]
    for way, seconds in found.seconds.items():
        rate = found.images / statistics.median(seconds)
        target = f"{TARGET:.1f}" if way == OURS else ""
        lines.append(f"| {way} | {rate:,.1f} | {middle_and_range(times_faster(base, seconds))} | {target} |")
    fastest = min(found.seconds, key=lambda way: statistics.median(found.seconds[way]))
    ours = statistics.median(times_faster(base, found.seconds[OURS]))
    verdict = "met" if ours >= TARGET else f"missed: {ours:.2f}"
    bf16 = (
        "bf16 was left out: this processor has no instructions for it."
        if found.error is None
        else f"bf16's regions depart from float32's by {100 * found.error:.2g} % (root mean square)."
    )
    return "\n".join([*lines, "", f"Fastest: {fastest}. Target of {TARGET:g} times {verdict}. {bf16}", ""])


def as_content(found: Encoding) -> dict:
    """For a JSON file."""
    return asdict(found)
