"""The report's convolutional network, as a plain nn.Module, and the dense layer that steps by itself.

Dimension letters: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class ConvNet(nn.Module):
    """Two convolutions and three dense layers (protocol, section 4).

    conv 1->16, 3x3, padding 1; ReLU; max-pool 2 -> conv 16->32, 3x3; ReLU; max-pool 2
    -> linear 600; ReLU; dropout -> linear 120; ReLU -> linear K. 769,930 parameters at 28x28 and K = 10.

    Args:
        dropout: probability that dropout zeroes a unit of the first dense layer.
        image_size: (C, H, W) of an image; H and W at least 8.
        classes: K.

    Raises:
        ValueError: the image is too small for two convolutions and two poolings.
    """

    def __init__(
        self, dropout: float, image_size: tuple[int, int, int] = (1, 28, 28), classes: int = 10
    ) -> None:
        super().__init__()
        channels, height, width = image_size
        if min(height, width) < 8:
            raise ValueError(f"images of {height}x{width} are too small for this network: at least 8x8")
        self.conv1 = nn.Conv2d(channels, 16, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3)
        pooled = [(side // 2 - 2) // 2 for side in (height, width)]
        self.dense1 = SteppingLinear(32 * pooled[0] * pooled[1], 600)
        self.dense2 = nn.Linear(600, 120)
        self.dense3 = nn.Linear(120, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (B, K), before the softmax, of images (B, C, H, W)."""
        # ReLU after pooling gives the same numbers as before it (both keep order) on a quarter of the values.
        x = F.relu(F.max_pool2d(self.conv1(images), 2))  # (B, 16, H/2, W/2)
        x = F.relu(F.max_pool2d(self.conv2(x), 2))  # (B, 32, 6, 6) at 28x28
        x = x.flatten(1)  # (B, 32*6*6)
        x = self.dropout(F.relu(self.dense1(x)))  # (B, 600)
        x = F.relu(self.dense2(x))  # (B, 120)
        return self.dense3(x)  # (B, K)


class SteppingLinear(nn.Linear):
    """A linear layer whose weight can take its plain SGD step inside the backward pass.

    At batch 8 a step of `ConvNet` mostly moves the 690,000 weights of its first dense layer through the
    memory: the gradient is written, read, and the weights are read and written again. `w -= lr * g^T x`
    as one matrix product leaves the gradient out.

    Attributes:
        step_lr: the learning rate of that step; None, the default, for an ordinary layer, whose weight
            gets a gradient.
    """

    step_lr: float | None = None

    def forward(self, input: Tensor) -> Tensor:
        if self.step_lr is None or not torch.is_grad_enabled():
            return super().forward(input)
        return _StepInBackward.apply(input, self.weight.detach(), self.bias, self.step_lr)


class _StepInBackward(torch.autograd.Function):
    """x w^T + b; its backward updates w after it has used it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, lr: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.weight, ctx.lr = weight, lr
        return F.linear(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, Tensor, None]:
        (x,), (g,) = ctx.saved_tensors, grads  # (B, in), (B, out)
        grad_x = g @ ctx.weight  # before the step: the gradient is that of the weights of the forward pass
        ctx.weight.addmm_(g.t(), x, alpha=-ctx.lr)
        return grad_x, None, g.sum(0), None
