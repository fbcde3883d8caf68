"""Every decoder keeps the contract; the report's are the protocol's, the Transformer is PyTorch's."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.captioning.decoders import build_decoder
from src.captioning.decoders.recurrence import AttentionLSTM
from src.captioning.decoders.transformer import Layer
from src.captioning.vocabulary import PAD
from tests.decoders_of_tests import KINDS, small_decoder

B, L, T, V, D = 3, 7, 5, 15, 10
MAPS = [kind for kind in KINDS if kind not in ("lstm", "stranger")]
every_kind = pytest.mark.parametrize("kind", KINDS)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.mark.parametrize(("name", "count"), [("lstm", 697_078), ("attention", 1_298_467)])
def test_parameters_of_the_protocol(name: str, count: int) -> None:
    decoder: Any = build_decoder(name, 190, 512)
    assert sum(weight.numel() for weight in decoder.parameters()) == count
    for weight in (decoder.embedding.weight, decoder.output.weight):
        assert weight.abs().max() <= 0.1
        assert weight.std().item() == pytest.approx(0.2 / 12**0.5, rel=0.03)  # of a uniform distribution
    assert not decoder.output.bias.any()


@pytest.mark.parametrize("name", ["lstn", "torch.nn.Nothing", "no_package.Decoder", "os.mkdir"])
def test_what_is_no_decoder_is_named(name: str) -> None:
    with pytest.raises(ValueError, match=f"decoder={name}"):
        build_decoder(name, V, D)


@every_kind
def test_steps_give_what_the_whole_gives(kind: str) -> None:
    decoder = small_decoder(kind)
    regions, tokens = torch.randn(B, L, D), torch.randint(V, (B, T))
    scores, alphas = decoder(regions, tokens)
    assert scores.shape == (B, T, V)
    memory = decoder.remember(regions)
    state = decoder.start(memory)
    for t in range(T):
        score, state, alpha = decoder.step(tokens[:, t], state, memory)
        torch.testing.assert_close(score, scores[:, t], atol=1e-5, rtol=1e-5)
        if kind in MAPS:
            torch.testing.assert_close(alpha, alphas[:, t], atol=1e-6, rtol=1e-5)
            torch.testing.assert_close(alpha.sum(1), torch.ones(B))
            assert alpha.std() > 0.01  # far from uniform
        else:
            assert alpha is alphas is None


@every_kind
def test_a_caption_depends_on_itself_alone(kind: str) -> None:
    """Not on later words, on padding, nor on the rest of the batch."""
    decoder = small_decoder(kind)
    regions, tokens = torch.randn(B, L, D), torch.randint(4, V, (B, T))
    scores, _ = decoder(regions, tokens)
    padded = torch.cat([tokens, torch.full((B, 3), PAD)], 1)
    torch.testing.assert_close(decoder(regions, padded)[0][:, :T], scores, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(decoder(regions[1:2], tokens[1:2])[0][0], scores[1], atol=1e-5, rtol=1e-5)
    changed = torch.cat([tokens[:, :2], (tokens[:, 2:3] + 1) % V, tokens[:, 3:]], 1)
    other, _ = decoder(regions, changed)
    torch.testing.assert_close(other[:, :2], scores[:, :2], atol=1e-5, rtol=1e-5)
    assert ((other[:, 2:] - scores[:, 2:]).abs().amax((0, 2)) > 1e-4).all()  # but on the earlier ones


@every_kind
def test_gradients_reach_every_weight_and_the_regions(kind: str) -> None:
    decoder = small_decoder(kind).double()
    regions = torch.randn(B, L, D, dtype=torch.double, requires_grad=True)
    scores, _ = decoder(regions, torch.randint(V, (B, T)))
    scores.sin().sum().backward()
    for name, weight in [*decoder.named_parameters(), ("regions", regions)]:
        if name != "attend_score.bias":  # falls out of the softmax
            assert weight.grad is not None, name
            assert weight.grad.abs().max() > 1e-6 or name.endswith("_in.bias"), name  # keys' falls out, too


@every_kind
def test_sampling_feeds_back_own_predictions(kind: str) -> None:
    decoder = small_decoder(kind)
    regions, tokens = torch.randn(B, L, D), torch.randint(V, (B, T))
    taught, _ = decoder(regions, tokens)
    # a coin that never falls on "own": the step-by-step path gives the fast path's numbers and gradients
    rare, _ = decoder(regions, tokens, sampling=1e-12)
    torch.testing.assert_close(rare, taught, atol=1e-5, rtol=1e-5)
    (fast,) = torch.autograd.grad(taught.logsumexp(2).sum(), decoder.embedding.weight)
    (slow,) = torch.autograd.grad(rare.logsumexp(2).sum(), decoder.embedding.weight)
    torch.testing.assert_close(slow, fast, atol=1e-4, rtol=1e-4)
    # always "own": the inputs after the first are the argmax of the scores, whatever the caption says
    own, _ = decoder(regions, tokens, sampling=1.0)
    fed = torch.cat([tokens[:, :1], own.argmax(2)[:, :-1]], 1)
    torch.testing.assert_close(own, decoder(regions, fed)[0], atol=1e-5, rtol=1e-5)
    # in between: about half of the second inputs are own
    many, start = torch.randn(400, L, D), torch.full((400, 2), 7)
    half, _ = decoder(many, start, sampling=0.5)
    differing = half[:, 0].argmax(1) != 7  # where feeding back can be told from teacher forcing
    kept = torch.isclose(half[:, 1], decoder(many, start)[0][:, 1], atol=1e-5).all(1)
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
    assert torch.allclose(found, scores, atol=0 if kind in ("lstm", "attention", "gate", "deep") else 0.5)


@pytest.mark.parametrize("kind", ["attention", "transformer"])
def test_dropout_acts_in_training_only(kind: str) -> None:
    decoder = small_decoder(kind, dropout=0.5)
    regions, tokens = torch.randn(B, L, D), torch.randint(V, (B, T))
    assert not torch.equal(decoder(regions, tokens)[0], decoder(regions, tokens)[0])
    decoder.eval()
    assert torch.equal(decoder(regions, tokens)[0], decoder(regions, tokens)[0])


@pytest.mark.parametrize("kind", ["attention", "transformer"])
def test_attention_finds_the_region_that_holds_the_word(kind: str) -> None:
    decoder = build_decoder(KINDS[kind][0], 6, D, **{**KINDS[kind][1], "dropout": 0.0})
    optimizer = torch.optim.Adam(decoder.parameters(), 0.02)
    keys = torch.eye(D)
    torch.manual_seed(0)
    for _ in range(150):
        place, word = torch.randint(L, (32,)), torch.randint(1, 6, (32,))
        regions = 0.1 * torch.randn(32, L, D)
        regions[torch.arange(32), place] += 3 * (keys[word] + keys[0])  # feature 0 marks the region
        scores, alphas = decoder(regions, torch.zeros(32, 1, dtype=torch.long))
        loss = F.cross_entropy(scores[:, 0], word)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1
    assert (alphas[:, 0].argmax(1) == place).float().mean() > 0.9


@pytest.mark.parametrize("kind", ["attention", "gate", "deep"])
def test_the_fused_recurrence_gives_the_plain_loops_numbers_and_gradients(kind: str) -> None:
    regions = torch.randn(B, L, D, dtype=torch.double, requires_grad=True)
    tokens, targets = torch.randint(V, (B, T)), torch.randint(V, (B, T))
    found = []
    for fused in (True, False):
        decoder = small_decoder(kind, fused=fused).double()
        scores, alphas = decoder(regions, tokens)
        loss = F.cross_entropy(scores.flatten(0, 1), targets.flatten())
        loss = loss + ((1 - alphas.sum(1)) ** 2).mean()  # Xu et al.'s penalty: gradients of alphas
        inputs = [*decoder.parameters(), regions]
        found.append([scores, alphas, *torch.autograd.grad(loss, inputs)])
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("gated", [False, True])
def test_the_hand_written_backward_pass(gated: bool) -> None:
    batch, length, steps, dim, state, size = 2, 3, 3, 4, 2, 3
    shapes = [(batch, length, dim), (batch, length, size), (steps, batch, 4 * state), (batch, state)]
    hidden = 4 * state + size + (dim if gated else 0)
    shapes += [(batch, state), (hidden, state), (hidden,), (size,), (1,), (4 * state, dim)]
    inputs = [torch.randn(shape, dtype=torch.double, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(AttentionLSTM.apply, inputs)


@torch.no_grad()
def test_the_attention_decoder_is_the_protocols() -> None:
    """e_i = w^T ReLU(W_e f_i + W_d h), context into the cell; gate and deep output as Xu et al. have them."""
    of = small_decoder("deep")
    regions, tokens = torch.randn(B, L, D), torch.randint(V, (B, T))
    h, c = of.initial_h(regions.mean(1)), of.initial_c(regions.mean(1))
    for t, expected in enumerate(of(regions, tokens)[0].unbind(1)):
        energies = of.attend_score(F.relu(of.attend_region(regions) + of.attend_state(h).unsqueeze(1)))
        context = torch.sigmoid(of.gate(h)) * (energies.softmax(1) * regions).sum(1)
        words = of.embedding(tokens[:, t])
        h, c = of.cell(torch.cat([words, context], 1), (h, c))
        read = words + of.deep(torch.cat([h, context], 1))
        torch.testing.assert_close(of.output(read), expected, atol=1e-4, rtol=1e-4)


def torch_layer(of: Layer, width: int, heads: int, feed_forward: int) -> nn.TransformerDecoderLayer:
    """PyTorch's layer with the weights of ours."""
    layer = nn.TransformerDecoderLayer(width, heads, feed_forward, 0.0, norm_first=True, batch_first=True)
    own, cross = layer.self_attn, layer.multihead_attn
    weights: list[tuple[nn.Module, nn.Module]] = [
        (own.out_proj, of.words_out),
        (cross.out_proj, of.regions_out),
    ]
    weights += [(layer.linear1, of.feed_forward[0]), (layer.linear2, of.feed_forward[3])]
    weights += [(layer.norm1, of.norm1), (layer.norm2, of.norm2), (layer.norm3, of.norm3)]
    for theirs, ours in weights:
        theirs.load_state_dict(ours.state_dict())
    for kind in ("weight", "bias"):
        getattr(own, f"in_proj_{kind}").data = getattr(of.words_in, kind).data
        both = [getattr(of.regions_query, kind).data, getattr(of.regions_in, kind).data]
        getattr(cross, f"in_proj_{kind}").data = torch.cat(both)
    return layer


@torch.no_grad()
def test_the_transformer_is_pytorchs() -> None:
    of = small_decoder("transformer").double()
    regions, tokens = torch.randn(B, L, D).double(), torch.randint(V, (B, T))
    mask = nn.Transformer.generate_square_subsequent_mask(T, dtype=torch.double)
    angles = torch.arange(T).double()[:, None] / 10_000 ** (torch.arange(0, 12, 2) / 12)
    places = torch.stack([angles.sin(), angles.cos()], 2).flatten(1)
    x, memory = of.embedding(tokens) * 12**0.5 + places, of.regions(regions)
    for layer in of.layers:
        theirs = torch_layer(layer, 12, 3, 16).double()
        before, x = x, theirs(x, memory, mask)
    asking = before + theirs._sa_block(theirs.norm1(before), mask, None)
    _, weights = theirs.multihead_attn(theirs.norm2(asking), memory, memory)  # the heads' mean
    scores, alphas = of(regions, tokens)
    torch.testing.assert_close(scores, of.output(of.norm(x)), atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(alphas, weights, atol=1e-6, rtol=1e-6)
    assert of.output.weight is of.embedding.weight


def test_the_transformers_limits_are_named() -> None:
    with pytest.raises(ValueError, match="width=10 is no multiple of heads=3"):
        build_decoder("transformer", V, D, width=10, heads=3)
    decoder: nn.Module = build_decoder("transformer", V, D, width=8, max_length=4)
    tokens: Tensor = torch.zeros(1, 5, dtype=torch.long)
    with pytest.raises(ValueError, match="a caption of 5 tokens is longer than max_length=4"):
        decoder(torch.zeros(1, L, D), tokens)
