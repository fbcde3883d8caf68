"""Caption or label own images with a checkpoint: `python -m src.predict --help`.

The door only: it checks the command, opens the checkpoint, and hands the images to the checkpoint's trade
(`src/captioning/predict.py`, `src/classification/predict.py`).
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from src import door, stops
from src.door import say
from src.images import BrokenImage, NoImages, find_images
from src.memory import shortage
from src.paths import exists, expanded
from src.predict_command import ONLY_OF, PredictSettings, help_text, read_command
from src.sweep.ranking import console_for
from src.sweep.runs import plain
from src.trained import CheckpointError, Trained, find_checkpoint, open_checkpoint
from src.value_range import AUTO

if TYPE_CHECKING:
    from src.reading import Skipped

PAGE_IMAGES = 200
TABLE_ROWS = 50  # in the terminal
DEFAULT_OUTPUT = Path("outputs", "predictions")


class Predictor(Protocol):
    """A checkpoint that is ready for images, of either task; rows are the task's own."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the terminal's table, besides the file."""

    def rows_of(self, paths: Sequence[Path], batch_size: int) -> Iterator[list[Any]]:
        """A row for each image that can be read, `Skipped` for the others, batch by batch."""

    def cells(self, row: Any) -> tuple[str, ...]:
        """A row of the terminal's table."""

    def remarks(self, rows: Sequence[Any]) -> list[str]:
        """Sentences for the user."""

    def slim(self, row: Any) -> Any:
        """The row without what only the page needs."""

    def write(
        self, folder: Path, rows: Sequence[Any], shown: int, names: dict[Path, str], notes: Sequence[str]
    ) -> list[Path]:
        """Write all rows as data and the first ones as a page; the files' paths."""


@dataclass
class Outcome:
    """What became of the images."""

    images: int  # asked for
    rows: list[Any] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    interrupted: int = 0  # the exit status after a signal

    @property
    def status(self) -> int:
        return self.interrupted or (1 if self.skipped else 0)

    def notes(self) -> Iterator[str]:
        """How many of the images the page shows, and why not all."""
        of_all = f"of {self.images:,} image{'s' if self.images > 1 else ''}"
        if self.interrupted:
            yield f"Stopped after {len(self.rows) + len(self.skipped):,} {of_all}."
        if self.skipped:
            yield f"{len(self.skipped):,} {of_all} could not be read."


def predict(arguments: Sequence[str]) -> int:
    """Run the command; its exit status (see `--help`)."""
    settings, changed, mistakes = read_command(arguments)
    checkpoint, paths = Path(), []
    if settings.checkpoint:
        try:
            checkpoint, chosen = find_checkpoint(settings.checkpoint)
            if chosen:
                say(chosen)
        except CheckpointError as error:
            mistakes.append(str(error))
    if settings.inputs:
        try:
            paths = find_images(settings.inputs, say)
        except NoImages as error:
            mistakes.append(f"inputs: {error}")
    if mistakes:
        return refuse(mistakes)

    from src.run.device import device_mistake  # late: torch takes seconds to import

    if mistake := device_mistake(settings.accelerator):
        mistakes.append(mistake)
    try:
        trained = open_checkpoint(checkpoint)
        folder = expanded(settings.output) if settings.output else DEFAULT_OUTPUT / trained.name
        mistakes += misfits(trained, folder, changed)
        if mistakes:
            return refuse(mistakes)
        return run(settings, trained, paths, folder)
    except CheckpointError as error:
        return refuse([*mistakes, str(error)])


def misfits(trained: Trained, folder: Path, changed: Sequence[str]) -> Iterator[str]:
    """What is wrong with settings that are right by themselves."""
    nouns = {"caption": "captions", "classify": "labels"}
    for task, keys in ONLY_OF.items():
        if task != trained.task:
            yield from (
                f"{key}: is a setting of {nouns[task]}, and {trained.path} makes {nouns[trained.task]}"
                for key in keys
                if key in changed
            )
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if exists(place))
    if exists(folder / "config.yaml"):
        yield f"output={folder}: is a run's own folder, whose files would be replaced; name another one"
    elif not there.is_dir():
        yield f"output={folder}: a file is in the way; name a folder"
    elif not os.access(there, os.W_OK):  # better known before the work than after it
        yield f"output={folder}: the folder {there} cannot be written to"


def run(settings: PredictSettings, trained: Trained, paths: list[Path], folder: Path) -> int:
    """Predict, write the files, show the table; the exit status.

    Raises:
        CheckpointError: the checkpoint or its encoder cannot be used.
    """
    predictor = load(settings, trained)
    try:
        outcome = gather(predictor, paths, settings)
        if not outcome.rows and outcome.interrupted:
            say("Stopped; nothing was written.")
            return outcome.status
        if not outcome.rows:
            say("Nothing was written: no image can be read.")
            return 1
        names = names_of(paths)
        notes = [*predictor.remarks(outcome.rows), *outcome.notes()]
        page_notes = [f"Checkpoint: {trained.path}", *notes]
        if len(outcome.rows) > PAGE_IMAGES:
            page_notes.append(f"The page shows the first {PAGE_IMAGES} of {len(outcome.rows):,} images.")
        files = predictor.write(folder, outcome.rows, PAGE_IMAGES, names, page_notes)
    except BrokenImage as error:  # it was readable a moment ago
        return refuse([str(error)])
    except OSError as error:
        return refuse([f"output={folder}: cannot be written: {error.strerror or error}"])
    except (MemoryError, RuntimeError) as error:
        if shortage(error) is None:
            raise
        return refuse([f"batch_size={settings.batch_size}: does not fit the memory; take fewer"])
    show(predictor, outcome.rows, names)
    for line in (*notes, *(f"Written: {path}" for path in files)):
        say(line)
    return outcome.status


def load(settings: PredictSettings, trained: Trained) -> Predictor:
    """What the checkpoint holds, on the accelerator. Raises CheckpointError."""
    from src.run.device import device_of

    device = device_of(settings.accelerator)
    if trained.task == "classify":
        from src.classification.predict import load_labeller

        return load_labeller(
            trained, device, invert=settings.invert, value_range=settings.images.range or AUTO
        )
    from src.captioning.encoder import EncoderError
    from src.captioning.predict import load_writer

    weights = expanded(settings.encoder_weights) if settings.encoder_weights else None
    try:
        return load_writer(
            trained,
            device,
            beam=settings.beam,
            max_words=settings.max_words,
            length_penalty=settings.length_penalty,
            encoder_weights=weights,
            value_range=settings.images.range,
        )
    except EncoderError as error:
        raise CheckpointError(str(error)) from error


def gather(predictor: Predictor, paths: list[Path], settings: PredictSettings) -> Outcome:
    """All rows, with a progress bar; what cannot be read is named as it is met. Ctrl-C ends it early."""
    from tqdm import tqdm

    from src.reading import Skipped

    outcome = Outcome(len(paths))
    hidden = None if settings.progress else True  # None: shown on a terminal only
    try:
        with tqdm(total=len(paths), desc="images", unit="image", disable=hidden, leave=False) as bar:
            for rows in predictor.rows_of(paths, settings.batch_size):
                for row in rows:
                    if isinstance(row, Skipped):
                        say(f"Skipped: {row.cause}")
                        outcome.skipped.append(row)
                    else:
                        on_page = len(outcome.rows) < PAGE_IMAGES
                        outcome.rows.append(row if on_page else predictor.slim(row))
                bar.update(len(rows))
    except KeyboardInterrupt as error:
        outcome.interrupted = stops.status_of(error)
    return outcome


def names_of(paths: Sequence[Path]) -> dict[Path, str]:
    """What each image is called: its file's name, or its path where another one has the same name."""
    times = Counter(path.name for path in paths)
    repeat = max(times.values(), default=0) > 1
    return {path: str(path) if repeat else path.name for path in paths}


def show(predictor: Predictor, rows: Sequence[Any], names: dict[Path, str]) -> None:
    """Print the first rows as a table."""
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for column in ("file", *predictor.columns):
        table.add_column(column, overflow="fold", justify="right" if column.startswith("log") else "left")
    for row in rows[:TABLE_ROWS]:
        table.add_row(*(Text(cell) for cell in (plain(names[row.path]), *predictor.cells(row))))
    console = console_for(sys.stdout)
    console.print(table)
    if len(rows) > TABLE_ROWS:
        console.print(f"... and {len(rows) - TABLE_ROWS:,} more in the files.")


def refuse(mistakes: Sequence[str]) -> int:
    """Name every mistake; exit status 2."""
    return door.refuse("src.predict", "Nothing was written", mistakes)


def main() -> None:
    """The command line."""
    door.enter(predict, help_text, "Stopped; nothing was written.")


if __name__ == "__main__":
    main()
