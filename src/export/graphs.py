"""A trained module as graphs of flat tensors: a classifier, or a captioner's encoder, start and step.

The search stays outside: a graph holds no loop. Images and beams are free in every graph.

Dimension letters: B images, K hypotheses an image (beams), L regions, D region feature, V vocabulary, S side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from src.captioning.encoder import Encoder
from src.captioning.vocabulary import START

IMAGES, BEAMS, WORDS = 2, 3, 4  # while a graph is traced: all different, since sizes 0 and 1 become constants


class Graph(nn.Module):
    """A computation on tensors alone, and what tracing needs.

    Args:
        network: holds the weights.
        compute: with them, from input tensors to a list of output tensors.
        inputs: examples by name.
        outputs: names.
        free: by input, the places of its free dimensions.
    """

    def __init__(
        self,
        network: nn.Module,
        compute: Callable[..., list[Tensor]],
        inputs: dict[str, Tensor],
        outputs: list[str],
        free: dict[str, list[int]],
    ) -> None:
        super().__init__()
        self.network, self.compute = network, compute
        self.inputs, self.outputs, self.free = inputs, outputs, free
        self.eval()

    def forward(self, *tensors: Tensor) -> list[Tensor]:
        return self.compute(*tensors)

    def trace(self) -> torch.export.ExportedProgram:
        """The graph as torch.export records it."""
        # Named dimensions would have to hold for every size; what is traced is checked at other sizes afterwards.
        free = tuple(dict.fromkeys(self.free[name], torch.export.Dim.DYNAMIC) for name in self.inputs)
        with torch.no_grad():
            return torch.export.export(
                self, tuple(self.inputs.values()), dynamic_shapes=(free,), strict=False
            )


@torch.no_grad()
def graphs_of(module: Any, encoder: Encoder | None) -> dict[str, Graph]:
    """The graphs of a classifier (`classifier`) or a captioner (`encoder`, `start`, `step`), by name.

    - encoder: images (B, 3, S, S) in uint8 to the regions (B, L, D) that the decoder learned from.
    - start: regions to the tensors (B, ...) of memory and first state.
    - step: last words (B, K), state (B, K, ...), memory (B, ...) to scores (B, K, V), state, attention (B, K, L).

    Args:
        encoder: of a captioner.
    """
    batch = {"images": [0]}
    if encoder is None:
        images = torch.zeros(IMAGES, *module.hparams["image_size"], dtype=torch.uint8)
        return {"classifier": Graph(module, lambda x: [module(x)], {"images": images}, ["scores"], batch)}
    decoder = module.decoder
    mean_only = getattr(decoder, "mean_only", False)

    def encode(images: Tensor) -> list[Tensor]:
        regions = encoder(images)
        if module.encoder is None:  # as stored features are
            regions = regions.half()
        if mean_only:
            regions = regions.float().mean(1, keepdim=True)
        return [module.placed(regions).float()]

    def start(regions: Tensor) -> list[Tensor]:
        memory = decoder.remember(regions)
        # Cloned: an output that is an input as it is gets no name of its own.
        return [part.clone() for part in pytree.tree_leaves((memory, decoder.start(memory)))]

    images = torch.zeros(IMAGES, 3, encoder.size, encoder.size, dtype=torch.uint8)
    (regions,) = encode(images)
    memory = decoder.remember(regions)
    first = decoder.start(memory)
    kept, memory_tree = pytree.tree_flatten(memory)
    began, state_tree = pytree.tree_flatten(first)

    def step(tokens: Tensor, *parts: Tensor) -> list[Tensor]:
        beams, own = tokens.shape[1], len(began)
        state = pytree.tree_unflatten([part.flatten(0, 1) for part in parts[:own]], state_tree)
        leaves = list(parts[own:])
        if not getattr(decoder, "beams_share_memory", False):
            leaves = [part.unsqueeze(1).expand(-1, beams, *part.shape[1:]).flatten(0, 1) for part in leaves]
        memory = pytree.tree_unflatten(leaves, memory_tree)
        scores, state, alphas = decoder.step(tokens.flatten(), state, memory)
        found = [scores, *pytree.tree_leaves(state), *([] if alphas is None else [alphas])]
        return [part.unflatten(0, tokens.shape) for part in found]

    memories = [f"memory_{place}" for place in range(len(kept))]
    states = [f"state_{place}" for place in range(len(began))]
    # Some words further, so that dimensions that grow with the words show.
    tokens = torch.full((IMAGES, BEAMS), START)
    state = [part.unsqueeze(1).expand(-1, BEAMS, *part.shape[1:]) for part in began]
    attention: list[Tensor] = []
    for _ in range(WORDS):
        _, *state = step(tokens, *state, *kept)
        state, attention = state[: len(began)], state[len(began) :]
    free = {"tokens": [0, 1], **{name: [0] for name in memories}}
    for name, late, early in zip(states, state, began, strict=True):
        grown = [place for place in range(2, late.dim()) if late.shape[place] != early.shape[place - 1]]
        free[name] = [0, 1, *grown]
    inputs = {"tokens": tokens, **dict(zip((*states, *memories), (*state, *kept), strict=True))}
    outputs = ["scores", *(f"new_{name}" for name in states), *["attention"] * len(attention)]
    return {
        "encoder": Graph(encoder, encode, {"images": images}, ["regions"], batch),
        "start": Graph(decoder, start, {"regions": regions}, [*memories, *states], {"regions": [0]}),
        "step": Graph(decoder, step, inputs, outputs, free),
    }
