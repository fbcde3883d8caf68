"""What `growth.py` measures: for each subject and size, the work and how to clear up after it.

What only one subject needs is imported there: a process measures one point, and imports take its time.

Dimension letters: B batch, L regions, T steps, V vocabulary, D feature.
"""

from __future__ import annotations

import csv
import io
import json
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

import src  # noqa: F401  first: lets torchvision load beside a CPU-only torch
from src.bench.captions import PacedDecoder
from src.captioning.decoders import AttentionDecoder
from src.captioning.search import decode
from src.classification.networks import ConvNet

Work = tuple[Callable[[], object], Callable[[], object]]  # the work, and what clears up after it
BATCH, STEPS, REGIONS, FEATURE, VOCABULARY = 32, 20, 49, 512, 190


def runs(size: int) -> Work:
    """Ranking and plots of a sweep of `size` made-up runs of 15 epochs."""
    from rich.console import Console

    from src.sweep.ranking import report

    place = tempfile.TemporaryDirectory()
    drawn = random.Random(0)
    for number in range(size):
        dropout, lr = 0.1 * (number // 3 % 8 + 1), (0.1, 0.01, 0.001)[number % 3]
        _write_run(Path(place.name), round(dropout, 1), lr, 42 + number // 24, drawn)
    return lambda: report(Path(place.name), Console(file=io.StringIO())), place.cleanup


def _write_run(sweep: Path, dropout: float, lr: float, seed: int, drawn: random.Random) -> None:
    """A finished run's text files, which are all that ranking reads."""
    from src.classification.task import COLUMNS

    folder = sweep / f"dropout={dropout},lr={lr},seed={seed}"
    folder.mkdir()
    settings = {"task": "classify", "dropout": dropout, "lr": lr, "epochs": 15, "seed": seed}
    (folder / "config.yaml").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
    rows = [
        {**dict.fromkeys(COLUMNS, 1.0), "epoch": epoch, "val_acc": 0.9 - 0.3 / epoch - 0.02 * drawn.random()}
        for epoch in range(1, 16)
    ]
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    numbers = {"train_loss": 0.4, "val_acc": rows[-1]["val_acc"], "test_acc": 0.88, "seconds": 400.0}
    results = {"status": "done", "cause": None, **settings, **numbers, "settings": settings}
    (folder / "results.json").write_text(json.dumps(results))


def batch(size: int) -> Work:
    """A training step of the classifier."""
    network = ConvNet(0.3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, fused=True)
    images, labels = torch.rand(size, 1, 28, 28), torch.randint(0, 10, (size,))

    def step() -> None:
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step, _nothing


def images(size: int) -> Work:
    """A whole run of the classifier on `size` training images: one epoch at batch 256, test, files."""
    from hydra import compose, initialize_config_dir

    import src.train
    from src.config import register
    from src.download import FILES
    from src.job import run_job
    from src.plan import plan_of

    place = tempfile.TemporaryDirectory()
    root, drawn = Path(place.name) / "data", np.random.default_rng(0)
    root.mkdir()
    for name, count in zip(FILES, (size + 100, size + 100, 100, 100), strict=True):
        shape = (count, 28, 28) if "images" in name else (count,)
        values = drawn.integers(0, 256 if "images" in name else 10, shape, dtype=np.uint8)
        header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
        (root / name).write_bytes(header + values.tobytes())
    words = {"data": "idx", "data.root": root, "data.val_size": 100, "epochs": 1, "batch_size": 256}
    words |= {"accelerator": "cpu", "output_dir": place.name, "force": "true", "progress": "false"}
    words |= {"threads": torch.get_num_threads()}
    register()
    with initialize_config_dir(version_base="1.3", config_dir=str(src.train.ROOT / "conf")):
        asked = [f"{key}={value}" for key, value in words.items()]
        plan = plan_of(compose("train", overrides=asked, return_hydra_config=True))

    def run() -> None:
        results = run_job(plan.cfg, plan.run, lambda _: None, show_bar=False)
        assert results["status"] == "done", results["cause"]

    return run, place.cleanup


def captioned(size: int) -> Work:
    """Opening `size` captioned images whose features are stored, and a pass over the pairs."""
    from src.bench.captioned import caption_data, write_captioned

    place = tempfile.TemporaryDirectory()
    root = Path(place.name)
    write_captioned(root / "set", size)

    def opened() -> None:
        with caption_data(root / "set", root / "features") as data:
            for pairs in data.train_dataloader():
                pairs.seen.sum()

    opened()  # stores the features
    return opened, place.cleanup


def scored(size: int) -> Work:
    """All scores of `size` captions of about 11 words, 5 references each."""
    from src.captioning.metrics import score_captions

    drawn = random.Random(0)
    words = [f"w{number}" for number in range(300)]

    def caption() -> list[str]:
        return drawn.choices(words, k=drawn.randint(8, 14))

    candidates = [caption() for _ in range(size)]
    references = [[caption() for _ in range(5)] for _ in range(size)]
    return lambda: score_captions(candidates, references), _nothing


def training(
    *, vocabulary: int = VOCABULARY, regions: int = REGIONS, steps: int = STEPS, size: int = BATCH
) -> Work:
    """A training step of the captioner with attention."""
    decoder = AttentionDecoder(vocabulary, FEATURE)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=4e-4, fused=True)
    seen = torch.rand(size, regions, FEATURE)  # (B, L, D)
    tokens, targets = torch.randint(vocabulary, (2, size, steps))

    def step() -> None:
        loss = F.cross_entropy(decoder(seen, tokens)[0].flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step, _nothing


def decoding(*, vocabulary: int = VOCABULARY, regions: int = REGIONS, words: int = 12) -> Work:
    """Captions of `words` words for a batch of images, beam 5."""
    decoder = PacedDecoder(vocabulary, FEATURE).eval()
    seen = torch.rand(BATCH, regions, FEATURE)
    seen[:, :, 0] = words / 10
    seen = seen.half()
    return lambda: decode(decoder, seen, beam=5, max_steps=words + 1), _nothing


def _nothing() -> None:
    pass


WORK: dict[str, Callable[[int], Work]] = {
    "runs": runs,
    "batch": batch,
    "images": images,
    "captioned": captioned,
    "scored": scored,
    "vocabulary": lambda size: training(vocabulary=size),
    "vocabulary-decoding": lambda size: decoding(vocabulary=size),
    "regions": lambda size: training(regions=size),
    "regions-decoding": lambda size: decoding(regions=size),
    "length": lambda size: training(steps=size),
    "length-decoding": lambda size: decoding(words=size),
}
