"""The classifier that ships with the repository: what it is, and that `checkpoint=best` uses it."""

import hashlib
from pathlib import Path

import torch
from PIL import Image

from src.classification.data import ImageArrays
from src.classification.datasets import fashion_mnist
from src.run.trained import MODELS, load_trained
from tests.command_line import ROOT, run

BEST = MODELS / "best"
RIGHT = 953  # of the first 1,000 test images


def test_the_shipped_classifier_labels_test_images_as_its_card_says(tmp_path: Path) -> None:
    for line in (BEST / "SHA256SUMS").read_text().splitlines():
        digest, name = line.split()
        assert hashlib.sha256((BEST / name).read_bytes()).hexdigest() == digest
    arrays: ImageArrays = fashion_mnist(str(ROOT / "data"))
    images, labels = (
        arrays.test_images[:1000].copy(),
        torch.from_numpy(arrays.test_labels[:1000].astype("int64")),
    )
    with torch.inference_mode():
        predicted = load_trained("best").module(torch.from_numpy(images)[:, None]).argmax(1)
    right = int((predicted == labels).sum())
    assert abs(right - RIGHT) <= 1  # another processor rounds differently
    for number in range(3):
        Image.fromarray(images[number]).save(tmp_path / f"{number}.png")
    ended = run("predict", "checkpoint=best", str(tmp_path), f"output={tmp_path / 'out'}")
    assert ended.status == 0, ended.err
    for number in predicted[:3].tolist():
        assert arrays.class_names[number] in ended.out
