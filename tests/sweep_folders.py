"""Sweeps on disk for the tests."""

import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from src.files import write_sums
from src.run.folder import SUMMED

# The report's Table 2 in the order of its ranks: dropout, lr, training loss, validation and test accuracy.
TABLE_2 = (
    (0.5, 0.01, 0.3469, 0.9132, 0.9073),
    (0.4, 0.01, 0.3349, 0.9121, 0.9080),
    (0.2, 0.01, 0.3195, 0.9113, 0.9051),
    (0.3, 0.01, 0.3268, 0.9111, 0.9060),
    (0.6, 0.01, 0.3602, 0.9098, 0.9032),
    (0.1, 0.01, 0.3107, 0.9095, 0.9076),
    (0.8, 0.01, 0.4086, 0.9064, 0.9020),
    (0.3, 0.1, 0.2542, 0.9016, 0.8986),
    (0.5, 0.1, 0.3002, 0.8906, 0.8876),
    (0.8, 0.1, 0.4494, 0.8648, 0.8635),
    (0.3, 0.001, 0.6465, 0.8572, 0.8517),
    (0.5, 0.001, 0.6773, 0.8526, 0.8475),
    (0.8, 0.001, 0.7809, 0.8313, 0.8237),
)
HEADER = "epoch,step,train_loss,train_loss_epoch,val_loss,val_acc,seconds,images_per_second\n"


def make_run(
    sweep: Path,
    dropout: float = 0.5,
    lr: float = 0.01,
    *,
    name: str | None = None,
    epochs: int = 2,
    seed: int = 42,
    results: bool = True,
    filed: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """A run's folder; `filed` and `changes` go into results.json."""
    folder = sweep / (name or f"dropout={dropout},lr={lr}")
    folder.mkdir(parents=True)
    config = (
        f"task: classify\ndropout: {dropout}\nlr: {lr}\nepochs: 15\nseed: {seed}\ndata:\n  val_size: 10000\n"
    )
    (folder / "config.yaml").write_text(config)
    rows = (f"{e},{e * 10},{1 / e},{0.9 / e},0.3,{0.8 + e / 100},61.5,813.0\n" for e in range(1, epochs + 1))
    (folder / "metrics.csv").write_text(HEADER + "".join(rows))
    if results:
        content = {
            "status": "done",
            "cause": None,
            "task": "classify",
            "dropout": dropout,
            "lr": lr,
            "train_loss": 0.3,
            "val_acc": 0.9,
            "test_acc": 0.89,
            "test_acc_best_val": 0.895,
            "seconds": 900.25,
            "settings": {"dropout": dropout, "lr": lr, "seed": seed, "data.val_size": 10000},
        }
        (folder / "results.json").write_text(json.dumps({**content, **changes, **(filed or {})}))
        write_sums(folder, SUMMED)
    return folder


CAPTION_HEADER = (
    "epoch,step,train_loss,train_loss_epoch,val_loss,val_bleu4,val_bleu4_sentence,val_cider_d,val_rouge_l,"
    "seconds,captions_per_second\n"
)


def make_caption_run(
    sweep: Path,
    attention: bool,
    dropout: float = 0.5,
    lr: float = 0.0004,
    *,
    seed: int = 42,
    val_bleu4: float = 0.5,
    epochs: int = 6,
    results: bool = True,
    settings: Mapping[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """A caption run's folder; `settings` joins its settings, `changes` go into results.json."""
    own = {
        "decoder": "attention" if attention else "lstm",
        "dropout": dropout,
        "lr": lr,
        "epochs": 6,
        "seed": seed,
        **(settings or {}),
    }
    folder = sweep / ",".join(f"{key}={str(value).lower()}" for key, value in own.items())
    folder.mkdir(parents=True)
    config = {"task": "caption", **own}
    (folder / "config.yaml").write_text("".join(f"{k}: {json.dumps(v)}\n" for k, v in config.items()))
    rows = []
    for e in range(1, epochs + 1):
        bleu = val_bleu4 * (1 - 0.6**e)
        rows.append(f"{e},{e * 10},{3 / e + dropout},{2.5 / e},1.5,{bleu},{bleu * 0.97},1.9,0.6,12.5,700.0\n")
    (folder / "metrics.csv").write_text(CAPTION_HEADER + "".join(rows))
    if results:
        content = {
            "status": "done",
            "cause": None,
            "task": "caption",
            "dropout": dropout,
            "lr": lr,
            "decoder": own["decoder"],
            "epochs": 6,
            "seed": seed,
            "train_loss": 1.25,
            "val_bleu4": val_bleu4,
            "best_val_bleu4": val_bleu4,
            "best_epoch": 6,
            "test_bleu1": 0.8,
            "test_bleu2": 0.7,
            "test_bleu3": 0.6,
            "test_bleu4": val_bleu4 - 0.02,
            "test_bleu4_sentence": val_bleu4 - 0.05,
            "test_cider_d": 2.4,
            "test_rouge_l": 0.66,
            "test_bleu4_best_val": val_bleu4 - 0.01,
            "seconds": 75.0,
            "settings": own,
        }
        (folder / "results.json").write_text(json.dumps({**content, **changes}))
        write_sums(folder, SUMMED)
    return folder


def make_table_2(sweep: Path) -> Path:
    """The report's 13 runs."""
    rows = list(TABLE_2)
    random.Random(1).shuffle(rows)
    for dropout, lr, loss, validation, test in rows:
        make_run(sweep, dropout, lr, train_loss=loss, val_acc=validation, test_acc=test)
    return sweep
