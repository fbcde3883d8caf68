"""What a caption decoder offers to training and search.

Dimension letters: B images, K captions of each, N = B*K, L regions, D region feature, T steps, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

Scored = tuple[Tensor, Tensor | None]  # scores (B, T, V) before the softmax, attention weights (B, T, L)


class Decoder(nn.Module):
    """Base class of decoders: write `remember`, `start` and `step`; `forward` may stay as it is.

    Memory and state may be any nesting of tuples, lists, dicts and dataclasses; the first dimension of every
    tensor in them is the batch.
    """

    mean_only = False  # its regions are their mean (B, 1, D)
    beams_share_memory = False  # `step` gets the memory of B images, not of N captions

    def remember(self, regions: Tensor) -> Any:
        """What all steps share, of regions (B, L, D) of any float dtype."""
        raise NotImplementedError

    def start(self, memory: Any) -> Any:
        """The state before the first word of B captions."""
        raise NotImplementedError

    def step(self, tokens: Tensor, state: Any, memory: Any) -> tuple[Tensor, Any, Tensor | None]:
        """The next words of N captions; those of an image stand together.

        Args:
            tokens: (N,) their last words.
            state: what `start` or the last step gave.
            memory: what `remember` gave.

        Returns:
            Scores (N, V) before the softmax, the new state, attention weights (N, L) or None.
        """
        raise NotImplementedError

    def forward(self, regions: Tensor, tokens: Tensor, sampling: float = 0.0) -> Scored:
        """Scores of every next word under teacher forcing, and attention weights; nothing is masked.

        Args:
            regions: (B, L, D).
            tokens: (B, T) the inputs: the start token, then the words, padded at the right.
            sampling: probability that an input after the first is the decoder's own last prediction, its
                most probable word (scheduled sampling, Bengio et al. 2015).
        """
        memory = self.remember(regions)
        inputs, state = tokens[:, 0], self.start(memory)
        coins = torch.rand(tokens.shape, device=tokens.device) < sampling
        scores: list[Tensor] = []
        alphas: list[Tensor] = []
        for t in range(tokens.shape[1]):
            if t:
                inputs = torch.where(coins[:, t], scores[-1].detach().argmax(1), tokens[:, t])
            score, state, alpha = self.step(inputs, state, memory)
            scores.append(score)
            alphas += [] if alpha is None else [alpha]
        return torch.stack(scores, 1), torch.stack(alphas, 1) if alphas else None
