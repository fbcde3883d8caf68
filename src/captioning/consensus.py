"""Consensus decoding: the caption that agrees best with what people wrote of similar images (Devlin et al. 2015).

The CIDEr-D that a caption would get on an image is predicted from its CIDEr-D with the captions of the training
images, by kernel ridge regression on the images' mean features. Devlin et al. average over the nearest images instead;
a regression also tells apart images that look alike and are described differently.

Dimension letters: B images, N training images, M distinct training captions, G n-grams, L caption lengths, D feature,
P training captions, T words, K candidates an image.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from src.captioning.decoders import Decoder
from src.captioning.metrics import CIDER_FACTOR, CIDER_SIGMA, ORDER, ngrams
from src.captioning.search import Decoded, decode
from src.captioning.vocabulary import END, PAD, START, UNKNOWN
from src.entry_point import UserError

if TYPE_CHECKING:
    from src.captioning.data import CaptionData

MOST_IMAGES = 10_000  # evenly spaced ones: the regression takes memory by their square, time by their cube
RIDGE = 0.1  # the kernel's diagonal is 1
SHORTLIST = 20  # candidates an image whose log-probability the decoder computes
LEAST = 1e-3  # predicted CIDEr-D below it counts as that much

Caption = tuple[int, ...]  # numbers of words, without start and end


class Consensus:
    """Predicts CIDEr-D on new images, in double precision on the CPU.

    Args:
        means: (N, D) mean features of the training images.
        captions: of each of them.
    """

    def __init__(self, means: Tensor, captions: Sequence[Sequence[Caption]]) -> None:
        means = means.cpu().double()
        self.center, self.spread = means.mean(0), means.std(0).clamp(min=1e-6)
        self.keys = self._standardized(means)
        self.scale = torch.cdist(self.keys, self.keys).square().mean()
        kernel = self._kernel(self.keys) + RIDGE * torch.eye(len(means), dtype=torch.double)
        self.factor = torch.linalg.cholesky(kernel)

        images = Counter(ngram for several in captions for ngram in set().union(*map(ngrams, several)))
        self.idf = {ngram: math.log(len(means) / count) for ngram, count in images.items()}
        self.distinct = list(dict.fromkeys(caption for several in captions for caption in several))  # M
        # An n-gram that occurs twice is two: then the clipping of CIDEr-D's counts is a product of matrices.
        occurrences = dict.fromkeys(key for caption in self.distinct for key in _occurrences(caption))
        self.columns = {occurrence: column for column, occurrence in enumerate(occurrences)}  # G
        self.candidates, self.references = self._vectors(self.distinct)  # (M, G) each
        self.lengths = torch.tensor(list(map(len, self.distinct)))
        rows = {caption: row for row, caption in enumerate(self.distinct)}
        places = [
            (rows[caption], image, 1 / len(several))
            for image, several in enumerate(captions)
            for caption in several
        ]
        # (M, N): the share of an image's captions
        self.shares = _sparse(places, (len(rows), len(means)))

    def scores(self, means: Tensor, further: Sequence[Caption] = ()) -> Tensor:
        """Predicted CIDEr-D (B, M + further) of the distinct training captions, then of further ones.

        Args:
            means: (B, D).
            further: captions.
        """
        kernel = self._kernel(self._standardized(means.cpu().double()))  # (B, N)
        weights = self.shares @ torch.cholesky_solve(kernel.T, self.factor)  # (M, B)
        candidates, lengths = self.candidates, self.lengths
        if further:
            candidates = torch.cat([candidates, self._vectors(further)[0]])
            lengths = torch.cat([lengths, torch.tensor(list(map(len, further)))])
        each = torch.arange(int(self.lengths.max()) + 1)  # L
        closeness = torch.exp(-(lengths.unsqueeze(1) - each).square() / (2 * CIDER_SIGMA**2))  # (M, L)
        found = []
        for column in weights.unbind(1):
            by_length = column.unsqueeze(1) * (self.lengths.unsqueeze(1) == each)  # (M, L)
            found.append((closeness * (candidates @ (self.references.t() @ by_length))).sum(1))
        return CIDER_FACTOR / ORDER * torch.stack(found)

    def _standardized(self, means: Tensor) -> Tensor:
        return (means - self.center) / self.spread

    def _kernel(self, means: Tensor) -> Tensor:
        return torch.exp(-torch.cdist(means, self.keys).square() / self.scale)

    def _vectors(self, captions: Sequence[Caption]) -> tuple[Tensor, Tensor]:
        """Captions as CIDEr-D's candidates and as its references: a product of rows is the sum of the cosines."""
        ours, theirs = [], []
        for row, caption in enumerate(captions):
            counts = ngrams(caption)
            idf = {ngram: self.idf.get(ngram, math.log(len(self.keys))) for ngram in counts}
            squares = [0.0] * (ORDER + 1)
            for ngram, count in counts.items():
                squares[len(ngram)] += (count * idf[ngram]) ** 2
            for ngram, time in _occurrences(caption):
                column, square = self.columns.get((ngram, time)), squares[len(ngram)]
                if column is not None and square:
                    value = idf[ngram] / math.sqrt(square)
                    ours.append((row, column, value))
                    theirs.append((row, column, value * counts[ngram]))
        shape = (len(captions), len(self.columns))
        return _sparse(ours, shape), _sparse(theirs, shape)


class TrainingCaptions(nn.Module):
    """What `Consensus` is made of, as buffers, so that a checkpoint holds it.

    Args:
        images, dim: N and D.
        captions, words: P and T.
    """

    def __init__(self, images: int, dim: int, captions: int, words: int) -> None:
        super().__init__()
        self.means = nn.Buffer(torch.zeros(images, dim, dtype=torch.float16))
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
        kept = np.array(means[rows])
        found = cls(*kept.shape, *tokens.shape)
        found.means.copy_(torch.from_numpy(kept))
        found.tokens.copy_(tokens.masked_fill(tokens == END, PAD))
        found.owners.copy_(torch.from_numpy(np.searchsorted(rows, split.owners[pairs])))
        return found

    @property
    def sizes(self) -> dict[str, int]:
        """Arguments of one of this size, `dim` left out."""
        captions, words = self.tokens.shape
        return {"images": len(self.means), "captions": captions, "words": words}

    @cached_property
    def consensus(self) -> Consensus:
        """Computed when it is first asked for."""
        captions: list[list[Caption]] = [[] for _ in self.means]
        for owner, row in zip(self.owners.tolist(), self.tokens.tolist(), strict=True):
            captions[owner].append(tuple(number for number in row if number != PAD))
        return Consensus(self.means, captions)


def decode_by_consensus(
    decoder: Decoder,
    consensus: Consensus,
    regions: Tensor,
    means: Tensor,
    *,
    weight: float,
    beam: int = 1,
    max_steps: int = 22,
    length_penalty: float = 0.0,
) -> Decoded:
    """As `decode`, but the caption is chosen from its captions and the training captions.

    It has the greatest log(predicted CIDEr-D) + weight * (log-probability) of the image's decoded caption and the
    `SHORTLIST` training captions with the greatest predicted CIDEr-D.

    Args:
        decoder, regions, beam, max_steps, length_penalty: see `decode`.
        consensus: of the training captions.
        means: (B, D) mean features of the images.
        weight: at least 0.
    """
    written = decode(decoder, regions, beam=beam, max_steps=max_steps, length_penalty=length_penalty)
    own = [tuple(tokens) for tokens in written.tokens]
    predicted = consensus.scores(means, own)  # (B, M + B)
    known = len(consensus.distinct)
    is_barred = [UNKNOWN in caption or len(caption) >= max_steps for caption in consensus.distinct]
    predicted[:, :known].masked_fill_(torch.tensor(is_barred), -torch.inf)
    tokens, scores, alphas = [], [], []
    for image, row in enumerate(predicted):
        places = row[:known].topk(min(SHORTLIST, known)).indices.tolist()
        captions = [own[image], *(consensus.distinct[place] for place in places if row[place] > -torch.inf)]
        cider = row[[known + image, *places[: len(captions) - 1]]].clamp(min=LEAST)
        logs, attention = log_probabilities(decoder, regions[image], captions)
        best = int((cider.log() + weight * logs.cpu().double()).argmax())
        tokens.append(list(captions[best]))
        scores.append(float(logs[best]))
        if attention is not None:
            alphas.append(attention[best, : len(captions[best])])
    return Decoded(tokens, scores, alphas or None)


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


def _occurrences(caption: Caption) -> list[tuple[Caption, int]]:
    return [(ngram, time) for ngram, count in ngrams(caption).items() for time in range(count)]


def _sparse(entries: Sequence[tuple[int, int, float]], shape: tuple[int, int]) -> Tensor:
    rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
    places = torch.tensor([rows, columns], dtype=torch.long)
    return torch.sparse_coo_tensor(places, torch.tensor(values, dtype=torch.double), shape).coalesce()
