"""The report's convolutional network, as a plain nn.Module.

Dimension letters: B batch, C channels, H height, W width, K classes.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class ConvNet(nn.Module):
    """Two convolutions and three dense layers (protocol, section 4).

    conv 1->16, 3x3, padding 1; ReLU; max-pool 2 -> conv 16->32, 3x3; ReLU; max-pool 2
    -> linear 600; ReLU; dropout -> linear 120; ReLU -> linear K. 769,930 parameters at 28x28 and K = 10.

    Args:
        dropout: probability that dropout zeroes a unit of the first dense layer.
        image_size: (C, H, W) of an image; H and W at least 8.
        classes: K.

    Raises:
        ValueError: the image is too small for two convolutions and two poolings.
    """

    def __init__(
        self, dropout: float, image_size: tuple[int, int, int] = (1, 28, 28), classes: int = 10
    ) -> None:
        super().__init__()
        self.arguments = (dropout, image_size, classes)  # of another one, which sgd.py builds
        channels, height, width = image_size
        if min(height, width) < 8:
            raise ValueError(f"images of {height}x{width} are too small for this network: at least 8x8")
        self.conv1 = nn.Conv2d(channels, 16, kernel_size=3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, kernel_size=3)
        pooled = [(side // 2 - 2) // 2 for side in (height, width)]
        self.dense1 = nn.Linear(32 * pooled[0] * pooled[1], 600)
        self.dense2 = nn.Linear(600, 120)
        self.dense3 = nn.Linear(120, classes)
        self.dropout = nn.Dropout(dropout)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores (B, K), before the softmax, of images (B, C, H, W)."""
        # ReLU after pooling gives the same numbers as before it (both keep order) on a quarter of the values.
        x = F.relu(F.max_pool2d(self.conv1(images), 2))  # (B, 16, H/2, W/2)
        x = F.relu(F.max_pool2d(self.conv2(x), 2))  # (B, 32, 6, 6) at 28x28
        x = x.flatten(1)  # (B, 32*6*6)
        x = self.dropout(F.relu(self.dense1(x)))  # (B, 600)
        x = F.relu(self.dense2(x))  # (B, 120)
        return self.dense3(x)  # (B, K)


def convolution(inputs: int, outputs: int, pool: bool = False) -> nn.Sequential:
    """A 3x3 convolution, a 2x2 max-pooling if asked for, batch norm, ReLU."""
    pooling = [nn.MaxPool2d(2)] if pool else []
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), *pooling]
    return nn.Sequential(*layers, nn.BatchNorm2d(outputs), nn.ReLU())


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside the identity (He et al. 2016, arXiv:1512.03385), each with batch norm and ReLU.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(convolution(width, width), convolution(width, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, width, H, W) -> the same."""
        return x + self.layers(x)


class ResNetSmall(nn.Sequential):
    """A residual network for small images that trains in minutes on a CPU; 759,018 parameters at one channel, width 32.

    After the network of D. Page's "How to train your ResNet" (2018,
    https://myrtle.ai/learn/how-to-train-your-resnet-4-architecture/): most work is done at a half and a quarter of the
    resolution, with many channels; global max pooling.

    Args:
        dropout: probability that dropout zeroes a feature before the last layer.
        image_size: (C, H, W) of an image; H and W at least 4.
        classes: K.
        width: channels of the first layer; the two stages have twice and four times as many.
    """

    def __init__(
        self, dropout: float, image_size: tuple[int, int, int], classes: int, width: int = 32
    ) -> None:
        super().__init__(
            convolution(image_size[0], width),
            convolution(width, 2 * width, pool=True),
            ResidualBlock(2 * width),
            convolution(2 * width, 4 * width, pool=True),
            ResidualBlock(4 * width),
            ResidualBlock(4 * width),
            nn.AdaptiveMaxPool2d(1),
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(4 * width, classes),
        )


def timm_network(
    model: str, dropout: float, image_size: tuple[int, int, int], classes: int, pretrained: bool = False
) -> nn.Module:
    """A classifier of timm by its name, e.g. `resnet18` (https://huggingface.co/docs/timm).

    Raises:
        RuntimeError: timm has no model of this name.
    """
    import timm

    return timm.create_model(
        model, pretrained=pretrained, in_chans=image_size[0], num_classes=classes, drop_rate=dropout
    )
