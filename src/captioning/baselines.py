"""What captions score that no decoder wrote: the figures to read a model's beside.

On small data sets they are high. UCM-Captions' texts follow the scene's class so closely that its commonest
training caption, given to every image of the class, beats many published models.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np

from src.captioning.captioned import CaptionedImage
from src.captioning.metrics import References, SentenceBleu4, ngrams, score_captions

Caption = tuple[str, ...]


def constant_caption(references: References, shortlist: int = 50, most_images: int = 2000) -> Caption:
    """The one caption that fits all images best, by mean sentence BLEU-4.

    It is chosen from the `shortlist` commonest references, against at most `most_images` evenly spaced images
    (COCO's training split has 113,287). Given the training split's references, nothing of the test split is
    used; the constant that does best on the test split itself would be an oracle's.

    Raises:
        ValueError: there are no references.
    """
    counts = Counter(tuple(caption) for several in references for caption in several)
    if not counts:
        raise ValueError("a constant caption needs references to be chosen from")
    step = -(-len(references) // most_images)
    scorers = [SentenceBleu4(several) for several in references[::step] if several]

    def fit(caption: Caption) -> float:
        counted = ngrams(caption)
        return sum(scorer.score(caption, counted) for scorer in scorers)

    return max((caption for caption, _ in counts.most_common(shortlist)), key=fit)


def nearest_captions(
    train_means: np.ndarray, train_captions: References, query_means: np.ndarray, seed: int
) -> list[Caption]:
    """For each image a random caption of the training image nearest to it.

    Args:
        train_means: (N, D), each training image's encoder feature, averaged over regions.
        train_captions: of the N images.
        query_means: (M, D).

    Returns:
        M captions. Nearest is by cosine.

    Raises:
        ValueError: the shapes do not go together, or there is no training image.
    """
    if train_means.ndim != 2 or query_means.shape[1:] != train_means.shape[1:]:
        raise ValueError(
            f"features of {train_means.shape} and {query_means.shape} are not (N, D) and (M, D) with one D"
        )
    if not len(train_captions) or len(train_means) != len(train_captions):
        raise ValueError(f"{len(train_means)} features and {len(train_captions)} images do not go together")
    keys, queries = _unit(train_means), _unit(query_means)
    nearest: list[int] = []
    for start in range(0, len(queries), 1024):  # (1024, N) similarities at a time
        nearest += (queries[start : start + 1024] @ keys.T).argmax(axis=1).tolist()
    rng = np.random.default_rng(seed)
    return [_random(train_captions[index], rng) for index in nearest]


def class_captions(
    train: Sequence[CaptionedImage],
    images: Sequence[CaptionedImage],
    seed: int,
    pick: Literal["any", "first", "commonest"] = "any",
) -> list[Caption]:
    """For each image a training caption of its true class, which no captioner is told.

    Args:
        pick: "any" - a random one of all; "first" - the first of a random training image, which is what the
            figure 0.648 of UCM-Captions' test split is; "commonest" - the one that occurs most often.

    Returns:
        One caption an image. One whose class has no training image is taken as of every class.

    Raises:
        ValueError: there is no training image, or an image has no class.
    """
    if not train or any(image.group is None for image in (*train, *images)):
        raise ValueError("captions by class need training images, and a class of every image")
    pools: defaultdict[str | None, list[Caption]] = defaultdict(list)
    for image in train:
        pools[image.group] += image.captions[:1] if pick == "first" else image.captions
    everything = [caption for pool in pools.values() for caption in pool]
    if pick == "commonest":
        commonest = {group: Counter(pool).most_common(1)[0][0] for group, pool in pools.items()}
        return [commonest.get(image.group) or Counter(everything).most_common(1)[0][0] for image in images]
    rng = np.random.default_rng(seed)
    return [_random(pools.get(image.group, everything), rng) for image in images]


def human_scores(references: References) -> dict[str, float]:
    """How people score: one caption of each image against its others, the mean over which one it is.

    A candidate has one reference fewer than a model's caption has, which costs it a little.

    Raises:
        ValueError: no image has two captions.
    """
    rounds = []
    for turn in range(max(map(len, references), default=0)):
        able = [several for several in references if len(several) > max(turn, 1)]
        if able:
            others = [[*several[:turn], *several[turn + 1 :]] for several in able]
            rounds.append(score_captions([several[turn] for several in able], others))
    if not rounds:
        raise ValueError("no image has two captions, one to be scored against the other")
    return {name: float(np.mean([scores[name] for scores in rounds])) for name in rounds[0]}


def score_baselines(
    train: Sequence[CaptionedImage],
    images: Sequence[CaptionedImage],
    *,
    train_means: np.ndarray | None = None,
    means: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, dict[str, float]]:
    """All baselines that the data allow, by `score_captions`, on one split.

    Args:
        train: the training split, of which captions are taken.
        images: the split to be scored.
        train_means, means: encoder features (N, D) and (M, D) of the two; without them there is no "nearest".

    Returns:
        "constant", and where the data allow them "nearest", "class_any", "class_first",
        "class_commonest" and "human".

    Raises:
        ValueError: a split is empty, or features do not go with it.
    """
    references = [image.captions for image in images]
    texts = [image.captions for image in train]
    captions: dict[str, list[Caption]] = {"constant": [constant_caption(texts)] * len(images)}
    if train_means is not None and means is not None:
        captions["nearest"] = nearest_captions(train_means, texts, means, seed)
    if all(image.group is not None for image in (*train, *images)):
        captions["class_any"] = class_captions(train, images, seed)
        captions["class_first"] = class_captions(train, images, seed, "first")
        captions["class_commonest"] = class_captions(train, images, seed, "commonest")
    scores = {name: score_captions(theirs, references) for name, theirs in captions.items()}
    if any(len(several) > 1 for several in references):
        scores["human"] = human_scores(references)
    return scores


def _random(captions: Sequence[Sequence[str]], rng: np.random.Generator) -> Caption:
    return tuple(captions[int(rng.integers(len(captions)))])


def _unit(features: np.ndarray) -> np.ndarray:
    """Rows of length one; a row of zeros stays."""
    features = np.asarray(features, dtype=np.float32)
    norms = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(norms > 0, norms, 1)
