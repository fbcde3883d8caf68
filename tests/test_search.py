"""Greedy and beam search against plainly written searches, and against every sequence there is."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from src.captioning.decoders import LSTMDecoder
from src.captioning.search import decode
from src.captioning.vocabulary import END, PAD, START, UNKNOWN
from tests.decoders_of_tests import Stranger, small_decoder

L, D = 6, 10
every_kind = pytest.mark.parametrize("kind", ["lstm", "attention", "transformer", "stranger"])


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def _sequence_scores(decoder: Any, region: Tensor, words: list[int]) -> tuple[float, Tensor | None]:
    """Sum of log-probabilities of words, END among them, and the attention (T, L), by teacher forcing."""
    scores, alphas = decoder(region[None], torch.tensor([[START, *words[:-1]]]))
    picked = scores[0].log_softmax(1).gather(1, torch.tensor(words)[:, None])
    return float(picked.sum()), None if alphas is None else alphas[0]


def _search(decoder: Any, region: Tensor, beam: int, max_steps: int) -> list[int]:
    """Beam search that runs the whole decoder again for every word."""
    best: list[tuple[float, list[int]]] = []
    ended, going = best, [(0.0, list[int]())]
    for _ in range(max_steps):
        longer = []
        for total, words in going:
            gains = decoder(region[None], torch.tensor([[START, *words]]))[0][0, -1].log_softmax(0)
            gains[[PAD, START, UNKNOWN]] = -torch.inf
            longer += [(total + gain, [*words, word]) for word, gain in enumerate(gains.tolist())]
        kept = sorted([*ended, *longer], reverse=True)[:beam]
        ended, going = [one for one in kept if one[1][-1] == END], [one for one in kept if one[1][-1] != END]
        best = [max([*best, *ended])] if best or ended else []  # that ever ended
        if best and (not going or best > [max(going)]):
            break
    return best[0][1][:-1] if best else max(going)[1]


@every_kind
@pytest.mark.parametrize("beam", [1, 3])
@torch.no_grad()
def test_search_is_the_plain_one_without_a_state(kind: str, beam: int) -> None:
    decoder, regions = small_decoder(kind, seed=9, end=1.0), 3 * torch.randn(25, L, D)
    expected = [_search(decoder, region, beam, 7) for region in regions]
    lengths = {len(words) for words in expected}
    assert len(lengths) >= 2
    assert 7 in lengths or beam > 1  # some are cut off, others end
    assert decode(decoder, regions, beam=beam, max_steps=7).tokens == expected
    assert decode(decoder, regions[:4], beam=beam, max_steps=7).tokens == expected[:4]
    if beam == 1:
        assert decode(decoder, regions, max_steps=7, length_penalty=1.0).tokens == expected


@every_kind
@pytest.mark.parametrize(("beam", "length_penalty"), [(1, 0.0), (5, 0.0), (4, 0.8)])
@torch.no_grad()
def test_scores_and_attention_are_the_chosen_sequences(kind: str, beam: int, length_penalty: float) -> None:
    """Also where beams changed places: teacher forcing over the chosen words gives the same numbers."""
    decoder, regions = small_decoder(kind, seed=9, end=1.0), 3 * torch.randn(25, L, D)
    decoded = decode(decoder, regions, beam=beam, max_steps=7, length_penalty=length_penalty)
    assert 7 in map(len, decoded.tokens) or beam > 1  # a caption without an end is a caption, too
    assert (decoded.alphas is None) == (kind in ("lstm", "stranger"))
    for index, words in enumerate(decoded.tokens):
        assert not {PAD, START, END, UNKNOWN} & set(words)
        score, alphas = _sequence_scores(decoder, regions[index], words + [END] * (len(words) < 7))
        assert decoded.scores[index] == pytest.approx(score, abs=1e-4)
        if decoded.alphas is not None and alphas is not None:
            torch.testing.assert_close(decoded.alphas[index], alphas[: len(words)], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", ["attention", "transformer"])
@pytest.mark.parametrize(("length_penalty", "end"), [(0.0, -8.0), (0.7, -1.5), (1.5, 1.0)])
@torch.no_grad()
def test_a_wide_beam_finds_the_best_of_all_sequences(kind: str, length_penalty: float, end: float) -> None:
    words, steps = range(4, 7), 4
    sequences = [[*some, END] for count in range(steps) for some in itertools.product(words, repeat=count)]
    assert len(sequences) == 1 + 3 + 9 + 27
    longest = set()
    for seed in range(6):
        decoder = small_decoder(kind, 7, seed=seed, end=end)
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


class Scripted(LSTMDecoder):
    """A decoder whose next word's probabilities depend on the last word alone."""

    def __init__(self, table: dict[int, dict[int, float]]) -> None:
        super().__init__(8, D, embedding=2, state=2)
        self.asked = 0
        self.table = torch.full((8, 8), 1e-9)
        for last, following in table.items():
            for word, probability in following.items():
                self.table[last, word] = probability

    def step(self, tokens: Tensor, state: Any, memory: Any) -> tuple[Tensor, Any, None]:
        self.asked += 1
        return self.table[tokens].log(), state, None


@pytest.mark.parametrize(("share", "caption"), [(0.45, [5, 6, 4]), (0.35, [4])])
def test_an_ended_hypothesis_keeps_its_length_and_its_place(share: float, caption: list[int]) -> None:
    """4 END has -0.51 a word; the third step keeps 5 6 7 (-0.44), and 5 6 4 if that has -0.47, not -0.56."""
    script = Scripted(
        {
            START: {4: 0.4, 5: 0.6},
            4: {END: 0.9, PAD: 0.1},  # what goes to padding is written by no one
            5: {6: 0.9, PAD: 0.1},
            6: {7: 0.5, 4: share, PAD: 0.5 - share},
            7: {END: 0.3, PAD: 0.7},
        }
    )
    decoded = decode(script, torch.zeros(1, L, D), beam=2, length_penalty=1.0)
    assert decoded.tokens == [caption]
    probability = 0.6 * 0.9 * share * 0.9 if len(caption) > 1 else 0.4 * 0.9
    assert decoded.scores == pytest.approx([math.log(probability)], abs=1e-5)


def test_stops_as_soon_as_nothing_can_overtake() -> None:
    script = Scripted({START: {4: 0.9, 5: 0.1}, 4: {END: 0.9, 5: 0.1}, 5: {5: 0.9, END: 0.1}})
    assert decode(script, torch.zeros(1, L, D), beam=2, max_steps=22).tokens == [[4]]
    assert script.asked == 2  # the other hypothesis never ends, and could only fall


def test_a_state_without_the_batch_in_front_is_named() -> None:
    class Wrong(Stranger):
        def start(self, memory: Any) -> Any:
            return torch.zeros(1, 4, 9)

    with pytest.raises(ValueError, match=r"a tensor of shape \(1, 4, 9\), but the first dimension must be"):
        decode(Wrong(15, D), torch.randn(4, L, D))


def test_the_decoders_mode_is_left_alone() -> None:
    decoder, regions = small_decoder("attention", dropout=0.5), torch.randn(4, L, D)
    first, second = decode(decoder, regions), decode(decoder, regions)
    assert first.scores == second.scores  # no dropout
    assert decoder.training
