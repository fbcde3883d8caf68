"""The report in TensorBoard: its pictures, and its comparisons and statements as text."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from src import page
from src.report.numbers import difference, number

if TYPE_CHECKING:
    from src.report.page import Entry

EVENTS = "events.out.tfevents.*"


def write_events(folder: Path, entries: Sequence[Entry]) -> None:
    """Replace the events in `folder` by these sections'; raises OSError when it cannot be written."""
    import numpy as np
    from PIL import Image as PILImage
    from torch.utils.tensorboard import SummaryWriter

    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(EVENTS):
        old.unlink()  # or every picture would stand there once for each time the report was made
    with SummaryWriter(str(folder)) as writer, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for entry in entries:
            if words := as_markdown(entry):
                writer.add_text(f"report/{entry.key}", words)
            for shown in entry.pictures:
                with PILImage.open(io.BytesIO(shown.picture.data)) as image:
                    pixels = np.asarray(image.convert("RGB"))  # (H, W, 3)
                writer.add_image(f"report/{entry.key}/{shown.picture.name}", pixels, dataformats="HWC")


def as_markdown(entry: Entry) -> str:
    """The answer and the section's comparisons and statements; "" where there is nothing."""
    section = entry.section
    lines = [page.markdown(paragraph) + "\n" for paragraph in (entry.failure, *section.answer) if paragraph]
    if section.comparisons:
        lines += ["| | report | ours | difference |", "|---|---:|---:|---:|"]
        lines += [
            _row(
                item.what,
                number(item.report, item.digits, ""),
                number(item.ours, item.digits, ""),
                difference(item),
            )
            for item in section.comparisons
        ]
        lines.append("")
    if section.statements:
        lines += ["| statement | expected | measured | verdict |", "|---|---|---|---|"]
        lines += [
            _row(item.what, item.expected, item.measured, "holds" if item.holds else "does not hold")
            for item in section.statements
        ]
    return "\n".join(lines)


def _row(*cells: str) -> str:
    return f"| {' | '.join(page.markdown(cell) for cell in cells)} |"
