"""Words and their numbers.

The words are those of the training captions alone: what only validation or test captions hold is unknown
to the decoder, as new images' words will be.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence

PAD, START, END, UNKNOWN = 0, 1, 2, 3
SPECIAL = ("<pad>", "<start>", "<end>", "<unk>")


def tokenize(raw: str) -> list[str]:
    """Words in lower case, punctuation dropped: "A blue-green T-junction." -> a, blue-green, t-junction.

    A hyphen or an apostrophe inside a word belongs to its spelling and stays; any other sign of
    punctuation, symbol or control character parts words.
    """
    text = re.sub("[-']{2,}", " ", unicodedata.normalize("NFC", raw).replace("\u2019", "'"))
    words = "".join(sign if _is_of_a_word(sign) else " " for sign in text.lower()).split()
    return [word for word in (word.strip("-'") for word in words) if word]


def _is_of_a_word(sign: str) -> bool:
    # By category, not by \w: that would cut words of the many scripts that spell with combining marks.
    return sign in "-'" or unicodedata.category(sign)[0] not in "PSC"


class Vocabulary:
    """The words a decoder knows, numbered; the first four numbers are PAD, START, END and UNKNOWN.

    Args:
        words: all of them, SPECIAL first.

    Raises:
        ValueError: SPECIAL is not first, or a word is there twice, empty, or no text.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.words = tuple(words)
        if self.words[: len(SPECIAL)] != SPECIAL:
            raise ValueError(
                f"a vocabulary begins with {', '.join(SPECIAL)}, not with {list(self.words[:4])}"
            )
        if not all(isinstance(word, str) and word for word in self.words):
            raise ValueError("a vocabulary holds something other than words")
        self._numbers = {word: number for number, word in enumerate(self.words)}
        if len(self._numbers) != len(self.words):
            word, times = Counter(self.words).most_common(1)[0]
            raise ValueError(f"a vocabulary holds the word {word!r} {times} times")

    @classmethod
    def from_captions(cls, captions: Iterable[Sequence[str]], min_count: int = 1) -> Vocabulary:
        """The words that these tokenized captions use at least `min_count` times, the most frequent first.

        Raises:
            ValueError: min_count is below 1.
        """
        if min_count < 1:
            raise ValueError(f"min_count={min_count} is below 1, the count of a word that occurs once")
        counts = Counter(word for caption in captions for word in caption if word not in SPECIAL)
        # Words of one count by the alphabet: the numbers depend on no order of captions.
        ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return cls([*SPECIAL, *(word for word, count in ranked if count >= min_count)])

    def __len__(self) -> int:
        return len(self.words)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.words == other.words

    def __hash__(self) -> int:
        return hash(self.words)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} words)"

    def encode(self, tokens: Sequence[str]) -> list[int]:
        """START, the number of each word (UNKNOWN where there is none), END."""
        return [START, *(self._numbers.get(word, UNKNOWN) for word in tokens), END]

    def decode(self, numbers: Iterable[int]) -> list[str]:
        """The words up to the first END, without PAD, START and UNKNOWN.

        Raises:
            ValueError: a number is outside the vocabulary.
        """
        words: list[str] = []
        for number in numbers:
            if number == END:
                break
            if not 0 <= number < len(self):
                raise ValueError(f"no word has the number {number}: the vocabulary holds {len(self)}")
            if number >= len(SPECIAL):
                words.append(self.words[number])
        return words

    def to_list(self) -> list[str]:
        """All words in order, for `from_list`: plain text, as a checkpoint may hold it."""
        return list(self.words)

    @classmethod
    def from_list(cls, words: Sequence[str]) -> Vocabulary:
        """The vocabulary whose `to_list` this is.

        Raises:
            ValueError: as the class.
        """
        return cls(words)
