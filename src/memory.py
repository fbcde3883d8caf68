"""Memory that runs out: recognized, said in a sentence, and a batch computed in parts to need less of it.

`in_parts` computes a network's output a part of the batch at a time, and again, part by part, in the
backward pass (gradient checkpointing: Chen et al. 2016, arXiv:1604.06174), so that the intermediate
values of one part are in memory at once. Gradients add up over the parts. The loss is still one
expression over the whole batch: whatever mean it takes, and of whatever weights, it stays the same.
"""

from __future__ import annotations

import gc
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

# How allocators that raise a plain RuntimeError name it: torch's for CPU and MPS, cuBLAS, cuDNN, C++.
SIGNS = (
    "can't allocate memory",
    "out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "bad_alloc",
)
LONGEST = 160  # characters of an allocator's own words


def shortage(error: BaseException) -> str | None:
    """The allocator's own words where an error says that memory ran out, else None."""
    text = " ".join(str(error).split())
    if not isinstance(error, MemoryError):
        if not isinstance(error, RuntimeError) or not any(sign in text for sign in SIGNS):
            return None
        text = re.sub(r"^\[enforce fail .*?(?=DefaultCPUAllocator)", "", text)  # where in torch's source
    text = text or "MemoryError"
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def advice(words: str, stage: str, batch: int, parts: int, may_halve: bool) -> str:
    """What to do about it, as a run's `cause`.

    Args:
        words: the allocator's.
        stage: set-up, training, validation or test.
        batch: images (or captions) a batch.
        parts: that a batch is computed in.
        may_halve: whether more parts would keep the numbers.
    """
    if stage != "training":
        return (
            f"memory ran out in {stage} ({words}), where batch_size does not count: "
            "free memory, or run fewer at once (workers=1)"
        )
    where = f"batch_size={batch}" + (f" in {parts} parts" if parts > 1 else "")
    tries = [f"batch_size={batch // 2}"] if batch > 1 else []
    if may_halve and parts < batch:
        tries.append("on_memory=halve, which computes a batch in parts and keeps its numbers")
    tries = tries or ["a smaller network or image size"]
    return f"memory ran out at {where} ({words}): try {', or '.join(tries)}"


def set_free() -> None:
    """Give back what a failed try held: its objects refer to each other in circles."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def in_parts(whole: Callable[..., Any], parts: int, batch: int) -> Callable[..., Any]:
    """`whole`, a function of tensors (B, ...) to tensors (B, ...), computed in parts of the batch.

    Args:
        whole: without random numbers of its own; None among its outputs stays None.
        parts: how many of a full batch; a smaller last batch has fewer.
        batch: B of a full batch.
    """
    import torch
    from torch.utils.checkpoint import checkpoint

    size = -(-batch // parts)

    def computed(*inputs: Tensor) -> Any:
        pieces = zip(*(tensor.split(size) for tensor in inputs), strict=True)
        made = [checkpoint(whole, *piece, use_reentrant=False, preserve_rng_state=False) for piece in pieces]
        if isinstance(made[0], torch.Tensor):
            return torch.cat(made)
        return tuple(
            None if several[0] is None else torch.cat(several) for several in zip(*made, strict=True)
        )

    return computed


class NoiseFromOutside:
    """Dropout whose noise is drawn for the whole batch before its parts are computed.

    The noise (0 or 1 / (1 - p)) is what the layer makes of ones, so that the whole batch takes the very
    random numbers that it takes in one piece.
    """

    def __init__(self, layer: nn.Dropout) -> None:
        self.layer = layer

    def draw(self, ones: Tensor) -> Tensor:
        """Noise of the shape and memory layout of `ones`."""
        return self.layer(ones)

    def around(self, whole: Callable[..., Any]) -> Callable[..., Any]:
        """`whole` with a further first argument, the noise, in place of the layer's own."""

        def with_noise(noise: Tensor, *inputs: Tensor) -> Any:
            self.layer.forward = lambda input: input * noise.to(input.dtype)  # type: ignore[method-assign]
            try:
                return whole(*inputs)
            finally:
                del self.layer.forward

        return with_noise
