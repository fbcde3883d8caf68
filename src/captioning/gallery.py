"""Images with their captions: a page and pictures for a person to look at, and COCO's results format.

Dimension letters: L regions, T words.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from src import figures, page
from src.captioning.attention_maps import FRAME, attention_figure, overlay, scaled, top_of_scale
from src.captioning.captioned import NamedObject
from src.captioning.metrics import score_captions, sentence_bleu4
from src.entry_point import UserError
from src.files import write_atomically
from src.images import read_rgb

if TYPE_CHECKING:
    from src.captioning.data import CaptionData
    from src.captioning.module import Captioner

IMAGE_SIDE = 300  # pixels, on the page
MAP_SIDE = 100
PAGE_IMAGES = 60  # of a run, on gallery.html; captions.json holds all
PICTURE_IMAGES, PICTURE_SIDE = 6, 500  # on gallery.png; pixels
SYNTHETIC = "Synthetic data: these images and their references are drawn by a program."


@dataclass(frozen=True, eq=False)
class GalleryItem:
    """An image with the caption written for it."""

    filename: str
    image: Image.Image  # RGB
    caption: Sequence[str]  # words, T of them
    references: Sequence[Sequence[str]] = ()
    alphas: np.ndarray | None = None  # (T, L), the attention of each word
    grid: tuple[int, int] = (1, 1)  # rows and columns, L = rows x columns
    score: float | None = None  # sentence BLEU-4
    boxes: Sequence[NamedObject] = ()

    @property
    def text(self) -> str:
        return " ".join(self.caption)


def show_captions(
    module: Captioner, data: CaptionData, folder: Path, epoch: int, gallery: Sequence[str]
) -> None:
    """Write captions.json, gallery.html, gallery.png (also to TensorBoard) and attention/ into `folder`.

    The picture's images are those that the setting `gallery` names, or evenly spaced ones: none is chosen by
    its score.

    Raises:
        UserError: `gallery` names an image that the test split does not have.
    """
    images, predicted = data.splits["test"].images, module.predictions["test"]
    captions = [predicted.captions[row] for row in range(len(images))]
    entries: list[dict[str, int | str]] = []
    namesakes = {name for name, count in Counter(image.filename for image in images).items() if count > 1}
    filenames = [str(one.path) if one.filename in namesakes else one.filename for one in images]
    for image, filename, caption in zip(images, filenames, captions, strict=True):
        names: dict[str, int | str] = {"image_id": filename}
        if image.id is not None:  # a number, which COCO's tools ask for
            names = {"image_id": image.id, "file_name": filename}
        entries.append({**names, "caption": " ".join(caption)})
    write_coco_results(folder / "captions.json", entries)
    picked = picked_rows(filenames, gallery)
    others = [row for row in range(len(images)) if row not in picked]
    known = module.hparams["encoder"]
    items = [
        GalleryItem(
            filename=filenames[row],
            image=scaled(read_rgb(images[row].path, value_range=known["value_range"]), PICTURE_SIDE),
            caption=captions[row],
            references=images[row].captions,
            alphas=predicted.alphas[row].numpy() if row in predicted.alphas else None,
            grid=(known["grid"][0], known["grid"][1]),
            score=sentence_bleu4(captions[row], images[row].captions),
            boxes=images[row].objects,
        )
        for row in [*picked, *others][: max(PAGE_IMAGES, len(picked))]
    ]
    chosen = items[: len(picked)]
    is_synthetic = any(image.objects for image in images)
    notes = [f"Run {folder.name}, epoch {epoch}, beam {module.hparams['beam']}, {len(images)} test images."]
    write_gallery(
        folder / "gallery.html",
        f"Captions of {folder.parent.name}",
        items,
        [SYNTHETIC] * is_synthetic + notes,
        score_captions(captions, [image.captions for image in images]),
    )
    title = "Captions (bold) and references" + ", synthetic data" * is_synthetic
    _save(gallery_figure(chosen, title), folder / "gallery.png")
    for logger in module.loggers:
        if isinstance(logger, TensorBoardLogger):
            with Image.open(folder / "gallery.png") as picture:
                logger.experiment.add_image("captions", np.asarray(picture), epoch, dataformats="HWC")
    for number, item in enumerate(chosen, start=1):
        if item.alphas is not None and item.caption:
            figure = attention_figure(item.image, item.caption, item.alphas, item.grid)
            # A file's name has 255 bytes at most.
            stem = Path(item.filename).stem.encode()[:200].decode(errors="ignore")
            _save(figure, folder / "attention" / f"{number}-{stem}.png")


def _save(figure: Figure, path: Path) -> None:
    # Level 1: photographs hardly shrink further, and higher levels would take most of the time.
    png = figures.rendered(figure, "png", metadata={"Software": None}, pil_kwargs={"compress_level": 1})
    write_atomically(path, png)


def picked_rows(filenames: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Rows of the wanted file names, with or without their ending; evenly spaced ones where none is wanted.

    Raises:
        UserError: there is no image of a wanted name.
    """
    if not wanted:
        count = min(PICTURE_IMAGES, len(filenames))
        return np.linspace(0, len(filenames) - 1, count).round().astype(int).tolist()
    rows = {Path(name).stem: row for row, name in enumerate(filenames)}
    rows |= {name: row for row, name in enumerate(filenames)}
    if missing := [name for name in wanted if name not in rows]:
        raise UserError(
            f"gallery={','.join(missing)}: the test split has no such image; it has {filenames[0]} to "
            f"{filenames[-1]}"
        )
    return [rows[name] for name in wanted]


def write_gallery(
    path: Path,
    title: str,
    items: Sequence[GalleryItem],
    notes: Sequence[str] = (),
    scores: Mapping[str, float] | None = None,
) -> None:
    """Write a page with all `items` that needs no other file: images lie within it.

    Args:
        path: of the HTML file, written atomically.
        title: of the page.
        items: in the order in which they are shown.
        notes: sentences below the title.
        scores: of the whole set, by name.
    """
    context = {
        "title": title,
        "cards": [_card(item) for item in items],
        "notes": notes,
        "scores": scores or {},
        "attention": any(item.alphas is not None for item in items),
        "ramp": ", ".join(to_hex(mpl.colormaps[figures.HEAT](place / 8)) for place in range(9)),
    }
    write_atomically(path, page.render("captioning/templates/gallery.html.j2", **context))


def _card(item: GalleryItem) -> dict[str, Any]:
    """What the template shows of an item."""
    maps = []
    if item.alphas is not None:
        top, small = top_of_scale(item.alphas), scaled(item.image, MAP_SIDE)
        maps = [
            (word, page.photo(overlay(small, row, item.grid, top), MAP_SIDE, quality=70))
            for word, row in zip(item.caption, item.alphas, strict=True)
        ]
    boxes = []
    for named in item.boxes:
        x0, y0, x1, y1 = (100 * side for side in named.box)
        style = f"left:{x0:.2f}%;top:{y0:.2f}%;width:{x1 - x0:.2f}%;height:{y1 - y0:.2f}%"
        boxes.append((named.name, style))
    return {"item": item, "picture": page.photo(item.image, IMAGE_SIDE), "maps": maps, "boxes": boxes}


def gallery_figure(items: Sequence[GalleryItem], title: str) -> Figure:
    """A few items, best 3 to 6, as one picture: each image with its caption above, its references below."""
    across = 3 if len(items) > 4 else max(2, len(items))
    down = max(1, -(-len(items) // across))
    side = figures.WIDTH / across  # inches
    letters = int(side * 72 / (0.6 * 8))  # a letter of 8 points is about 0.6 as wide
    captions = [figures.lines(item.text or "(no words)", int(letters * 0.87)) for item in items]  # in bold
    references = [
        [line for words in item.references for line in figures.lines("· " + " ".join(words), letters)]
        for item in items
    ]
    most = max(map(len, captions), default=0) + max(map(len, references), default=0)  # lines of text
    tallest = min(1.5, max((item.image.height / item.image.width for item in items), default=1))
    with figures.look():
        figure, grid = figures.subplots(
            down, across, height=0.6 + down * (side * tallest + (most + 1) * 8 * 1.2 / 72)
        )
        for axes in grid.flat:
            axes.set_axis_off()
        for axes, item, above, below in zip(grid.flat, items, captions, references, strict=False):
            _draw_image(axes, item)
            style: Any = {"loc": "left", "fontsize": 8, "parse_math": False}
            axes.set_title("\n".join(above), fontweight="bold", color=figures.DARK, **style)
            axes.set_xlabel("\n".join(below), color="#555555", **style)
        figures.title(figure, title)
    return figure


def _draw_image(axes: Axes, item: GalleryItem) -> None:
    """The image with its boxes."""
    image = item.image
    axes.imshow(image)
    axes.set_anchor("S")
    axes.set_axis_on()
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    for named in item.boxes:
        x0, x1 = (x * image.width - 0.5 for x in named.box[::2])
        y0, y1 = (y * image.height - 0.5 for y in named.box[1::2])
        axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=FRAME, lw=1))
        plate = {"facecolor": "black", "alpha": 0.75, "pad": 1, "linewidth": 0}
        axes.text(x0, y0, named.name, fontsize=5.5, color="white", va="top", bbox=plate, parse_math=False)


def write_coco_results(path: Path, entries: Sequence[Mapping[str, int | str]]) -> None:
    """Write captions in COCO's results format, atomically: `[{"image_id": 42, "caption": "a plane"}, ...]`."""
    write_atomically(path, "[\n" + ",\n".join(map(json.dumps, entries)) + "\n]\n")
