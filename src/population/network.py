"""`ConvNet` for a population: every weight has a first dimension more, over its members.

Dimension letters: P members, B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

Weights = dict[str, Tensor]  # by ConvNet's parameter names, each (P, ...) of a member's shape
LARGEST = "dense1.weight"


def scores(
    weights: Weights, images: Tensor, noise: Tensor | None = None, step_lr: Tensor | None = None
) -> Tensor:
    """Class scores (P, B, K), before the softmax.

    The members' channels stand side by side, so that images which all members see are convolved once,
    with P x 16 output channels, and the second convolution is one with P groups.

    Args:
        weights: of P members.
        images: (B, C, H, W) that all members see, or (P, B, C, H, W), scaled.
        noise: (P, B, 600), what dropout multiplies the first dense layer's output with: 0 or 1 / (1 - p);
            None without dropout.
        step_lr: (P,) learning rates with which `dense1.weight` takes a plain SGD step within the backward
            pass, so that its gradient, nine tenths of all, is neither written nor read; None to get it.
    """
    P = len(weights[LARGEST])
    # channels_last is about twice as fast for both convolutions on a CPU
    layout = torch.channels_last if images.device.type == "cpu" else torch.contiguous_format
    side_by_side = images if images.dim() == 4 else images.transpose(0, 1).flatten(1, 2)  # (B, P*C, H, W)
    x = F.conv2d(
        side_by_side.contiguous(memory_format=layout),
        weights["conv1.weight"].flatten(0, 1),  # (P*16, C, 3, 3)
        weights["conv1.bias"].flatten(),
        padding=1,
        groups=1 if images.dim() == 4 else P,
    )
    x = F.relu(F.max_pool2d(x, 2))  # (B, P*16, H/2, W/2)
    x = F.conv2d(x, weights["conv2.weight"].flatten(0, 1), weights["conv2.bias"].flatten(), groups=P)
    x = F.relu(F.max_pool2d(x, 2))  # (B, P*32, 6, 6) at 28x28
    x = x.unflatten(1, (P, -1)).flatten(2).transpose(0, 1)  # (P, B, 32*6*6)
    if step_lr is None:
        x = _dense(x, weights[LARGEST], weights["dense1.bias"])
    else:
        x = _StepInBackward.apply(x, weights[LARGEST].detach(), weights["dense1.bias"], step_lr)
    x = F.relu(x)  # (P, B, 600)
    x = x if noise is None else x * noise
    x = F.relu(_dense(x, weights["dense2.weight"], weights["dense2.bias"]))  # (P, B, 120)
    return _dense(x, weights["dense3.weight"], weights["dense3.bias"])  # (P, B, K)


def _dense(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """x (P, B, in), weight (P, out, in), bias (P, out) -> (P, B, out)."""
    return torch.baddbmm(bias.unsqueeze(1), x, weight.transpose(1, 2))


class _StepInBackward(torch.autograd.Function):
    """`_dense`; its backward pass updates the weight after it has used it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, lr: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        ctx.weight, ctx.lr = weight, lr
        return _dense(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, Tensor, None]:
        (x,), (g,) = ctx.saved_tensors, grads  # (P, B, in), (P, B, out)
        grad_x = torch.bmm(g, ctx.weight)  # before the step: of the weights of the forward pass
        ctx.weight.baddbmm_((g * ctx.lr[:, None, None]).transpose(1, 2), x, alpha=-1)
        return grad_x, None, g.sum(1), None
