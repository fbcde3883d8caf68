"""What every layer of a network answers to an image, found with forward hooks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn


class _Enough(Exception):
    """Every layer that was asked for has answered."""


def activations(
    module: nn.Module, inputs: Tensor, layers: Sequence[str] | None = None
) -> OrderedDict[str, Tensor]:
    """Outputs of layers of any module, in the order in which they were first computed.

    The forward pass ends at the last layer asked for. A layer that is called several times gives its last
    output before that.

    Args:
        module: put it into eval mode before.
        inputs: what its forward takes.
        layers: names as `named_modules` gives them; None for every module without children.

    Returns:
        A detached copy of each output (in-place layers that follow cannot change it).

    Raises:
        ValueError: there is no such layer, one was never reached, or one's output is no tensor.
    """
    named = dict(module.named_modules())
    leaves = [name for name, part in named.items() if name and not any(part.children())]
    wanted = leaves if layers is None else list(dict.fromkeys(layers))
    for name in wanted:
        if name not in named:
            raise ValueError(f"there is no layer {name!r}; there are {', '.join(leaves)}")
    found: OrderedDict[str, Tensor] = OrderedDict()

    def keep(name: str) -> Any:
        def hook(_: nn.Module, __: Any, output: Any) -> None:
            if not isinstance(output, Tensor):
                raise ValueError(f"the layer {name!r} gives a {type(output).__name__}, not a tensor")
            found[name] = output.detach().clone()
            if layers is not None and len(found) == len(wanted):
                raise _Enough

        return hook

    handles = [named[name].register_forward_hook(keep(name)) for name in wanted]
    try:
        with torch.no_grad():
            module(inputs)
    except _Enough:
        pass
    finally:
        for handle in handles:
            handle.remove()
    unreached = [name for name in wanted if name not in found]
    if unreached and layers is not None:
        raise ValueError(f"the forward pass never reached {', '.join(unreached)}")
    return found
