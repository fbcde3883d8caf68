"""Scores of captions against references (BLEU, CIDEr-D, ROUGE-L), and of attention against boxes.

Captions are lists of words. Scores lie between 0 and 1; only CIDEr-D has the factor 10 of published tables.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torchmetrics.functional.text import bleu_score
from torchmetrics.text import BLEUScore

from src.captioning.captioned import CaptionedImage

Caption = Sequence[str]
Word = TypeVar("Word", str, int)  # spelled or numbered
References = Sequence[Sequence[Caption]]  # for each of N images, one or more captions

VERSION = 1  # of the definitions below; counts up whenever a score changes
ORDER = 4
CIDER_SIGMA = 6.0
CIDER_FACTOR = 10.0
_ROUGE_BETA = 1.2
LARGEST = 0.5  # share of the regions that a word's boxes may cover


def score_captions(candidates: Sequence[Caption], references: References) -> dict[str, float]:
    """All scores: bleu1 to bleu4 (corpus), bleu4_sentence, cider_d, rouge_l."""
    return {
        **{f"bleu{order}": score for order, score in enumerate(corpus_bleu(candidates, references), start=1)},
        "bleu4_sentence": float(np.mean(list(map(sentence_bleu4, candidates, references)))),
        "cider_d": cider_d(candidates, references),
        "rouge_l": float(np.mean(list(map(rouge_l, candidates, references)))),
    }


def correctness(candidates: Sequence[Caption], images: Sequence[CaptionedImage]) -> dict[str, float]:
    """`correctness`, the share of captions that are true of their images; nothing where the data cannot tell."""
    found = [
        one.is_true(caption)
        for caption, one in zip(candidates, images, strict=True)
        if one.is_true is not None
    ]
    return {"correctness": sum(found) / len(found)} if len(found) == len(images) else {}


def signatures(
    references: References, beam: int, length_penalty: float = 0.0, consensus: float | None = None
) -> dict[str, str]:
    """What each of the scores of `score_captions` depends on besides the captions.

    For instance `bleu4|agg:corpus|smooth:none|tok:lower,nopunct|refs:4-6|beam:5|v:1`.
    """
    details = {
        **dict.fromkeys(("bleu1", "bleu2", "bleu3", "bleu4"), "agg:corpus|smooth:none"),
        "bleu4_sentence": "agg:mean|smooth:none",
        "cider_d": f"agg:mean|n:{ORDER}|sigma:{CIDER_SIGMA:g}|x{CIDER_FACTOR:g}",
        "rouge_l": f"agg:mean|beta:{_ROUGE_BETA:g}",
    }
    numbers = sorted(map(len, references))
    count = "-".join(map(str, sorted({numbers[0], numbers[-1]})))
    penalty = f"|lp:{length_penalty:g}" if length_penalty else ""
    chosen = "" if consensus is None else f"|consensus:{consensus:g}"
    search = f"tok:lower,nopunct|refs:{count}|beam:{beam}{penalty}{chosen}|v:{VERSION}"
    return {metric: f"{metric}|{detail}|{search}" for metric, detail in details.items()}


def corpus_bleu(candidates: Sequence[Caption], references: References) -> list[float]:
    """BLEU-1 to BLEU-4 without smoothing (Papineni et al. 2002), n-grams counted over all images.

    Mostly higher than the mean of `sentence_bleu4`: do not compare the two.
    """
    bleu = BLEUScore(n_gram=ORDER)
    bleu.update([" ".join(candidate) for candidate in candidates], list(map(_joined, references)))
    # compute() gives one order in float32; the counts give all four.
    matched, total = bleu.numerator.double().numpy(), bleu.denominator.double().numpy()
    brevity = min(1.0, math.exp(1 - bleu.target_len.item() / max(1, bleu.preds_len.item())))
    with np.errstate(divide="ignore"):  # log(0): no n-gram matches, the score is 0
        logs = np.log(matched / np.maximum(total, 1))
    return [brevity * math.exp(mean) for mean in np.cumsum(logs) / np.arange(1, ORDER + 1)]


def sentence_bleu4(candidate: Caption, references: Sequence[Caption]) -> float:
    """One caption's BLEU-4 without smoothing: 0 where any order has no match."""
    return bleu_score([" ".join(candidate)], [_joined(references)]).item()


def _joined(references: Sequence[Caption]) -> list[str]:
    # Of two references equally near in length, torchmetrics takes the first; the shorter is right.
    return [" ".join(reference) for reference in sorted(references, key=len)]


def cider_d(candidates: Sequence[Caption], references: References) -> float:
    """CIDEr-D (Vedantam et al. 2015, section 7), with the factor 10, as pycocoevalcap's `Cider`.

    The weight of an n-gram falls with the number of images whose references have it, so the score depends on
    all references of the corpus.

    Returns:
        The mean over images; NaN for a single image, where every weight is 0.
    """
    if len(candidates) == 1:
        return math.nan
    counts = [[ngrams(reference) for reference in several] for several in references]
    images = Counter(ngram for several in counts for ngram in set().union(*several))

    def tf_idf(counted: Counter[tuple[str, ...]]) -> tuple[dict[tuple[str, ...], float], list[float]]:
        weights = {n: count * math.log(len(references) / images.get(n, 1)) for n, count in counted.items()}
        squares = [0.0] * ORDER
        for ngram, weight in weights.items():
            squares[len(ngram) - 1] += weight * weight
        return weights, [math.sqrt(square) for square in squares]

    total = 0.0
    for candidate, several, their_counts in zip(candidates, references, counts, strict=True):
        ours, our_norms = tf_idf(ngrams(candidate))
        for reference, counted in zip(several, their_counts, strict=True):
            theirs, their_norms = tf_idf(counted)
            products = [0.0] * ORDER
            for ngram in ours.keys() & theirs.keys():
                products[len(ngram) - 1] += min(ours[ngram], theirs[ngram]) * theirs[ngram]
            norms = [a * b for a, b in zip(our_norms, their_norms, strict=True)]
            cosines = (product / norm for product, norm in zip(products, norms, strict=True) if norm)
            # The reference implementation measures length in bigrams.
            distance = max(len(candidate) - 1, 0) - max(len(reference) - 1, 0)
            similarity = sum(cosines) / ORDER * math.exp(-(distance**2) / (2 * CIDER_SIGMA**2))
            total += CIDER_FACTOR * similarity / len(several)
    return total / len(candidates)


def rouge_l(candidate: Caption, references: Sequence[Caption]) -> float:
    """One caption's ROUGE-L (Lin 2004) with beta 1.2, as pycocoevalcap's `Rouge`.

    Recall and precision are each the best over the references, not those of one reference.
    """
    common = [_longest_common_subsequence(candidate, reference) for reference in references]
    if not any(common):
        return 0.0
    precision = max(common) / len(candidate)
    recall = max(length / len(words) for length, words in zip(common, references, strict=True) if words)
    return (1 + _ROUGE_BETA**2) * precision * recall / (recall + _ROUGE_BETA**2 * precision)


def _longest_common_subsequence(first: Caption, second: Caption) -> int:
    best = [0] * (len(second) + 1)  # of the part of `first` so far with each beginning of `second`
    for word in first:
        diagonal = 0
        for place, other in enumerate(second, start=1):
            above = best[place]
            best[place] = diagonal + 1 if word == other else max(above, best[place - 1])
            diagonal = above
    return best[-1]


def ngrams(caption: Sequence[Word]) -> Counter[tuple[Word, ...]]:
    """The counts of the n-grams of one to four words."""
    shifted = [caption[start:] for start in range(ORDER)]
    return Counter(ngram for order in range(1, ORDER + 1) for ngram in zip(*shifted[:order], strict=False))


def pointing_game(
    images: Sequence[CaptionedImage],
    captions: Sequence[Sequence[str]],
    alphas: Mapping[int, Tensor],
    grid: Sequence[int],
) -> dict[str, Any] | None:
    """How often the strongest region's centre lies in a box of what the word names (Zhang et al. 2016).

    Chance is the mean, over the same words, of the share of region centres that lie in such a box.
    A word that names nothing in its image does not count, nor does one whose boxes cover most of the grid,
    where a hit would say nothing (a river across the whole image).

    Args:
        images: with the boxes of what they show.
        captions: the generated words of each image.
        alphas: image's index -> (T, L) attention weights, a row a word.
        grid: rows and columns of the regions, L = rows * columns, row by row.

    Returns:
        hits, words, rate, chance and rate / chance as times_chance; None where no word names a known object.
    """
    rows, columns = grid
    y, x = ((torch.arange(side, dtype=torch.double) + 0.5) / side for side in (rows, columns))
    hits, words, chance = 0, 0, 0.0
    for index, (image, caption) in enumerate(zip(images, captions, strict=True)):
        for word, weights in zip(caption, alphas[index], strict=True):
            boxes = [named.box for named in image.objects if word in named.words]
            inside = torch.zeros(rows, columns, dtype=torch.bool)  # the centres in one of the boxes
            for x0, y0, x1, y1 in boxes:
                inside |= ((y0 <= y) & (y <= y1)).unsqueeze(1) & (x0 <= x) & (x <= x1)
            share = int(inside.sum()) / inside.numel()
            if boxes and share <= LARGEST:
                words += 1
                hits += int(inside.flatten()[weights.argmax()])
                chance += share
    if not words:
        return None
    rate, chance = hits / words, chance / words
    times = rate / chance if chance else None
    return {"hits": hits, "words": words, "rate": rate, "chance": chance, "times_chance": times}
