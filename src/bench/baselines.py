"""What we compare with: the protocol written plainly, in PyTorch and in Lightning with its defaults.

    python -m src.bench.baselines plain|lightning IMAGES THREADS

prints one JSON object with the mean seconds of an epoch; the first one warms up and does not count.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import fmean

import lightning as L
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from src.classification.data import read_idx, train_val_split

BATCH = 8
EPOCHS = 4
Loaders = tuple[DataLoader, DataLoader]


class PlainNet(nn.Module):
    """The protocol's network, letter by letter."""

    def __init__(self, dropout: float = 0.3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3)
        self.fc1 = nn.Linear(1152, 600)
        self.fc2 = nn.Linear(600, 120)
        self.fc3 = nn.Linear(120, 10)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Log-probabilities (B, 10) of images (B, 1, 28, 28)."""
        x = F.max_pool2d(F.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x)), 2)
        x = x.view(-1, 1152)  # (B, 32, 6, 6) -> (B, 1152)
        x = self.dropout(F.relu(self.fc1(x)))
        x = F.relu(self.fc2(x))
        return F.log_softmax(self.fc3(x), dim=1)


def loaders(images: int) -> Loaders:
    """Training images and a fifth as many validation images, through default DataLoaders."""
    folder = Path("data") / "FashionMNIST" / "raw"
    pixels, labels = (read_idx(folder / f"train-{name}-ubyte") for name in ("images-idx3", "labels-idx1"))
    train, val = train_val_split(len(labels), 10_000, 42)
    parts = []
    for chosen in (train[:images], val[: images // 5]):
        x = torch.from_numpy(pixels[chosen]).float().unsqueeze(1) / 256
        parts.append(TensorDataset(x, torch.from_numpy(labels[chosen].astype(np.int64))))
    return DataLoader(parts[0], batch_size=BATCH, shuffle=True), DataLoader(parts[1], batch_size=1000)


def plain(images: int) -> dict[str, float]:
    """A plain training loop, as the course's script has it."""
    train, val = loaders(images)
    net = PlainNet()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)
    train_s, epoch_s = [], []
    for _ in range(EPOCHS):
        began = time.perf_counter()
        net.train()
        losses = []
        for x, y in train:
            loss = F.nll_loss(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        trained = time.perf_counter()
        net.eval()
        with torch.no_grad():
            correct = sum(int((net(x).argmax(1) == y).sum()) for x, y in val)
        train_s.append(trained - began)
        epoch_s.append(time.perf_counter() - began)
    return {"train_s": fmean(train_s[1:]), "epoch_s": fmean(epoch_s[1:]), "correct": correct}


class PlainModule(L.LightningModule):
    """The same with Lightning's automatic optimization and a logged loss."""

    def __init__(self) -> None:
        super().__init__()
        self.net = PlainNet()
        self.began = 0.0
        self.train_s: list[float] = []
        self.epoch_s: list[float] = []

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        x, y = batch
        loss = F.nll_loss(self.net(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        x, y = batch
        self.log("val_acc", (self.net(x).argmax(1) == y).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)

    def on_train_epoch_start(self) -> None:
        self.began = time.perf_counter()

    def on_validation_start(self) -> None:
        self.train_s.append(time.perf_counter() - self.began)

    def on_train_epoch_end(self) -> None:
        self.epoch_s.append(time.perf_counter() - self.began)


def default_lightning(images: int) -> dict[str, float]:
    """Lightning as it comes: progress bar, logger and checkpoints on."""
    train, val = loaders(images)
    module = PlainModule()
    with tempfile.TemporaryDirectory() as folder:
        trainer = L.Trainer(max_epochs=EPOCHS, accelerator="cpu", default_root_dir=folder)
        trainer.fit(module, train, val)
    # the first validation of all is Lightning's sanity check
    return {"train_s": fmean(module.train_s[-(EPOCHS - 1) :]), "epoch_s": fmean(module.epoch_s[1:])}


if __name__ == "__main__":
    which, size, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    torch.manual_seed(42)
    found = {"plain": plain, "lightning": default_lightning}[which](size)
    print("\n" + json.dumps(found))
