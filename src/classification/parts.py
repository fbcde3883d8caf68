"""The classifier's batches computed in parts, to need less memory; the same numbers up to rounding."""

from __future__ import annotations

import torch
from torch import Tensor

from src.classification.module import Classifier
from src.memory import NoiseFromOutside, in_parts


def compute_in_parts(module: Classifier, parts: int) -> None:
    """Let `module` train a batch in so many parts. Its weights, checkpoints and random numbers stay."""
    network, batch = module.network, module.hparams["batch_size"]
    whole, noise = network.forward, NoiseFromOutside(network.dropout)
    split = in_parts(noise.around(whole), parts, batch)

    def forward(images: Tensor) -> Tensor:
        if not (network.training and torch.is_grad_enabled()):
            return whole(images)
        ones = network.dense1.weight.new_ones(len(images), network.dense1.out_features)
        return split(noise.draw(ones), images)

    network.forward = forward  # type: ignore[method-assign]
