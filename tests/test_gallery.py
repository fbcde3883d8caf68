"""Pages and pictures of captions: what they hold, and where attention is drawn."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from src.captioning.attention_maps import attention_figure, overlay, top_of_scale, upsampled
from src.captioning.captioned import NamedObject
from src.captioning.gallery import (
    SYNTHETIC,
    GalleryItem,
    gallery_figure,
    write_coco_results,
    write_gallery,
)
from src.captioning.show import map_names
from src.images import BrokenImage

NASTY = "<script>alert('x')</script> & \"q\"\x00\ud800.jpg"
VOID = {"meta", "img"}


class Page(HTMLParser):
    """Reads a page, and refuses tags that are not closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style" and data.strip():
            self.texts.append(data.strip())

    @property
    def images(self) -> list[Image.Image]:
        sources = [str(attributes["src"]) for tag, attributes in self.tags if tag == "img"]
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
    write_gallery(path, "A & B <c>", items(), ("note <1>",), {"bleu4": 0.5, "x<y": 1.25}, synthetic=True)
    page = Page(path)
    assert [tag for tag, _ in page.tags if tag in ("script", "b", "link", "iframe", "a")] == ["b"]  # a box's
    assert {"A & B <c>", SYNTHETIC, "note <1>", "BLEU-4", "0.5000", "x<y", "1.2500"} <= set(page.texts)
    assert {"a <b> plane", "one &amp;", "two", "a road", "no words", "<i>court", "road"} <= set(page.texts)
    shown = NASTY.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    assert f"{shown} · sentence BLEU-4 0.2500" in page.texts
    assert ("img", shown + ": a <b> plane") in [(tag, found.get("alt")) for tag, found in page.tags]


def test_the_page_needs_nothing_else(tmp_path: Path) -> None:
    Image.new("L", (50, 40)).save(tmp_path / "grey.png")
    one = GalleryItem("grey.png", tmp_path / "grey.png", ("grey",))
    write_gallery(tmp_path / "page.html", "Title", [*items(), one])
    page = Page(tmp_path / "page.html")
    # The second item has a map for each of its two words; images shrink, but never grow.
    sizes = [image.size for image in page.images]
    assert sizes == [(300, 225), (100, 300), (33, 100), (33, 100), (20, 20), (50, 40)]
    text = (tmp_path / "page.html").read_text()
    bare = re.sub(r'src="data:[^"]*"', "", text)
    assert not any(
        words in bare for words in ("http:", "https:", "//", "url(", "@import", "srcset", SYNTHETIC)
    )
    policy = next(found["content"] for _, found in page.tags if found.get("http-equiv"))
    assert policy == "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    with pytest.raises(BrokenImage, match=r"missing\.png"):
        write_gallery(tmp_path / "page.html", "T", [GalleryItem("x", tmp_path / "missing.png", ("a",))])
    assert (tmp_path / "page.html").read_text() == text  # the page before stands


def test_a_page_of_sixty_images_is_small(tmp_path: Path) -> None:
    noise = np.random.default_rng(1)
    many = []
    for number in range(60):
        rough = Image.fromarray(noise.integers(0, 256, (32, 32, 3), dtype=np.uint8)).resize((500, 500))
        alphas = noise.dirichlet(np.ones(64), 12)
        many.append(GalleryItem(f"{number}.tif", rough, ["word"] * 12, [["word"] * 12] * 5, alphas, (8, 8)))
    write_gallery(tmp_path / "page.html", "Many", many)
    assert (tmp_path / "page.html").stat().st_size < 5e6


@settings(max_examples=25, deadline=None)
@given(data=st.data(), rows=st.integers(1, 9), columns=st.integers(1, 9))
def test_light_falls_where_the_attention_is(data: st.DataObject, rows: int, columns: int) -> None:
    if rows * columns == 1:
        return
    row, column = data.draw(st.integers(0, rows - 1)), data.draw(st.integers(0, columns - 1))
    (alphas,) = peaked((rows, columns), (row, column))
    size = (columns * 20, rows * 12)  # not square, so that swapped axes show
    smooth = upsampled(alphas, (rows, columns), size)
    assert smooth.shape == (rows * 12, columns * 20)
    assert smooth[row * 12 + 6, column * 20 + 10] > 0.9 * alphas.max()
    assert alphas.min() <= smooth.min() < smooth.max() <= alphas.max() + 1e-6
    seen = overlay(picture(*size), alphas, (rows, columns), size, frame=False)
    y, x = np.unravel_index(np.asarray(seen.convert("L"), dtype=int).argmax(), smooth.shape)
    assert (y // 12, x // 20) == (row, column)


def test_more_attention_is_never_darker_and_the_frame_is_at_the_peak() -> None:
    ramp = np.linspace(0, 1, 16)
    light = np.asarray(overlay(picture(), ramp, (1, 16), (320, 40), frame=False).convert("L"), dtype=int)
    assert (np.diff(light[20]) >= -1).all()  # up to rounding
    assert light[20, -1] > light[20, 0] + 100
    (alphas,) = peaked((4, 5), (2, 1))
    plain, framed = (
        np.asarray(overlay(picture(), alphas, (4, 5), (100, 80), frame=frame), dtype=int)
        for frame in (False, True)
    )
    ys, xs, _ = np.nonzero(plain != framed)
    assert (ys.min(), ys.max(), xs.min(), xs.max()) == (40, 59, 20, 39)


def test_attention_that_looks_everywhere_is_not_drawn_bright() -> None:
    even = np.full((3, 64), 1 / 64)
    assert top_of_scale(even) == pytest.approx(4 / 64)
    assert top_of_scale(peaked((8, 8), (1, 1))) == 0.75
    faint = np.asarray(overlay(picture(), even[0], (8, 8), (64, 64), top=4 / 64, frame=False).convert("L"))
    assert faint.max() < 140


@pytest.mark.parametrize("words", [1, 6, 21])
def test_a_panel_a_word(words: int) -> None:
    cells = [(n % 4, n % 5) for n in range(words)]
    texts = [f"word${n}$" for n in range(words)]  # no formulas
    figure = attention_figure(picture(), texts, peaked((4, 5), *cells), (4, 5))
    figure.canvas.draw()
    panels = figure.axes[0].images
    titles = figure.axes[0].texts
    assert [title.get_text() for title in titles] == ["the image", *texts]
    for panel, (row, column) in zip(panels[1:], cells, strict=True):
        light = np.asarray(Image.fromarray(np.asarray(panel.get_array())).convert("L"), dtype=int)
        y, x = np.unravel_index(light.argmax(), light.shape)
        assert (y * 4 // light.shape[0], x * 5 // light.shape[1]) == (row, column)
    # Nothing lies upon another, and no title is cut off.
    drawn = [item.get_window_extent() for item in (*panels, *titles)]
    page = figure.bbox
    assert all(page.x0 <= box.x0 and box.x1 <= page.x1 and box.y1 <= page.y1 for box in drawn)
    assert not any(one.overlaps(other) for n, one in enumerate(drawn) for other in drawn[:n])


def test_attention_that_does_not_fit_is_refused() -> None:
    alphas = peaked((4, 5), (0, 0), (1, 1))
    for texts, grid in ((["one"], (4, 5)), (["one", "two"], (4, 4))):
        with pytest.raises(ValueError, match=r"attention of shape \(2, 20\) does not fit"):
            attention_figure(picture(), texts, alphas, grid)
        with pytest.raises(ValueError, match="does not fit"):
            GalleryItem("a.png", picture(), texts, alphas=alphas, grid=grid)
    with pytest.raises(ValueError, match=r"a\.png: attention needs the grid"):
        GalleryItem("a.png", picture(), ["one", "two"], alphas=alphas)


@pytest.mark.parametrize("count", [0, 1, 4, 6])
def test_the_figure_of_a_gallery(count: int) -> None:
    long = ["a", "$long$", *["residential"] * 20]
    texts = [*items(), GalleryItem("d", picture(900, 300), long, [long] * 5)] * 2
    figure = gallery_figure(texts[:count], synthetic=True)
    figure.canvas.draw()
    assert len(figure.axes) == count
    assert "synthetic" in figure.get_suptitle()
    page = figure.bbox
    for text in figure.texts:
        box = text.get_window_extent()
        assert page.x0 <= box.x0 < box.x1 <= page.x1
        assert page.y0 <= box.y0 < box.y1 <= page.y1
        for axes in figure.axes:
            assert not box.overlaps(axes.get_window_extent())


def test_coco_reads_the_results(tmp_path: Path) -> None:
    path = tmp_path / "captions.json"
    write_coco_results(path, [(42, "a plane"), ('b "é".jpg', "two roads")])
    entries = [{"image_id": 42, "caption": "a plane"}, {"image_id": 'b "é".jpg', "caption": "two roads"}]
    assert json.loads(path.read_text()) == entries
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO()
        known.dataset = {"images": [{"id": 42}, {"id": 'b "é".jpg'}], "annotations": []}
        known.createIndex()
        found = known.loadRes(str(path))
    assert [entry["caption"] for entry in found.imgToAnns[42]] == ["a plane"]
    write_coco_results(path, [])
    assert json.loads(path.read_text()) == []


def test_two_images_of_one_name_have_an_attention_picture_each() -> None:
    names = map_names(["a/1.png", "b/1.png", "c/2.png", "3.jpg", "3.png"])
    assert names == {
        "a/1.png": "a-1-png",
        "b/1.png": "b-1-png",
        "c/2.png": "2",
        "3.jpg": "3-jpg",
        "3.png": "3-png",
    }
