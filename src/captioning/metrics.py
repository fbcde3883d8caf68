"""Scores of captions against references: BLEU, CIDEr-D, ROUGE-L, and how varied the captions are.

Everything takes tokenized captions (src/captioning/vocabulary.py): N candidates, and for each one or more
references. All scores but CIDEr-D lie between 0 and 1; CIDEr-D has the factor 10 of the reference
implementation and of published tables (2.61 for a good model on UCM-Captions).
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterable, Sequence

from torchmetrics.text import BLEUScore

Candidates = Sequence[Sequence[str]]  # N captions
References = Sequence[Sequence[Sequence[str]]]  # for each of the N, one or more captions

VERSION = 1  # of the definitions below; a change of any number makes it another

ORDER = 4
_CIDER_SIGMA = 6.0
_CIDER_FACTOR = 10.0
_ROUGE_BETA = 1.2


def score_captions(candidates: Candidates, references: References) -> dict[str, float]:
    """All scores: bleu1 to bleu4 (corpus), bleu4_sentence, cider_d, rouge_l.

    Raises:
        ValueError: there are no candidates, not as many references' lists, or one of these is empty.
    """
    corpus = corpus_bleu(candidates, references)
    sentence = sentence_bleu4(candidates, references)
    return {
        **{f"bleu{order}": score for order, score in enumerate(corpus, start=1)},
        "bleu4_sentence": sentence if sentence > 1e-70 else 0.0,  # not 1.8e-231, NLTK's way to say 0
        "cider_d": cider_d(candidates, references),
        "rouge_l": rouge_l(candidates, references),
    }


def signature(metric: str, references: References, beam: int, length_penalty: float = 0.0) -> str:
    """What a score depends on besides the captions, to be printed beside it.

    For instance `bleu4|agg:corpus|smooth:none|tok:lower,nopunct|refs:5|beam:5|v:1`; where images have
    different numbers of references, `refs:4-6`.

    Args:
        metric: a key of `score_captions`.
        beam: sequences that decoding kept; 1 is greedy.

    Raises:
        ValueError: there is no such metric, or no references.
    """
    details = {
        **dict.fromkeys(("bleu1", "bleu2", "bleu3", "bleu4"), "agg:corpus|smooth:none"),
        "bleu4_sentence": "agg:mean|smooth:none",
        "cider_d": f"agg:mean|n:{ORDER}|sigma:{_CIDER_SIGMA:g}|x{_CIDER_FACTOR:g}",
        "rouge_l": f"agg:mean|beta:{_ROUGE_BETA:g}",
    }
    if metric not in details:
        raise ValueError(f"there is no metric {metric!r}: the metrics are {', '.join(details)}")
    if not references:
        raise ValueError("a signature needs the references: it tells how many an image has")
    numbers = sorted({len(several) for several in references})
    count = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]}-{numbers[-1]}"
    penalty = f"|lp:{length_penalty:g}" if length_penalty else ""
    return f"{metric}|{details[metric]}|tok:lower,nopunct|refs:{count}|beam:{beam}{penalty}|v:{VERSION}"


def corpus_bleu(candidates: Candidates, references: References) -> tuple[float, float, float, float]:
    """BLEU-1 to BLEU-4 of the corpus, without smoothing (Papineni et al. 2002).

    n-grams are counted over all images before the division, so that this is not the mean of `sentence_bleu4`
    (mostly it is higher): never compare the two.

    Raises:
        ValueError: as `score_captions`.
    """
    _check(candidates, references)
    bleu = BLEUScore(n_gram=ORDER)
    # torchmetrics takes the first of two references that are equally near in length; the shorter is right.
    bleu.update(
        [" ".join(candidate) for candidate in candidates],
        [[" ".join(reference) for reference in sorted(several, key=len)] for several in references],
    )
    # Its counts give all four orders at once, its compute() only one.
    matched, total = bleu.numerator.tolist(), bleu.denominator.tolist()
    brevity = _brevity_penalty(bleu.preds_len.item(), bleu.target_len.item())
    scores = []
    for order in range(1, ORDER + 1):
        logs = [
            math.log(hits / all_) if hits else -math.inf
            for hits, all_ in zip(matched[:order], total[:order], strict=True)
        ]
        scores.append(brevity * math.exp(sum(logs) / order))
    return scores[0], scores[1], scores[2], scores[3]


def sentence_bleu4(candidates: Candidates, references: References) -> float:
    """The mean over images of each image's own BLEU-4, the protocol's figure.

    As NLTK's `sentence_bleu` with its defaults: no smoothing, and an order without a match counts as the
    smallest normal float, which makes the image's score a number below 1e-70 in place of 0.

    Raises:
        ValueError: as `score_captions`.
    """
    _check(candidates, references)
    scores = (
        SentenceBleu4(several).score(candidate)
        for candidate, several in zip(candidates, references, strict=True)
    )
    return math.fsum(scores) / len(candidates)


class SentenceBleu4:
    """The BLEU-4 that captions have against one image's references, as `sentence_bleu4` defines it."""

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        self.lengths = [len(reference) for reference in references]
        self.most: dict[tuple[str, ...], int] = {}  # how often an n-gram is in the reference that has it most
        for reference in references:
            for ngram, count in ngrams(reference).items():
                if count > self.most.get(ngram, 0):
                    self.most[ngram] = count

    def score(self, candidate: Sequence[str], counts: Counter[tuple[str, ...]] | None = None) -> float:
        """Args: counts: the candidate's n-grams, where they are at hand."""
        matched = [0] * ORDER
        for ngram, count in (ngrams(candidate) if counts is None else counts).items():
            if ngram in self.most:
                matched[len(ngram) - 1] += min(count, self.most[ngram])
        if not matched[0]:
            return 0.0
        length = len(candidate)
        total = [max(1, length - order) for order in range(ORDER)]
        logs = [
            math.log(hits / all_ if hits else sys.float_info.min)
            for hits, all_ in zip(matched, total, strict=True)
        ]
        closest = min(self.lengths, key=lambda other: (abs(other - length), other))
        return _brevity_penalty(length, closest) * math.exp(math.fsum(logs) / ORDER)


def _brevity_penalty(length: float, reference: float) -> float:
    if length > reference:
        return 1.0
    return math.exp(1 - reference / length) if length else 0.0


def cider_d(candidates: Candidates, references: References) -> float:
    """CIDEr-D (Vedantam et al. 2015, section 7), with the factor 10, as pycocoevalcap's `Cider`.

    n-grams are weighed by how few images' references have them, so that the score depends on all
    references of the corpus together.

    Returns:
        The mean over images; NaN for a single one, as no n-gram is then rarer than another.

    Raises:
        ValueError: as `score_captions`.
    """
    _check(candidates, references)
    if len(candidates) == 1:
        return math.nan
    counts = [[ngrams(reference) for reference in several] for several in references]
    images = Counter(ngram for several in counts for ngram in set().union(*several))
    rarity = {ngram: math.log(len(references) / count) for ngram, count in images.items()}
    unseen = math.log(len(references))

    def weigh(counted: Counter[tuple[str, ...]]) -> tuple[dict[tuple[str, ...], float], list[float]]:
        weights = {ngram: count * rarity.get(ngram, unseen) for ngram, count in counted.items()}
        squares = [0.0] * ORDER
        for ngram, weight in weights.items():
            squares[len(ngram) - 1] += weight * weight
        return weights, [math.sqrt(square) for square in squares]

    scores = []
    for candidate, several, their_counts in zip(candidates, references, counts, strict=True):
        ours, our_norms = weigh(ngrams(candidate))
        score = 0.0
        for reference, counted in zip(several, their_counts, strict=True):
            theirs, their_norms = weigh(counted)
            products = [0.0] * ORDER
            for ngram in ours.keys() & theirs.keys():
                products[len(ngram) - 1] += min(ours[ngram], theirs[ngram]) * theirs[ngram]
            norms = [a * b for a, b in zip(our_norms, their_norms, strict=True)]
            cosines = (product / norm for product, norm in zip(products, norms, strict=True) if norm)
            # The reference implementation measures length in bigrams.
            distance = max(len(candidate) - 1, 0) - max(len(reference) - 1, 0)
            score += sum(cosines) / ORDER * math.exp(-(distance**2) / (2 * _CIDER_SIGMA**2))
        scores.append(_CIDER_FACTOR * score / len(several))
    return math.fsum(scores) / len(scores)


def rouge_l(candidates: Candidates, references: References) -> float:
    """ROUGE-L (Lin 2004) with beta 1.2, as pycocoevalcap's `Rouge`: the mean over images.

    Recall and precision are each the best over the references, not those of one reference.

    Raises:
        ValueError: as `score_captions`.
    """
    _check(candidates, references)
    scores = map(_sentence_rouge_l, candidates, references)
    return math.fsum(scores) / len(candidates)


def _sentence_rouge_l(candidate: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    common = [_common_subsequence(candidate, reference) for reference in references]
    if not any(common):
        return 0.0
    precision = max(common) / len(candidate)
    recall = max(length / len(several) for length, several in zip(common, references, strict=True) if several)
    return (1 + _ROUGE_BETA**2) * precision * recall / (recall + _ROUGE_BETA**2 * precision)


def _common_subsequence(first: Sequence[str], second: Sequence[str]) -> int:
    """The length of the longest common subsequence."""
    best = [0] * (len(second) + 1)  # of the part of `first` so far with each beginning of `second`
    for word in first:
        diagonal = 0
        for place, other in enumerate(second, start=1):
            above = best[place]
            best[place] = diagonal + 1 if word == other else max(above, best[place - 1])
            diagonal = above
    return best[-1]


def distinct_captions(candidates: Candidates) -> int:
    """How many different captions there are."""
    return len(set(map(tuple, candidates)))


def share_seen_in_training(candidates: Candidates, training: Iterable[Sequence[str]]) -> float:
    """The share of candidates that are, word for word, a caption of the training split.

    Raises:
        ValueError: there are no candidates.
    """
    if not candidates:
        raise ValueError("there are no captions to compare with those of the training split")
    known = set(map(tuple, training))
    return sum(tuple(candidate) in known for candidate in candidates) / len(candidates)


def ngrams(caption: Sequence[str]) -> Counter[tuple[str, ...]]:
    """How often each run of one to four words occurs."""
    shifted = [caption[start:] for start in range(ORDER)]
    return Counter(ngram for order in range(1, ORDER + 1) for ngram in zip(*shifted[:order], strict=False))


def _check(candidates: Candidates, references: References) -> None:
    if not candidates:
        raise ValueError("there are no captions to score")
    if len(candidates) != len(references):
        raise ValueError(
            f"{len(candidates)} captions and references for {len(references)} do not go together"
        )
    if not all(references):
        raise ValueError(f"caption {[bool(several) for several in references].index(False)} has no reference")
