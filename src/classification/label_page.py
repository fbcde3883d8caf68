"""A page that needs no other file: images, each with a bar for every class that it may show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from src import page
from src.files import write_atomically
from src.images import read_rgb
from src.value_range import AUTO

IMAGE_SIDE = 300  # pixels

SEEN_SIDE = 96


@dataclass(frozen=True)
class Bar:
    """A class by its words, and its probability."""

    text: str
    probability: float


@dataclass(frozen=True)
class LabelledImage:
    """An image file, what the classifier saw of it, and its bars, the longest first."""

    filename: str
    path: Path
    seen: Image.Image | None
    bars: Sequence[Bar]
    value_range: str = AUTO  # as the file is read


def write_page(path: Path, title: str, items: Sequence[LabelledImage], notes: Sequence[str] = ()) -> None:
    """Write the page, atomically.

    Raises:
        BrokenImage: an item's file cannot be read as an image.
        OSError: the page cannot be written.
    """
    context = {"title": title, "notes": notes, "cards": [_card(item) for item in items], "ramp": "none"}
    write_atomically(path, page.render("classification/templates/labels.html.j2", **context))


def _card(item: LabelledImage) -> dict[str, Any]:
    seen = None
    if item.seen is not None:
        factor = max(1, SEEN_SIDE // max(item.seen.size))
        size = (factor * item.seen.width, factor * item.seen.height)
        seen = page.photo(item.seen.resize(size, Image.Resampling.NEAREST), SEEN_SIDE)
    picture = page.photo(read_rgb(item.path), IMAGE_SIDE)
    return {"picture": picture, "filename": item.filename, "bars": item.bars, "seen": seen}
