"""Random changes of training images: batched, on the device that the images are on.

An augmentation takes images (B, C, H, W) of any dtype and returns as many of the same shape and dtype.
A new one is a function here and its name in `AUGMENTATIONS` of src/config/settings.py.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor


def none(images: Tensor) -> Tensor:
    """The images as they are."""
    return images


def flip(images: Tensor) -> Tensor:
    """Mirror each image left to right with probability 1/2."""
    mirrored = torch.rand(len(images), 1, 1, 1, device=images.device) < 0.5  # (B, 1, 1, 1)
    return torch.where(mirrored, images.flip(3), images)


def crop(images: Tensor, padding: int = 2) -> Tensor:
    """Shift each image by up to `padding` pixels in both directions, zeros moving in."""
    B, C, H, W = images.shape
    padded = F.pad(images, [padding] * 4)
    top, left = torch.randint(0, 2 * padding + 1, (2, B, 1), device=images.device)  # (B, 1) each
    rows = top + torch.arange(H, device=images.device)  # (B, H)
    columns = left + torch.arange(W, device=images.device)  # (B, W)
    batch = torch.arange(B, device=images.device)[:, None, None, None]
    channel = torch.arange(C, device=images.device)[:, None, None]
    return padded[batch, channel, rows[:, None, :, None], columns[:, None, None, :]]  # (B, C, H, W)


def flip_crop(images: Tensor) -> Tensor:
    """`flip`, then `crop`."""
    return crop(flip(images))


BY_NAME: dict[str, Callable[[Tensor], Tensor]] = {"none": none, "flip": flip, "flip_crop": flip_crop}
