"""The report's classifier as a plain PyTorch loop.

`python -m src.bench.baselines IMAGES EPOCHS` prints seconds an image after the first epoch.
"""

from __future__ import annotations

import sys
import time
from statistics import fmean

import src  # noqa: F401  first: lets torchvision load beside a CPU-only torch

import torch  # isort: skip
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from src.classification.datasets import fashion_mnist
from src.run.environment import cores

BATCH, LR = 8, 0.01


def plain_net(dropout: float = 0.3) -> nn.Module:
    """The report's network, letter by letter: log-probabilities (B, 10) of images (B, 1, 28, 28)."""
    convolutions = (nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3))
    layers = [layer for conv in convolutions for layer in (conv, nn.ReLU(), nn.MaxPool2d(2))]
    dense = (nn.Linear(1152, 600), nn.ReLU(), nn.Dropout(dropout), nn.Linear(600, 120), nn.ReLU())
    return nn.Sequential(*layers, nn.Flatten(), *dense, nn.Linear(120, 10), nn.LogSoftmax(1))


def loaders(images: int) -> tuple[DataLoader, DataLoader]:
    """Training images and a fifth as many validation images, through default DataLoaders."""
    arrays, count = fashion_mnist(), images + images // 5
    x = torch.from_numpy(arrays.train_images[:count].copy()).float().unsqueeze(1) / 256
    y = torch.from_numpy(arrays.train_labels[:count].astype("int64"))
    train, val = TensorDataset(x[:images], y[:images]), TensorDataset(x[images:], y[images:])
    return DataLoader(train, batch_size=BATCH, shuffle=True), DataLoader(val, batch_size=1000)


def plain(train: DataLoader, val: DataLoader, epochs: int) -> list[float]:
    """A training loop as the course's script has it; seconds of each epoch."""
    net = plain_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    times = []
    for _ in range(epochs):
        began = time.perf_counter()
        net.train()
        losses = []
        for x, y in train:
            loss = F.nll_loss(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        net.eval()
        with torch.no_grad():
            sum(int((net(x).argmax(1) == y).sum()) for x, y in val)
        times.append(time.perf_counter() - began)
    return times


if __name__ == "__main__":
    images, epochs = map(int, sys.argv[1:])
    torch.set_num_threads(cores())
    print(fmean(plain(*loaders(images), epochs)[1:]) / images)
