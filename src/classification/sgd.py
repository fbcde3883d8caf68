"""Plain SGD on `ConvNet`, differentiated by hand: what a CPU takes at small batches, where `applies` says so.

At batch 8 autograd's own work, gradients that are written to be read once, and a convolution of one channel
cost as much as the arithmetic. Here every gradient carries the factor -lr from the loss on, so that each
weight takes its step in the very product that makes its gradient. The numbers are autograd's up to rounding
(`tests/test_sgd.py`); docs/PERFORMANCE.md tells what it gains.

Dimension letters: B batch, C channels, H height, W width, K classes, S optimizer steps.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Linear, Module, Parameter
from torch.nn.modules.module import _has_any_global_hook

from src.classification.networks import ConvNet

LARGEST_BATCH = 16  # above it, autograd on whole layers is as fast
BLOCK = 2**20  # bytes of a weight's rows that a core keeps at hand (its L2 cache) between two products

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

aten = torch.ops.aten


def applies(network: Module, optimizer: torch.optim.Optimizer, batch: int) -> bool:
    """Whether `sgd_steps` gives the numbers of autograd and `optimizer`, and faster.

    Anything but an unchanged `ConvNet` under plain SGD, in float32 on a CPU, whose layers, weights and steps
    nobody listens to, is left to autograd.
    """
    return (
        batch <= LARGEST_BATCH
        and not torch.is_autocast_enabled("cpu")
        and _is_plain_network(network)
        and _is_plain_sgd(optimizer, network)
    )


def _is_plain_network(network: Module) -> bool:
    if type(network) is not ConvNet or not network.training:
        return False
    with torch.device("meta"):  # no memory, no random numbers
        usual = ConvNet(*network.arguments)
    modules = list(network.modules())
    return (
        str(network) == str(usual)  # every layer's type and geometry
        and network.state_dict().keys() == usual.state_dict().keys()
        and network.conv1.weight.is_contiguous(memory_format=torch.channels_last)
        and not _has_any_global_hook()
        and not any(vars(module)[hooks] for module in modules for hooks in HOOKS)
        and not any("forward" in vars(module) for module in modules)
        and all(_is_plain_weight(weight) for weight in network.parameters())
    )


def _is_plain_weight(weight: Parameter) -> bool:
    return (
        type(weight) is Parameter
        and weight.requires_grad
        and weight.dtype == torch.float32
        and weight.device.type == "cpu"
        and not weight._backward_hooks
        and not weight._post_accumulate_grad_hooks
    )


def _is_plain_sgd(optimizer: torch.optim.Optimizer, network: Module) -> bool:
    if type(optimizer) is not torch.optim.SGD or len(optimizer.param_groups) != 1:
        return False
    (group,) = optimizer.param_groups
    stepped = {id(weight) for weight in group["params"]}
    return (
        not any(group[name] for name in ("momentum", "weight_decay", "maximize", "differentiable"))
        and stepped == {id(weight) for weight in network.parameters()}
        and not optimizer._optimizer_step_pre_hooks
        and not optimizer._optimizer_step_post_hooks
    )


@torch.no_grad()
def sgd_steps(network: ConvNet, pixels: Tensor, labels: Tensor, batch: int, lr: float) -> Tensor:
    """One step of plain SGD on the mean cross-entropy of every batch, in place.

    Draws dropout from torch's global generator as `network` itself does. No gradient is left behind.

    Args:
        network: in float32, in training mode, in channels_last.
        pixels: (N, C, H, W) in float32.
        labels: (N,) int64.
        batch: B; the last one may be smaller.
        lr: learning rate.

    Returns:
        (S,) each batch's loss before its step.
    """
    padded = F.pad(pixels, (1, 1, 1, 1)).contiguous()  # (N, C, H+2, W+2)
    return torch.stack(
        [_step(network, x, y, lr) for x, y in zip(padded.split(batch), labels.split(batch), strict=True)]
    )


def _step(network: ConvNet, padded: Tensor, labels: Tensor, lr: float) -> Tensor:
    conv1, conv2 = network.conv1, network.conv2
    assert conv1.bias is not None
    assert conv2.bias is not None
    size, channels, high, wide = padded.shape
    # As a product with each pixel's window: its few channels leave a convolution's kernels idle.
    image, plane = channels * high * wide, high * wide
    windows = padded.as_strided(
        (3, 3, channels, size, high - 2, wide - 2), (wide, 1, plane, image, wide, 1)
    ).reshape(9 * channels, -1)  # (3*3*C, B*H*W)
    kernels = conv1.weight.permute(2, 3, 1, 0).view(9 * channels, -1)  # (3*3*C, 16), the weights themselves

    scores1 = torch.addmm(conv1.bias, windows.t(), kernels)  # (B*H*W, 16)
    scores1 = scores1.view(size, high - 2, wide - 2, -1).permute(0, 3, 1, 2)  # (B, 16, H, W)
    pooled1, places1 = aten.max_pool2d_with_indices(scores1, [2, 2])
    pooled1.relu_()
    scores2 = F.conv2d(pooled1, conv2.weight, conv2.bias)
    pooled2, places2 = aten.max_pool2d_with_indices(scores2, [2, 2])
    pooled2.relu_()
    flat = pooled2.flatten(1)
    hidden1 = F.linear(flat, network.dense1.weight, network.dense1.bias).relu_()  # (B, 600)
    noise = network.dropout(torch.ones_like(hidden1))  # 0 or 1 / (1 - p)
    hidden1.mul_(noise)
    hidden2 = F.linear(hidden1, network.dense2.weight, network.dense2.bias).relu_()  # (B, 120)
    log_p = F.log_softmax(F.linear(hidden2, network.dense3.weight, network.dense3.bias), 1)  # (B, K)
    loss = F.nll_loss(log_p, labels)

    g = log_p.exp_()
    g.scatter_add_(1, labels[:, None], g.new_full((size, 1), -1.0))
    g.mul_(-lr / size)  # -lr times the loss's gradient by the scores: softmax less the label
    g = aten.threshold_backward(_stepped(network.dense3, g, hidden2), hidden2, 0)
    g = aten.threshold_backward(_stepped(network.dense2, g, hidden1), hidden1, 0).mul_(noise)
    g = aten.threshold_backward(_stepped(network.dense1, g, flat).view(pooled2.shape), pooled2, 0)
    g = aten.max_pool2d_with_indices_backward(g, scores2, [2, 2], [2, 2], [0, 0], [1, 1], False, places2)
    g, by_weight, by_bias = aten.convolution_backward(
        g, pooled1, conv2.weight, [len(conv2.weight)], [1, 1], [0, 0], [1, 1], False, [0, 0], 1, [True] * 3
    )
    conv2.weight.add_(by_weight)
    conv2.bias.add_(by_bias)
    g = aten.threshold_backward(g, pooled1, 0)
    g = aten.max_pool2d_with_indices_backward(g, scores1, [2, 2], [2, 2], [0, 0], [1, 1], False, places1)
    g = g.permute(0, 2, 3, 1).reshape(-1, len(conv1.weight))  # (B*H*W, 16)
    kernels.add_(torch.mm(windows, g))  # addmm_ into a view like this one takes six times as long
    conv1.bias.add_(g.sum(0))
    return loss


def _stepped(layer: Linear, g: Tensor, x: Tensor) -> Tensor:
    """Take a layer's step; its input's gradient, by the weights before it.

    Args:
        g: (B, out), -lr times the gradient of the layer's output.
        x: (B, in), the layer's input.
    """
    by_input = x.new_zeros(x.shape)
    rows = max(1, BLOCK // (4 * x.shape[1]))
    for weight, part in zip(layer.weight.split(rows), g.split(rows, 1), strict=True):
        by_input.addmm_(part, weight)
        weight.addmm_(part.t(), x)
    layer.bias.add_(g.sum(0))
    return by_input
