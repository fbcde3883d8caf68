"""Small decoders of every kind, a stranger's among them, with weights that make every choice matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from src.captioning.decoders import AttentionDecoder, Decoder, LSTMDecoder, TransformerDecoder
from src.captioning.vocabulary import END, PAD, START, UNKNOWN

LSTM = {"embedding": 6, "state": 12}
SMALL: dict[str, Any] = {"layers": 2, "width": 12, "heads": 3, "feed_forward": 16}


@dataclass
class Thought:
    """A state of a kind of its own."""

    hidden: dict[str, list[Tensor]]
    words: int


class Stranger(Decoder):
    """A GRU that knows nothing of beams: it writes the three methods and inherits `forward`."""

    def __init__(self, vocabulary_size: int, region_dim: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, 7)
        self.cell = nn.GRUCell(7 + region_dim, 9)
        self.output = nn.Linear(9, vocabulary_size)

    def remember(self, regions: Tensor) -> dict[str, Any]:
        return {"mean": regions.to(self.output.weight.dtype).mean(1), "nothing": None}

    def start(self, memory: dict[str, Any]) -> Thought:
        return Thought({"gru": [memory["mean"].new_zeros(len(memory["mean"]), 9)]}, 0)

    def step(self, tokens: Tensor, state: Thought, memory: dict[str, Any]) -> tuple[Tensor, Thought, None]:
        inputs = torch.cat([self.embedding(tokens), memory["mean"]], 1)
        hidden = self.cell(inputs, state.hidden["gru"][0])
        return self.output(hidden), Thought({"gru": [hidden]}, state.words + 1), None


KINDS: dict[str, tuple[Any, dict[str, Any]]] = {
    "lstm": (LSTMDecoder, LSTM),
    "attention": (AttentionDecoder, {**LSTM, "attention_size": 5}),
    "deep": (AttentionDecoder, {**LSTM, "attention_size": 5, "gate": True, "deep_output": True}),
    "word_query": (AttentionDecoder, {**LSTM, "attention_size": 5, "gate": True, "word_query": True}),
    "transformer": (TransformerDecoder, SMALL),
    "stranger": (Stranger, {}),
}


def small_decoder(kind: str, vocabulary: int = 15, *, seed: int = 0, end: float = 0.0, **more: Any) -> Any:
    """A decoder of `KINDS` for regions of 10 features; the words that it must not write are tempting."""
    torch.manual_seed(seed)
    make, arguments = KINDS[kind]
    decoder: Any = make(vocabulary, 10, **{"dropout": 0.0, **arguments, **more})
    with torch.no_grad():
        for weight in decoder.parameters():
            if make is not TransformerDecoder:
                weight.normal_(0, 0.8)
            elif weight.dim() > 1:
                weight.mul_(3)
        decoder.output.bias[[PAD, START, UNKNOWN]] += 3
        decoder.output.bias[END] += end
    return decoder
