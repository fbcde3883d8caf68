"""Every decoder keeps the contract; the report's are the protocol's, the Transformer is PyTorch's."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from src.captioning.decoders import AttentionDecoder, Decoder, LSTMDecoder
from src.captioning.decoders.transformer import Layer
from src.captioning.vocabulary import PAD
from tests.decoders_of_tests import KINDS, small_decoder

B, L, T, V, D = 3, 7, 5, 15, 10
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize(("kind", "count"), [(LSTMDecoder, 697_078), (AttentionDecoder, 1_298_467)])
def test_parameters_of_the_protocol(kind: Any, count: int) -> None:
    decoder = kind(190, 512)
    assert sum(weight.numel() for weight in decoder.parameters()) == count
    for weight in (decoder.embedding.weight, decoder.output.weight):
        assert weight.abs().max() <= 0.1
        assert weight.std().item() == pytest.approx(0.2 / 12**0.5, rel=0.03)  # of a uniform distribution
    assert not decoder.output.bias.any()


@every_kind
def test_steps_give_the_numbers_and_gradients_of_the_whole(kind: str) -> None:
    decoder = small_decoder(kind).double()
    regions = torch.randn(B, L, D, dtype=torch.double, requires_grad=True)
    tokens, targets = torch.randint(V, (B, T)), torch.randint(V, (B, T))
    names, weights = zip(*decoder.named_parameters(), ("regions", regions), strict=True)
    found = []
    for forward in (decoder.forward, lambda *inputs: Decoder.forward(decoder, *inputs)):
        scores, alphas = forward(regions, tokens)
        loss = F.cross_entropy(scores.flatten(0, 1), targets.flatten())
        if alphas is not None:
            torch.testing.assert_close(alphas.sum(2), torch.ones(B, T).double())
            loss = loss + ((1 - alphas.sum(1)) ** 2).mean()  # Xu et al.'s penalty: gradients of alphas
        found.append([scores, *([] if alphas is None else [alphas]), *torch.autograd.grad(loss, weights)])
    assert found[0][0].shape == (B, T, V)
    assert len(found[0]) == len(names) + 1 + (kind not in ("lstm", "stranger"))
    torch.testing.assert_close(found[0], found[1])
    for name, gradient in zip(reversed(names), reversed(found[0]), strict=False):
        assert gradient.abs().max() > 1e-7 or name == "attend_score.bias", name  # which the softmax cancels


@every_kind
def test_a_caption_depends_on_its_image_and_its_words_so_far(kind: str) -> None:
    decoder = small_decoder(kind)
    regions, tokens = torch.randn(B, L, D), torch.randint(4, V, (B, T))
    scores, _ = decoder(regions, tokens)
    padded = torch.cat([tokens, torch.full((B, 3), PAD)], 1)
    torch.testing.assert_close(decoder(regions, padded)[0][:, :T], scores, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(decoder(regions[1:2], tokens[1:2])[0][0], scores[1], atol=1e-5, rtol=1e-5)
    changed = torch.cat([tokens[:, :2], (tokens[:, 2:3] + 1) % V, tokens[:, 3:]], 1)
    other, _ = decoder(regions, changed)
    torch.testing.assert_close(other[:, :2], scores[:, :2], atol=1e-5, rtol=1e-5)
    assert ((other[:, 2:] - scores[:, 2:]).abs().amax((0, 2)) > 1e-4).all()


@every_kind
def test_sampling_feeds_back_own_predictions(kind: str) -> None:
    decoder = small_decoder(kind)
    regions, tokens = torch.randn(400, L, D), torch.full((400, 2), 7)
    taught, _ = decoder(regions, tokens)
    own, _ = decoder(regions, tokens, sampling=1.0)
    fed = torch.stack([tokens[:, 0], taught[:, 0].argmax(1)], 1)
    torch.testing.assert_close(own, decoder(regions, fed)[0], atol=1e-4, rtol=1e-4)
    half, _ = decoder(regions, tokens, sampling=0.5)
    differing = taught[:, 0].argmax(1) != 7  # where feeding back can be told from teacher forcing
    kept = torch.isclose(half[:, 1], taught[:, 1], atol=1e-4).all(1)
    assert kept[differing].float().mean() == pytest.approx(0.5, abs=0.1)


@every_kind
def test_half_precision_regions_and_autocast(kind: str) -> None:
    decoder = small_decoder(kind)
    regions, tokens = torch.randn(B, L, D).half(), torch.randint(V, (B, T))
    scores, _ = decoder(regions, tokens)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, decoder(regions.float(), tokens)[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = decoder(regions, tokens)[0].float()
    assert torch.allclose(found, scores, atol=0 if kind in ("lstm", "attention", "deep") else 0.5)


@torch.no_grad()
def test_the_attention_decoder_is_the_protocols() -> None:
    """e_i = w^T ReLU(W_e f_i + W_d h), context into the cell; gate and deep output as Xu et al. have them."""
    of = small_decoder("deep").double()
    regions, tokens = torch.randn(B, L, D).double(), torch.randint(V, (B, T))
    h, c = of.initial_h(regions.mean(1)), of.initial_c(regions.mean(1))
    for t, expected in enumerate(of(regions, tokens)[0].unbind(1)):
        energies = of.attend_score(F.relu(of.attend_region(regions) + of.attend_state(h).unsqueeze(1)))
        context = torch.sigmoid(of.gate(h)) * (energies.softmax(1) * regions).sum(1)
        words = of.embedding(tokens[:, t])
        h, c = of.cell(torch.cat([words, context], 1), (h, c))
        read = words + of.deep(torch.cat([h, context], 1))
        torch.testing.assert_close(of.output(read), expected)


@torch.no_grad()
def test_a_layer_of_the_transformer_is_pytorchs() -> None:
    width, heads, hidden = 12, 3, 16
    ours = Layer(width, heads, hidden, 0.0)
    theirs = nn.TransformerDecoderLayer(width, heads, hidden, 0.0, norm_first=True, batch_first=True)
    own, cross = theirs.self_attn, theirs.multihead_attn
    for mine, other in (
        *((ours.words_out, own.out_proj), (ours.regions_out, cross.out_proj)),
        *((ours.feed_forward[0], theirs.linear1), (ours.feed_forward[3], theirs.linear2)),
        *((ours.norm1, theirs.norm1), (ours.norm2, theirs.norm2), (ours.norm3, theirs.norm3)),
    ):
        mine.load_state_dict(other.state_dict())
    for kind in ("weight", "bias"):
        getattr(ours.words_in, kind).copy_(getattr(own, f"in_proj_{kind}"))
        query, pair = getattr(cross, f"in_proj_{kind}").split([width, 2 * width])
        getattr(ours.regions_query, kind).copy_(query)
        getattr(ours.regions_in, kind).copy_(pair)
    x, regions = torch.randn(B, T, width), torch.randn(B, L, width)
    empty = torch.zeros(B, heads, 0, width // heads)
    found, _, alphas = ours(x, (empty, empty), ours.remember(regions))
    mask = nn.Transformer.generate_square_subsequent_mask(T)
    torch.testing.assert_close(found, theirs(x, regions, mask))
    asking = theirs.norm2(x + theirs._sa_block(theirs.norm1(x), mask, None))
    torch.testing.assert_close(alphas, cross(asking, regions, regions)[1])  # the heads' mean


def test_the_transformers_settings() -> None:
    tied = small_decoder("transformer")
    assert tied.output.weight is tied.embedding.weight
    position = [f(2 / 10_000 ** (2 * i / 12)) for i in range(6) for f in (math.sin, math.cos)]
    torch.testing.assert_close(tied.positions[2], torch.tensor(position))
    with pytest.raises(ValueError, match="width=10 is no multiple of heads=3"):
        small_decoder("transformer", width=10)
    with pytest.raises(ValueError, match="a caption of 5 tokens is longer than max_length=4"):
        small_decoder("transformer", max_length=4)(torch.zeros(1, L, D), torch.zeros(1, 5, dtype=torch.long))


def test_a_transformers_positions_may_be_learned_and_its_output_untied() -> None:
    plain = small_decoder("transformer")
    other = small_decoder("transformer", learned_positions=True, tied=False)
    names = {name for name, _ in other.named_parameters()} - {name for name, _ in plain.named_parameters()}
    assert names == {"positions", "output.weight"}
    other(torch.rand(2, L, D), torch.ones(2, 4, dtype=torch.long))[0].sum().backward()
    assert other.positions.grad is not None
