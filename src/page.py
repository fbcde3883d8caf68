"""HTML pages: one jinja2 environment; templates are named by their path below `src/`."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

# Control characters, lone surrogates, and characters that turn the text around.
ODD = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a\u202b\u202d\u202e\u2066\u2067]")
PLAIN_PNG = 150_000  # bytes; up to here a drawing of many colours stays a PNG


@cache
def environment() -> Environment:
    """The environment of all pages, with autoescape."""
    return Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else clean(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
    )


def render(template: str, **context: Any) -> str:
    """A page from the template at this path below `src/`."""
    return environment().get_template(template).render(context)


def clean(text: str) -> str:
    """`text` on one line, without control characters, lone surrogates and changes of direction."""
    return ODD.sub("\N{REPLACEMENT CHARACTER}", re.sub(r"\s", " ", text))


@dataclass(frozen=True)
class Embedded:
    """A picture as a page holds it: a data URI and its size in pixels."""

    uri: str
    width: int
    height: int

    def tag(self, alt: str) -> Markup:
        """An `<img>`."""
        text = '<img src="{}" width="{}" height="{}" alt="{}">'
        return Markup(text).format(self.uri, self.width, self.height, clean(alt))


def photo(image: Image.Image, side: int, quality: int = 78) -> Embedded:
    """An image as JPEG, shrunk to at most `side` pixels."""
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _embedded(small, "jpeg", _encoded(small, "jpeg", quality=quality, optimize=True))


def drawing(image: Image.Image, widest: int = 1600) -> Embedded:
    """A figure as PNG, or as JPEG where it is of many colours and becomes much smaller."""
    image = image.convert("RGB")
    image.thumbnail((widest, 4 * widest), Image.Resampling.LANCZOS)
    few = image.getcolors(256) is not None
    png = _encoded(image.quantize(256, dither=Image.Dither.NONE) if few else image, "png")
    jpeg = _encoded(image, "jpeg", quality=88, subsampling=0)
    if len(png) > PLAIN_PNG and len(jpeg) < 0.6 * len(png):
        return _embedded(image, "jpeg", jpeg)
    return _embedded(image, "png", png)


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _embedded(image: Image.Image, kind: str, data: bytes) -> Embedded:
    return Embedded(f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}", *image.size)
