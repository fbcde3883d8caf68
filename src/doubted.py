"""Test labels that several classifiers doubt alike, as a picture: `python -m src.doubted outputs/best_small`.

Where networks of different seeds agree on another class, the label or the picture is to blame more often than they are:
what no classifier will get right bounds the accuracy that a data set allows (Northcutt, Athalye and Mueller 2021,
arXiv:2103.14749).
"""

from __future__ import annotations

import csv
import io
import logging
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from omegaconf import DictConfig

from src.config.settings import setting
from src.entry_point import UserError, entry_point

logger = logging.getLogger("src.doubted")  # __name__ may be __main__


@dataclass
class DoubtedSettings:
    """Settings of `python -m src.doubted`."""

    folder: str = setting("the folder that holds the runs: classifiers of one data set")
    output: str = setting("folder for the picture and the list", default="outputs/doubted")
    trust: list[str] = setting("packages whose classes the checkpoints may name", default=[])


@entry_point("doubted", DoubtedSettings, positional="folder")
def main(cfg: DictConfig) -> None:
    """Show the test images to which all runs of a sweep give one other class than their label, the surest first."""
    import torch

    from src import figures
    from src.classification.misclassifications import class_probabilities, errors_figure, misclassifications
    from src.classification.task import data_of_run
    from src.files import write_atomically
    from src.run.trained import load_trained
    from src.sweep.runs import read_runs

    runs = [run for run in read_runs(Path(cfg.folder).expanduser()) if run.status == "done"]
    if len(runs) < 2 or runs[0].task.name != "classify":
        raise UserError(f"folder={cfg.folder}: at least two finished classifiers are needed")
    data = data_of_run(runs[0].folder, cfg.trust)
    images, labels, rows = data.splits["test"]
    images, labels, names = images[rows], labels[rows], data.class_names
    modules = [load_trained(str(run.folder), cfg.trust).module for run in runs]
    probabilities = torch.stack([class_probabilities(module, images) for module in modules])  # (runs, N, K)
    predicted = probabilities.argmax(2)
    agreed = (predicted == predicted[0]).all(0)
    found = misclassifications(probabilities.mean(0), labels)
    doubted = replace(found, errors=found.errors[agreed[found.errors]])
    right = int((agreed & (predicted[0] == labels)).sum())
    logger.info(
        "%s test images: all %s runs right on %s, all wrong alike on %s",
        *(f"{len(labels):,}", len(runs), f"{right:,}", f"{len(doubted.errors):,}"),
    )
    entries = [
        (
            int(rows[i]),
            names[int(labels[i])],
            names[int(predicted[0, i])],
            f"{found.probabilities[i].max():.4f}",
        )
        for i in doubted.errors.tolist()
    ]
    for (label, other), count in Counter(entry[1:3] for entry in entries).most_common(8):
        logger.info("%5s  labelled %s, all say %s", f"{count:,}", label, other)
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [("image", "label", "predicted", "probability"), *entries]
    )
    target = Path(cfg.output).expanduser() / "doubted"
    write_atomically(target.with_suffix(".csv"), text.getvalue())
    figure = errors_figure(doubted, images, names, "Test labels that all runs doubt, the surest first")
    for path in (target.with_suffix(".csv"), *figures.save(figure, target)):
        logger.info("File: %s", path)


if __name__ == "__main__":
    main()
