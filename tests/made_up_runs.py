"""Runs for the tests: folders as a run leaves them, without training."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from src.classification.module import Classifier
from src.files import write_sums
from src.run.checkpoints import write_checkpoint
from src.run.folder import SUMMED
from src.sweep.comparison import REPORT, SCORES

NETWORK = {"_target_": "src.classification.networks.ConvNet", "image_size": [1, 28, 28], "classes": 10}


def _write_run(
    folder: Path,
    config: dict[str, Any],
    columns: dict[str, float],
    epochs: int,
    results: dict[str, Any] | None,
) -> Path:
    """Epochs with the same numbers each, and results.json with its checksums."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(json.dumps(config))
    rows = [("epoch", "step", *columns), *((e, 9 * e, *columns.values()) for e in range(1, epochs + 1))]
    (folder / "metrics.csv").write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    if results is not None:
        content = {"status": "done", "cause": None, "seconds": 900.25, **results}
        (folder / "results.json").write_text(json.dumps(content))
        write_sums(folder, SUMMED)
    return folder


def classifier_run(
    sweep: Path,
    dropout: float = 0.5,
    lr: float = 0.01,
    data: Path | None = None,
    *,
    name: str = "",
    seed: int = 42,
    epochs: int = 2,
    is_finished: bool = True,
    **results: Any,
) -> Path:
    """A run of the classifier; with `data`, a folder of IDX files, it has a checkpoint of drawn weights."""
    settings = {"dropout": dropout, "lr": lr, "seed": seed, "data.name": "idx" if data else "fashion_mnist"}
    source = {
        "_target_": "src.classification.datasets.idx",
        "root": str(data),
        "name": "idx",
        "val_size": 100,
    }
    config = {"task": "classify", "dropout": dropout, "lr": lr, "epochs": 15, "seed": seed, "batch_size": 8}
    config |= {f"limit_{split}": None for split in ("train", "val", "test")} | {"data": source}
    columns = {"train_loss": 0.5, "train_loss_epoch": 0.4, "val_loss": 0.4, "val_acc": 0.8, "seconds": 61.5}
    scores = {"train_loss": 0.3, "val_acc": 0.9, "test_acc": 0.89, "test_acc_best_val": 0.89}
    found = {"task": "classify", **scores, "settings": settings, **results} if is_finished else None
    folder = _write_run(sweep / (name or f"dropout={dropout},lr={lr}"), config, columns, epochs, found)
    if data:
        torch.manual_seed(0)
        module = Classifier(
            network={**NETWORK, "dropout": dropout},
            optimizer={"_target_": "torch.optim.SGD", "lr": lr},
            image_size=[1, 28, 28],
            class_names=[str(k) for k in range(10)],
        )
        content = {"hyper_parameters": dict(module.hparams), "state_dict": module.state_dict()}
        write_checkpoint(folder / "checkpoints" / "last.ckpt", content)
    return folder


def caption_run(
    sweep: Path, decoder: str = "lstm", seed: int = 42, bleu4: float = 0.5, *, name: str = "", **results: Any
) -> Path:
    """A run of the captioner with a gallery, greedy search and a second beam."""
    columns = {"train_loss": 2.0, "train_loss_epoch": 1.9, "val_loss": 2.0, "val_bleu4": bleu4}
    settings = {"decoder": decoder, "dropout": 0.5, "lr": 4e-4, "seed": seed, "beam": 1, "compare_beam": 5}
    scores = {f"test{beam}_{key}": bleu4 for beam in ("", "_beam5") for key in SCORES}
    found = {
        "task": "caption",
        "train_loss": 2.0,
        "val_bleu4": bleu4,
        **scores,
        "settings": settings,
        **results,
    }
    config = {"task": "caption", "epochs": 2, **settings}
    folder = _write_run(sweep / (name or f"decoder={decoder},seed={seed}"), config, columns, 2, found)
    Image.new("RGB", (60, 40), "green").save(folder / "gallery.png")
    return folder


def table_2_runs(sweep: Path) -> Path:
    """The report's 13 runs, in another order than that of their ranks."""
    cells = list(REPORT.items())
    random.Random(1).shuffle(cells)
    for (dropout, lr), (_, loss, validation, test) in cells:
        classifier_run(sweep, dropout, lr, train_loss=loss, val_acc=validation, test_acc=test)
    return sweep
