"""The attention decoder's time loop as one autograd function, with its backward pass written by hand.

What autograd does a step at a time is done here for all steps at once after the loop: the gradients of
the weights, of the projected regions and of the regions. ReLU's mask is computed again instead of kept.

Dimension letters: B batch, L regions, T steps, D feature, U decoder state, A attention.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


class AttentionLSTM(torch.autograd.Function):
    """Hidden states (T, B, U) and attention weights (T, B, L) of an LSTM that attends before every step.

    With [g, q, r] = W_h h_{t-1} + b_h, where P are the projected regions and x_t the words' gates, whose further
    columns, if there are any, are added to q:

        a_t = softmax(w^T ReLU(P + q)),  context z_t = sum_i a_ti f_i  (times sigmoid(r) when gated)
        gates i, f, g, o = x_t + g + W_z z_t,  then the usual LSTM cell

    (Bahdanau et al. 2015, additive attention, with a ReLU; Xu et al. 2015, section 4.2.1, for the gate).
    `score_bias`, added to each w^T ReLU(..), falls out of the softmax; its gradient is 0.

    Args of `apply`: regions (B, L, D), projected (B, L, A), word_gates (T, B, 4U or 4U + A), h0 (B, U), c0 (B, U),
        hidden_weight W_h (4U + A, U), gated (4U + A + D, U), hidden_bias b_h, score w (A,), score_bias (1,),
        context_weight W_z (4U, D). All of one dtype.
    """

    @staticmethod
    def forward(ctx: Any, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        regions, projected, word_gates, h0, c0, *weights = inputs
        hidden_weight, hidden_bias, score, score_bias, context_weight = weights
        (batch, length, dim), (steps, _, by_word) = regions.shape, word_gates.shape
        gates = 4 * h0.shape[1]
        attended = gates + len(score)  # hidden's columns: gates, then attention, then the context's gate
        gated = len(hidden_weight) > attended
        new = word_gates.new_empty
        hidden = new(steps + 1, batch, gates // 4)  # [t] is h before step t
        cells = new(steps + 1, batch, gates // 4)
        hidden[0], cells[0] = h0, c0
        activations, alphas = new(steps, batch, gates), new(steps, batch, length)
        floors, contexts = new(steps, batch, len(score)), new(steps, batch, dim)
        betas = new(steps if gated else 0, batch, dim)
        work = torch.empty_like(projected)
        for t in range(steps):
            from_state = torch.addmm(hidden_bias, hidden[t], hidden_weight.t())
            # ReLU(P + q) = max(P, -q) + q, and w^T q, the same for all regions, falls out of the softmax
            torch.neg(from_state[:, gates:attended], out=floors[t])
            if by_word > gates:
                floors[t] -= word_gates[t, :, gates:]
            torch.maximum(projected, floors[t].unsqueeze(1), out=work)
            torch.softmax(torch.mv(work.view(-1, len(score)), score).view(batch, length), 1, out=alphas[t])
            torch.bmm(alphas[t].unsqueeze(1), regions, out=contexts[t].unsqueeze(1))
            context = contexts[t]
            if gated:
                context = context * torch.sigmoid(from_state[:, attended:], out=betas[t])
            now = torch.add(word_gates[t, :, :gates], from_state[:, :gates], out=activations[t])
            i, f, g, o = now.addmm_(context, context_weight.t()).chunk(4, 1)  # views of activations[t]
            now[:, : 2 * h0.shape[1]].sigmoid_()  # i and f
            g.tanh_()
            o.sigmoid_()
            torch.mul(f, cells[t], out=cells[t + 1]).addcmul_(i, g)
            torch.tanh(cells[t + 1], out=hidden[t + 1]).mul_(o)
        ctx.by_word = by_word
        ctx.save_for_backward(
            *(regions, projected, hidden_weight, score, score_bias, context_weight),
            *(hidden, cells, activations, alphas, floors, contexts, betas),
        )
        return hidden[1:], alphas

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_hidden: Tensor, d_alphas: Tensor) -> tuple[Tensor | None, ...]:
        regions, projected, hidden_weight, score, score_bias, context_weight, *made = ctx.saved_tensors
        hidden, cells, activations, alphas, floors, contexts, betas = made
        steps, batch, gates = activations.shape
        attended = gates + len(score)
        i, f, g, o = activations.chunk(4, 2)
        squashed = cells[1:].tanh()
        # what dc, and dh for o, are multiplied by to give the gradients of the gates before their activation
        by_cell = torch.stack([i * (1 - i) * g, f * (1 - f) * cells[:-1], i * (1 - g * g)], 2)  # (T, B, 3, U)
        by_state = o * (1 - o) * squashed
        to_cell = o * (1 - squashed * squashed)

        d_from_state = activations.new_empty(steps, batch, len(hidden_weight))
        d_contexts = torch.empty_like(contexts)  # of the ungated contexts
        masked, mask = torch.zeros_like(projected), torch.empty_like(projected)  # sums over t of de * mask
        reached = torch.empty_like(floors)  # sums over regions of de * mask
        dh, dc = torch.zeros_like(hidden[0]), torch.zeros_like(cells[0])
        for t in reversed(range(steps)):
            dh = dh + d_hidden[t]
            dc = torch.addcmul(dc, dh, to_cell[t])
            d_gates = d_from_state[t, :, :gates]
            torch.mul(by_cell[t], dc.unsqueeze(1), out=d_gates.unflatten(1, (4, -1))[:, :3])
            torch.mul(by_state[t], dh, out=d_gates.unflatten(1, (4, -1))[:, 3])
            dc = dc * f[t]
            torch.mm(d_gates, context_weight, out=d_contexts[t])
            if len(betas):
                d_beta = d_contexts[t] * contexts[t] * betas[t] * (1 - betas[t])
                d_from_state[t, :, attended:] = d_beta
                d_contexts[t] *= betas[t]
            # as a row times a matrix: the same with a column is several times slower on a CPU
            d_alpha = torch.bmm(d_contexts[t].unsqueeze(1), regions.transpose(1, 2)).squeeze(1) + d_alphas[t]
            d_energy = alphas[t] * (d_alpha - (alphas[t] * d_alpha).sum(1, keepdim=True))  # (B, L)
            torch.gt(projected, floors[t].unsqueeze(1), out=mask)  # ReLU's, as 0.0 and 1.0
            torch.bmm(d_energy.unsqueeze(1), mask, out=reached[t].unsqueeze(1))
            masked.addcmul_(mask, d_energy.unsqueeze(2))
            torch.mul(reached[t], score, out=d_from_state[t, :, gates:attended])
            dh = d_from_state[t] @ hidden_weight

        rows = d_from_state.flatten(0, 1)  # (T*B, 4U + A [+ D])
        inputs = contexts * betas if len(betas) else contexts
        # w's gradient is sum of de * mask * (P + q), split into its two sums
        d_score = (projected * masked).sum((0, 1)) - (floors * reached).sum((0, 1))
        return (
            torch.einsum("tbl,tbd->bld", alphas, d_contexts) if ctx.needs_input_grad[0] else None,
            masked * score,
            d_from_state[:, :, : ctx.by_word],
            dh,
            dc,
            rows.t() @ hidden[:-1].flatten(0, 1),
            rows.sum(0),
            d_score,
            torch.zeros_like(score_bias),
            rows[:, :gates].t() @ inputs.flatten(0, 1),
        )
