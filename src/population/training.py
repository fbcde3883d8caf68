"""Steps and evaluation of a population.

Dimension letters: P members, B batch, N images, C channels, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from src.classification.module import scaled
from src.population.network import LARGEST, Weights, scores
from src.population.streams import chunks

EVALUATED_AT_ONCE = 2048  # members x images: some 100 MB for the first convolution's output


@dataclass(frozen=True)
class Knobs:
    """The settings in which members may differ."""

    dropout: float
    lr: float
    seed: int
    weight_decay: float = 0.0
    momentum: float = 0.0


class Population:
    """P classifiers that take every SGD step together.

    Args:
        knobs: of each member.
        weights: each (P, ...), on the device that trains; changed in place.
        buffers: SGD's momentum by the same names, zeros before the first step; None where no member has any.
    """

    def __init__(self, knobs: Sequence[Knobs], weights: Weights, buffers: Weights | None = None) -> None:
        self.knobs, self.weights, self.buffers = list(knobs), weights, buffers
        sample = weights[LARGEST]
        self.device, self.dtype = sample.device, sample.dtype

        def each(name: str) -> Tensor:
            values = [getattr(knob, name) for knob in self.knobs]
            return torch.tensor(values, dtype=self.dtype).to(self.device)

        self.lr, self.momentum, self.weight_decay = each("lr"), each("momentum"), each("weight_decay")
        if buffers is None and any(knob.momentum for knob in self.knobs):
            self.buffers = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        self.decays = any(knob.weight_decay for knob in self.knobs)

    def __len__(self) -> int:
        return len(self.knobs)

    def step(self, pixels: Tensor, labels: Tensor, noise: Tensor | None) -> Tensor:
        """One SGD step of every member; its loss before the step, (P,).

        Args:
            pixels: (B, C, H, W) or (P, B, C, H, W), scaled.
            labels: (B,) or (P, B).
            noise: see `scores`.
        """
        # The largest weights by far step within the backward pass: their gradient is never written.
        within = self.buffers is None and not self.decays
        names = [name for name in self.weights if not (within and name == LARGEST)]
        out = scores(self.weights, pixels, noise, self.lr if within else None)  # (P, B, K)
        wanted = labels.expand(len(self), -1)  # (P, B)
        losses = F.cross_entropy(out.flatten(0, 1), wanted.flatten(), reduction="none")  # (P*B,)
        losses = losses.view(wanted.shape).mean(1)
        gradients = torch.autograd.grad(losses.sum(), [self.weights[name] for name in names])
        with torch.no_grad():
            for name, gradient in zip(names, gradients, strict=True):
                self._update(name, gradient)
        return losses.detach()

    def _update(self, name: str, gradient: Tensor) -> None:
        """torch.optim.SGD's rule."""
        weight = self.weights[name]

        def each(values: Tensor) -> Tensor:
            return values.view(-1, *[1] * (weight.dim() - 1))  # (P, 1, ...)

        if self.decays:
            gradient = torch.addcmul(gradient, weight, each(self.weight_decay))
        if self.buffers is not None:
            gradient = self.buffers[name].mul_(each(self.momentum)).add_(gradient)
        weight.addcmul_(gradient, each(self.lr), value=-1)

    def train_epoch(
        self,
        images: Tensor,
        labels: Tensor,
        *,
        epoch: int,
        batch: int,
        chunk: int,
        augmentation: str = "none",
    ) -> Iterator[list[list[float]]]:
        """Take an epoch's steps; after every chunk of them the losses, by member and step.

        Args:
            images: (N, C, H, W) uint8 and `labels` (N,): the training images, on the device that trains.
            epoch: counted from 0.
            batch: images an optimizer step.
            chunk: images between two reads of the losses, a multiple of `batch`.
            augmentation: a name in `augment.BY_NAME`.
        """
        for part in chunks(
            images,
            labels,
            epoch=epoch,
            seeds=[knob.seed for knob in self.knobs],
            dropouts=[knob.dropout for knob in self.knobs],
            augmentation=augmentation,
            batch=batch,
            chunk=chunk,
            units=self.weights["dense1.bias"].shape[1],
            dtype=self.dtype,
        ):
            losses = []
            for start in range(0, part.labels.shape[-1], batch):
                now = slice(start, start + batch)
                noise = None if part.noise is None else part.noise[:, now]
                losses.append(self.step(part.pixels[..., now, :, :, :], part.labels[..., now], noise))
            # One read a chunk: reading each loss would make a GPU wait at every step.
            yield torch.stack(losses, 1).tolist()

    def keep(self, members: Sequence[int]) -> Population:
        """A population of some of the members, with copies of their weights."""
        chosen = torch.tensor(list(members), device=self.device)
        weights, buffers = (
            part
            and {
                name: value.detach()[chosen].requires_grad_(value.requires_grad)
                for name, value in part.items()
            }
            for part in (self.weights, self.buffers)
        )
        assert weights is not None
        return Population([self.knobs[member] for member in members], weights, buffers)

    @torch.no_grad()
    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[list[float], list[float]]:
        """Every member's mean loss and share of right answers on images (N, C, H, W) uint8, labels (N,)."""
        at_once = max(1, EVALUATED_AT_ONCE // len(self))
        loss = torch.zeros(len(self), dtype=torch.float64, device=self.device)
        right = torch.zeros(len(self), dtype=torch.int64, device=self.device)
        for x, y in zip(images.split(at_once), labels.split(at_once), strict=True):
            out = scores(self.weights, scaled(x, self.dtype))  # (P, B, K)
            wanted = y.expand(len(self), -1)  # (P, B)
            losses = F.cross_entropy(out.flatten(0, 1), wanted.flatten(), reduction="none")
            loss += losses.view(wanted.shape).sum(1, dtype=torch.float64)
            right += (out.argmax(2) == wanted).sum(1)
        return (loss / len(labels)).tolist(), (right.double() / len(labels)).tolist()
