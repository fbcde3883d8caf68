"""The decoder is the protocol's, and its fast time loop gives a plain loop's numbers and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.captioning.decoder import Decoder
from src.captioning.recurrence import AttentionLSTM

B, L, T, V, D = 3, 7, 5, 11, 12
SMALL: dict[str, Any] = {"embedding": 6, "state": 8, "attention_size": 5}
# attention, gate, deep output
VARIANTS = [
    (False, False, False),
    (True, False, False),
    (True, True, False),
    (True, False, True),
    (True, True, True),
]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)


class PlainDecoder(nn.Module):
    """The protocol word for word, one step after the other, on a decoder's own weights."""

    def __init__(self, of: Decoder) -> None:
        super().__init__()
        self.of = of
        embedding, state = of.embedding.embedding_dim, of.initial_h.out_features
        self.cell = of.cell if of.attention else nn.LSTMCell(embedding, state)
        if not of.attention:
            self.cell.load_state_dict({k.removesuffix("_l0"): w for k, w in of.lstm.state_dict().items()})

    def forward(self, regions: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        of = self.of
        mean = regions.mean(1)
        h, c = of.initial_h(mean), of.initial_c(mean)
        scores, alphas = [], []
        for t in range(tokens.shape[1]):
            inputs = of.embedding(tokens[:, t])
            if of.attention:
                matched = F.relu(of.attend_region(regions) + of.attend_state(h).unsqueeze(1))
                alpha = F.softmax(of.attend_score(matched).squeeze(2), 1)
                context = (alpha.unsqueeze(2) * regions).sum(1)
                if of.gate is not None:
                    context = torch.sigmoid(of.gate(h)) * context
                inputs = torch.cat([inputs, context], 1)
                alphas.append(alpha)
            h, c = self.cell(inputs, (h, c))
            read = h
            if of.deep is not None:
                of_state, of_context = of.deep.weight.split([h.shape[1], context.shape[1]], 1)  # L_h, L_z
                read = of.embedding(tokens[:, t]) + h @ of_state.t() + context @ of_context.t() + of.deep.bias
            scores.append(of.output(read))
        return torch.stack(scores, 1), torch.stack(alphas, 1) if alphas else None


def _decoder(attention: bool, gate: bool = False, deep: bool = False, dropout: float = 0.0) -> Decoder:
    decoder = Decoder(V, D, attention=attention, gate=gate, deep_output=deep, dropout=dropout, **SMALL)
    with torch.no_grad():  # large enough for attention that is far from uniform
        for weight in decoder.parameters():
            weight.normal_(0, 0.5)
    return decoder


@pytest.mark.parametrize(("attention", "count"), [(False, 697_078), (True, 1_298_467)])
def test_parameters_of_the_protocol(attention: bool, count: int) -> None:
    decoder = Decoder(190, 512, attention=attention)
    assert sum(weight.numel() for weight in decoder.parameters()) == count
    for weight in (decoder.embedding.weight, decoder.output.weight):
        assert weight.abs().max() <= 0.1
        assert weight.std().item() == pytest.approx(0.2 / 12**0.5, rel=0.03)  # of a uniform distribution
    assert not decoder.output.bias.any()


@pytest.mark.parametrize("name", ["gate", "deep_output"])
def test_what_acts_on_the_context_needs_attention(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} acts on the attention's context"):
        Decoder(V, D, attention=False, **{name: True})


@pytest.mark.parametrize(("attention", "gate", "deep"), VARIANTS)
def test_numbers_and_gradients_are_a_plain_loops(attention: bool, gate: bool, deep: bool) -> None:
    decoder = _decoder(attention, gate, deep).double()
    plain = PlainDecoder(decoder).double()
    regions = torch.randn(B, L, D, dtype=torch.float64, requires_grad=True)
    tokens, targets = torch.randint(V, (B, T)), torch.randint(V, (B, T))

    def loss_and_gradients(network: nn.Module) -> tuple[Tensor, list[Tensor | None]]:
        network.zero_grad()
        regions.grad = None
        scores, alphas = network(regions, tokens)
        assert scores.shape == (B, T, V)
        loss = F.cross_entropy(scores.flatten(0, 1), targets.flatten())
        if alphas is not None:
            assert alphas.shape == (B, T, L)
            loss = loss + ((1 - alphas.sum(1)) ** 2).mean()  # Xu et al.'s penalty: gradients of alphas
        loss.backward()
        own = [weight for name, weight in decoder.named_parameters() if not name.startswith(("lstm", "cell"))]
        in_plain = network is plain or attention  # with attention both have the same cell
        recurrent = plain.cell.parameters() if in_plain else decoder.lstm.parameters()
        return scores.detach(), [weight.grad for weight in (*own, *recurrent, regions)]

    scores, gradients = loss_and_gradients(decoder)
    gradients = [None if gradient is None else gradient.clone() for gradient in gradients]
    expected_scores, expected = loss_and_gradients(plain)
    torch.testing.assert_close(scores, expected_scores)
    assert len(gradients) == len(expected) > 10
    for gradient, other in zip(gradients, expected, strict=True):
        assert gradient is not None
        torch.testing.assert_close(gradient, other)


@pytest.mark.parametrize("gated", [False, True])
def test_the_hand_written_backward_pass(gated: bool) -> None:
    batch, length, steps, dim, state, size = 2, 3, 3, 4, 2, 3
    shapes = [(batch, length, dim), (batch, length, size), (steps, batch, 4 * state), (batch, state)]
    hidden = 4 * state + size + (dim if gated else 0)
    shapes += [(batch, state), (hidden, state), (hidden,), (size,), (1,), (4 * state, dim)]
    inputs = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(AttentionLSTM.apply, inputs)


@pytest.mark.parametrize(("attention", "gate", "deep"), VARIANTS)
def test_steps_give_what_the_whole_gives(attention: bool, gate: bool, deep: bool) -> None:
    decoder = _decoder(attention, gate, deep)
    regions, tokens = torch.randn(B, L, D), torch.randint(V, (B, T))
    scores, alphas = decoder(regions, tokens)
    memory = decoder.remember(regions)
    state = decoder.start(memory)
    for t in range(T):
        score, state, alpha = decoder.step(memory, state, tokens[:, t])
        torch.testing.assert_close(score, scores[:, t])
        if attention:
            assert alpha is not None
            assert alphas is not None
            torch.testing.assert_close(alpha, alphas[:, t])
            torch.testing.assert_close(alpha.sum(1), torch.ones(B))
        else:
            assert alpha is alphas is None


@pytest.mark.parametrize("attention", [False, True])
def test_sampling_feeds_back_own_predictions(attention: bool) -> None:
    decoder = _decoder(attention)
    regions, tokens = torch.randn(B, L, D), torch.randint(V, (B, T))
    taught, _ = decoder(regions, tokens)
    # a coin that never falls on "own": the step-by-step path gives the fast path's numbers and gradients
    rare, _ = decoder(regions, tokens, sampling=1e-12)
    torch.testing.assert_close(rare, taught)
    (fast,) = torch.autograd.grad(taught.logsumexp(2).sum(), decoder.embedding.weight)
    (slow,) = torch.autograd.grad(rare.logsumexp(2).sum(), decoder.embedding.weight)
    torch.testing.assert_close(slow, fast)
    # always "own": the inputs after the first make no difference, and are the argmax of the scores
    own, _ = decoder(regions, tokens, sampling=1.0)
    other, _ = decoder(regions, torch.cat([tokens[:, :1], torch.zeros_like(tokens[:, 1:])], 1), sampling=1.0)
    torch.testing.assert_close(own, other)
    fed = torch.cat([tokens[:, :1], own.argmax(2)[:, :-1]], 1)
    torch.testing.assert_close(own, decoder(regions, fed)[0])
    # in between: about half of the second inputs are own, and the generator decides which
    many, start = torch.randn(400, L, D), torch.zeros(400, 2, dtype=torch.long)
    halves = [decoder(many, start, 0.5, torch.Generator().manual_seed(4))[0] for _ in range(2)]
    assert torch.equal(*halves)
    first = halves[0][:, 0].argmax(1)
    differing = first != 0  # where feeding back can be told from teacher forcing
    kept = torch.isclose(halves[0][:, 1], decoder(many, start)[0][:, 1], atol=1e-5).all(1)
    assert kept[differing].float().mean() == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize(("attention", "gate", "deep"), VARIANTS)
def test_half_precision_regions_are_converted(attention: bool, gate: bool, deep: bool) -> None:
    decoder = _decoder(attention, gate, deep)
    regions, tokens = torch.randn(B, L, D).half(), torch.randint(V, (B, T))
    scores, _ = decoder(regions, tokens)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, decoder(regions.float(), tokens)[0])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(scores, decoder(regions, tokens)[0])


def test_dropout_acts_on_the_output_layer_in_training_only() -> None:
    decoder = _decoder(True, dropout=0.5)
    regions, tokens = torch.randn(B, L, D), torch.randint(V, (B, T))
    (first, alphas), (second, others) = decoder(regions, tokens), decoder(regions, tokens)
    assert not torch.equal(first, second)
    assert alphas is not None
    assert torch.equal(alphas, others)  # the states themselves are not thinned out
    decoder.eval()
    torch.testing.assert_close(decoder(regions, tokens)[0], decoder(regions, tokens)[0])


def test_regions_can_be_told_apart_after_a_little_training() -> None:
    """The word to say is written in one region of many: attention finds it."""
    decoder = Decoder(6, D, attention=True, **SMALL, dropout=0.0)
    optimizer = torch.optim.Adam(decoder.parameters(), 0.02)
    keys = torch.eye(D)
    for _ in range(150):
        place, word = torch.randint(L, (32,)), torch.randint(1, 6, (32,))
        regions = 0.1 * torch.randn(32, L, D)
        regions[torch.arange(32), place] += 3 * (keys[word] + keys[0])  # feature 0 marks the region
        scores, alphas = decoder(regions, torch.zeros(32, 1, dtype=torch.long))
        loss = F.cross_entropy(scores[:, 0], word)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert alphas is not None
    assert loss.item() < 0.1
    assert (alphas[:, 0].argmax(1) == place).float().mean() > 0.9
