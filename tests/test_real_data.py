"""Fashion-MNIST itself, which `make test` fetches: known numbers, and that the network learns it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from src.classification.data import read_idx, train_val_split
from src.download import FILES

ROOT = Path(__file__).parents[1]
RAW = ROOT / "data" / "FashionMNIST" / "raw"
pytestmark = pytest.mark.skipif(not RAW.is_dir(), reason="no data/; `make data` fetches it")


def test_known_numbers_of_the_data_set() -> None:
    train, train_labels, test, test_labels = (read_idx(RAW / name) for name in FILES)
    assert train.shape == (60_000, 28, 28)
    assert test.shape == (10_000, 28, 28)
    assert (train / 255).mean() == pytest.approx(0.2860, abs=5e-5)
    assert (train / 255).std() == pytest.approx(0.3530, abs=5e-5)
    assert np.bincount(train_labels).tolist() == [6000] * 10
    assert np.bincount(test_labels).tolist() == [1000] * 10


def test_torchvision_reads_what_was_fetched() -> None:
    from torchvision.datasets import FashionMNIST

    ours = read_idx(RAW / "t10k-images-idx3-ubyte")
    assert np.array_equal(FashionMNIST(str(ROOT / "data"), train=False, download=False).data.numpy(), ours)


def test_split_of_the_protocol() -> None:
    train, val = train_val_split(60_000, 10_000, 42)
    assert (len(train), len(val)) == (50_000, 10_000)
    assert len(np.union1d(train, val)) == 60_000


def test_the_network_learns_real_images(tmp_path: Path) -> None:
    limits = ["limit_train=6000", "limit_val=1000", "limit_test=1000", "epochs=1", "lr=0.05", "dropout=0.1"]
    command = [sys.executable, "-m", "src.train", f"output_dir={tmp_path}", "accelerator=cpu", *limits]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=240)
    (results,) = tmp_path.glob("*/*/results.json")
    assert json.loads(results.read_text(encoding="utf-8"))["test_acc"] > 0.65
