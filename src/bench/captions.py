"""The captioner's part of `make bench`: a training step and decoding, each against the straightforward way.

Both contenders of a pair run in this process, by turns, on the same weights and regions. The regions are
random: what is measured does not depend on what they show.

Dimension letters: B batch, L regions, T steps, D feature.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.captioning.decoders import AttentionDecoder
from src.captioning.decoders.lstm import Memory, State
from src.captioning.search import decode
from src.captioning.vocabulary import END, START
from src.run.threads import cores

VOCABULARY = 190
BATCH, STEPS = 32, 20  # of a training step
SIZES = [(49, 512), (49, 1280), (256, 512), (256, 1280)]  # (L, D); 1280 is the default encoder's
SPLIT, SPLIT_SIZE = 210, (64, 1280)  # images of UCM-Captions' test split, their (L, D) by the default encoder
TRAINING_TARGET, DECODING_TARGET = 4.0, 10.0


@dataclass
class Comparison:
    """Seconds of the straightforward way and of ours, a pair a round."""

    what: str
    target: float
    straightforward: list[float]
    ours: list[float]

    def ratios(self) -> list[float]:
        """How many times faster, in every round."""
        return [plain / ours for plain, ours in zip(self.straightforward, self.ours, strict=True)]


class StraightforwardDecoder(nn.Module):
    """The protocol's attention decoder as one would write it first: everything inside the time loop."""

    def __init__(self, weights: AttentionDecoder) -> None:
        super().__init__()
        self.of = weights

    def forward(self, regions: Tensor, tokens: Tensor) -> Tensor:
        """Scores (B, T, V) of every next word under teacher forcing."""
        of, mean = self.of, regions.mean(1)
        h, c = of.initial_h(mean), of.initial_c(mean)
        scores = []
        for t in range(tokens.shape[1]):
            matched = F.relu(of.attend_region(regions) + of.attend_state(h).unsqueeze(1))  # (B, L, A)
            alpha = F.softmax(of.attend_score(matched).squeeze(2), 1)  # (B, L)
            context = (alpha.unsqueeze(2) * regions).sum(1)  # (B, D)
            h, c = of.cell(torch.cat([of.embedding(tokens[:, t]), context], 1), (h, c))
            scores.append(of.output(of.dropout(h)))
        return torch.stack(scores, 1)


class PacedDecoder(AttentionDecoder):
    """A decoder with random weights that ends every caption after as many words as its image asks for.

    Feature 0 of an image's regions holds that number over 10, so that captions are as long as real ones.
    """

    def start(self, memory: Memory) -> State:
        """h_0 and c_0 (B, U) of captions that begin now."""
        self.words = 0
        return super().start(memory)

    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State, Tensor]:
        """`AttentionDecoder.step` with the end token's score set."""
        scores, state, alphas = super().step(tokens, state, memory)
        wanted = memory.mean[:, 0].mul(10).round().repeat_interleave(len(tokens) // len(memory.mean))
        scores[:, END] = torch.where(wanted <= self.words, 50.0, -50.0)
        self.words += 1
        return scores, state, alphas


def straightforward_decode(
    decoder: PacedDecoder, region: Tensor, beam: int, max_steps: int = 22
) -> list[int]:
    """One image's caption as captioning tutorials write it: its regions projected anew at every step.

    Args:
        decoder: with attention; its weights are used, and the lengths that its regions ask for.
        region: (1, L, D).
        beam: K hypotheses, each with regions of its own; 1 is greedy.
    """
    of, rows = decoder, beam
    regions = region.float().expand(rows, -1, -1).contiguous()  # (K, L, D)
    mean = regions.mean(1)
    h, c = of.initial_h(mean), of.initial_c(mean)
    wanted = int(mean[0, 0].mul(10).round())
    words = torch.full((rows, 1), START)
    sums = torch.zeros(rows, 1)
    ended: list[tuple[float, list[int]]] = []
    for step in range(max_steps):
        matched = F.relu(of.attend_region(regions) + of.attend_state(h).unsqueeze(1))  # (K, L, A)
        alpha = F.softmax(of.attend_score(matched).squeeze(2), 1)  # (K, L)
        context = (alpha.unsqueeze(2) * regions).sum(1)  # (K, D)
        h, c = of.cell(torch.cat([of.embedding(words[:, -1]), context], 1), (h, c))
        scores = of.output(h)
        scores[:, END] = 50.0 if wanted <= step else -50.0
        totals = sums + scores.log_softmax(1)  # (K, V)
        best, chosen = (totals[0] if step == 0 else totals.flatten()).topk(rows)
        parents, tokens = chosen // VOCABULARY, chosen % VOCABULARY
        words = torch.cat([words[parents], tokens.unsqueeze(1)], 1)
        done = tokens == END
        ended += [(float(best[row]), words[row, 1:-1].tolist()) for row in done.nonzero().flatten()]
        rows -= int(done.sum())
        if rows == 0:
            break
        regions, h, c = regions[parents][~done], h[parents][~done], c[parents][~done]
        words, sums = words[~done], best[~done].unsqueeze(1)
    return max(ended)[1] if ended else words[0, 1:].tolist()


def measure_captions(
    rounds: int = 5, threads: int | None = None, say: Callable[[str], None] = print
) -> list[Comparison]:
    """All comparisons, each round by turns after one that warms up; torch's threads as before afterwards."""
    comparisons: list[Comparison] = []
    before = torch.get_num_threads()
    torch.set_num_threads(threads or cores())
    try:
        torch.manual_seed(0)
        for length, dim in SIZES:
            comparisons.append(training_step(length, dim, rounds))
            say(_row(comparisons[-1]))
        for beam in (1, 5):
            for found in decoding(beam, rounds):
                comparisons.append(found)
                say(_row(found))
    finally:
        torch.set_num_threads(before)
    return comparisons


def training_step(length: int, dim: int, rounds: int) -> Comparison:
    """Forward, backward and Adam with attention, batch 32, 20 steps."""
    ours = AttentionDecoder(VOCABULARY, dim)
    plain = StraightforwardDecoder(AttentionDecoder(VOCABULARY, dim))
    regions = torch.rand(BATCH, length, dim)
    tokens, targets = torch.randint(VOCABULARY, (2, BATCH, STEPS))

    def step(network: nn.Module, scores: Callable[[], Tensor]) -> Callable[[], object]:
        optimizer = torch.optim.Adam(network.parameters(), lr=4e-4, fused=True)

        def one() -> None:
            loss = F.cross_entropy(scores().flatten(0, 1), targets.flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return one

    what = f"training step with attention, batch {BATCH}, {STEPS} steps, {length} regions of {dim} features"
    return _by_turns(
        what,
        TRAINING_TARGET,
        step(plain, lambda: plain(regions, tokens)),
        step(ours, lambda: ours(regions, tokens)[0]),
        rounds,
        repeat=3,
    )


def decoding(beam: int, rounds: int) -> list[Comparison]:
    """A test split at once (in batches) against one image after another, in two ways.

    The straightforward way projects the regions at every step; the other is our own `decode`, image by image.
    """
    decoder = PacedDecoder(VOCABULARY, SPLIT_SIZE[1]).eval()
    regions = torch.rand(SPLIT, *SPLIT_SIZE)
    wanted = torch.randint(7, 18, (SPLIT,))  # 12 words on average
    regions[:, :, 0] = wanted.unsqueeze(1) / 10
    regions = regions.half()  # as the features are stored

    def together() -> list[list[int]]:
        return decode(decoder, regions, beam=beam).tokens

    def one_by_one() -> list[list[int]]:
        return [decode(decoder, region, beam=beam).tokens[0] for region in regions.split(1)]

    @torch.no_grad()
    def straightforward() -> list[list[int]]:
        return [straightforward_decode(decoder, region, beam) for region in regions.split(1)]

    for way in (together, straightforward):
        assert [len(words) for words in way()] == wanted.tolist()
    how = "greedy" if beam == 1 else f"beam {beam}"
    what = f"decoding {SPLIT} images, {how}, {SPLIT_SIZE[0]} regions of {SPLIT_SIZE[1]} features"
    return [
        _by_turns(what, DECODING_TARGET, straightforward, together, rounds),
        _by_turns(f"{what}; against ours, image by image", DECODING_TARGET, one_by_one, together, rounds),
    ]


def _by_turns(
    what: str,
    target: float,
    plain: Callable[[], object],
    ours: Callable[[], object],
    rounds: int,
    *,
    repeat: int = 1,
) -> Comparison:
    found = Comparison(what, target, [], [])
    for index in range(rounds + 1):  # the first one warms up
        for run, seconds in ((plain, found.straightforward), (ours, found.ours)):
            began = time.perf_counter()
            for _ in range(repeat):
                run()
            if index:
                seconds.append((time.perf_counter() - began) / repeat)
    return found


def captions_table(comparisons: list[Comparison]) -> str:
    """The comparisons as a Markdown table: medians, ratios within a round (lowest to highest)."""
    lines = ["| what | straightforward, ms | ours, ms | times faster | target |", "|---|---|---|---|---|"]
    return "\n".join([*lines, *map(_row, comparisons), ""])


def _row(found: Comparison) -> str:
    plain, ours = (1000 * statistics.median(part) for part in (found.straightforward, found.ours))
    ratios = sorted(found.ratios())
    return (
        f"| {found.what} | {plain:,.0f} | {ours:,.0f} "
        f"| {statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f}) | {found.target:.1f} |"
    )


def as_rows(comparisons: list[Comparison]) -> list[dict]:
    """The comparisons for a JSON file."""
    return [asdict(found) for found in comparisons]
