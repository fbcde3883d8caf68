"""A Transformer decoder: pre-norm, cross-attention to the regions, a key/value cache for search.

Dimension letters: B images, N captions (N = B*K in a search with K beams), H heads, L regions, D region
feature, T steps, V vocabulary, W width.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.captioning.decoders.base import Decoder, Scored

Pair = tuple[Tensor, Tensor]  # keys and values (B or N, H, L or T, W / H)
Pairs = list[Pair]  # of each layer


class Layer(nn.Module):
    """Self-attention, cross-attention and feed-forward, each behind a layer norm (Xiong et al. 2020).

    The numbers of `nn.TransformerDecoderLayer(norm_first=True, batch_first=True)`, except that there is no
    dropout on attention weights.
    """

    def __init__(self, width: int, heads: int, feed_forward: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.words_in = nn.Linear(width, 3 * width)  # queries, keys, values
        self.words_out = nn.Linear(width, width)
        self.regions_query = nn.Linear(width, width)
        self.regions_in = nn.Linear(width, 2 * width)  # keys, values
        self.regions_out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, feed_forward), nn.ReLU(), nn.Dropout(dropout), nn.Linear(feed_forward, width)
        )
        self.dropout = nn.Dropout(dropout)

    def remember(self, regions: Tensor) -> Pair:
        """Keys and values of regions (B, L, W)."""
        keys, values = self._split(self.regions_in(regions), 2).contiguous()  # read at every step
        return keys, values

    def forward(self, x: Tensor, cache: Pair, memory: Pair) -> tuple[Tensor, Pair, Tensor]:
        """What the next layer gets, the cache with x's words, cross-attention's weights, the heads' mean.

        x is (B, T, W), the weights (B, T, L), where the cache is empty; else (N, 1, W) and (B, K, L).
        """
        queries, *new = self._split(self.words_in(self.norm1(x)), 3)
        keys, values = (torch.cat(pair, 2) for pair in zip(cache, new, strict=True))
        found = F.scaled_dot_product_attention(queries, keys, values, is_causal=x.shape[1] > 1)
        x = x + self.dropout(self.words_out(_join(found)))
        together = self.regions_query(self.norm2(x)).reshape(memory[0].shape[0], -1, x.shape[2])  # K as if T
        (queries,) = self._split(together, 1)
        weights = (queries @ memory[0].mT / math.sqrt(queries.shape[3])).softmax(3)  # (B, H, T, L)
        x = x + self.dropout(self.regions_out(_join(weights @ memory[1])).view_as(x))
        return x + self.dropout(self.feed_forward(self.norm3(x))), (keys, values), weights.mean(1)

    def _split(self, x: Tensor, parts: int) -> Tensor:
        """(B, T, parts * W) as (parts, B, H, T, W / H)."""
        return x.unflatten(2, (parts, self.heads, -1)).permute(2, 0, 3, 1, 4)


class TransformerDecoder(Decoder):
    """A Transformer that writes captions (Vaswani et al. 2017).

    Its attention maps are the last layer's cross-attention, the mean of all heads. The causal mask keeps the
    padding at a caption's right from every word.

    Args:
        vocabulary_size: V, the four special tokens included.
        region_dim: D.
        layers, heads: their numbers.
        width: W, a multiple of the heads.
        feed_forward: size of the hidden layer between two attentions.
        dropout: probability that dropout zeroes a unit of the input, of a sublayer's output or of the
            feed-forward's hidden layer.
        learned_positions: train the positions, which start as sinusoids.
        tied: the output layer's weights are the embedding's (Press and Wolf 2017).
        max_length: longest caption, the start token included.

    Raises:
        ValueError: the width is no multiple of the heads.
    """

    beams_share_memory = True

    def __init__(
        self,
        vocabulary_size: int,
        region_dim: int,
        *,
        layers: int = 2,
        width: int = 256,
        heads: int = 4,
        feed_forward: int = 1024,
        dropout: float = 0.1,
        learned_positions: bool = False,
        tied: bool = True,
        max_length: int = 256,
    ) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width={width} is no multiple of heads={heads}: choose one that is")
        self.embedding = nn.Embedding(vocabulary_size, width)
        self.regions = nn.Sequential(nn.Linear(region_dim, width), nn.LayerNorm(width))
        self.layers = nn.ModuleList(Layer(width, heads, feed_forward, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.output = nn.Linear(width, vocabulary_size)
        self.dropout = nn.Dropout(dropout)
        table = sinusoids(max_length, width)
        self.positions = nn.Parameter(table) if learned_positions else nn.Buffer(table, persistent=False)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        if tied:
            self.output.weight = self.embedding.weight

    def remember(self, regions: Tensor) -> Pairs:
        """Keys and values (B, H, L, W / H) of the regions, of each layer."""
        regions = self.regions(regions.to(self.output.weight.dtype))
        return [layer.remember(regions) for layer in self.layers]  # type: ignore[operator]

    def start(self, memory: Pairs) -> Pairs:
        """Empty caches (B, H, 0, W / H), of each layer."""
        return [(keys[:, :, :0], values[:, :, :0]) for keys, values in memory]

    def step(self, tokens: Tensor, state: Pairs, memory: Pairs) -> tuple[Tensor, Pairs, Tensor]:
        """See `Decoder.step`; the caches grow by a word."""
        scores, state, alphas = self._run(tokens.unsqueeze(1), state, memory)
        return scores.squeeze(1), state, alphas.flatten(0, 1)

    def forward(self, regions: Tensor, tokens: Tensor, sampling: float = 0.0) -> Scored:
        """See `Decoder.forward`; all words at once where none is sampled."""
        if sampling > 0:
            return super().forward(regions, tokens, sampling)
        memory = self.remember(regions)
        scores, _, alphas = self._run(tokens, self.start(memory), memory)
        return scores, alphas

    def _run(self, tokens: Tensor, state: Pairs, memory: Pairs) -> tuple[Tensor, Pairs, Tensor]:
        """Scores (N, T, V), caches and attention weights of tokens (N, T) that follow the state's."""
        begin = state[0][0].shape[2]
        end = begin + tokens.shape[1]
        if end > len(self.positions):
            raise ValueError(f"a caption of {end} tokens is longer than max_length={len(self.positions)}")
        x = self.embedding(tokens) * math.sqrt(self.embedding.embedding_dim) + self.positions[begin:end]
        x, caches = self.dropout(x), []
        for layer, before, pair in zip(self.layers, state, memory, strict=True):
            x, cache, alphas = layer(x, before, pair)
            caches.append(cache)
        return self.output(self.norm(x)), caches, alphas


def sinusoids(length: int, width: int) -> Tensor:
    """Positions (length, width) as sines and cosines in turn (Vaswani et al. 2017, section 3.5)."""
    rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
    angles = torch.arange(length).unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)[:, :width]


def _join(heads: Tensor) -> Tensor:
    """(B, H, T, W / H) as (B, T, W)."""
    return heads.transpose(1, 2).flatten(2)
