"""Words and their numbers.

The words are those of the training captions alone: what only validation or test captions hold is unknown
to the decoder, as new images' words will be.
"""

from __future__ import annotations

import itertools
import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

from src.entry_point import UserError

PAD, START, END, UNKNOWN = 0, 1, 2, 3
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")
# A character of Chinese or Japanese, which put no spaces between words: Han with its iteration marks, kana.
_UNSPACED = re.compile(
    "([\u3005-\u3007\u3021-\u3029\u3031-\u3035\u3038-\u303c\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff\u3041-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001aff0-\U0001b16f])"
)


def tokenize(raw: str) -> list[str]:
    """Words in lower case, punctuation dropped: "A blue-green T-junction." -> a, blue-green, t-junction.

    Spaces and all signs of punctuation, symbols and control characters part words. A hyphen or an apostrophe
    inside a word belongs to its spelling and stays. In Chinese and Japanese each character is a word.
    """
    text = unicodedata.normalize("NFC", raw)
    return clean(text if text.isascii() else _UNSPACED.sub(r" \1 ", text))


def clean(text: str) -> list[str]:
    """As `tokenize` for words that a data set has told apart itself: none is split into characters."""
    return list(itertools.chain.from_iterable(map(_CLEANED.__getitem__, text.split())))


class _Cleaned(dict[str, list[str]]):
    """The words in what stands between two spaces, found out when it first occurs; each is in memory once."""

    def __missing__(self, written: str) -> list[str]:
        text = unicodedata.normalize("NFC", written).replace("\u2019", "'").lower()
        # By category, not by \w: that would cut words of the many scripts that spell with combining marks.
        signs = {char for char in text if char not in "-'" and unicodedata.category(char)[0] in "PSC"}
        parts = _HYPHENS.sub(" ", "".join(" " if char in signs else char for char in text)).split()
        self[written] = [sys.intern(word) for part in parts if (word := part.strip("-'"))]
        return self[written]


_CLEANED = _Cleaned()
_HYPHENS = re.compile("[-']{2,}")


class Vocabulary:
    """The words a decoder knows, numbered; the first four numbers are PAD, START, END and UNKNOWN.

    Args:
        words: all of them, SPECIAL first.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        self._numbers = {word: number for number, word in enumerate(self.words)}

    @classmethod
    def from_captions(cls, captions: Iterable[Sequence[str]], min_count: int = 1) -> Vocabulary:
        """The words that these tokenized captions use at least `min_count` times, the most frequent first.

        Raises:
            UserError: min_count is above every word's count.
        """
        counts = Counter(itertools.chain.from_iterable(captions))
        for word in SPECIAL:
            del counts[word]
        if counts and min_count > max(counts.values()):
            raise UserError(
                f"data.min_count={min_count} leaves no word: none of the training captions' "
                f"{len(counts):,} words occurs more than {max(counts.values()):,} times; set it so or less"
            )
        # Words of one count by the alphabet: the numbers depend on no order of captions.
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return cls([*SPECIAL, *(word for word, count in ranked if count >= min_count)])

    def __len__(self) -> int:
        return len(self.words)

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """START, the number of each word (UNKNOWN where there is none), END."""
        return [START, *map(self._numbers.get, tokens, itertools.repeat(UNKNOWN)), END]

    def decode(self, numbers: Iterable[int]) -> list[str]:
        """The words up to the first END, without PAD, START and UNKNOWN."""
        known = itertools.takewhile(lambda number: number != END, numbers)
        return [self.words[number] for number in known if number >= len(SPECIAL)]
