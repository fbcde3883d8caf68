"""The captions' scores are those of the reference implementations; the pointing game is that worked by hand."""

import math
import random
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from nltk.translate import bleu_score as nltk_bleu
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from src.captioning.captioned import CaptionedImage, NamedObject
from src.captioning.karpathy import read_karpathy
from src.captioning.metrics import (
    Caption,
    References,
    correctness,
    pointing_game,
    score_captions,
    signatures,
)

UCM = Path(__file__).parents[1].parent / "shared" / "data" / "ucm_captions"
pytestmark = pytest.mark.filterwarnings("ignore:\\nThe hypothesis contains 0 counts")

word = st.sampled_from(["a", "river", "with", "two", "boats", "green"])
caption = st.lists(word, min_size=1, max_size=9)
image = st.tuples(st.lists(word, max_size=9), st.lists(caption, min_size=1, max_size=5))  # it may be empty
images = st.lists(image, min_size=2, max_size=6)


def assert_parity(candidates: Sequence[Caption], references: References) -> None:
    scores = score_captions(candidates, references)
    assert list(scores) == ["bleu1", "bleu2", "bleu3", "bleu4", "bleu4_sentence", "cider_d", "rouge_l"]
    sentences = map(nltk_bleu.sentence_bleu, references, candidates)
    assert scores["bleu4_sentence"] == pytest.approx(sum(sentences) / len(candidates), rel=1e-6, abs=1e-70)
    # As pycocoevalcap takes them: tokens joined by spaces, so that its Java tokenizer is not needed.
    gts = {number: [" ".join(words) for words in several] for number, several in enumerate(references)}
    res = {number: [" ".join(words)] for number, words in enumerate(candidates)}
    theirs = Bleu(4).compute_score(gts, res, verbose=0)[0]
    for order in range(1, 5):
        score = scores[f"bleu{order}"]
        if score:
            assert score == pytest.approx(theirs[order - 1], rel=1e-6)
        else:
            # It adds 1e-15 to what matched and 1e-9 to what there was: at most 1e-6 under the root.
            assert theirs[order - 1] < 1.01e-6 ** (1 / order)
        # NLTK counts one n-gram, unmatched, for a caption too short to have any.
        if all(len(candidate) >= order for candidate in candidates):
            nltk = nltk_bleu.corpus_bleu(references, candidates, weights=(1 / order,) * order)
            assert score == pytest.approx(nltk, rel=1e-12, abs=1e-70)
    assert scores["cider_d"] == pytest.approx(Cider().compute_score(gts, res)[0], rel=1e-9, abs=1e-9)
    assert scores["rouge_l"] == pytest.approx(Rouge().compute_score(gts, res)[0], rel=1e-12)


@settings(max_examples=100, deadline=None)
@given(images)
def test_parity_on_made_up_captions(made: list[tuple[list[str], list[list[str]]]]) -> None:
    assert_parity([candidate for candidate, _ in made], [references for _, references in made])


def test_the_nearer_reference_is_the_shorter_of_two() -> None:
    # By hand: all n-grams match; lengths 4 and 6 are equally near to 5, so no brevity penalty is due.
    long, short = ["a", "b", "c", "d", "e", "f"], ["b", "c", "d", "e"]
    for references in ([long, short], [short, long]):
        scores = score_captions([["a", "b", "c", "d", "e"]], [references])
        assert [scores[f"bleu{order}"] for order in range(1, 5)] == pytest.approx([1, 1, 1, 1])
        assert scores["bleu4_sentence"] == pytest.approx(1)


def test_numbers_worked_by_hand() -> None:
    candidate, reference = ("the boat on the river", "the boat lies on the wide river")
    scores = score_captions([candidate.split()], [[reference.split()]])
    # 5 of 5 words, 2 of 4 pairs, 0 of 3; 5 words against 7.
    brevity = math.exp(1 - 7 / 5)
    assert [scores[f"bleu{n}"] for n in (1, 2, 3)] == pytest.approx([brevity, brevity * math.sqrt(0.5), 0])
    # All five words are a subsequence: precision 1, recall 5/7.
    assert scores["rouge_l"] == pytest.approx((1 + 1.44) * (5 / 7) / (5 / 7 + 1.44))
    assert math.isnan(scores["cider_d"])  # it needs a corpus
    # A perfect caption has CIDEr-D 10 where all orders of n-grams exist and none is in every image.
    texts = [["a", "b", "c", "d"], ["e", "f", "g", "h"]]
    assert score_captions(texts, [[text] for text in texts])["cider_d"] == pytest.approx(10)
    # The mean over sentences is not the score of the corpus, which pools the counts of both captions.
    good, bad = ["a", "river", "with", "two", "green", "boats"], ["two", "boats"]
    scores = score_captions([good, bad], [[good], [good]])
    assert scores["bleu4_sentence"] == pytest.approx(0.5)
    assert scores["bleu4"] == pytest.approx(math.exp(1 - 12 / 8) * (5 / 6) ** 0.25)
    scores = score_captions([["a", "b"], ["a", "c"]], [[["a", "d"]], [["a", "e"]]])
    assert (scores["bleu4"], scores["bleu4_sentence"]) == (0, 0)  # not 1.8e-231, as NLTK has it


def test_signatures_tell_what_a_score_depends_on() -> None:
    five, mixed = [[["a"]] * 5] * 2, [[["a"]] * 4, [["a"]] * 6]
    assert signatures(five, 5)["bleu4"] == "bleu4|agg:corpus|smooth:none|tok:lower,nopunct|refs:5|beam:5|v:1"
    assert (
        signatures(mixed, 1)["rouge_l"] == "rouge_l|agg:mean|beta:1.2|tok:lower,nopunct|refs:4-6|beam:1|v:1"
    )
    assert signatures(five, 3, 0.7)["cider_d"].endswith(
        "|n:4|sigma:6|x10|tok:lower,nopunct|refs:5|beam:3|lp:0.7|v:1"
    )
    assert signatures(five, 1).keys() == score_captions([["a"]], [[["a"]]]).keys()


@pytest.mark.skipif(not UCM.exists(), reason="the real caption data are not here")
def test_parity_and_speed_on_real_captions() -> None:
    data = read_karpathy(UCM)
    test = [image for image in data if image.split == "test"]
    pool = [caption for image in data if image.split == "train" for caption in image.captions]
    rng = random.Random(0)
    # Near misses as a decoder makes them: a reference with one word dropped, and captions of other images.
    candidates = [
        list(image.captions[0][:3] + image.captions[0][4:]) if rng.random() < 0.5 else list(rng.choice(pool))
        for image in test
    ]
    references = [[list(caption) for caption in image.captions] for image in test]
    assert_parity(candidates, references)
    start = time.process_time()
    score_captions(candidates, references)
    assert time.process_time() - start < 1.5  # 0.4 s on an idle slow core: validation does this every epoch


LEFT_HALF = NamedObject(("plane", "planes"), (0.0, 0.0, 0.5, 1.0))
UPPER_RIGHT = NamedObject(("tree",), (0.5, 0.0, 1.0, 0.5))


def with_boxes(*objects: NamedObject) -> CaptionedImage:
    return CaptionedImage("1.png", Path("1.png"), "test", (("a",),), objects)


def weights(*peaks: int) -> torch.Tensor:
    """(T, 4) with the peak of each word's weights at the given region of a grid of 2x2."""
    return torch.eye(4)[list(peaks)]


def test_hits_and_chance_of_a_grid_of_two_by_two() -> None:
    # regions: 0 upper left, 1 upper right, 2 lower left, 3 lower right
    game = pointing_game(
        [with_boxes(LEFT_HALF, UPPER_RIGHT), with_boxes(LEFT_HALF)],
        [("a", "plane", "beside", "tree"), ("planes", "tree")],
        {0: weights(0, 2, 0, 2), 1: weights(3, 1)},
        (2, 2),
    )
    # plane at 2: hit; tree at 2: miss; planes at 3: miss; the second image's tree names nothing in it
    assert game == {
        "hits": 1,
        "words": 3,
        "rate": pytest.approx(1 / 3),
        "chance": pytest.approx((0.5 + 0.25 + 0.5) / 3),
        "times_chance": pytest.approx((1 / 3) / (1.25 / 3)),
    }


def test_rows_come_before_columns() -> None:
    top = NamedObject(("roof",), (0.0, 0.0, 1.0, 0.3))
    for peak, hits in ((2, 1), (3, 0)):  # a grid of 2 rows, 3 columns: region 2 is the upper right one
        peaked = torch.eye(6)[[peak]]
        game = pointing_game([with_boxes(top)], [("roof",)], {0: peaked}, (2, 3))
        assert game is not None
        assert game["hits"] == hits


def test_what_covers_most_of_the_image_or_names_nothing_does_not_count() -> None:
    sea, all_of_it = (NamedObject(("sea",), (0.0, 0.0, 1.0, bottom)) for bottom in (0.8, 1.0))
    game = pointing_game([with_boxes(sea, UPPER_RIGHT)], [("sea", "tree")], {0: weights(0, 1)}, (2, 2))
    assert game is not None
    assert game["words"] == 1
    for objects in ((all_of_it,), ()):
        assert pointing_game([with_boxes(*objects)], [("sea",)], {0: weights(0)}, (2, 2)) is None
    crumb = NamedObject(("sea",), (0.4, 0.4, 0.6, 0.6))  # between the centres: it can only be missed
    game = pointing_game([with_boxes(crumb)], [("sea",)], {0: weights(0)}, (2, 2))
    assert game == {"hits": 0, "words": 1, "rate": 0, "chance": 0, "times_chance": None}


def test_correctness_is_the_share_of_true_captions_where_all_data_can_tell() -> None:
    image = CaptionedImage("a.png", Path("a.png"), "test", (("sea",),))
    knows = replace(image, is_true=lambda caption: caption == ("sea",))
    assert correctness([("sea",), ("road",)], [knows, knows]) == {"correctness": 0.5}
    assert correctness([("sea",), ("road",)], [knows, image]) == {}
