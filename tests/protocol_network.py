"""The protocol's network, word by word: ReLU before pooling, log-softmax at the end."""

import torch
from torch import Tensor, nn


class ProtocolNetwork(nn.Sequential):
    """Gives log-probabilities (B, 10) of images (B, 1, 28, 28), for the negative log-likelihood."""

    def __init__(self, dropout: float) -> None:
        super().__init__(
            nn.Conv2d(1, 16, kernel_size=3, stride=1, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2, stride=2),
            nn.Conv2d(16, 32, kernel_size=3, stride=1, padding=0),
            nn.ReLU(),
            nn.MaxPool2d(2, stride=2),
            nn.Flatten(),
            nn.Linear(1152, 600),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(600, 120),
            nn.ReLU(),
            nn.Linear(120, 10),
            nn.LogSoftmax(dim=1),
        )

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input)

    def take_weights_of(self, network: nn.Module) -> None:
        """Copy the weights of a network whose layers stand in the same order."""
        with torch.no_grad():
            for mine, other in zip(self.parameters(), network.parameters(), strict=True):
                mine.copy_(other)
