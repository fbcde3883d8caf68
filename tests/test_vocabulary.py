"""The protocol's vocabulary comes out of its captions, and words survive their numbers."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from src.captioning.vocabulary import END, PAD, SPECIAL, START, UNKNOWN, Vocabulary, clean, tokenize
from src.entry_point import UserError

SYDNEY = Path(__file__).parents[1].parent / "shared" / "data" / "sydney_captions" / "dataset.json"
words = st.lists(st.sampled_from(["a", "river", "two", "boats", "blue-green", "<pad>", "<end>"]), max_size=9)


@pytest.mark.skipif(not SYDNEY.exists(), reason="the real caption data are not here")
def test_the_protocol_numbers_on_sydney() -> None:
    images = json.loads(SYDNEY.read_text())["images"]
    train = [
        tokenize(" ".join(sentence["tokens"]))
        for image in images
        if image["split"] == "train"
        for sentence in image["sentences"]
    ]
    vocabulary = Vocabulary.from_captions(train)
    lengths = {len(vocabulary.encode(caption)) for caption in train}
    assert (len(train), len(vocabulary), min(lengths), max(lengths)) == (2485, 190, 7, 22)
    # every split together would give 195: words of the test split must not leak in
    everything = (tokenize(" ".join(s["tokens"])) for image in images for s in image["sentences"])
    assert len(Vocabulary.from_captions(everything)) == 195


@pytest.mark.parametrize(
    ("raw", "tokens"),
    [
        (
            "A residential area, with houses; arranged neatly .",
            "a residential area with houses arranged neatly",
        ),
        ("Blue-green T-junctions\n", "blue-green t-junctions"),
        ("the man's dogs' \u2018house\u2019 isn\u2019t red -- 'big'", "the man's dogs house isn't red big"),
        ("red,green/blue 3.5 <unk> #1", "red green blue 3 5 unk 1"),
        ("...!? - ' \x00 \ud800 \U0001f600", ""),
        ("STRASSE e\u0301te\u0301", "strasse \u00e9t\u00e9"),
        (
            "\u0939\u093f\u0928\u094d\u0926\u0940 \u0928\u0926\u0940\u0964",
            "\u0939\u093f\u0928\u094d\u0926\u0940 \u0928\u0926\u0940",
        ),
        # Han and kana by character; numbers and Latin words among them stay whole
        ("\u4e00\u67b6A380\u98de\u673a\u3002", "\u4e00 \u67b6 a380 \u98de \u673a"),
        ("\u30b3\u30fc\u30d2\u30fc\u304b\u3099", "\u30b3 \u30fc \u30d2 \u30fc \u304c"),
        ("\ud55c\uad6d\uc5b4 \ubb38\uc7a5.", "\ud55c\uad6d\uc5b4 \ubb38\uc7a5"),
    ],
)
def test_tokens(raw: str, tokens: str) -> None:
    assert tokenize(raw) == tokens.split()


def test_words_that_a_data_set_tells_apart_stay_whole() -> None:
    assert clean("\u8fd9\u91cc \u6709 \u98de\u673a \u3002") == ["\u8fd9\u91cc", "\u6709", "\u98de\u673a"]


@given(st.text(max_size=40) | st.text("a-'\u200d\u00ad\u4e00\u304b\u3099\u0e17\u0e35 ", max_size=12))
def test_tokens_are_plain_and_final(raw: str) -> None:
    tokens = tokenize(raw)
    assert all(token and not set(token) & set(' \t\n.,;:!?"<>()') for token in tokens)
    assert tokenize(" ".join(tokens)) == tokens
    assert not set(tokens) & set(SPECIAL)


def test_numbers_by_frequency_and_minimum_count() -> None:
    captions = [["b", "a", "c"], ["c", "b"], ["c", "d"]]  # a and d once each
    assert Vocabulary.from_captions(captions).words == (*SPECIAL, "c", "b", "a", "d")
    assert Vocabulary.from_captions(reversed(captions)).words == Vocabulary.from_captions(captions).words
    assert Vocabulary.from_captions(captions, min_count=2).words == (*SPECIAL, "c", "b")
    assert Vocabulary.from_captions([["a", "<end>"]]).words == (*SPECIAL, "a")
    with pytest.raises(UserError, match=r"min_count=4 leaves no word: .* 4 words occurs more than 3 times"):
        Vocabulary.from_captions(captions, min_count=4)


@given(st.lists(words, min_size=1, max_size=5))
def test_known_words_come_back_and_unknown_ones_are_left_out(captions: list[list[str]]) -> None:
    vocabulary = Vocabulary(json.loads(json.dumps(Vocabulary.from_captions(captions).words)))
    for caption in captions:
        plain = [word for word in caption if word not in SPECIAL]
        numbers = vocabulary.encode([*plain, "zebra"])
        assert (numbers[0], *numbers[-2:]) == (START, UNKNOWN, END)
        assert vocabulary.decode([*numbers, PAD, PAD, 4]) == plain
