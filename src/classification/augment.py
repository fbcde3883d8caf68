"""Random changes of training images: batched, on the device that the images are on.

An augmentation takes images (B, C, H, W) of any dtype and returns as many of the same shape and dtype.
A new one is a function here and its name in `AUGMENTATIONS` of src/config/settings.py.
"""

from __future__ import annotations

import math
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


def erase(images: Tensor) -> Tensor:
    """Fill a rectangle of each image with noise with probability 1/2 (Zhong et al. 2017, arXiv:1708.04896).

    It covers 2 to 33 % of the image, its sides' ratio lies between 0.3 and 3.3.
    """
    B, _, H, W = images.shape
    chosen, area, ratio, top, left = torch.rand(5, B, 1, device=images.device)  # (B, 1) each
    area = (0.02 + 0.31 * area) * H * W
    ratio = torch.exp((2 * ratio - 1) * math.log(3.3))
    height, width = (area * ratio).sqrt().clamp(1, H).round(), (area / ratio).sqrt().clamp(1, W).round()

    def inside(side: int, start: Tensor, length: Tensor) -> Tensor:
        places = torch.arange(side, device=images.device) - (start * (side - length + 1)).floor()
        return (places >= 0) & (places < length)  # (B, side)

    rows, columns = inside(H, top, height) & (chosen < 0.5), inside(W, left, width)
    noise = torch.randint(0, 256, images.shape, device=images.device, dtype=torch.uint8).to(images.dtype)
    return torch.where(rows[:, None, :, None] & columns[:, None, None, :], noise, images)


def flip_crop_erase(images: Tensor) -> Tensor:
    """`flip`, `crop`, then `erase`."""
    return erase(crop(flip(images)))


BY_NAME: dict[str, Callable[[Tensor], Tensor]] = {
    function.__name__: function for function in (none, flip, flip_crop, flip_crop_erase)
}
