"""Writing captions with a trained decoder: greedy and beam search, over many images at once.

Dimension letters: B images, K hypotheses an image (beams), L regions, T steps, V vocabulary.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor

from src.captioning.decoders import Decoder
from src.captioning.vocabulary import END, PAD, START, UNKNOWN

NEVER = [PAD, START, UNKNOWN]  # no words: a caption holds none of them
BATCH = 64  # images at once: enough to fill the cores, small enough for their caches


class Decoded(NamedTuple):
    """One caption for each of B images."""

    tokens: list[list[int]]  # without start and end
    scores: list[float]  # sums of log-probabilities, the end token's included where the caption has one
    alphas: list[Tensor] | None  # (T, L) each, the attention weights of every word; None: no attention


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
        regions: (B, L, D), any float dtype, on any device; at least one image.
        beam: K, at least 1; 1 is greedy search, whatever the length penalty.
        max_steps: longest caption, the end token included; at least 1.
        length_penalty: at least 0; the larger, the longer the captions.
        batch: images decoded at once; the captions do not depend on it.

    Raises:
        ValueError: a tensor of the decoder's memory or state has another first dimension than the batch.
    """
    training = decoder.training
    decoder.eval()
    try:
        parts = [_decode(decoder, some, beam, max_steps, length_penalty) for some in regions.split(batch)]
    finally:
        decoder.train(training)
    return Decoded(
        [tokens for part in parts for tokens in part.tokens],
        [score for part in parts for score in part.scores],
        [alphas for part in parts for alphas in part.alphas or []] or None,
    )


def _decode(decoder: Decoder, regions: Tensor, beam: int, max_steps: int, length_penalty: float) -> Decoded:
    device, images = next(decoder.parameters()).device, len(regions)
    shared = getattr(decoder, "beams_share_memory", False)
    memory = decoder.remember(regions.to(device))
    state = apply_to_collection(decoder.start(memory), Tensor, _repeat, images, beam)
    memory = apply_to_collection(memory, Tensor, _repeat, images, 1 if shared else beam)
    tokens = torch.full((images, beam), START, device=device)
    # All hypotheses of an image start alike, so all but the first one start out of the race.
    scores = torch.full((images, beam), -torch.inf, device=device)
    scores[:, 0] = 0
    ended = torch.zeros(images, beam, dtype=torch.bool, device=device)
    lengths = torch.ones(images, beam, device=device)
    # Of each word of a hypothesis: the word, and its attention's row among those of all steps.
    history = torch.zeros(images, beam, 0, 2, dtype=torch.long, device=device)
    attention: list[Tensor | None] = []
    best = torch.full((images,), -torch.inf, device=device)  # of the ended hypotheses, per length
    best_score = torch.zeros_like(best)
    captions = torch.full((images, max_steps, 2), END, device=device)  # their history
    alive = torch.arange(images, device=device)  # whose rows the tensors above hold; the others are done
    first = 0  # row of the step's attention
    for step in range(max_steps):
        output, state, alphas = decoder.step(tokens.flatten(), state, memory)
        lengths = torch.where(ended, lengths, step + 1)
        ranked, scores, parents, tokens = _extend(output, scores, ended, lengths**length_penalty)
        just_ended = (tokens == END) & ~ended.gather(1, parents)
        ended, lengths = tokens == END, lengths.gather(1, parents)
        rows = parents + torch.arange(0, len(output), beam, device=device).unsqueeze(1)  # of the B*K
        newest = torch.stack([tokens, first + rows], 2).unsqueeze(2)
        history = torch.cat([history.flatten(0, 1)[rows], newest], 2)  # (B, K, T, 2)
        attention.append(alphas)
        first += len(output)

        found, slot = ranked.masked_fill(~just_ended, -torch.inf).max(1)
        better = found > best[alive]
        winners = alive[better]
        best[winners] = found[better]
        best_score[winners] = scores[better, slot[better]]
        captions[winners, : step + 1] = history[better, slot[better]]

        # Sums only fall, so a hypothesis' rank can at best become its sum over the greatest length.
        bound = scores.masked_fill(ended, -torch.inf) / max_steps**length_penalty
        racing = (bound > best[alive].unsqueeze(1)).any(1)
        if step + 1 == max_steps or not racing.any():
            break
        fewer = bool(racing.sum() <= 0.75 * len(alive))
        if fewer:  # leave out the images that are done
            kept = (alive, rows, tokens, scores, ended, lengths, history)
            alive, rows, tokens, scores, ended, lengths, history = (part[racing] for part in kept)
            memory = apply_to_collection(
                memory, Tensor, Tensor.__getitem__, racing if shared else rows.flatten()
            )
        if fewer or beam > 1:
            state = apply_to_collection(state, Tensor, Tensor.__getitem__, rows.flatten())

    unended = best[alive].isinf()
    best_score[alive[unended]] = scores[unended, 0]
    captions[alive[unended], : step + 1] = history[unended, 0]
    return _read(captions, best_score, [alphas for alphas in attention if alphas is not None])


def _extend(output: Tensor, scores: Tensor, ended: Tensor, divisors: Tensor) -> tuple[Tensor, ...]:
    """The best of all hypotheses one word longer: ranks, scores, parents and words (B, K), best first."""
    gains = output.log_softmax(1).unflatten(0, scores.shape)  # (B, K, V)
    gains[:, :, NEVER] = -torch.inf
    gains.masked_fill_(ended.unsqueeze(2), -torch.inf)
    gains[:, :, END].masked_fill_(ended, 0)
    sums = scores.unsqueeze(2) + gains
    ranked, chosen = (sums / divisors.unsqueeze(2)).flatten(1).topk(scores.shape[1])
    return ranked, sums.flatten(1).gather(1, chosen), chosen // gains.shape[2], chosen % gains.shape[2]


def _read(captions: Tensor, scores: Tensor, attention: list[Tensor]) -> Decoded:
    """Histories (B, T, 2) as captions, up to the end token."""
    words = [row[: row.index(END)] if END in row else row for row in captions[:, :, 0].tolist()]
    if not attention:
        return Decoded(words, scores.tolist(), None)
    weights = torch.cat(attention)
    alphas = [weights[rows[: len(row)]] for row, rows in zip(words, captions[:, :, 1], strict=True)]
    return Decoded(words, scores.tolist(), alphas)


def _repeat(part: Tensor, images: int, times: int) -> Tensor:
    if part.shape[:1] != (images,):
        raise ValueError(
            f"the decoder keeps a tensor of shape {tuple(part.shape)}, but the first dimension must be the "
            f"batch of {images} images"
        )
    return part if times == 1 else part.repeat_interleave(times, 0)
