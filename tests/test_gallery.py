"""Pages and pictures of captions: what they hold, and where attention is drawn."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from src.captioning.attention_maps import PANEL, attention_figure, overlay, top_of_scale
from src.captioning.captioned import CaptionedImage, NamedObject
from src.captioning.gallery import GalleryItem, gallery_figure, show_captions, write_gallery
from src.captioning.module import Predictions
from tests.pages import Page

NASTY = "<script>alert('x')</script> & \"q\"\x00\ud800.jpg"


def images_of(page: Page) -> list[Image.Image]:
    """The images that lie within a page."""
    sources = [str(attributes["src"]) for tag, attributes in page.tags if tag == "img"]
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    return [Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))) for source in sources]


def picture(width: int = 640, height: int = 480, grey: int = 128) -> Image.Image:
    return Image.new("RGB", (width, height), (grey, grey, grey))


def peaked(grid: tuple[int, int], *cells: tuple[int, int]) -> np.ndarray:
    """A row for each of `cells` (row, column): three quarters of the attention there, the rest even."""
    rows, columns = grid
    alphas = np.full((len(cells), rows * columns), 0.25 / (rows * columns - 1))
    for row, cell in zip(alphas, cells, strict=True):
        row[cell[0] * columns + cell[1]] = 0.75
    return alphas


def items() -> list[GalleryItem]:
    grid = (2, 3)
    named = NamedObject(("<i>court",), (0.1, 0.2, 0.5, 1.2))
    return [
        GalleryItem(NASTY, picture(), ("a", "<b>", "plane"), (("one", "&amp;"), ("two",)), score=0.25),
        GalleryItem("b.png", picture(300, 900), ("a", "road"), (), peaked(grid, (0, 1), (1, 2)), grid),
        GalleryItem("c.png", picture(20, 20), (), (("nothing",),), boxes=(named,)),
    ]


def test_the_page_is_whole_and_escaped(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    write_gallery(path, "A & B <c>", items(), ("note <1>",), {"bleu4": 0.5, "x<y": 1.25})
    page = Page(path.read_text("utf-8"))
    assert [tag for tag, _ in page.tags if tag in ("script", "b", "link", "iframe", "a")] == ["b"]  # a box's
    assert {"A & B <c>", "note <1>", "bleu4", "0.5000", "x<y", "1.2500"} <= set(page.texts)
    assert {"a <b> plane", "one &amp;", "two", "a road", "(no words)", "<i>court", "road"} <= set(page.texts)
    shown = NASTY.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    assert f"{shown} · sentence BLEU-4 0.2500" in page.texts
    assert ("img", shown + ": a <b> plane") in [(tag, found.get("alt")) for tag, found in page.tags]


def test_namesakes_are_told_apart_and_the_longest_names_drawn(tmp_path: Path) -> None:
    paths = [tmp_path / folder / f"{'x' * 251}.png" for folder in ("a", "b")]
    for path in paths:
        path.parent.mkdir()
        picture(40, 30).save(path)
    images = [CaptionedImage(path.name, path, "test", (("a", "road"),)) for path in paths]
    predicted = Predictions(dict.fromkeys((0, 1), ("road",)), dict.fromkeys((0, 1), torch.full((1, 4), 0.25)))
    known = {"encoder": {"grid": [2, 2], "value_range": "auto"}, "beam": 1}
    module: Any = SimpleNamespace(predictions={"test": predicted}, hparams=known, loggers=[])
    data: Any = SimpleNamespace(splits={"test": SimpleNamespace(images=images)})
    show_captions(module, data, tmp_path / "run", 1, [])
    entries = json.loads((tmp_path / "run" / "captions.json").read_text())
    assert [entry["image_id"] for entry in entries] == list(map(str, paths))
    assert len(list((tmp_path / "run" / "attention").iterdir())) == 2


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    one = GalleryItem("grey.png", picture(50, 40), ("grey",))
    write_gallery(tmp_path / "page.html", "Title", [*items(), one])
    text = (tmp_path / "page.html").read_text("utf-8")
    page = Page(text)
    # The second item has a map for each of its two words; images shrink, but never grow.
    sizes = [image.size for image in images_of(page)]
    assert sizes == [(300, 225), (100, 300), (33, 100), (33, 100), (20, 20), (50, 40)]
    bare = re.sub(r'src="data:[^"]*"', "", text)
    assert not any(words in bare for words in ("http:", "https:", "//", "url(", "@import", "srcset"))
    policy = next(found["content"] for _, found in page.tags if found.get("http-equiv"))
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def test_a_page_of_sixty_images_is_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(1)
    many = []
    for number in range(60):
        rough = Image.fromarray(noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)).resize((500, 500))
        alphas = noise.dirichlet(np.ones(64), 12)
        many.append(GalleryItem(f"{number}.tif", rough, ["word"] * 12, [["word"] * 12] * 5, alphas, (8, 8)))
    write_gallery(tmp_path / "page.html", "Many", many)
    assert (tmp_path / "page.html").stat().st_size < 5e6


def test_more_attention_is_never_darker_and_the_frame_is_at_the_peak() -> None:
    ramp = np.linspace(0, 1, 16)
    light = np.asarray(overlay(picture(320, 40), ramp, (1, 16), 1.0, frame=False).convert("L"), dtype=int)
    assert (np.diff(light[20]) >= -1).all()  # up to rounding
    assert light[20, -1] > light[20, 0] + 100
    (alphas,) = peaked((4, 5), (2, 1))
    plain, framed = (
        np.asarray(overlay(picture(100, 80), alphas, (4, 5), 0.75, frame=frame), dtype=int)
        for frame in (False, True)
    )
    ys, xs, _ = np.nonzero(plain != framed)
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (40, 59, 20, 39)
    assert overlay(picture(100, 2), alphas, (4, 5), 0.75).size == (100, 2)  # regions of half a pixel


def test_attention_that_looks_everywhere_is_not_drawn_bright() -> None:
    even = np.full((3, 64), 1 / 64)
    assert top_of_scale(even) == pytest.approx(4 / 64)
    assert top_of_scale(peaked((8, 8), (1, 1))) == 0.75
    faint = np.asarray(overlay(picture(64, 64), even[0], (8, 8), 4 / 64, frame=False).convert("L"))
    assert faint.max() < 140


@pytest.mark.parametrize("words", [1, 6, 21])
def test_a_panel_a_word(words: int) -> None:
    cells = [(n % 4, n % 5) for n in range(words)]
    texts = [f"word${n}$" for n in range(words)]  # no formulas
    figure = attention_figure(picture(), texts, peaked((4, 5), *cells), (4, 5))
    figure.canvas.draw()
    (sheet,), titles = figure.axes[0].images, figure.axes[0].texts
    assert [title.get_text() for title in titles] == ["the image", *texts]
    light = np.asarray(Image.fromarray(np.asarray(sheet.get_array())).convert("L"), dtype=int)
    width, height = PANEL, PANEL * 3 // 4
    for title, (row, column) in zip(titles[1:], cells, strict=True):
        left, top = (
            round(side) for side in (title.get_position()[0] - width / 2, title.get_position()[1] + 6)
        )
        y, x = np.unravel_index(light[top : top + height, left : left + width].argmax(), (height, width))
        assert (y * 4 // height, x * 5 // width) == (row, column)
    # Nothing lies upon another, and nothing is cut off.
    drawn = [title.get_window_extent() for title in titles]
    assert not any(one.overlaps(other) for n, one in enumerate(drawn) for other in drawn[:n])
    page, whole = figure.bbox, figure.axes[0].get_tightbbox()
    assert whole is not None
    assert page.x0 <= whole.x0 < whole.x1 <= page.x1
    assert page.y0 <= whole.y0 < whole.y1 <= page.y1


@pytest.mark.parametrize("count", [0, 1, 4, 6])
def test_the_figure_of_a_gallery(count: int) -> None:
    long = ["a", "$long$", *["residential"] * 20]
    texts = [*items(), GalleryItem("d", picture(900, 300), long, [long] * 5)] * 2
    figure = gallery_figure(texts[:count], "Captions")
    figure.canvas.draw()
    page = figure.bbox
    boxes = [axes.get_tightbbox() for axes in figure.axes if axes.images]
    assert len(boxes) == count
    for number, box in enumerate(boxes):
        assert box is not None
        assert page.x0 <= box.x0 < box.x1 <= page.x1
        assert page.y0 <= box.y0 < box.y1 <= page.y1
        assert not any(box.overlaps(other) for other in boxes[:number] if other is not None)
