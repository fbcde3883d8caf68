"""What computes a frozen encoder's regions: torch, or on a CPU onnxruntime where it is installed (extra `export`).

Their regions differ by rounding (1e-5), so a run keeps the engine that it began with, and its files name it.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from src.captioning.encoder import Encoder, EncoderError
from src.run.environment import cores

logger = logging.getLogger(__name__)
TORCH, ONNXRUNTIME = "torch", "onnxruntime"
# Images at once on a GPU. A CPU takes them one by one, one thread each: that is faster than batches, whose
# maps do not fit its cache, and than threads that share an image, and gives the same bits for any number.
BATCH = 64
TOLERANCE = 1e-4  # of regions, as a share of the greatest


class UnsupportedEncoder(EncoderError):
    """An engine cannot compute this encoder."""


def available(engine: str) -> bool:
    """Whether the packages of an engine are installed."""
    return engine == TORCH or all(map(importlib.util.find_spec, ("onnx", "onnxruntime")))


def choose_engine(device: torch.device, fast: bool = True) -> str:
    """The fastest engine that there is."""
    return ONNXRUNTIME if fast and device.type == "cpu" and available(ONNXRUNTIME) else TORCH


def computed_by(engine: str, compute: Callable[[str], Any]) -> tuple[Any, str]:
    """What `compute` makes with an engine, or with torch where that one fails on the encoder; and which it was."""
    try:
        return compute(engine), engine
    except UnsupportedEncoder as error:
        logger.info("%s; torch computes it.", error)
        return compute(TORCH), TORCH


def network_of(encoder: Encoder, device: torch.device, engine: str) -> Callable[[Tensor], Tensor]:
    """The encoder on a device as an engine computes it: images (B, 3, S, S) in uint8 to regions (B, L, D).

    Raises:
        UnsupportedEncoder: onnxruntime cannot compute this encoder; else for one image at once alone.
    """
    if engine == ONNXRUNTIME:
        return _session(encoder)
    encoder.to(device)

    @torch.inference_mode()
    def encode(images: Tensor) -> Tensor:
        return encoder(images)

    return encode


def encode_all(
    network: Callable[[Tensor], Tensor],
    items: Sequence[Any],
    pixels: Callable[[Any], Tensor],
    device: torch.device,
) -> Iterator[np.ndarray]:
    """The regions (B, L, D) in float16 of a batch of images after the other.

    Args:
        network: of `network_of`.
        items: what `pixels` makes images (3, S, S) in uint8 of.
        device: of the network.

    Raises:
        EncoderError: regions are not finite in float16.
    """
    on_cpu = device.type == "cpu"

    def encode(images: Tensor) -> np.ndarray:
        regions = network(images.to(device)).half().cpu().numpy()  # (B, L, D)
        if not np.isfinite(regions).all():
            raise EncoderError(
                "the encoder gives values beyond float16 or NaN: its weights are damaged or made for something else"
            )
        return regions

    threads = torch.get_num_threads()
    # torch's number of threads is partly one of each thread, partly the process's: hence the restoring.
    with ThreadPoolExecutor(cores(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
        try:
            torch.set_num_threads(1)
            work: Callable[[Any], Any] = (lambda item: encode(pixels(item)[None])) if on_cpu else pixels
            begun = (pool.map(work, items[at : at + BATCH]) for at in range(0, len(items), BATCH))
            # A batch ahead, so that no thread waits while the one before is written.
            for parts, _ in pairwise(chain(begun, [None])):
                assert parts is not None
                # parts: (1, L, D) or (3, S, S) each
                yield np.concatenate(list(parts)) if on_cpu else encode(torch.stack(list(parts)))
        finally:
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)


def _session(encoder: Encoder) -> Callable[[Tensor], Tensor]:
    """An encoder that computes one image (1, 3, S, S) with onnxruntime, on one thread; compared with torch once.

    The exporter by TorchScript takes 1 s where torch.export's takes 5 to 10: an encoder in eval mode at one size
    is all that it has to follow.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    image = torch.arange(3 * encoder.size**2) * 37 % 251
    image = image.view(1, 3, encoder.size, encoder.size).byte()
    file: Any = io.BytesIO()  # the annotation of `export` knows paths alone
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            torch.onnx.export(encoder, (image,), file, dynamo=False, opset_version=20, input_names=["images"])
            expected = encoder(image)
        session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
        found = torch.from_numpy(session.run(None, {"images": image.numpy()})[0])
    except Exception as error:  # an exporter that meets a stranger's network fails in a dozen ways
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UnsupportedEncoder(f"onnxruntime cannot compute {encoder.name}: {reason}") from error
    if not torch.allclose(
        found, expected, rtol=0, atol=TOLERANCE * float(expected.abs().max()), equal_nan=True
    ):
        error_found = float((found - expected).abs().max())
        raise UnsupportedEncoder(
            f"onnxruntime computes {encoder.name} otherwise than torch: by {error_found:.2g}"
        )
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])
