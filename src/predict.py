"""Caption or label own images with a checkpoint: `python -m src.predict checkpoint=RUN photos/`."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from src.config.image_range import fixed_range
from src.config.settings import ACCELERATORS, setting
from src.entry_point import InvalidCommand, UserError, entry_point, printable

if TYPE_CHECKING:
    from src.predictions import Prediction, Predictor
    from src.run.trained import Trained

TABLE_ROWS = 50  # in the terminal
CAPTIONS_ONLY = ("beam", "max_words", "length_penalty", "encoder_weights")
logger = logging.getLogger("src.predict")  # __name__ may be __main__


@dataclass
class PredictImages:
    """How image files are read (`images.*`)."""

    range: str | None = setting(
        "values that become black and white in grey of more than 8 bits: auto, full, or MIN,MAX (null: as in "
        "training)",
        default=None,
        check=fixed_range,
    )


@dataclass
class PredictSettings:
    """Settings of `python -m src.predict`."""

    checkpoint: str = setting("a checkpoint, or a run's or a sweep's folder")
    inputs: list[str] = setting("image files and folders; words without = are inputs, too")
    output: str | None = setting("folder for the results (null: outputs/predictions/SWEEP/RUN)", default=None)
    trust: list[str] = setting("packages whose classes the checkpoint may name", default=[])
    batch_size: int = setting("images in memory at once", default=16, at_least=1, at_most=65536)
    accelerator: str = setting(
        "where to compute; auto takes a GPU if there is one", default="auto", choices=ACCELERATORS
    )
    progress: bool = setting("show a progress bar on a terminal", default=True)
    fast: bool = setting("use fast paths where they apply", default=True)
    images: PredictImages = field(default_factory=PredictImages)
    invert: bool = setting("turn dark on light into light on dark", group="labels", default=False)
    beam: int | None = setting(
        "beams; 1 is greedy (null: as in training)", group="captions", default=None, at_least=1, at_most=50
    )
    max_words: int | None = setting(
        "longest caption, its end included", group="captions", default=None, at_least=1, at_most=200
    )
    length_penalty: float | None = setting(
        "beams are compared by score / length ** length_penalty",
        group="captions",
        default=None,
        at_least=0,
        at_most=5,
    )
    encoder_weights: str | None = setting(
        "file with a frozen encoder's weights (null: where they lay in training)",
        group="captions",
        default=None,
    )


@entry_point("predict", PredictSettings, positional="inputs")
def main(cfg: DictConfig) -> int:
    """Caption or label images: a table, a data file and a page.

    Exit status: 0; 1 if an image could not be read or nothing was written; 2 after errors in the command; 130
    after Ctrl-C, which writes what is done.
    """
    from src.images import find_images
    from src.predictions import predict_all
    from src.run.environment import device_error
    from src.run.trained import find_checkpoint, load_trained

    errors, paths, checkpoint = [device_error(cfg.accelerator)], [], ""
    try:
        checkpoint = str(find_checkpoint(cfg.checkpoint))
    except UserError as error:
        errors.append(f"checkpoint: {error}")
    try:
        paths = find_images(cfg.inputs)
    except UserError as error:
        errors.append(f"inputs: {error}")
    if found := [error for error in errors if error]:
        raise InvalidCommand(found)
    trained = load_trained(checkpoint, cfg.trust)
    folder = Path(cfg.output).expanduser() if cfg.output else Path("outputs", "predictions") / trained.name
    if (folder / "config.yaml").exists():
        raise InvalidCommand([f"output={folder}: is a run's own folder; name another one"])
    predictor = load_predictor(cfg, trained)
    folder.mkdir(parents=True, exist_ok=True)  # better known before the work than after it
    outcome = predict_all(predictor, paths, cfg.batch_size, cfg.progress)
    if not outcome.rows:
        logger.error("Nothing was written: no image was read.")
        return outcome.interrupted or 1
    notes = [*predictor.notes(), *outcome.notes(len(paths))]
    files = predictor.write(folder, outcome.rows, [f"Checkpoint: {trained.path}", *notes])
    show(predictor.columns, outcome.rows)
    for line in (*notes, *(f"File: {path}" for path in files)):
        logger.info(line)
    return outcome.interrupted or int(outcome.broken > 0)


def show(columns: Sequence[str], rows: Sequence[Prediction]) -> None:
    """Print the first rows as a table."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns[: len(rows[0].cells)], box=box.SIMPLE_HEAD, pad_edge=False)
    for row in rows[:TABLE_ROWS]:
        table.add_row(*(Text(printable(cell), overflow="fold") for cell in row.cells))
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    console.print(table)
    if (more := len(rows) - TABLE_ROWS) > 0:
        console.print(f"... and {more:,} more in the files.")


def load_predictor(cfg: DictConfig, trained: Trained) -> Predictor:
    """The predictor of a checkpoint's task, on the accelerator.

    Raises InvalidCommand for a setting of the other task, UserError for an encoder that cannot be had.
    """
    from src.run.environment import device_of

    is_captioner = trained.task == "caption"
    foreign = ("invert",) if is_captioner else CAPTIONS_ONLY
    if given := [name for name in foreign if cfg[name] not in (None, False)]:
        lacking = f"task={trained.task} of {trained.path} has no such setting"
        raise InvalidCommand([f"{name}: {lacking}" for name in given])
    device = device_of(cfg.accelerator)
    if is_captioner:
        from src.captioning.predict import CaptionPredictor

        settings = {name: cfg[name] for name in CAPTIONS_ONLY}
        return CaptionPredictor(trained, device, cfg.images.range, fast=cfg.fast, **settings)
    from src.classification.predict import LabelPredictor

    return LabelPredictor(trained, device, cfg.images.range, invert=cfg.invert)


if __name__ == "__main__":
    main()
