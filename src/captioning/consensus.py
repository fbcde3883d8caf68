"""Consensus decoding: of the decoder's caption and the training captions, the one that fits the image best.

Devlin et al. (2015) choose among the captions of the nearest images the one that agrees best with the others. Here
the scores that a caption would get are predicted (score_regression.py), and the decoder has its say.

Dimension letters: B images, N training images, P training captions, T words, K candidates, L regions, D feature,
R components.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from src.captioning.decoders import Decoder
from src.captioning.metrics import CIDER_FACTOR
from src.captioning.score_regression import Caption, ScoreRegression
from src.captioning.search import Decoded, decode
from src.captioning.vocabulary import END, PAD, START, UNKNOWN
from src.entry_point import UserError

if TYPE_CHECKING:
    from src.captioning.data import CaptionData

MOST_IMAGES = 10_000  # evenly spaced ones: the regression takes memory by their square, time by their cube
COMPONENTS = 256  # on UCM more of them, or all features, predict no better (docs/RESULTS.md)
SHORTLIST = 20  # training captions an image


class TrainingCaptions(nn.Module):
    """What a `ScoreRegression` is made of, as buffers, so that a checkpoint holds it.

    Images are compared by the principal components of their standardised mean features.

    Args:
        images, dim, components: N, D and R.
        captions, words: P and T.
    """

    def __init__(self, images: int, dim: int, components: int, captions: int, words: int) -> None:
        super().__init__()
        self.center = nn.Buffer(torch.zeros(dim))
        self.axes = nn.Buffer(torch.zeros(dim, components))
        self.keys = nn.Buffer(torch.zeros(images, components))
        self.tokens = nn.Buffer(torch.zeros(captions, words, dtype=torch.int32))  # padded
        self.owners = nn.Buffer(torch.zeros(captions, dtype=torch.int32))  # each caption's image

    @classmethod
    def of(cls, data: CaptionData) -> TrainingCaptions:
        """Those of the training split, of `MOST_IMAGES` evenly spaced images at most.

        Raises:
            UserError: the encoder is trained, so that there are no mean features yet.
        """
        split, means = data.splits["train"], data.means.get("train")
        if means is None:
            raise UserError(
                "consensus compares the features of a frozen encoder: leave out encoder.fine_tune"
            )
        rows = np.arange(0, len(means), -(-len(means) // MOST_IMAGES))
        pairs = np.flatnonzero(np.isin(split.owners, rows))
        tokens = split.captions(pairs)[:, 1:-1]
        kept = torch.from_numpy(np.array(means[rows]))  # (N, D)
        center, spread = kept.mean(0), kept.std(0, correction=0).clamp(min=1e-6)
        with torch.random.fork_rng(devices=[]):  # the method is a randomized one
            torch.manual_seed(0)
            standardized = (kept - center) / spread
            _, _, directions = torch.svd_lowrank(standardized, min(COMPONENTS, *kept.shape))
        axes = directions / spread.unsqueeze(1)  # (D, R)
        found = cls(len(kept), *axes.shape, *tokens.shape)
        found.center.copy_(center)
        found.axes.copy_(axes)
        found.keys.copy_(found.project(kept))
        found.tokens.copy_(tokens.masked_fill(tokens == END, PAD))
        found.owners.copy_(torch.from_numpy(np.searchsorted(rows, split.owners[pairs])))
        return found

    @property
    def sizes(self) -> dict[str, int]:
        """Arguments of one of this size, `dim` left out."""
        captions, words = self.tokens.shape
        images, components = self.keys.shape
        return {"images": images, "components": components, "captions": captions, "words": words}

    def project(self, means: Tensor) -> Tensor:
        """Mean features (B, D) -> principal components (B, R)."""
        with torch.autocast(means.device.type, enabled=False):
            return (means - self.center) @ self.axes.to(means.dtype)

    @cached_property
    def regression(self) -> ScoreRegression:
        """Computed when it is first asked for."""
        captions: list[list[Caption]] = [[] for _ in self.keys]
        for owner, row in zip(self.owners.tolist(), self.tokens.tolist(), strict=True):
            captions[owner].append(tuple(number for number in row if number != PAD))
        return ScoreRegression(self.keys, captions)


def decode_by_consensus(
    decoder: Decoder,
    regression: ScoreRegression,
    regions: Tensor,
    keys: Tensor,
    *,
    weight: float,
    beam: int = 1,
    max_steps: int = 22,
    length_penalty: float = 0.0,
) -> Decoded:
    """Like `decode`, but each caption is chosen among the decoder's and training captions.

    Candidates are the decoder's caption and the `SHORTLIST` training captions with the greatest predicted CIDEr-D.
    Chosen is that with the greatest predicted CIDEr-D + 10 * BLEU-4 + weight * log-probability.

    Args:
        decoder, regions, beam, max_steps, length_penalty: see `decode`.
        regression: of the training captions.
        keys: (B, R) of the images, as `TrainingCaptions.project` gives them.
        weight: at least 0.
    """
    written = decode(decoder, regions, beam=beam, max_steps=max_steps, length_penalty=length_penalty)
    own = list(map(tuple, written.tokens))
    weights = regression.weights(keys)
    cider = regression.cider_d(weights, own)  # (B, M + B)
    known = regression.distinct
    is_barred = torch.tensor([UNKNOWN in caption or len(caption) >= max_steps for caption in known])
    found = []
    for image, caption in enumerate(own):
        allowed = cider[image, : len(known)].masked_fill(is_barred, -torch.inf)
        best = allowed.topk(min(SHORTLIST, int((~is_barred).sum()))).indices.tolist()
        candidates = [caption, *(known[place] for place in best)]
        logs, alphas = log_probabilities(decoder, regions[image], candidates)
        scores = cider[image, [len(known) + image, *best]] + weight * logs.cpu().double()
        scores += CIDER_FACTOR * (weights[image] @ regression.bleu4(candidates))
        k = int(scores.argmax())
        found.append(
            (
                list(candidates[k]),
                float(logs[k]),
                alphas[k, : len(candidates[k])] if alphas is not None else None,
            )
        )
    tokens, logs_of, attention = zip(*found, strict=True)
    return Decoded(list(tokens), list(logs_of), None if attention[0] is None else list(attention))


@torch.no_grad()
def log_probabilities(
    decoder: Decoder, regions: Tensor, captions: Sequence[Caption]
) -> tuple[Tensor, Tensor | None]:
    """Of captions of one image, ends included, (K,), and the attention (K, T, L); regions (L, D), dropout off."""
    longest = max(map(len, captions)) + 1
    rows = [[START, *caption, END] + [PAD] * (longest - 1 - len(caption)) for caption in captions]
    device = next(decoder.parameters()).device
    tokens = torch.tensor(rows, device=device)  # (K, T + 1)
    training = decoder.training
    decoder.eval()
    try:
        outputs, alphas = decoder(regions.to(device).expand(len(rows), -1, -1), tokens[:, :-1])
    finally:
        decoder.train(training)
    targets = tokens[:, 1:]
    logs = outputs.log_softmax(2).gather(2, targets.unsqueeze(2)).squeeze(2)
    return (logs * (targets != PAD)).sum(1), alphas
