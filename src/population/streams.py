"""What members see and drop: the order, augmentation and dropout masks of their separate runs.

A separate run seeds torch's generator once an epoch, from its seed and the epoch (`Classifier`), and draws
from it in turn a chunk's augmentation and the dropout mask of each of its batches. Members with one seed
share batches. On a CPU the very numbers of the separate run are drawn, so that a population gives its numbers
up to rounding; elsewhere the masks come from one draw a chunk, and differ from those of separate runs.
Either way a member's draws are a function of its own settings and the epoch: they do not depend on
which other members there are, and a resumed epoch repeats them.

Dimension letters: P members, N images of a chunk, U units of the layer that dropout follows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from src.classification import augment
from src.classification.module import scaled
from src.run.seeds import epoch_order, epoch_seed


@dataclass
class Chunk:
    """Many batches for all members; labels and pixels without P where all members see the same images."""

    pixels: Tensor  # (N, C, H, W) or (P, N, C, H, W), scaled
    labels: Tensor  # (N,) or (P, N)
    noise: Tensor | None  # (P, N, U): 0 or 1 / (1 - p); None where nobody drops


@dataclass
class _Stream:
    """Members that draw the same numbers from the same seed."""

    members: list[int]
    order: tuple[Tensor, ...]  # indices, by chunk
    state: Tensor  # of torch's generator on the images' device


def chunks(
    images: Tensor,
    labels: Tensor,
    *,
    epoch: int,
    seeds: Sequence[int],
    dropouts: Sequence[float],
    augmentation: str,
    batch: int,
    chunk: int,
    units: int,
    dtype: torch.dtype,
) -> Iterator[Chunk]:
    """An epoch for P members.

    Args:
        images: (N, C, H, W) uint8 and `labels` (N,), all training images, on the device that trains.
        epoch: counted from 0.
        seeds: the members', and their `dropouts`, P each.
        augmentation: a name in `augment.BY_NAME`.
        batch: images an optimizer step.
        chunk: images a chunk, a multiple of `batch`.
        units: U.
        dtype: of pixels and noise.
    """
    augments = augmentation != "none"
    keys = [(seed, augments and dropout > 0) for seed, dropout in zip(seeds, dropouts, strict=True)]
    streams = _streams(images, epoch, keys, chunk)
    for index in range(len(streams[0].order)):
        seen = []
        noise: Tensor | None = None
        for stream in streams:
            chosen = stream.order[index]
            _set_state(images.device, stream.state)
            pixels = scaled(augment.BY_NAME[augmentation](images[chosen]), dtype)
            seen.append((pixels, labels[chosen]))
            if any(dropouts):
                if noise is None:
                    noise = torch.ones(len(seeds), len(chosen), units, dtype=dtype, device=images.device)
                _draw_noise(noise, stream.members, dropouts, batch)
            stream.state = _state(images.device)
        if len(streams) == 1:
            yield Chunk(*seen[0], noise)
            continue
        of_member = {member: seen[at] for at, stream in enumerate(streams) for member in stream.members}
        parts = [of_member[member] for member in range(len(seeds))]
        yield Chunk(torch.stack([part[0] for part in parts]), torch.stack([part[1] for part in parts]), noise)


def _streams(images: Tensor, epoch: int, keys: Sequence[tuple[int, bool]], chunk: int) -> list[_Stream]:
    """One a key: a seed, and whether masks are drawn between two augmentations, which changes these."""
    streams: dict[tuple[int, bool], _Stream] = {}
    for member, key in enumerate(keys):
        if key not in streams:
            torch.manual_seed(epoch_seed(key[0], epoch, "dropout"))
            order = epoch_order(len(images), key[0], epoch).to(images.device).split(chunk)
            streams[key] = _Stream([], order, _state(images.device))
        streams[key].members.append(member)
    return list(streams.values())


def _draw_noise(noise: Tensor, members: list[int], dropouts: Sequence[float], batch: int) -> None:
    """Fill the members' rows of `noise` (P, N, U); each draws from the state that torch's generator has."""
    dropping = [member for member in members if dropouts[member]]
    if not dropping:
        return
    if noise.device.type != "cpu":
        noise[dropping] = drawn_at_once(noise, [dropouts[member] for member in dropping])
        return
    before = _state(noise.device)
    for member in dropping:
        _set_state(noise.device, before)
        keep_share = 1 - dropouts[member]
        for part in noise[member].split(batch):  # batch by batch, as F.dropout draws in a separate run
            part.bernoulli_(keep_share).div_(keep_share)


def drawn_at_once(like: Tensor, dropouts: Sequence[float]) -> Tensor:
    """Noise (len(dropouts), N, U) from one draw for all, since on a GPU every launch counts.

    A unit that a member drops is dropped by all with a higher rate: as in separate runs, members with one
    seed are not independent of each other.
    """
    keep = torch.tensor([1 - dropout for dropout in dropouts], dtype=like.dtype).to(like.device)
    uniform = torch.rand(like.shape[1:], dtype=like.dtype, device=like.device)  # (N, U)
    return (uniform < keep[:, None, None]).to(like.dtype) / keep[:, None, None]


def _state(device: torch.device) -> Tensor:
    return _generator(device).get_state()


def _set_state(device: torch.device, state: Tensor) -> None:
    _generator(device).set_state(state)


def _generator(device: torch.device) -> torch.Generator:
    """The one that torch draws from where none is named: augmentations name none."""
    if device.type == "cuda":
        torch.cuda.init()
        return torch.cuda.default_generators[device.index or 0]
    return torch.mps._get_default_mps_generator() if device.type == "mps" else torch.default_generator
