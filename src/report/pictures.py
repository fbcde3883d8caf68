"""Pictures as bytes for the page: small, and smaller still where all together would be too much."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image as PILImage

from src.figures import DPI, rendered

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDEST = 1600  # pixels; twice a page's text width, for sharp screens
SMALLEST = 640  # pixels; what shrinking leaves of a wider picture, so that its texts can be read
PLAIN_PNG = 150_000  # bytes; up to here a PNG of many colours stays one
QUALITY, LOW_QUALITY = 88, 72


@dataclass(frozen=True)
class Encoded:
    """A picture as the page holds it."""

    name: str
    data: bytes
    kind: str  # image/png or image/jpeg
    width: int  # pixels, of the data
    height: int
    shown_width: int  # pixels of the page's layout
    source: PILImage.Image

    @property
    def size(self) -> int:
        """Bytes on the page: base64 takes four for three."""
        return (len(self.data) + 2) // 3 * 4

    @property
    def uri(self) -> str:
        return f"data:{self.kind};base64,{base64.b64encode(self.data).decode('ascii')}"

    @property
    def shown_height(self) -> int:
        return max(1, round(self.height * self.shown_width / self.width))


def drawn(figure: Figure, title: str) -> PILImage.Image:
    """The figure's pixels, without its own title where the page says the same in words."""
    hidden = [text for text in figure.texts if _same(text.get_text(), title)]
    before = [(text.get_visible(), text.get_in_layout()) for text in hidden]
    try:
        for text in hidden:
            text.set_visible(False)
            text.set_in_layout(False)
        # Tight: without its title a figure's layout may push labels beyond the edge.
        data = rendered(figure, "png", dpi=DPI, facecolor="white", bbox_inches="tight", pad_inches=0.08)
    finally:
        for text, (visible, in_layout) in zip(hidden, before, strict=True):
            text.set_visible(visible)
            text.set_in_layout(in_layout)
    return PILImage.open(io.BytesIO(data)).convert("RGB")


def _same(shown: str, title: str) -> bool:
    """Line breaks, unbreakable spaces and a full stop do not count."""
    return " ".join(shown.split()).rstrip(".") == " ".join(title.split()).rstrip(".")


def encoded(name: str, image: PILImage.Image, shown_width: int | None = None) -> Encoded:
    """PNG for drawings, JPEG for pictures of many colours that it makes much smaller.

    Args:
        shown_width: in the page's pixels; None for the image's own.
    """
    image = _opaque(image)
    shown = shown_width or image.width
    if image.width > WIDEST:
        image = image.resize((WIDEST, _scaled(image, WIDEST)), PILImage.Resampling.LANCZOS)
    data, kind = _png(image), "image/png"
    if len(data) > PLAIN_PNG and len(other := _jpeg(image, QUALITY)) < 0.6 * len(data):
        data, kind = other, "image/jpeg"
    return Encoded(name, data, kind, *image.size, min(shown, image.width), image)


def fitted(pictures: Sequence[Encoded], budget: int) -> list[Encoded]:
    """The pictures, the largest ones made smaller until all take at most `budget` bytes on the page.

    Where even that is not enough, the smallest there is: the caller compares `size`.
    """
    found = list(pictures)
    stuck: set[int] = set()
    while sum(item.size for item in found) > budget and len(stuck) < len(found):
        index = max((i for i in range(len(found)) if i not in stuck), key=lambda i: found[i].size)
        smaller = _smaller(found[index])
        if smaller is None:
            stuck.add(index)
        else:
            found[index] = smaller
    return found


def _smaller(item: Encoded) -> Encoded | None:
    """First the coarser code, then fewer pixels; None at the end."""
    tries = []
    if item.width == item.source.width:
        tries.append(item.source)
    if item.width > SMALLEST:
        width = max(SMALLEST, round(item.width * 0.8))
        tries.append(item.source.resize((width, _scaled(item.source, width)), PILImage.Resampling.LANCZOS))
    for image in tries:
        palette = _png(image.quantize(256, dither=PILImage.Dither.NONE))
        for data, kind in sorted(
            ((palette, "image/png"), (_jpeg(image, LOW_QUALITY), "image/jpeg")), key=lambda pair: len(pair[0])
        ):
            if len(data) < 0.95 * len(item.data):
                return Encoded(item.name, data, kind, *image.size, item.shown_width, item.source)
    return None


def _opaque(image: PILImage.Image) -> PILImage.Image:
    """On white, as paper is."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        ground = PILImage.new("RGBA", image.size, "white")
        image = PILImage.alpha_composite(ground, image)
    return image.convert("RGB")


def _scaled(image: PILImage.Image, width: int) -> int:
    return max(1, round(image.height * width / image.width))


def _png(image: PILImage.Image) -> bytes:
    """Of at most 256 colours as a palette, which loses nothing."""
    if image.mode == "RGB" and image.getcolors(256) is not None:
        image = image.quantize(256, dither=PILImage.Dither.NONE)
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=image.mode == "P")  # slow where there is most to do and least to gain
    return buffer.getvalue()


def _jpeg(image: PILImage.Image, quality: int) -> bytes:
    """Colours at full resolution: thin coloured lines would blur otherwise.

    Not `optimize`: Pillow gives it a buffer that is too small for what compresses badly.
    """
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=0)
    return buffer.getvalue()
