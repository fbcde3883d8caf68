"""The report's classifier written plainly, in PyTorch and in Lightning with its defaults.

`python -m src.bench.baselines plain|lightning IMAGES EPOCHS` prints seconds an image after the first epoch.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from statistics import fmean

import src  # noqa: F401  first: lets torchvision load beside a CPU-only torch

import lightning as L  # isort: skip
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from src.classification.datasets import fashion_mnist
from src.run.environment import cores

BATCH, LR = 8, 0.01
Times = dict[str, list[float]]  # seconds of every epoch: "train" of its training part, "epoch" of all of it


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


def plain(train: DataLoader, val: DataLoader, epochs: int) -> Times:
    """A plain training loop, as the course's script has it."""
    net = plain_net()
    optimizer = torch.optim.SGD(net.parameters(), lr=LR)
    times: Times = {"train": [], "epoch": []}
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
        times["train"].append(time.perf_counter() - began)
        net.eval()
        with torch.no_grad():
            sum(int((net(x).argmax(1) == y).sum()) for x, y in val)
        times["epoch"].append(time.perf_counter() - began)
    return times


class PlainModule(L.LightningModule):
    """The training part with Lightning's automatic optimization and a logged loss."""

    def __init__(self) -> None:
        super().__init__()
        self.net = plain_net()
        self.times: Times = {"train": []}

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        loss = F.nll_loss(self.net(batch[0]), batch[1])
        self.log("train_loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=LR)

    def on_train_epoch_start(self) -> None:
        self.began = time.perf_counter()

    def on_train_epoch_end(self) -> None:
        self.times["train"].append(time.perf_counter() - self.began)


def default_lightning(train: DataLoader, val: DataLoader, epochs: int) -> Times:
    """Lightning as it comes: progress bar, logger and checkpoints on; it does not validate."""
    module = PlainModule()
    with tempfile.TemporaryDirectory() as folder:
        L.Trainer(max_epochs=epochs, accelerator="cpu", default_root_dir=folder).fit(module, train)
    return module.times


if __name__ == "__main__":
    images, epochs = map(int, sys.argv[2:])
    torch.set_num_threads(cores())
    found = {"plain": plain, "lightning": default_lightning}[sys.argv[1]](*loaders(images), epochs)
    print("\n" + json.dumps({part: fmean(seconds[1:]) / images for part, seconds in found.items()}))
