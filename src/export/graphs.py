"""A trained module as graphs of flat tensors: a classifier, or a captioner's encoder, start and step.

The search stays outside: a graph holds no loop. Images and beams are free in every graph.

Dimension letters: B images, K hypotheses an image (beams), L regions, D region feature, V vocabulary, S side.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from src.captioning.encoder import Encoder
from src.captioning.vocabulary import START

IMAGES, BEAMS, WORDS = 2, 3, 4  # while a graph is traced: all different, since sizes 0 and 1 become constants


class Graph(NamedTuple):
    """A network that takes and gives tensors alone, and what tracing needs.

    Attributes:
        inputs: examples by name.
        outputs: names.
        free: by input, the places of its free dimensions.
    """

    network: nn.Module
    inputs: dict[str, Tensor]
    outputs: list[str]
    free: dict[str, list[int]]

    def trace(self) -> torch.export.ExportedProgram:
        """The graph as torch.export records it."""
        # Named dimensions would have to hold for every size; what is traced is checked at other sizes afterwards.
        free = [dict.fromkeys(self.free[name], torch.export.Dim.DYNAMIC) for name in self.inputs]
        with torch.no_grad():
            network = Positional(self.network).eval()
            return torch.export.export(
                network, tuple(self.inputs.values()), dynamic_shapes=(tuple(free),), strict=False
            )


class Positional(nn.Module):
    """Takes any number of tensors."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *tensors: Tensor) -> Any:
        return self.network(*tensors)


class Encode(nn.Module):
    """Images (B, 3, S, S) in uint8 to the regions (B, L, D) that the decoder learned from.

    Args:
        encoder: with its weights.
        place: appends positions where the decoder is told them.
        is_frozen: round to float16, as stored features are.
        mean_only: give the regions' mean (B, 1, D).
    """

    def __init__(
        self, encoder: Encoder, place: Callable[[Tensor], Tensor], is_frozen: bool, mean_only: bool
    ) -> None:
        super().__init__()
        self.encoder, self.place, self.is_frozen, self.mean_only = encoder, place, is_frozen, mean_only

    def forward(self, images: Tensor) -> Tensor:
        regions = self.encoder(images)
        if self.is_frozen:
            regions = regions.half().float()
        return self.place(regions.mean(1, keepdim=True) if self.mean_only else regions)


class Start(nn.Module):
    """Regions (B, L, D) to the tensors (B, ...) of memory and first state."""

    def __init__(self, decoder: Any) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(self, regions: Tensor) -> list[Tensor]:
        memory = self.decoder.remember(regions)
        # Cloned: an output that is an input as it is gets no name of its own.
        return [part.clone() for part in pytree.tree_leaves((memory, self.decoder.start(memory)))]


class Step(nn.Module):
    """Last words (B, K), state (B, K, ...), memory (B, ...) to scores (B, K, V), state, attention (B, K, L)."""

    def __init__(self, decoder: Any, memory: Any, state: Any) -> None:
        super().__init__()
        self.decoder = decoder
        self.memory, self.state = (pytree.tree_structure(part) for part in (memory, state))

    def forward(self, tokens: Tensor, *parts: Tensor) -> list[Tensor]:
        images, beams = tokens.shape
        own = self.state.num_leaves
        state = pytree.tree_unflatten([part.flatten(0, 1) for part in parts[:own]], self.state)
        leaves = list(parts[own:])
        if not getattr(self.decoder, "beams_share_memory", False):
            leaves = [part.unsqueeze(1).expand(-1, beams, *part.shape[1:]).flatten(0, 1) for part in leaves]
        memory = pytree.tree_unflatten(leaves, self.memory)
        scores, state, alphas = self.decoder.step(tokens.flatten(), state, memory)
        found = [scores, *pytree.tree_leaves(state), *([] if alphas is None else [alphas])]
        return [part.unflatten(0, (images, beams)) for part in found]


def graphs_of(module: Any, encoder: Encoder | None) -> dict[str, Graph]:
    """The graphs of a classifier (`classifier`) or a captioner (`encoder`, `start`, `step`), by name.

    Args:
        encoder: of a captioner.
    """
    batch = {"images": [0]}
    if encoder is None:
        images = torch.zeros(IMAGES, *module.hparams["image_size"], dtype=torch.uint8)
        return {"classifier": Graph(module, {"images": images}, ["scores"], batch)}
    decoder = module.decoder
    images = torch.zeros(IMAGES, 3, encoder.size, encoder.size, dtype=torch.uint8)
    mean_only = getattr(decoder, "mean_only", False)
    encode = Encode(encoder, module.placed, module.encoder is None, mean_only)
    with torch.no_grad():
        regions = encode(images)
        memory = decoder.remember(regions)
        first = decoder.start(memory)
    kept, began = pytree.tree_leaves(memory), pytree.tree_leaves(first)
    memories = [f"memory_{place}" for place in range(len(kept))]
    states = [f"state_{place}" for place in range(len(began))]
    # Some words further, so that dimensions that grow with the words show.
    tokens = torch.full((IMAGES, BEAMS), START)
    state = [part.unsqueeze(1).expand(-1, BEAMS, *part.shape[1:]) for part in began]
    step, has_attention = Step(decoder, memory, first), False
    with torch.no_grad():
        for _ in range(WORDS):
            _, *state = step(tokens, *state, *kept)
            has_attention, state = len(state) > len(began), state[: len(began)]
    free = {"tokens": [0, 1], **{name: [0] for name in memories}}
    for name, late, early in zip(states, state, began, strict=True):
        grown = [place for place in range(2, late.dim()) if late.shape[place] != early.shape[place - 1]]
        free[name] = [0, 1, *grown]
    inputs = {"tokens": tokens, **dict(zip((*states, *memories), (*state, *kept), strict=True))}
    outputs = ["scores", *(f"new_{name}" for name in states), *["attention"] * has_attention]
    return {
        "encoder": Graph(encode, {"images": images}, ["regions"], batch),
        "start": Graph(Start(decoder), {"regions": regions}, [*memories, *states], {"regions": [0]}),
        "step": Graph(step, inputs, outputs, free),
    }
