"""Writing captions with a trained decoder: greedy and beam search, over many images at once.

Dimension letters: B images, K hypotheses an image (beams), L regions, T steps, V vocabulary, U decoder state.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from src.captioning.decoder import Decoder, State
from src.captioning.vocabulary import END, PAD, START, UNKNOWN

NEVER = [PAD, START, UNKNOWN]  # no words: a caption holds none of them
BATCH = 64  # images at once: enough to fill the cores, small enough for their caches


@dataclass
class Decoded:
    """One caption for each of B images.

    Attributes:
        tokens: B lists of word ids, without start and end.
        scores: B sums of log-probabilities, the end token's included (where the caption was not cut off).
        alphas: B tensors (T, L), the attention weights of each word of the caption; None without attention.
    """

    tokens: list[list[int]]
    scores: list[float]
    alphas: list[Tensor] | None


@torch.no_grad()
def decode(
    decoder: Decoder,
    regions: Tensor,
    *,
    beam: int = 1,
    max_steps: int = 22,
    length_penalty: float = 0.0,
    batch: int = BATCH,
) -> Decoded:
    """The captions that a decoder writes for images, each decoded once, dropout off.

    Of the hypotheses of an image the `beam` best stay at every step, by score / length**length_penalty, the
    score being the sum of log-probabilities and the length the number of words with the end token (0: the
    plain sum; 1: the mean). A hypothesis that ended stays as it is and competes with the others; the best one
    that ever ended is the caption. Where none ended within `max_steps`, it is the best unfinished one. An
    image is done as soon as none of its hypotheses can overtake its best ended one. Padding, start and
    unknown words are never written; their probability is not given to the other words.

    Args:
        decoder: its mode, training or not, is the same afterwards.
        regions: (B, L, D), any float dtype, on any device.
        beam: K; 1 is greedy search, whatever the length penalty.
        max_steps: longest caption, the end token included.
        length_penalty: at least 0; the larger, the longer the captions.
        batch: images decoded at once; the captions do not depend on it.

    Raises:
        ValueError: a setting out of its range.
    """
    for name, value, least in (("beam", beam, 1), ("max_steps", max_steps, 1), ("batch", batch, 1)):
        if value < least:
            raise ValueError(f"{name}={value} is too small: at least {least}")
    if length_penalty < 0:
        raise ValueError(f"length_penalty={length_penalty} is negative: at least 0")
    training = decoder.training
    decoder.eval()
    try:
        some = regions.split(batch) if len(regions) else []
        parts = [_decode(decoder, images, beam, max_steps, length_penalty) for images in some]
    finally:
        decoder.train(training)
    return Decoded(
        [tokens for part in parts for tokens in part.tokens],
        [score for part in parts for score in part.scores],
        [alphas for part in parts for alphas in part.alphas or []] if decoder.attention else None,
    )


def _decode(decoder: Decoder, regions: Tensor, beam: int, max_steps: int, length_penalty: float) -> Decoded:
    device = decoder.output.weight.device
    vocabulary, images = decoder.output.out_features, len(regions)
    memory = decoder.remember(regions.to(device))
    state = State(*(part.repeat_interleave(beam, 0) for part in decoder.start(memory)))  # (B*K, U)
    tokens = torch.full((images, beam), START, device=device)
    # All hypotheses of an image start alike, so all but the first one start out of the race.
    scores = torch.full((images, beam), -torch.inf, device=device)
    scores[:, 0] = 0
    ended = torch.zeros(images, beam, dtype=torch.bool, device=device)
    lengths = torch.ones(images, beam, device=device)

    steps = _Steps(images, beam, max_steps, regions.shape[1] if decoder.attention else 0, device)
    best = torch.full((images,), -torch.inf, device=device)  # of the ended hypotheses, per length
    best_score, best_end = torch.zeros_like(best), torch.zeros(images, 2, dtype=torch.long, device=device)
    alive = torch.arange(images, device=device)  # whose rows the tensors above hold; the others are done
    for step in range(max_steps):
        output, state, alphas = decoder.step(memory, state, tokens.flatten())
        gains = output.log_softmax(1).unflatten(0, (-1, beam))  # (B, K, V)
        gains[:, :, NEVER] = -torch.inf
        gains.masked_fill_(ended.unsqueeze(2), -torch.inf)
        gains[:, :, END].masked_fill_(ended, 0)
        sums = scores.unsqueeze(2) + gains
        lengths = torch.where(ended, lengths, step + 1)
        ranks = sums / lengths.unsqueeze(2) ** length_penalty if length_penalty else sums
        ranked, chosen = ranks.flatten(1).topk(beam)  # (B, K), best first
        parents, tokens = chosen // vocabulary, chosen % vocabulary
        scores = sums.flatten(1).gather(1, chosen)
        just_ended = (tokens == END) & ~ended.gather(1, parents)
        ended, lengths = tokens == END, lengths.gather(1, parents)
        steps.note(step, alive, parents, tokens, alphas)

        found, slot = ranked.masked_fill(~just_ended, -torch.inf).max(1)
        better = found > best[alive]
        winners = alive[better]
        best[winners] = found[better]
        best_score[winners] = scores.gather(1, slot.unsqueeze(1)).squeeze(1)[better]
        best_end[winners, 0] = step
        best_end[winners, 1] = slot[better]

        # Sums only fall, so a hypothesis' rank can at best become its sum over the greatest length.
        bound = scores.masked_fill(ended, -torch.inf) / max_steps**length_penalty
        racing = (bound > best[alive].unsqueeze(1)).any(1)
        if step + 1 == max_steps or not racing.any():
            break
        rows = (parents + torch.arange(len(alive), device=device).unsqueeze(1) * beam).flatten()
        state = State(*(part[rows] for part in state))
        if racing.sum() <= 0.75 * len(alive):  # leave out the images that are done
            memory, alive = memory.select(racing.nonzero().squeeze(1)), alive[racing]
            state = State(*(part.unflatten(0, (-1, beam))[racing].flatten(0, 1) for part in state))
            tokens, scores, ended, lengths = (part[racing] for part in (tokens, scores, ended, lengths))

    unended = best[alive].isinf()
    cut = alive[unended]
    best_score[cut], best_end[cut, 0], best_end[cut, 1] = scores[unended, 0], step, 0
    return steps.captions(best_end.tolist(), best_score.tolist())


class _Steps:
    """What every step chose: enough to read a hypothesis backwards from its end."""

    def __init__(self, images: int, beam: int, steps: int, regions: int, device: torch.device) -> None:
        self.parents = torch.zeros(steps, images, beam, dtype=torch.long, device=device)
        self.tokens = torch.zeros_like(self.parents)
        # (T, B, K, L) attention of the hypotheses that a step extended, in their order before it
        self.alphas = torch.zeros(steps, images, beam, regions, device=device) if regions else None

    def note(self, step: int, images: Tensor, parents: Tensor, tokens: Tensor, alphas: Tensor | None) -> None:
        """Keep a step's choices (B, K) and attention weights (B*K, L) for some of the images."""
        self.parents[step, images] = parents
        self.tokens[step, images] = tokens
        if self.alphas is not None and alphas is not None:
            self.alphas[step, images] = alphas.unflatten(0, parents.shape).to(self.alphas.dtype)

    def captions(self, ends: list[list[int]], scores: list[float]) -> Decoded:
        """The hypotheses that end at the given (step, slot) of each image."""
        parents, tokens = self.parents.tolist(), self.tokens.tolist()
        captions: list[list[int]] = []
        alphas: list[Tensor] = []
        for image, (last, end) in enumerate(ends):
            slot = end
            words: list[int] = []
            slots: list[int] = []  # of the hypothesis before each word
            for step in range(last, -1, -1):
                words.append(tokens[step][image][slot])
                slot = parents[step][image][slot]
                slots.append(slot)
            words, slots = words[::-1], slots[::-1]
            if words[-1] == END:
                words, slots = words[:-1], slots[:-1]
            captions.append(words)
            if self.alphas is not None:
                alphas.append(self.alphas[range(len(slots)), image, slots])  # (T, L)
        return Decoded(captions, scores, alphas if self.alphas is not None else None)
