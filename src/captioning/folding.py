"""Fold batch norms and padding into convolutions, for networks in eval mode.

In eval mode a batch norm multiplies and adds constants, which the convolution's weights can hold; padding can
be the convolution's own. On a CPU each saves a pass over every map.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold(network: nn.Module, example: Tensor) -> nn.Module:
    """A copy of `network` in eval mode, for inputs of the shape of `example`, with fewer passes.

    Running the network once shows which convolution's output a batch norm takes. Where the folded copy gives
    other outputs than the network (beyond rounding), an unfolded one comes back.
    """
    network = copy.deepcopy(network).eval()
    folded = copy.deepcopy(network)
    calls: dict[int, tuple[nn.Conv2d, Tensor, Tensor]] = {}  # by the output's id: module, input, output
    norms: dict[int, nn.BatchNorm2d] = {}

    def record(module: nn.Module, inputs: tuple[Tensor, ...], output: Any) -> None:
        if isinstance(module, nn.Conv2d):
            calls[id(output)] = (module, inputs[0], output)
        elif isinstance(module, nn.BatchNorm2d) and id(inputs[0]) in calls:
            norms[id(inputs[0])] = module

    hooks = [module.register_forward_hook(record) for module in folded.modules()]
    probe = torch.linspace(-2, 2, example.numel(), device=example.device).view_as(example)
    with torch.inference_mode():
        expected = folded(probe)
    for hook in hooks:
        hook.remove()
    names = {module: name for name, module in folded.named_modules()}
    for key, (convolution, before, after) in calls.items():
        plain = convolution if type(convolution) is nn.Conv2d else _padding_itself(convolution, before, after)
        if norm := norms.get(key):
            plain = fuse_conv_bn_eval(plain, norm)
            folded.set_submodule(names[norm], getattr(norm, "act", nn.Identity()))  # timm: with its ReLU
        folded.set_submodule(names[convolution], plain)
    for module in folded.modules():
        if isinstance(module, (nn.ReLU, nn.ReLU6)):
            module.inplace = True
    with torch.inference_mode():
        error = (folded(probe) - expected).abs().max()
    return folded if error <= 1e-4 * expected.abs().max() else network


def _padding_itself(conv: nn.Conv2d, before: Tensor, after: Tensor) -> nn.Conv2d:
    """A plain convolution for one with TensorFlow's "same" padding, which pads in a pass of its own.

    At stride 2 that may be a pixel wider on the right and below. A kernel with a row and a column of zeros in
    front, padded evenly, gives the same.
    """
    (h, w), (out_h, out_w), (rows, columns) = before.shape[2:], after.shape[2:], conv.kernel_size
    down = max(0, (out_h - 1) * conv.stride[0] + rows - h)
    across = max(0, (out_w - 1) * conv.stride[1] + columns - w)
    weight = F.pad(conv.weight.detach(), (across % 2, 0, down % 2, 0))
    plain = copy.deepcopy(conv)
    plain.__class__ = nn.Conv2d
    plain.weight = nn.Parameter(weight.contiguous(memory_format=torch.channels_last))
    plain.kernel_size, plain.padding = tuple(weight.shape[2:]), (-(-down // 2), -(-across // 2))
    return plain
