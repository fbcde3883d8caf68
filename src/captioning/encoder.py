"""Encoders: an image becomes L regions with D features each. The networks are in backbones.py.

Where a region lies is no part of its features: `append_positions` tells a decoder.

Dimension letters: B batch, L regions, D feature, H, W, S side of the square images in pixels.
"""

from __future__ import annotations

import hashlib
import json
import math
import pkgutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor, nn

from src.build import build, in_channels_last
from src.entry_point import UserError

# Counts up whenever `preprocess`, how image files are read, or the normalisation changes: stored features
# depend on it.
PREPROCESSING = 2
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
FREQUENCIES = (0.5, 1.0, 2.0)  # half waves across the image: left from right, middle from margin, quarters
POSITION_DIM = 4 * len(FREQUENCIES)


class EncoderError(UserError):
    """An encoder cannot be had."""


class Encoder(nn.Module):
    """Any backbone as a captioner uses it: images to regions; frozen until `fine_tune`.

    A backbone of your own (`encoder=own encoder._target_=my_package.Backbone`) is a plain nn.Module. It takes
    images (B, 3, S, S), float32, normalised with its attributes `mean` and `std` (three numbers each, of
    values from 0 to 1; ImageNet's where it has none), and gives regions (B, L, D) or a map (B, D, H, W);
    zeros are encoded to find `dim` and `grid`. Where the weights come out of a checkpoint, arguments of its
    configuration named `pretrained` and `weights` are False and None.

    Args:
        backbone: the network, with its weights.
        size: S.
        train_norms: whether batch norms learn statistics. Pretrained ones should not: ImageNet's fit the
            weights, and in training mode an image's features depend on its neighbours.
        name: for messages and file names.
        made_by: what features depend on besides the weights: the backbone's arguments and, if it is yours, its code.

    Attributes:
        dim: D.
        grid: rows and columns of the regions, L = rows * columns; one row where L is no square number.

    Raises:
        EncoderError: the backbone fails on images of this size, or gives something else.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: nn.Module, size: int, *, train_norms: bool = False, name: str = "", made_by: str = ""
    ) -> None:
        super().__init__()
        self.size, self.train_norms, self.made_by = size, train_norms, made_by
        self.name = name or type(backbone).__name__
        for part, default in IMAGENET.items():
            values = torch.tensor([255 * float(value) for value in getattr(backbone, part, default)])
            self.register_buffer(part, values.view(3, 1, 1), persistent=False)
        self.backbone = backbone
        self.layout = torch.channels_last if in_channels_last(backbone) else torch.contiguous_format
        self.fine_tune(False)
        self.grid, self.dim = self._layout()

    def _layout(self) -> tuple[tuple[int, int], int]:
        device = next(iter(self.parameters()), self.mean).device
        zeros = torch.zeros(1, 3, self.size, self.size, device=device)
        try:
            with torch.no_grad():
                shape = tuple(self.backbone(zeros).shape)
        except Exception as error:  # whatever a stranger's forward raises
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise EncoderError(
                f"the encoder {self.name} fails on images of {self.size} pixels ({reason}): try another "
                "encoder.size"
            ) from error
        if len(shape) == 4:
            return (shape[2], shape[3]), shape[1]
        if len(shape) != 3:
            raise EncoderError(
                f"the encoder {self.name} gives {shape} for an image: regions (1, L, D) or a map "
                "(1, D, H, W) are needed"
            )
        side = math.isqrt(shape[1])
        return ((side, side) if side * side == shape[1] else (1, shape[1])), shape[2]

    def forward(self, images: Tensor) -> Tensor:
        """Regions (B, L, D) in float32, row by row, of images (B, 3, S, S), uint8 or float in 0..255."""
        pixels = (images.to(self.mean.dtype) - self.mean) / self.std
        found = self.backbone(pixels.contiguous(memory_format=self.layout))
        regions = found.flatten(2).transpose(1, 2) if found.dim() == 4 else found
        return regions.float()  # (B, L, D)

    @property
    def digest(self) -> str:
        """16 hex digits of the SHA-256 over the weights as they are now: names, shapes and bytes."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()[:16]

    def fine_tune(self, on: bool = True) -> None:
        """Let the weights be trained, or freeze them."""
        self.requires_grad_(on)
        self.train(on)

    def train(self, mode: bool = True) -> Self:
        """As nn.Module.train; a frozen encoder stays in eval mode, and so do batch norms (`train_norms`)."""
        super().train(mode and any(weight.requires_grad for weight in self.parameters()))
        if not self.train_norms:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self


def build_encoder(
    config: Mapping[str, Any],
    size: int,
    *,
    train_norms: bool = False,
    seed: int = 0,
    with_weights: bool = True,
) -> Encoder:
    """The encoder of a configuration, frozen, on the CPU; torch's global generator stays as it is.

    Args:
        config: `_target_` and arguments of the backbone.
        size, train_norms: see `Encoder`.
        seed: of random weights.
        with_weights: False: the architecture alone, for a state dict that is loaded afterwards.

    Raises:
        UserError: the weights cannot be had or do not fit, or the backbone fails.
    """
    if not with_weights:
        none = {"pretrained": False, "weights": None}
        config = {**config, **{key: value for key, value in none.items() if key in config}}
    name = str(config.get("model") or config["_target_"].rpartition(".")[2])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Encoder(build(config), size, train_norms=train_norms, name=name, made_by=_made_by(config))


def _made_by(config: Mapping[str, Any]) -> str:
    home = str(getattr(pkgutil.resolve_name(config["_target_"]), "__module__", None))
    file = getattr(sys.modules.get(home), "__file__", None)
    is_ours = home.startswith("src.")  # whose changes PREPROCESSING counts
    code = "" if is_ours or file is None else hashlib.sha256(Path(file).read_bytes()).hexdigest()
    weights = ("pretrained", "weights")  # which `digest` knows
    return json.dumps(
        [{key: value for key, value in config.items() if key not in weights}, code], default=str
    )


def preprocess(image: Image.Image, size: int) -> Tensor:
    """An RGB image as a uint8 tensor (3, size, size), for training and for prediction alike.

    The whole image is squeezed into the square, by bilinear interpolation with antialiasing: captions
    speak of what is at the borders, which cropping would cut off.
    """
    resized = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = torch.frombuffer(bytearray(resized.tobytes()), dtype=torch.uint8)
    return pixels.view(size, size, 3).permute(2, 0, 1).contiguous()  # (H, W, 3) -> (3, H, W)


def append_positions(regions: Tensor, grid: Sequence[int]) -> Tensor:
    """Regions (B, L, D) with the sines and cosines of their places behind, (B, L, D + POSITION_DIM).

    The places are the regions' centres, from -1 to 1 in both directions (Fourier features; Vaswani et al.
    2017, section 3.5, in two dimensions).

    Args:
        regions: row by row.
        grid: rows and columns, L = rows * columns.
    """
    y, x = ((2 * torch.arange(side, device=regions.device) + 1) / side - 1 for side in grid)
    places = torch.stack(torch.meshgrid(y, x, indexing="ij"), 2).flatten(0, 1)  # (L, 2)
    angles = torch.cat([math.pi * frequency * places for frequency in FREQUENCIES], 1)  # (L, 2 * frequencies)
    features = torch.cat([angles.sin(), angles.cos()], 1).to(regions.dtype)  # (L, POSITION_DIM)
    return torch.cat([regions, features.expand(regions.shape[0], -1, -1)], 2)
