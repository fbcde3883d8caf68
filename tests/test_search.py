"""Greedy and beam search against plainly written searches, and against every sequence there is."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from src.captioning.decoder import Decoder
from src.captioning.search import Decoded, decode
from src.captioning.vocabulary import END, PAD, START, UNKNOWN

L, D = 6, 10


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _decoder(attention: bool, vocabulary: int = 15, seed: int = 0, end: float = 0.0) -> Decoder:
    torch.manual_seed(seed)
    decoder = Decoder(
        vocabulary, D, attention=attention, embedding=6, state=12, attention_size=5, gate=attention
    )
    with torch.no_grad():
        for weight in decoder.parameters():
            weight.normal_(0, 0.8)
        decoder.output.bias[[PAD, START, UNKNOWN]] += 3  # tempting, yet never to be written
        decoder.output.bias[END] += end
    return decoder.eval()


def _sequence_scores(decoder: Decoder, region: Tensor, words: list[int]) -> tuple[float, Tensor | None]:
    """Sum of log-probabilities of words, END among them, and the attention (T, L), by teacher forcing."""
    scores, alphas = decoder(region[None], torch.tensor([[START, *words[:-1]]]))
    picked = scores[0].log_softmax(1).gather(1, torch.tensor(words)[:, None])
    return float(picked.sum()), None if alphas is None else alphas[0]


def _greedy(decoder: Decoder, region: Tensor, max_steps: int) -> list[int]:
    words: list[int] = []
    while len(words) < max_steps:
        scores = decoder(region[None], torch.tensor([[START, *words]]))[0][0, -1]
        scores[[PAD, START, UNKNOWN]] = -torch.inf
        word = int(scores.argmax())
        if word == END:
            break
        words.append(word)
    return words


def _same(one: Decoded, other: Decoded) -> None:
    assert one.tokens == other.tokens
    assert one.scores == pytest.approx(other.scores, abs=1e-4)
    assert (one.alphas is None) == (other.alphas is None)
    for left, right in zip(one.alphas or [], other.alphas or [], strict=True):
        torch.testing.assert_close(left, right, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("length_penalty", [0.0, 1.0])
@torch.no_grad()
def test_beam_1_is_greedy_search(attention: bool, length_penalty: float) -> None:
    decoder, regions = _decoder(attention, seed=3), 3 * torch.randn(40, L, D)
    expected = [_greedy(decoder, region, 9) for region in regions]
    lengths = {len(words) for words in expected}
    assert {9} < lengths  # some are cut off, others end
    assert decode(decoder, regions, max_steps=9, length_penalty=length_penalty).tokens == expected


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize(("beam", "length_penalty"), [(1, 0.0), (4, 0.0), (4, 0.8)])
def test_together_as_one_by_one(attention: bool, beam: int, length_penalty: float) -> None:
    decoder, regions = _decoder(attention, seed=3), 3 * torch.randn(30, L, D)
    options = {"beam": beam, "max_steps": 8, "length_penalty": length_penalty}
    together = decode(decoder, regions, **options)  # type: ignore[arg-type]
    assert len({len(words) for words in together.tokens}) >= 3
    _same(together, decode(decoder, regions, batch=1, **options))  # type: ignore[arg-type]
    _same(together, decode(decoder, regions, batch=7, **options))  # type: ignore[arg-type]
    again = decode(decoder, regions, **options)  # type: ignore[arg-type]
    assert again.tokens == together.tokens
    assert again.scores == together.scores


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("beam", [1, 5])
@torch.no_grad()
def test_scores_and_attention_are_the_chosen_sequences(attention: bool, beam: int) -> None:
    """Also where beams changed places: teacher forcing over the chosen words gives the same numbers."""
    decoder, regions = _decoder(attention, seed=3), 3 * torch.randn(25, L, D)
    decoded = decode(decoder, regions, beam=beam, max_steps=7)
    assert {7} < {len(words) for words in decoded.tokens}  # a caption without an end is a caption, too
    for index, words in enumerate(decoded.tokens):
        assert not {PAD, START, END, UNKNOWN} & set(words)
        ended = len(words) < 7
        score, alphas = _sequence_scores(decoder, regions[index], words + [END] * ended)
        assert decoded.scores[index] == pytest.approx(score, abs=1e-4)
        if attention:
            assert decoded.alphas is not None
            assert alphas is not None
            mine = decoded.alphas[index]
            assert mine.shape == (len(words), L)
            torch.testing.assert_close(mine, alphas[: len(words)], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(mine.sum(1), torch.ones(len(words)))
    if not attention:
        assert decoded.alphas is None


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize(("length_penalty", "end"), [(0.0, -8.0), (0.7, -1.5), (1.5, 1.0)])
@torch.no_grad()
def test_a_wide_beam_finds_the_best_of_all_sequences(
    attention: bool, length_penalty: float, end: float
) -> None:
    words, steps = range(4, 7), 4
    sequences = [[*some, END] for count in range(steps) for some in itertools.product(words, repeat=count)]
    assert len(sequences) == 1 + 3 + 9 + 27
    longest = set()
    for seed in range(12):
        decoder = _decoder(attention, vocabulary=7, seed=seed, end=end)
        decoder.output.weight[END] *= 3  # so that the end depends on the words before it
        region = 3 * torch.randn(L, D)
        ranked = {
            tuple(some[:-1]): _sequence_scores(decoder, region, some)[0] / len(some) ** length_penalty
            for some in sequences
        }
        best = max(ranked, key=lambda some: ranked[some])
        longest.add(len(best))
        decoded = decode(decoder, region[None], beam=3**steps, max_steps=steps, length_penalty=length_penalty)
        assert tuple(decoded.tokens[0]) == best
        assert decoded.scores[0] / (len(best) + 1) ** length_penalty == pytest.approx(ranked[best], abs=1e-4)
    assert len(longest) > 1


class Scripted(Decoder):
    """A decoder whose next word's probabilities depend on the last word alone."""

    def __init__(self, table: dict[int, dict[int, float]]) -> None:
        super().__init__(8, D, attention=False, embedding=2, state=2)
        self.table = torch.full((8, 8), 1e-9)
        for last, following in table.items():
            for word, probability in following.items():
                self.table[last, word] = probability

    def step(self, memory, state, tokens):  # type: ignore[no-untyped-def]
        return self.table[tokens].log(), state, None


def test_an_ended_hypothesis_stays_and_can_still_win() -> None:
    """4 ends at once with 0.36; 5 leads at first and then loses more and more."""
    script = Scripted(
        {
            START: {4: 0.4, 5: 0.6},
            4: {END: 0.9, 6: 0.1},
            5: {6: 0.55, 7: 0.45},
            6: {END: 0.6, 7: 0.4},
            7: {END: 1.0},
        }
    )
    regions = torch.zeros(2, L, D)
    assert decode(script, regions).tokens == [[5, 6]] * 2  # greedy: 0.198
    for beam in (2, 3, 5):
        decoded = decode(script, regions, beam=beam)
        assert decoded.tokens == [[4]] * 2
        assert decoded.scores == pytest.approx([torch.tensor(0.36).log().item()] * 2, abs=1e-5)
    # 5 7 END has 0.27: a word, log 0.27 / 3 = -0.44 against log 0.36 / 2 = -0.51
    assert decode(script, regions, beam=3, length_penalty=1.0).tokens == [[5, 7]] * 2


def test_stops_as_soon_as_nothing_can_overtake() -> None:
    script = Scripted({START: {4: 0.9, 5: 0.1}, 4: {END: 0.9, 5: 0.1}, 5: {5: 0.9, END: 0.1}})
    asked = []
    step = script.step

    def counted(*inputs):  # type: ignore[no-untyped-def]
        asked.append(inputs)
        return step(*inputs)

    script.step = counted  # type: ignore[method-assign]
    assert decode(script, torch.zeros(1, L, D), beam=2, max_steps=22).tokens == [[4]]
    assert len(asked) == 2  # the other hypothesis never ends, and could only fall


def test_settings_out_of_range_are_named() -> None:
    decoder, regions = _decoder(False), torch.randn(1, L, D)
    for settings, message in (
        ({"beam": 0}, "beam=0 is too small: at least 1"),
        ({"max_steps": 0}, "max_steps=0 is too small"),
        ({"length_penalty": -1.0}, "length_penalty=-1.0 is negative"),
    ):
        with pytest.raises(ValueError, match=message):
            decode(decoder, regions, **settings)


def test_the_decoders_mode_is_left_alone() -> None:
    decoder, regions = _decoder(True).train(), torch.randn(4, L, D)
    first, second = decode(decoder, regions), decode(decoder, regions)
    assert first.scores == second.scores  # no dropout
    assert decoder.training
    assert decode(decoder, regions[:0]).tokens == []
