"""A page that needs no other file: images, each with a bar for every class that it may show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from src import page
from src.files import write_atomically
from src.images import read_rgb
from src.value_range import AUTO

IMAGE_SIDE = 300  # pixels

SEEN_SIDE = 96

_STYLE = """
main { grid-template-columns: repeat(auto-fill, minmax(min(100%, 13rem), 1fr)); }
.about { display: flex; justify-content: space-between; align-items: center; gap: .5rem; margin-top: .4rem; }
.about .file { margin: 0; min-width: 0; }
.seen { flex: none; width: 3rem; }
.seen img { display: block; width: 100%; height: auto; image-rendering: pixelated; border-radius: .2rem;
  border: 1px solid var(--line); }
.bars { margin: .5rem 0 0; padding: 0; list-style: none; }
.bars li { display: grid; grid-template-columns: 1fr auto; margin: .35rem 0; font-size: .9rem;
  color: var(--quiet); }
.bars li:first-child { color: var(--ink); font-weight: 600; }
.bars i { grid-column: 1 / -1; height: .45rem; border-radius: .2rem; background: var(--line);
  overflow: hidden; }
.bars i b { display: block; height: 100%; background: var(--mark); }
"""


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
    parts = [page.head(title).replace("</style>", f"{_STYLE}</style>")]
    parts += [f"<header>\n<h1>{page.text(title)}</h1>\n", *(f"<p>{page.text(note)}</p>\n" for note in notes)]
    parts.append("</header>\n<main>\n")
    parts += [_article(item) for item in items]
    parts.append("</main>\n</body>\n</html>\n")
    write_atomically(path, "".join(parts))


def _article(item: LabelledImage) -> str:
    best = item.bars[0].text
    bars = [
        f"{page.text(bar.text)}<span>{bar.probability:.1%}</span>"
        f'<i><b style="width:{bar.probability:.2%}"></b></i>'
        for bar in item.bars
    ]
    image = read_rgb(item.path, value_range=item.value_range)
    picture = page.picture(image, IMAGE_SIDE, f"{item.filename}: {best}")
    seen = ""
    if item.seen is not None:
        factor = max(1, SEEN_SIDE // max(item.seen.size))
        size = (factor * item.seen.width, factor * item.seen.height)
        large = item.seen.resize(size, Image.Resampling.NEAREST)
        seen = f'<div class="seen">{page.picture(large, SEEN_SIDE, "as the classifier saw it")}</div>'
    return (
        f'<article>\n<div class="picture">{picture}</div>\n'
        f'<div class="about"><p class="file">{page.text(item.filename)}</p>{seen}</div>\n'
        f"{page.listed('bars', bars)}</article>\n"
    )
