"""What scores a caption would get on an image, predicted from the captions of the training images.

CIDEr-D and sentence BLEU-4 of a caption with the captions of every training image are known; kernel ridge regression
on the images' features predicts them on another image. The mean over the nearest images, as of Devlin et al.
(2015), predicts worse: a regression also tells apart images that look alike and are described differently.

Dimension letters: B images, N training images, M distinct training captions, G n-grams, K captions, L lengths,
R captions of an image, D feature.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from src.captioning.metrics import CIDER_FACTOR, CIDER_SIGMA, ORDER, ngrams

RIDGE = 0.03  # the kernel's diagonal is 1
UNMATCHED = 0.1  # matches of an order without any: BLEU's logarithm of 0 would leave nothing to compare

Caption = tuple[int, ...]  # numbers of words, without start and end


class ScoreRegression:
    """Predicts scores of captions on new images, in double precision on the CPU.

    Args:
        keys: (N, D) of the training images, close where images are alike.
        captions: of each of them.
    """

    def __init__(self, keys: Tensor, captions: Sequence[Sequence[Caption]]) -> None:
        self.keys = keys.cpu().double()
        self.scale = torch.cdist(self.keys, self.keys).square().mean()
        kernel = self._kernel(self.keys) + RIDGE * torch.eye(len(keys), dtype=torch.double)
        self.factor = torch.linalg.cholesky(kernel)

        images = Counter(ngram for several in captions for ngram in set().union(*map(ngrams, several)))
        self.idf = {ngram: math.log(len(keys) / count) for ngram, count in images.items()}
        self.distinct = list(dict.fromkeys(caption for several in captions for caption in several))
        # An n-gram that a caption has twice is two: so the clipped counts of both scores are products of matrices.
        occurrences = dict.fromkeys(key for caption in self.distinct for key in _occurrences(ngrams(caption)))
        self.columns = {occurrence: column for column, occurrence in enumerate(occurrences)}
        self.candidates, self.references = self._vectors(self.distinct)  # (M, G) each
        self.lengths = torch.tensor(list(map(len, self.distinct)))
        rows = {caption: row for row, caption in enumerate(self.distinct)}
        owned = [
            (image, caption, 1 / len(several))
            for image, several in enumerate(captions)
            for caption in several
        ]
        shares = [(rows[caption], image, share) for image, caption, share in owned]
        self.shares = _sparse(shares, (len(rows), len(keys)))  # of an image's captions
        lengths = [torch.tensor(sorted(map(len, several)), dtype=torch.double) for several in captions]
        self.reference_lengths = torch.nn.utils.rnn.pad_sequence(lengths, True, torch.inf)  # (N, R)
        highest: list[Counter[Caption]] = [Counter() for _ in captions]
        for image, caption, _ in owned:
            highest[image] |= ngrams(caption)
        held = [
            (image, self.columns[key]) for image, counts in enumerate(highest) for key in _occurrences(counts)
        ]
        self.held = torch.tensor(held).T  # the images' n-grams, as pairs of rows and columns

    def weights(self, keys: Tensor) -> Tensor:
        """(B, N): a score's values on the training images, weighted so, add up to its prediction on others (B, D)."""
        return torch.cholesky_solve(self._kernel(keys.cpu().double()).T, self.factor).T

    def cider_d(self, weights: Tensor, further: Sequence[Caption] = ()) -> Tensor:
        """Predicted CIDEr-D (B, M + further) of the distinct training captions, then of further ones."""
        candidates, lengths = self.candidates, self.lengths
        if further:
            candidates = torch.cat([candidates, self._vectors(further)[0]])
            lengths = torch.cat([lengths, torch.tensor(list(map(len, further)))])
        each = torch.arange(int(self.lengths.max()) + 1)  # L
        closeness = torch.exp(
            -(lengths.unsqueeze(1) - each).double().square() / (2 * CIDER_SIGMA**2)
        )  # (M + further, L)
        found = []
        for weight in (self.shares @ weights.T).unbind(1):  # (M,)
            by_length = weight.unsqueeze(1) * (self.lengths.unsqueeze(1) == each)  # (M, L)
            found.append((closeness * (candidates @ (self.references.t() @ by_length))).sum(1))
        return CIDER_FACTOR / ORDER * torch.stack(found)

    def bleu4(self, captions: Sequence[Caption]) -> Tensor:
        """Sentence BLEU-4 (N, K) of captions with the captions of every training image."""
        counted = list(map(ngrams, captions))
        keys = [key for counts in counted for key in _occurrences(counts) if key in self.columns]
        places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
        place_of = torch.full((len(self.columns),), -1)
        place_of[[self.columns[key] for key in places]] = torch.arange(len(places))
        images, at = self.held[0], place_of[self.held[1]]
        holds = torch.zeros(len(self.keys), len(places))
        holds[images[at >= 0], at[at >= 0]] = 1
        uses = torch.zeros(ORDER, len(places), len(captions))
        for k, counts in enumerate(counted):
            for key in _occurrences(counts):
                if key in places:
                    uses[len(key[0]) - 1, places[key], k] = 1
        lengths = torch.tensor([max(1, len(caption)) for caption in captions], dtype=torch.double)
        possible = (lengths - torch.arange(ORDER).unsqueeze(1)).clamp(min=1).unsqueeze(1)  # (4, 1, K)
        logs = ((holds @ uses).double().clamp(min=UNMATCHED) / possible).log().mean(0)
        nearest = (
            (self.reference_lengths.unsqueeze(2) - lengths).abs().argmin(1)
        )  # (N, K), the shorter of two
        return torch.exp(logs + (1 - self.reference_lengths.gather(1, nearest) / lengths).clamp(max=0))

    def _kernel(self, keys: Tensor) -> Tensor:
        return torch.exp(-torch.cdist(keys, self.keys).square() / self.scale)

    def _vectors(self, captions: Sequence[Caption]) -> tuple[Tensor, Tensor]:
        """Captions as CIDEr-D's candidates and as its references: a product of rows is the sum of the cosines."""
        ours, theirs = [], []
        for row, caption in enumerate(captions):
            counts = ngrams(caption)
            idf = {ngram: self.idf.get(ngram, math.log(len(self.keys))) for ngram in counts}
            squares = [0.0] * (ORDER + 1)
            for ngram, count in counts.items():
                squares[len(ngram)] += (count * idf[ngram]) ** 2
            for ngram, time in _occurrences(counts):
                column, square = self.columns.get((ngram, time)), squares[len(ngram)]
                if column is not None and square:
                    value = idf[ngram] / math.sqrt(square)
                    ours.append((row, column, value))
                    theirs.append((row, column, value * counts[ngram]))
        shape = (len(captions), len(self.columns))
        return _sparse(ours, shape), _sparse(theirs, shape)


def _occurrences(counts: Counter[Caption]) -> list[tuple[Caption, int]]:
    return [(ngram, time) for ngram, count in counts.items() for time in range(count)]


def _sparse(entries: Sequence[tuple[int, int, float]], shape: tuple[int, int]) -> Tensor:
    rows, columns, values = zip(*entries, strict=True) if entries else ((), (), ())
    places = torch.tensor([rows, columns], dtype=torch.long)
    return torch.sparse_coo_tensor(
        places, torch.tensor(values, dtype=torch.double), shape, check_invariants=True
    ).coalesce()
