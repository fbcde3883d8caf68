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


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with batch norm beside a shortcut (He et al. 2016, arXiv:1512.03385).

    Args:
        inputs, outputs: channels.
        stride: of the first convolution, and of the shortcut's 1x1 convolution.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            projection = nn.Conv2d(inputs, outputs, 1, stride, bias=False)
            self.shortcut = nn.Sequential(projection, nn.BatchNorm2d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H / stride, W / stride)."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ResNetSmall(nn.Sequential):
    """A residual network for small images: three stages of two blocks, global average pooling.

    696,042 parameters at one channel, width 32, 10 classes.

    Args:
        dropout: probability that dropout zeroes a feature before the last layer.
        image_size: (C, H, W) of an image.
        classes: K.
        width: channels of the first stage; each later stage has twice as many, at half the resolution.
    """

    def __init__(
        self, dropout: float, image_size: tuple[int, int, int], classes: int, width: int = 32
    ) -> None:
        super().__init__(
            nn.Conv2d(image_size[0], width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            ResidualBlock(width, width),
            ResidualBlock(width, width),
            ResidualBlock(width, 2 * width, stride=2),
            ResidualBlock(2 * width, 2 * width),
            ResidualBlock(2 * width, 4 * width, stride=2),
            ResidualBlock(4 * width, 4 * width),
            nn.AdaptiveAvgPool2d(1),
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
