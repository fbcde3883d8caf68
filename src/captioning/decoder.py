"""The caption decoders, with and without attention, as a plain nn.Module.

Dimension letters: B batch, L regions, T steps, V vocabulary, D feature, E embedding, U decoder state,
A attention, K hypotheses an image (beams).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.captioning.recurrence import AttentionLSTM


class State(NamedTuple):
    """What the LSTM carries from word to word."""

    h: Tensor  # (B*K, U)
    c: Tensor  # (B*K, U)


class Memory(NamedTuple):
    """What the decoder knows of B images, computed once for all steps and all hypotheses."""

    mean: Tensor  # (B, D)
    regions: Tensor | None  # (B, L, D); None without attention
    projected: Tensor | None  # (B, L, A); None without attention

    def select(self, images: Tensor) -> Memory:
        """The same of some of the images, by their indices (integers)."""
        if self.regions is None or self.projected is None:
            return Memory(self.mean[images], None, None)
        return Memory(self.mean[images], self.regions[images], self.projected[images])


class Decoder(nn.Module):
    """An LSTM that writes a caption word by word (protocol, section 6; Xu et al. 2015).

    h_0 and c_0 come from two linear layers on the mean region. With attention, every step first weighs
    the regions, e_i = w^T ReLU(W_e f_i + W_d h_{t-1}), and the weighted sum joins the LSTM's input.
    At V = 190 and D = 512: 697,078 parameters without, 1,298,467 with attention.

    Args:
        vocabulary_size: V, the four special tokens included.
        feature_dim: D.
        attention: attend to the regions before each word; otherwise only their mean is seen, at the start.
        embedding: E.
        state: U.
        attention_size: A.
        dropout: probability that dropout zeroes a unit of h before the output layer.
        gate: multiply the context by sigmoid(W_g h_{t-1} + b_g) (Xu et al. 2015, section 4.2.1, there a
            scalar; here a value for each of the D features).
        deep_output: the output layer reads L_h h_t + L_z z_t + embedding of the last word (Xu et al. 2015,
            equation 7), so that what attention sees at a word reaches this very word.

    Raises:
        ValueError: a gate or a deep output without attention.
    """

    def __init__(
        self,
        vocabulary_size: int,
        feature_dim: int,
        *,
        attention: bool,
        embedding: int = 100,
        state: int = 256,
        attention_size: int = 100,
        dropout: float = 0.5,
        gate: bool = False,
        deep_output: bool = False,
    ) -> None:
        super().__init__()
        for name, asked in {"gate": gate, "deep_output": deep_output}.items():
            if asked and not attention:
                raise ValueError(
                    f"{name} acts on the attention's context: set attention=true or {name}=false"
                )
        self.attention = attention
        self.embedding = nn.Embedding(vocabulary_size, embedding)
        self.initial_h = nn.Linear(feature_dim, state)
        self.initial_c = nn.Linear(feature_dim, state)
        self.gate = nn.Linear(state, feature_dim) if gate else None
        if attention:
            self.attend_region = nn.Linear(feature_dim, attention_size)  # W_e
            self.attend_state = nn.Linear(state, attention_size)  # W_d
            self.attend_score = nn.Linear(attention_size, 1)  # w
            self.cell = nn.LSTMCell(embedding + feature_dim, state)
        else:
            self.lstm = nn.LSTM(embedding, state)
        self.dropout = nn.Dropout(dropout)
        self.deep = nn.Linear(state + feature_dim, embedding) if deep_output else None  # [L_h, L_z]
        self.output = nn.Linear(embedding if deep_output else state, vocabulary_size)
        nn.init.uniform_(self.embedding.weight, -0.1, 0.1)
        nn.init.uniform_(self.output.weight, -0.1, 0.1)
        nn.init.zeros_(self.output.bias)

    def remember(self, regions: Tensor) -> Memory:
        """What all steps share, of regions (B, L, D) of any float dtype."""
        dtype = self.output.weight.dtype
        if not self.attention:
            return Memory(regions.mean(1, dtype=dtype), None, None)
        regions = regions.to(dtype)
        return Memory(regions.mean(1), regions, self.attend_region(regions))

    def start(self, memory: Memory) -> State:
        """h_0 and c_0 (B, U)."""
        return State(self.initial_h(memory.mean), self.initial_c(memory.mean))

    def step(self, memory: Memory, state: State, tokens: Tensor) -> tuple[Tensor, State, Tensor | None]:
        """The next word of K hypotheses for each of B images; the rows of an image stand together.

        Args:
            memory: of the B images.
            state: of the B*K hypotheses.
            tokens: (B*K,) the last word of each.

        Returns:
            Scores (B*K, V) before the softmax, the new state, attention weights (B*K, L) or None.
        """
        words = self.embedding(tokens)  # (B*K, E)
        if memory.regions is None or memory.projected is None:
            _, (h, c) = self.lstm(words.unsqueeze(0), (state.h.unsqueeze(0), state.c.unsqueeze(0)))
            state, alphas = State(h.squeeze(0), c.squeeze(0)), None
        else:
            queries = self.attend_state(state.h).unflatten(0, (len(memory.regions), -1))  # (B, K, A)
            matched = torch.relu_(memory.projected.unsqueeze(1) + queries.unsqueeze(2))  # (B, K, L, A)
            weights = self.attend_score(matched).squeeze(3).softmax(2)  # (B, K, L)
            context = torch.bmm(weights, memory.regions).flatten(0, 1)  # (B*K, D)
            if self.gate is not None:
                context = context * self.gate(state.h).sigmoid()
            state = State(*self.cell(torch.cat([words, context], 1), state))
            alphas = weights.flatten(0, 1)
            if self.deep is not None:
                read = words + self.deep(torch.cat([state.h, context], 1))
                return self.output(self.dropout(read)), state, alphas
        return self.output(self.dropout(state.h)), state, alphas

    def forward(
        self,
        regions: Tensor,
        tokens: Tensor,
        sampling: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Scores of every next word under teacher forcing.

        Args:
            regions: (B, L, D), any float dtype; float32 inside (the module's dtype), also under autocast.
            tokens: (B, T) the inputs: the start token, then the words.
            sampling: probability that an input after the first one is the decoder's own last prediction, its
                most probable word, instead of the caption's (scheduled sampling, Bengio et al. 2015). 0 takes
                a faster path with the same numbers.
            generator: draws the coins, on the tokens' device.

        Returns:
            Scores (B, T, V) before the softmax, attention weights (B, T, L) or None. Nothing is masked: what
            the scores after a caption's end are worth is the loss's business.
        """
        with torch.autocast(regions.device.type, enabled=False):
            memory = self.remember(regions)
            if sampling > 0:
                return self._sampled(memory, tokens, sampling, generator)
            states, alphas = self._states(memory, tokens.t())
            states = states.transpose(0, 1)  # (B, T, U)
            alphas = None if alphas is None else alphas.transpose(0, 1)
            if self.deep is not None and alphas is not None and memory.regions is not None:
                context = torch.bmm(alphas, memory.regions)  # (B, T, D)
                if self.gate is not None:
                    before = torch.cat([self.start(memory).h.unsqueeze(1), states[:, :-1]], 1)
                    context = context * self.gate(before).sigmoid()
                states = self.embedding(tokens) + self.deep(torch.cat([states, context], 2))  # (B, T, E)
            return self.output(self.dropout(states)), alphas  # (B, T, V)

    def _states(self, memory: Memory, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        """Hidden states (T, B, U) and attention weights (T, B, L) over given tokens (T, B)."""
        h0, c0 = self.start(memory)
        words = self.embedding(tokens)  # (T, B, E)
        if memory.regions is None or memory.projected is None:
            return self.lstm(words, (h0.unsqueeze(0), c0.unsqueeze(0)))[0], None
        # the LSTM's input is [word, context]: the words' share of the gates for all steps at once
        split = [self.embedding.embedding_dim, memory.regions.shape[2]]
        word_weight, context_weight = self.cell.weight_ih.split(split, 1)
        of_state = [layer for layer in (self.attend_state, self.gate) if layer is not None]
        hidden_weight = torch.cat([self.cell.weight_hh, *(layer.weight for layer in of_state)])
        hidden_bias = torch.cat([self.cell.bias_ih + self.cell.bias_hh, *(layer.bias for layer in of_state)])
        states, alphas = AttentionLSTM.apply(
            *(memory.regions, memory.projected, F.linear(words, word_weight), h0, c0),
            *(hidden_weight, hidden_bias, self.attend_score.weight[0], self.attend_score.bias),
            context_weight,
        )
        return states, alphas

    def _sampled(
        self, memory: Memory, tokens: Tensor, sampling: float, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor | None]:
        """What `forward` returns, with own predictions among the inputs."""
        state = self.start(memory)
        coins = torch.rand(tokens.shape, device=tokens.device, generator=generator) < sampling
        scores: list[Tensor] = []
        alphas: list[Tensor | None] = []
        for t in range(tokens.shape[1]):
            inputs = tokens[:, t]
            if scores:
                inputs = torch.where(coins[:, t], scores[-1].detach().argmax(1), inputs)
            score, state, alpha = self.step(memory, state, inputs)
            scores.append(score)
            alphas.append(alpha)
        weights = [alpha for alpha in alphas if alpha is not None]
        return torch.stack(scores, 1), torch.stack(weights, 1) if weights else None
