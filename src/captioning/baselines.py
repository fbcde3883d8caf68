"""Scores of captions that no decoder wrote, to compare a model's scores with.

On small data sets they are high. UCM-Captions' texts follow the scene's class so closely that the commonest
training caption of the class beats many published models.
"""

from __future__ import annotations

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F

from src.captioning.captioned import CaptionedImage
from src.captioning.metrics import ORDER, References, correctness, ngrams, score_captions
from src.captioning.store import Stored

Caption = tuple[str, ...]
Pick = Literal["any", "first", "commonest"]


def constant_caption(references: References, shortlist: int = 50, most_images: int = 2000) -> Caption:
    """The one of the `shortlist` commonest references that fits all images best, by mean sentence BLEU-4.

    Args:
        references: those of the training split; with those of the test split it would be an oracle's.
        most_images: number of images, evenly spaced, to compare with (COCO's training split has 113,287).
    """
    common = Counter(tuple(caption) for several in references for caption in several)
    counts = {caption: ngrams(caption) for caption, _ in common.most_common(shortlist)}
    scorers = [_FastBleu(several) for several in references[:: -(-len(references) // most_images)]]
    return max(counts, key=lambda caption: sum(fast.score(caption, counts[caption]) for fast in scorers))


class _FastBleu:
    """Sentence BLEU-4 of many captions against one image's references, 10 times as fast as torchmetrics'.

    An order without a match counts as the smallest float: scores of 1e-78 still rank captions.
    """

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        self.lengths = sorted(map(len, references))
        self.highest: Counter[tuple[str, ...]] = Counter()
        for reference in references:
            self.highest |= ngrams(reference)

    def score(self, caption: Caption, counts: Counter[tuple[str, ...]]) -> float:
        length, matched = len(caption), [0] * ORDER
        for ngram, count in counts.items():
            if ngram in self.highest:
                matched[len(ngram) - 1] += min(count, self.highest[ngram])
        if not matched[0]:
            return 0.0
        logs = [math.log(n / max(1, length - k) if n else sys.float_info.min) for k, n in enumerate(matched)]
        closest = min(self.lengths, key=lambda other: abs(other - length))
        return min(1.0, math.exp(1 - closest / length)) * math.exp(math.fsum(logs) / ORDER)


def nearest_captions(
    train_means: Stored, train_captions: References, query_means: Stored, seed: int
) -> list[Caption]:
    """For each of `query_means` (M, D) a random caption of the nearest of `train_means` (N, D), by cosine."""
    queries = F.normalize(torch.from_numpy(np.array(query_means)).float(), dim=1)  # (M, D)
    best, nearest = torch.full((len(queries),), -math.inf), torch.zeros(len(queries), dtype=torch.long)
    for first in range(0, len(train_means), 8192):  # of N: COCO's means would be 600 MB at once
        keys = F.normalize(torch.from_numpy(np.array(train_means[first : first + 8192])).float(), dim=1)
        found, rows = map(
            torch.cat, zip(*((some @ keys.T).max(1) for some in queries.split(1024)), strict=True)
        )
        nearest = torch.where(found > best, rows + first, nearest)
        best = torch.maximum(best, found)
    rng = np.random.default_rng(seed)
    return [_random(train_captions[index], rng) for index in nearest.tolist()]


def class_captions(
    train: Sequence[CaptionedImage], images: Sequence[CaptionedImage], seed: int, pick: Pick = "any"
) -> list[Caption]:
    """For each image a training caption of its true class (of any, where the class has no training image).

    Args:
        pick: "any": a random one; "first": the first of a random image; "commonest": the most frequent one.
    """
    pools: defaultdict[str | None, list[Caption]] = defaultdict(list)
    for image in train:
        pools[image.group] += image.captions[:1] if pick == "first" else image.captions
    everything = [caption for pool in pools.values() for caption in pool]
    if pick == "commonest":
        pools.update({group: [Counter(pool).most_common(1)[0][0]] for group, pool in pools.items()})
    rng = np.random.default_rng(seed)
    return [_random(pools.get(image.group, everything), rng) for image in images]


def human_scores(references: References) -> dict[str, float]:
    """Scores of each image's captions against its others, averaged over which one it is."""
    rounds = []
    for turn in range(max(map(len, references))):
        able = [several for several in references if len(several) > max(turn, 1)]
        others = [[*several[:turn], *several[turn + 1 :]] for several in able]
        rounds.append(score_captions([several[turn] for several in able], others))
    return {name: float(np.mean([scores[name] for scores in rounds])) for name in rounds[0]}


def score_baselines(
    train: Sequence[CaptionedImage],
    images: Sequence[CaptionedImage],
    *,
    train_means: Stored | None = None,
    means: Stored | None = None,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """`score_captions` and `correctness` of all baselines that the data allow, with captions of `train` for `images`.

    "constant"; "nearest" given features, (N, D) and (M, D), averaged over regions; "class_any", "class_first"
    and "class_commonest" given classes; "human" given several captions an image.
    """
    references = [image.captions for image in images]
    texts = [image.captions for image in train]
    captions: dict[str, list[Caption]] = {"constant": [constant_caption(texts)] * len(images)}
    if train_means is not None and means is not None:
        captions["nearest"] = nearest_captions(train_means, texts, means, seed)
    if all(image.group is not None for image in (*train, *images)):
        for pick in get_args(Pick):
            captions[f"class_{pick}"] = class_captions(train, images, seed, pick)
    scores = {
        name: score_captions(theirs, references) | correctness(theirs, images)
        for name, theirs in captions.items()
    }
    if any(len(several) > 1 for several in references):
        scores["human"] = human_scores(references) | correctness(
            [several[0] for several in references], images
        )
    return scores


def _random(captions: Sequence[Sequence[str]], rng: np.random.Generator) -> Caption:
    return tuple(captions[int(rng.integers(len(captions)))])
