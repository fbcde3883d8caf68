"""Finished runs for the tests of the report: files as a run leaves them, without training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from src.classification.module import Classifier
from src.files import write_sums
from src.run.checkpoints import write_checkpoint

NETWORK = {"_target_": "src.classification.networks.ConvNet", "image_size": [1, 28, 28], "classes": 10}
CAPTION_SCORES = ("bleu1", "bleu2", "bleu3", "bleu4", "bleu4_sentence", "cider_d", "rouge_l")


def _write_run(folder: Path, config: str, columns: dict[str, float], results: dict[str, Any]) -> Path:
    """A folder of two epochs with results.json and its checksums."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(config)
    rows = [["epoch", "step", *columns], *([str(e), str(9 * e), *map(str, columns.values())] for e in (1, 2))]
    (folder / "metrics.csv").write_text("".join(",".join(row) + "\n" for row in rows))
    (folder / "results.json").write_text(json.dumps({"status": "done", "seconds": 9.5, **results}))
    write_sums(folder, ("config.yaml", "metrics.csv", "results.json"))
    return folder


def classifier_run(
    sweep: Path, dropout: float, lr: float, data: Path | None = None, name: str = "", **results: Any
) -> Path:
    """A run of the classifier; with `data`, a folder of IDX files, it has a checkpoint of drawn weights."""
    limits = "\n".join(f"limit_{split}: null" for split in ("train", "val", "test"))
    source = f"{{_target_: src.classification.datasets.idx, root: {data}, name: idx, val_size: 100}}"
    config = f"task: classify\ndropout: {dropout}\nlr: {lr}\nepochs: 2\nseed: 42\nbatch_size: 8\n{limits}\n"
    columns = {"train_loss": 0.5, "train_loss_epoch": 0.4, "val_loss": 0.4, "val_acc": 0.8}
    settings = {"dropout": dropout, "lr": lr, "seed": 42, "data.name": "idx" if data else "fashion_mnist"}
    numbers = {
        "task": "classify",
        "train_loss": 0.3,
        "val_acc": 0.9,
        "test_acc": 0.89,
        "test_acc_best_val": 0.89,
    }
    folder = sweep / (name or f"dropout={dropout},lr={lr}")
    _write_run(folder, f"{config}data: {source}\n", columns, {"settings": settings, **numbers, **results})
    if data:
        torch.manual_seed(0)
        network = {**NETWORK, "dropout": dropout}
        names = [str(k) for k in range(10)]
        optimizer = {"_target_": "torch.optim.SGD", "lr": lr}
        module = Classifier(
            network=network, optimizer=optimizer, image_size=[1, 28, 28], class_names=names
        ).eval()
        content = {"hyper_parameters": dict(module.hparams), "state_dict": module.state_dict()}
        write_checkpoint(folder / "checkpoints" / "last.ckpt", content)
    return folder


def caption_run(sweep: Path, decoder: str, seed: int, bleu4: float, name: str = "", **results: Any) -> Path:
    """A run of the captioner with a gallery, greedy search and a second beam."""
    columns = {"train_loss": 2.0, "train_loss_epoch": 1.9, "val_loss": 2.0, "val_bleu4": bleu4}
    settings = {"decoder": decoder, "dropout": 0.5, "lr": 4e-4, "seed": seed, "beam": 1, "compare_beam": 5}
    scores = {f"test{beam}_{key}": bleu4 for beam in ("", "_beam5") for key in CAPTION_SCORES}
    config = f"task: caption\ndropout: 0.5\nlr: 0.0004\nepochs: 2\nseed: {seed}\n"
    numbers = {"task": "caption", "train_loss": 2.0, "val_bleu4": bleu4, **scores, **results}
    folder = sweep / (name or f"decoder={decoder},seed={seed}")
    _write_run(folder, config, columns, {"settings": settings, **numbers})
    Image.new("RGB", (60, 40), "green").save(folder / "gallery.png")
    return folder
