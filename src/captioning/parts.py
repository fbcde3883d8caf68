"""The captioner's batches computed in parts, to need less memory; the same numbers up to rounding.

Dimension letters: B batch, L regions, T steps, U decoder state, E embedding.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from src.captioning.module import Captioner
from src.memory import NoiseFromOutside, in_parts


def compute_in_parts(module: Captioner, parts: int, batch: int) -> None:
    """Let `module` train a batch of so many captions in parts. Weights and random numbers stay.

    Not with scheduled sampling, nor with batch norms that are trained (`parts_obstacle`, src/config.py).
    """
    decoder: Any = module.decoder
    whole, noise = decoder.forward, NoiseFromOutside(decoder.dropout)
    split = in_parts(noise.around(whole), parts, batch)

    def forward(regions: Tensor, tokens: Tensor, sampling: float = 0.0) -> object:
        if not (decoder.training and torch.is_grad_enabled()):
            return whole(regions, tokens, sampling)
        (captions, steps), weight = tokens.shape, decoder.output.weight
        ones = weight.new_ones(steps, captions, weight.shape[1]).transpose(0, 1)  # as states: (B, T, U)
        if getattr(decoder, "deep", None) is not None:
            ones = ones.contiguous()  # as what the deep output reads: (B, T, E)
        return split(noise.draw(ones), regions, tokens)

    decoder.forward = forward
    if module.encoder is not None:
        look = module.encoder.forward
        looks = in_parts(look, parts, batch)
        module.encoder.forward = lambda images: (  # type: ignore[method-assign]
            looks(images) if torch.is_grad_enabled() else look(images)
        )
