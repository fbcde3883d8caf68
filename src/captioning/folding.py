"""Fold into convolutions what stands around them, for networks that only look.

In eval mode a batch norm multiplies and adds constants, which the convolution's weights can hold; padding can
be the convolution's own. On a CPU each saves a pass over every map.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from src.captioning.lite import fold_padding


def fold(network: nn.Module, example: Tensor) -> nn.Module:
    """A copy of `network`, in eval mode, that computes the same up to float rounding, with fewer passes.

    Which convolution a batch norm follows is seen by running `example` through the network once. A batch
    norm that takes anything but a convolution's output stays. Nothing else may read what a convolution before
    a batch norm, or a layer before a ReLU, returns (ReLUs work in place): so it is in all networks here.
    """
    network = copy.deepcopy(network).eval()
    maker: tuple[nn.Conv2d, Tensor] | None = None  # the last convolution, and what it returned
    pairs: dict[nn.Module, nn.Conv2d] = {}

    def note_output(module: nn.Conv2d, _inputs: Any, output: Tensor) -> None:
        nonlocal maker
        maker = (module, output)

    def note_input(module: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
        if maker is not None and inputs[0] is maker[1]:
            pairs[module] = maker[0]

    hooks = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            hooks.append(module.register_forward_hook(note_output))
        elif isinstance(module, nn.BatchNorm2d):
            hooks.append(module.register_forward_pre_hook(note_input))
    with torch.inference_mode():
        network(example)
    for hook in hooks:
        hook.remove()

    for name, module in list(network.named_modules()):
        if isinstance(module, nn.BatchNorm2d) and module in pairs:
            assert module.running_mean is not None
            assert module.running_var is not None
            convolution = pairs[module]
            convolution.weight, convolution.bias = fuse_conv_bn_weights(
                convolution.weight,
                convolution.bias,
                module.running_mean,
                module.running_var,
                module.eps,
                module.weight,
                module.bias,
            )
            network.set_submodule(name, nn.Identity())
        elif isinstance(module, (nn.ReLU, nn.ReLU6)):
            module.inplace = True  # nothing is differentiated
    fold_padding(network)
    return network
