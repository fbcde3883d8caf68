"""Images with their captions, for a person to look at: a page, a figure, and COCO's results format.

Dimension letters: L regions, T words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from src import figures, page
from src.captioning.attention_maps import FRAME, checked, overlay, top_of_scale
from src.captioning.captioned import NamedObject
from src.config.settings import AUTO
from src.files import write_atomically
from src.images import read_rgb

IMAGE_SIDE = 300  # pixels, on the page
MAP_SIDE = 100
NAMES = {
    "bleu1": "BLEU-1",
    "bleu2": "BLEU-2",
    "bleu3": "BLEU-3",
    "bleu4": "BLEU-4",
    "bleu4_sentence": "BLEU-4, mean of the images",
    "cider_d": "CIDEr-D",
    "rouge_l": "ROUGE-L",
}
SYNTHETIC = "Synthetic data: these images and their references are drawn by a program."


@dataclass(frozen=True, eq=False)
class GalleryItem:
    """An image with the caption written for it.

    Raises ValueError when words, attention and grid do not fit each other.
    """

    filename: str
    image: Image.Image | Path
    caption: Sequence[str]  # words, T of them
    references: Sequence[Sequence[str]] = ()
    alphas: np.ndarray | None = None  # (T, L), the attention of each word
    grid: tuple[int, int] | None = None  # rows and columns, L = rows x columns
    score: float | None = None  # sentence BLEU-4
    boxes: Sequence[NamedObject] = ()
    value_range: str = AUTO  # as the file is read

    def __post_init__(self) -> None:
        if self.alphas is not None:
            if self.grid is None:
                raise ValueError(f"{self.filename}: attention needs the grid of its regions")
            checked(self.alphas, self.grid, words=len(self.caption))

    def opened(self) -> Image.Image:
        """The image as RGB. Raises BrokenImage."""
        if isinstance(self.image, Path):
            return read_rgb(self.image, value_range=self.value_range)
        return self.image.convert("RGB")

    @property
    def text(self) -> str:
        return " ".join(self.caption)


def write_gallery(
    path: Path,
    title: str,
    items: Sequence[GalleryItem],
    notes: Sequence[str] = (),
    scores: Mapping[str, float] | None = None,
    *,
    synthetic: bool = False,
) -> None:
    """Write a page with all `items` that needs no other file: images lie within it.

    Args:
        path: of the HTML file, written atomically.
        title: of the page.
        items: in the order in which they are shown.
        notes: sentences below the title.
        scores: of the whole set, by `score_captions`'s keys.
        synthetic: whether the page says that the data are.
    """
    context = {
        "title": title,
        "cards": [_card(item) for item in items],
        "notes": notes,
        "scores": {NAMES.get(key, key): value for key, value in (scores or {}).items()},
        "synthetic": SYNTHETIC if synthetic else "",
        "attention": any(item.alphas is not None for item in items),
        "ramp": ", ".join(to_hex(mpl.colormaps[figures.HEAT](place / 8)) for place in range(9)),
    }
    write_atomically(path, page.render("captioning/templates/gallery.html.j2", **context))


def _card(item: GalleryItem) -> dict[str, Any]:
    """What the template shows of an item."""
    image = item.opened()
    maps = []
    if item.alphas is not None and item.grid is not None:
        top, side = top_of_scale(item.alphas), MAP_SIDE / max(image.size)
        size = (max(1, round(image.width * side)), max(1, round(image.height * side)))
        small = image.resize(size, Image.Resampling.LANCZOS)
        maps = [
            (word, page.photo(overlay(small, row, item.grid, size, top=top), MAP_SIDE, quality=70))
            for word, row in zip(item.caption, item.alphas, strict=True)
        ]
    boxes = [(named.name, _box_style(named.box)) for named in item.boxes]
    return {"item": item, "picture": page.photo(image, IMAGE_SIDE), "maps": maps, "boxes": boxes}


def _box_style(sides: tuple[float, float, float, float]) -> str:
    x0, y0, x1, y1 = (min(max(side, 0.0), 1.0) * 100 for side in sides)
    return f"left:{x0:.2f}%;top:{y0:.2f}%;width:{max(x1 - x0, 0):.2f}%;height:{max(y1 - y0, 0):.2f}%"


def gallery_figure(items: Sequence[GalleryItem], synthetic: bool = False) -> Figure:
    """A few items, best 3 to 6, as one picture: each image with its caption and references below it."""
    across = max(1, len(items) if len(items) <= 4 else 3)
    rows = [items[first : first + across] for first in range(0, len(items), across)]
    gap, head, line = 0.15, 0.45, 8 * 1.3 / 72  # inches
    column = min(2.9, (figures.WIDTH - gap * (across + 1)) / across)
    width = max(5.0, across * (column + gap) + gap)
    letters = int(column * 72 / (0.53 * 8))  # a letter of 8 points is about half as wide
    texts = {id(item): _lines_below(item, letters) for item in items}
    heights = [column + 0.12 + line * max(len(texts[id(item)]) for item in row) for row in rows]
    total = head + sum(heights) + gap * max(1, len(rows))
    with figures.look():
        figure, _ = figures.subplots(width=width, height=total)
        figure.clear()
        figure.set_layout_engine("none")
        top = total - head
        for row, height in zip(rows, heights, strict=True):
            for place, item in enumerate(row):
                left = (gap + place * (column + gap)) / width
                spot = (left, (top - column) / total, column / width, column / total)
                _draw_image(figure.add_axes(spot), item)
                for number, (text, weight, colour) in enumerate(texts[id(item)]):
                    y = (top - column - 0.1 - number * line) / total
                    style: Any = {"fontsize": 8, "fontweight": weight, "color": colour, "va": "top"}
                    figure.text(left, y, text, parse_math=False, **style)
            top -= height + gap
        figures.title(figure, "Captions (bold) and references" + (", synthetic data" if synthetic else ""))
    return figure


def _lines_below(item: GalleryItem, letters: int) -> list[tuple[str, str, str]]:
    """The lines below an image: text, font weight, colour."""
    bold = figures.lines(item.text or "(no words)", int(letters * 0.87))  # bold letters are wider
    lines = [(line, "bold", figures.DARK) for line in bold]
    for reference in item.references:
        words = figures.lines(" ".join(reference), letters - 2)
        lines += [
            ("· " * (n == 0) + "  " * (n > 0) + line, "normal", "#555555") for n, line in enumerate(words)
        ]
    return lines


def _draw_image(axes: Axes, item: GalleryItem) -> None:
    """The image, at the bottom of its square place, with its boxes."""
    image = item.opened()
    image.thumbnail((800, 800), Image.Resampling.LANCZOS)
    axes.imshow(image, interpolation="antialiased")
    axes.set_anchor("S")
    axes.set_axis_off()
    for named in item.boxes:
        x0, x1 = (x * image.width - 0.5 for x in named.box[::2])
        y0, y1 = (y * image.height - 0.5 for y in named.box[1::2])
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=FRAME, lw=1))
        plate = {"facecolor": "black", "alpha": 0.75, "pad": 1, "linewidth": 0}
        axes.text(x0, y0, named.name, fontsize=5.5, color="white", va="top", bbox=plate, parse_math=False)


def write_coco_results(
    path: Path, captions: Sequence[tuple[int | str, str]], filenames: Sequence[str] | None = None
) -> None:
    """Write captions in COCO's results format: `[{"image_id": 42, "caption": "a plane"}, ...]`.

    Args:
        path: of the JSON file, written atomically.
        captions: pairs of the image's id, or its file name where it has none, and its caption.
        filenames: of the images, kept as `file_name`, which readers of the format pass over.
    """
    entries: list[dict[str, Any]] = [{"image_id": image, "caption": caption} for image, caption in captions]
    for entry, filename in zip(entries, filenames or (), strict=False):
        entry["file_name"] = filename
    write_atomically(path, "[\n" + ",\n".join(map(json.dumps, entries)) + "\n]\n")
