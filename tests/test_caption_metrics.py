"""The captions' scores are those of the reference implementations, on made-up and on real captions."""

import math
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate import bleu_score as nltk_bleu
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from src.captioning.karpathy import read_karpathy
from src.captioning.metrics import (
    Candidates,
    References,
    cider_d,
    corpus_bleu,
    distinct_captions,
    rouge_l,
    score_captions,
    sentence_bleu4,
    share_seen_in_training,
    signature,
)

UCM = Path(__file__).parents[1].parent / "shared" / "data" / "ucm_captions"
pytestmark = pytest.mark.filterwarnings("ignore:\\nThe hypothesis contains 0 counts")

word = st.sampled_from(["a", "river", "with", "two", "boats", "green"])
caption = st.lists(word, min_size=1, max_size=9)
image = st.tuples(st.lists(word, max_size=9), st.lists(caption, min_size=1, max_size=5))  # it may be empty
images = st.lists(image, min_size=2, max_size=6)


def joined(captions: Sequence[Sequence[str]]) -> list[str]:
    return [" ".join(words) for words in captions]


def coco(candidates: Candidates, references: References) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """As pycocoevalcap takes them: tokens joined by spaces, so that its Java tokenizer is not needed."""
    return (
        {number: joined(several) for number, several in enumerate(references)},
        {number: joined([candidate]) for number, candidate in enumerate(candidates)},
    )


def assert_parity(candidates: Candidates, references: References) -> None:
    expected_sentence = [
        nltk_bleu.sentence_bleu(several, candidate)
        for candidate, several in zip(candidates, references, strict=True)
    ]
    assert sentence_bleu4(candidates, references) == pytest.approx(
        sum(expected_sentence) / len(candidates), rel=1e-12, abs=0
    )
    gts, res = coco(candidates, references)
    ours, theirs = corpus_bleu(candidates, references), Bleu(4).compute_score(gts, res, verbose=0)[0]
    for order in range(1, 5):
        score = ours[order - 1]
        if score:
            assert score == pytest.approx(theirs[order - 1], rel=1e-6)
        else:
            # it adds 1e-15 to what matched and 1e-9 to what there was: at most 1e-6 under the root
            assert theirs[order - 1] < 1.01e-6 ** (1 / order)
        # NLTK counts one n-gram, unmatched, for a caption too short to have any
        if all(len(candidate) >= order for candidate in candidates):
            nltk = nltk_bleu.corpus_bleu(references, candidates, weights=(1 / order,) * order)
            assert score == pytest.approx(nltk, rel=1e-12, abs=1e-70)
    assert cider_d(candidates, references) == pytest.approx(
        Cider().compute_score(gts, res)[0], rel=1e-9, abs=1e-9
    )
    assert rouge_l(candidates, references) == pytest.approx(Rouge().compute_score(gts, res)[0], rel=1e-12)


@settings(max_examples=150, deadline=None)
@given(images)
def test_parity_on_made_up_captions(made: list[tuple[list[str], list[list[str]]]]) -> None:
    assert_parity([candidate for candidate, _ in made], [references for _, references in made])


@pytest.mark.parametrize("words", [0, 1, 2, 3])
def test_candidates_too_short_for_a_4_gram(words: int) -> None:
    references = [["a", "b", "c", "d", "e"], ["a", "b", "c"]]
    candidate = references[1][:words]
    ours = sentence_bleu4([candidate], [references])
    assert ours == pytest.approx(nltk_bleu.sentence_bleu(references, candidate), rel=1e-12, abs=0)
    assert (0 < ours < 1e-70) == (words > 0)  # NLTK's stand-in for zero


def test_a_bleu_of_0_is_filed_as_0() -> None:
    scores = score_captions([["a", "b"], ["a", "c"]], [[["a", "d"]], [["a", "e"]]])
    assert (scores["bleu4"], scores["bleu4_sentence"]) == (0, 0)  # not 1.8e-231, as NLTK has it


def test_the_nearer_reference_is_the_shorter_of_two() -> None:
    # by hand: all n-grams match; lengths 4 and 6 are equally near to 5, so no brevity penalty is due
    long, short = ["a", "b", "c", "d", "e", "f"], ["b", "c", "d", "e"]
    candidate = ["a", "b", "c", "d", "e"]
    for references in ([long, short], [short, long]):
        assert corpus_bleu([candidate], [references]) == pytest.approx((1, 1, 1, 1))
        assert sentence_bleu4([candidate], [references]) == pytest.approx(1)


def test_numbers_worked_by_hand() -> None:
    candidate, reference = (
        ["the", "boat", "on", "the", "river"],
        ["the", "boat", "lies", "on", "the", "wide", "river"],
    )
    # 5 of 5 words, 2 of 4 pairs, 0 of 3; 5 words against 7
    brevity = math.exp(1 - 7 / 5)
    bleu = corpus_bleu([candidate], [[reference]])
    assert bleu == pytest.approx((brevity, brevity * math.sqrt(0.5), 0, 0))
    # all five words are a subsequence: precision 1, recall 5/7
    assert rouge_l([candidate], [[reference]]) == pytest.approx((1 + 1.44) * (5 / 7) / (5 / 7 + 1.44))


def test_the_mean_of_sentences_is_not_the_corpus_score() -> None:
    good, bad = ["a", "river", "with", "two", "green", "boats"], ["two", "boats"]
    references = [[good], [good]]
    assert sentence_bleu4([good, bad], references) == pytest.approx(0.5)
    # pooled over both: 8 words of 8, 5 pairs of 6, all 4 and all 3 longer ones; 8 words against 12
    assert corpus_bleu([good, bad], references)[3] == pytest.approx(
        math.exp(1 - 12 / 8) * (8 / 8 * 5 / 6 * 4 / 4 * 3 / 3) ** 0.25
    )


def test_cider_needs_a_corpus() -> None:
    assert math.isnan(cider_d([["a"]], [[["a"]]]))
    scores = score_captions([["a"]], [[["a"]]])
    assert list(scores) == ["bleu1", "bleu2", "bleu3", "bleu4", "bleu4_sentence", "cider_d", "rouge_l"]
    # a perfect caption scores 10 where all orders of n-grams exist and none is in every image
    texts = [["a", "b", "c", "d"], ["e", "f", "g", "h"]]
    assert cider_d(texts, [[text] for text in texts]) == pytest.approx(10)


@pytest.mark.parametrize("metric", [corpus_bleu, sentence_bleu4, cider_d, rouge_l, score_captions])
def test_what_cannot_be_scored(metric: object) -> None:
    assert callable(metric)
    with pytest.raises(ValueError, match="no captions to score"):
        metric([], [])
    with pytest.raises(ValueError, match="2 captions and references for 1"):
        metric([["a"], ["b"]], [[["a"]]])
    with pytest.raises(ValueError, match="caption 1 has no reference"):
        metric([["a"], ["b"]], [[["a"]], []])


def test_variety() -> None:
    captions = [["a", "river"], ["a", "river"], ["boats"]]
    assert distinct_captions(captions) == 2
    assert share_seen_in_training(captions, [("a", "river"), ("a",)]) == pytest.approx(2 / 3)
    with pytest.raises(ValueError, match="no captions"):
        share_seen_in_training([], [])


def test_signatures_tell_what_a_score_depends_on() -> None:
    five, mixed = [[["a"]] * 5] * 2, [[["a"]] * 4, [["a"]] * 6]
    assert signature("bleu4", five, 5) == "bleu4|agg:corpus|smooth:none|tok:lower,nopunct|refs:5|beam:5|v:1"
    assert signature("rouge_l", mixed, 1) == "rouge_l|agg:mean|beta:1.2|tok:lower,nopunct|refs:4-6|beam:1|v:1"
    assert signature("cider_d", five, 3, 0.7).endswith(
        "|n:4|sigma:6|x10|tok:lower,nopunct|refs:5|beam:3|lp:0.7|v:1"
    )
    assert signature("bleu4", five, 1) != signature("bleu4_sentence", five, 1).replace("_sentence", "")
    assert set(score_captions([["a"]], [[["a"]]])) == {
        metric for metric in score_captions([["b"]], [[["a"]]]) if signature(metric, five, 1)
    }
    with pytest.raises(ValueError, match="no metric 'meteor'"):
        signature("meteor", five, 1)


@pytest.mark.skipif(not UCM.exists(), reason="the real caption data are not here")
def test_parity_and_speed_on_real_captions() -> None:
    data = read_karpathy(UCM)
    test = [image for image in data if image.split == "test"]
    pool = [caption for image in data if image.split == "train" for caption in image.captions]
    rng = random.Random(0)
    # near misses as a decoder makes them: a reference with one word dropped, and captions of other images
    candidates = [
        list(image.captions[0][:3] + image.captions[0][4:]) if rng.random() < 0.5 else list(rng.choice(pool))
        for image in test
    ]
    references = [[list(caption) for caption in image.captions] for image in test]
    assert_parity(candidates, references)
    score_captions(candidates, references)
    start = time.process_time()
    score_captions(candidates, references)
    assert time.process_time() - start < 1.5  # 0.2 s on an idle slow core: validation does this every epoch
