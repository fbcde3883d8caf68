"""The report's decoders: an LSTM that sees the regions' mean, and one with attention (protocol, section 6).

Dimension letters: B images, K hypotheses an image (beams), L regions, T steps, V vocabulary, D region
feature, E embedding, U state, A attention.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.captioning.decoders.base import Decoder, Scored
from src.captioning.decoders.recurrence import AttentionLSTM

State = tuple[Tensor, Tensor]  # h and c (B*K, U)


class LSTMDecoder(Decoder):
    """An LSTM whose first state is made of the mean region; 697,078 parameters at V = 190 and D = 512.

    Args:
        vocabulary_size: V, the four special tokens included.
        region_dim: D.
        embedding, state: E and U.
        dropout: probability that dropout zeroes a unit of h before the output layer.
    """

    mean_only = beams_share_memory = True

    def __init__(
        self,
        vocabulary_size: int,
        region_dim: int,
        *,
        embedding: int = 100,
        state: int = 256,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, embedding)
        self.initial_h = nn.Linear(region_dim, state)
        self.initial_c = nn.Linear(region_dim, state)
        self.lstm = nn.LSTM(embedding, state)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(state, vocabulary_size)
        _init_words(self.embedding, self.output)

    def remember(self, regions: Tensor) -> Tensor:
        """The mean region (B, D)."""
        return regions.mean(1, dtype=self.output.weight.dtype)

    def start(self, memory: Tensor) -> State:
        """h_0 and c_0 (B, U)."""
        return self.initial_h(memory), self.initial_c(memory)

    def step(self, tokens: Tensor, state: State, memory: Tensor) -> tuple[Tensor, State, None]:
        """See `Decoder.step`."""
        words = self.embedding(tokens).unsqueeze(0)  # (1, B*K, E)
        _, (h, c) = self.lstm(words, (state[0].unsqueeze(0), state[1].unsqueeze(0)))
        return self.output(self.dropout(h[0])), (h[0], c[0]), None

    def forward(self, regions: Tensor, tokens: Tensor, sampling: float = 0.0) -> Scored:
        """See `Decoder.forward`; in the weights' dtype also under autocast."""
        with torch.autocast(regions.device.type, enabled=False):
            if sampling > 0:
                return super().forward(regions, tokens, sampling)
            h0, c0 = self.start(self.remember(regions))
            states, _ = self.lstm(self.embedding(tokens.t()), (h0.unsqueeze(0), c0.unsqueeze(0)))
            return self.output(self.dropout(states.transpose(0, 1))), None


class Memory(NamedTuple):
    """What the decoder with attention knows of B images."""

    mean: Tensor  # (B, D)
    regions: Tensor  # (B, L, D)
    projected: Tensor  # (B, L, A)


class AttentionDecoder(Decoder):
    """An LSTM that weighs the regions before every word (Xu et al. 2015).

    The weights are the softmax of e_i = w^T ReLU(W_e f_i + W_d h_{t-1}); the weighted sum of the regions, the
    context, joins the LSTM's input. 1,298,467 parameters at V = 190 and D = 512.

    Args:
        vocabulary_size: V, the four special tokens included.
        region_dim: D.
        embedding, state, attention_size: E, U and A.
        dropout: probability that dropout zeroes a unit before the output layer.
        gate: multiply the context by sigmoid(W_g h_{t-1} + b_g), D values (Xu et al. 2015, section 4.2.1).
        deep_output: the output layer reads L_h h_t + L_z z_t + embedding of the last word (there, equation
            7).
        word_query: add W_x x_t to what the regions are compared with. h_{t-1} has not read the last word x_t, so
            without it the attention lags a word behind.
        fused: train with the recurrence of `AttentionLSTM`, differentiated by hand: faster, the same numbers.
    """

    beams_share_memory = True

    def __init__(
        self,
        vocabulary_size: int,
        region_dim: int,
        *,
        embedding: int = 100,
        state: int = 256,
        attention_size: int = 100,
        dropout: float = 0.5,
        gate: bool = False,
        deep_output: bool = False,
        word_query: bool = False,
        fused: bool = True,
    ) -> None:
        super().__init__()
        self.fused = fused
        self.embedding = nn.Embedding(vocabulary_size, embedding)
        self.initial_h = nn.Linear(region_dim, state)
        self.initial_c = nn.Linear(region_dim, state)
        self.gate = nn.Linear(state, region_dim) if gate else None
        self.attend_region = nn.Linear(region_dim, attention_size)  # W_e
        self.attend_state = nn.Linear(state, attention_size)  # W_d
        self.attend_word = nn.Linear(embedding, attention_size, bias=False) if word_query else None  # W_x
        self.attend_score = nn.Linear(attention_size, 1)  # w
        self.cell = nn.LSTMCell(embedding + region_dim, state)
        self.dropout = nn.Dropout(dropout)
        self.deep = nn.Linear(state + region_dim, embedding) if deep_output else None  # [L_h, L_z]
        self.output = nn.Linear(embedding if deep_output else state, vocabulary_size)
        _init_words(self.embedding, self.output)

    def remember(self, regions: Tensor) -> Memory:
        """See `Decoder.remember`."""
        regions = regions.to(self.output.weight.dtype)
        return Memory(regions.mean(1), regions, self.attend_region(regions))

    def start(self, memory: Memory) -> State:
        """h_0 and c_0 (B, U)."""
        return self.initial_h(memory.mean), self.initial_c(memory.mean)

    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State, Tensor]:
        """See `Decoder.step`."""
        words = self.embedding(tokens)  # (B*K, E)
        query = self.attend_state(state[0])
        if self.attend_word is not None:
            query = query + self.attend_word(words)
        queries = query.unflatten(0, (memory.regions.shape[0], -1))  # (B, K, A)
        matched = torch.relu_(memory.projected.unsqueeze(1) + queries.unsqueeze(2))  # (B, K, L, A)
        weights = self.attend_score(matched).squeeze(3).softmax(2)  # (B, K, L)
        context = torch.bmm(weights, memory.regions).flatten(0, 1)  # (B*K, D)
        if self.gate is not None:
            context = context * self.gate(state[0]).sigmoid()
        state = self.cell(torch.cat([words, context], 1), state)
        read = state[0]
        if self.deep is not None:
            read = words + self.deep(torch.cat([read, context], 1))
        return self.output(self.dropout(read)), state, weights.flatten(0, 1)

    def forward(self, regions: Tensor, tokens: Tensor, sampling: float = 0.0) -> Scored:
        """See `Decoder.forward`; in the weights' dtype also under autocast."""
        with torch.autocast(regions.device.type, enabled=False):
            if sampling > 0 or not self.fused:
                return super().forward(regions, tokens, sampling)
            memory = self.remember(regions)
            words = self.embedding(tokens.t())  # (T, B, E)
            states, alphas = (part.transpose(0, 1) for part in self._recur(memory, words))
            if self.deep is not None:
                context = torch.bmm(alphas, memory.regions)  # (B, T, D)
                if self.gate is not None:
                    before = torch.cat([self.start(memory)[0].unsqueeze(1), states[:, :-1]], 1)
                    context = context * self.gate(before).sigmoid()
                states = self.embedding(tokens) + self.deep(torch.cat([states, context], 2))  # (B, T, E)
            return self.output(self.dropout(states)), alphas

    def _recur(self, memory: Memory, words: Tensor) -> tuple[Tensor, Tensor]:
        """Hidden states (T, B, U) and attention weights (T, B, L) over given words (T, B, E)."""
        # the LSTM's input is [word, context]: the words' share of the gates for all steps at once
        word_weight, context_weight = self.cell.weight_ih.split([words.shape[2], memory.mean.shape[1]], 1)
        if self.attend_word is not None:  # and of the query
            word_weight = torch.cat([word_weight, self.attend_word.weight])
        of_state = [layer for layer in (self.attend_state, self.gate) if layer is not None]
        hidden_weight = torch.cat([self.cell.weight_hh, *(layer.weight for layer in of_state)])
        hidden_bias = torch.cat([self.cell.bias_ih + self.cell.bias_hh, *(layer.bias for layer in of_state)])
        return AttentionLSTM.apply(
            *(memory.regions, memory.projected, F.linear(words, word_weight), *self.start(memory)),
            *(hidden_weight, hidden_bias, self.attend_score.weight[0], self.attend_score.bias),
            context_weight,
        )


def _init_words(embedding: nn.Embedding, output: nn.Linear) -> None:
    nn.init.uniform_(embedding.weight, -0.1, 0.1)
    nn.init.uniform_(output.weight, -0.1, 0.1)
    nn.init.zeros_(output.bias)
