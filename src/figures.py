"""One look for all figures: sizes, colours that colour-blind readers can tell apart, and how they are saved.

Figures are drawn inside `with look():`, without pyplot, so without a global list of open figures.
"""

import io
import logging
import re
import textwrap
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib import font_manager
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from src.files import write_atomically

WIDTH = 8.0  # inches, a page's text width
DPI = 150  # pixels an inch, for PNG

# Okabe and Ito's palette, without its yellow, which is too pale for a line on white.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
HEAT = "inferno"  # from black, so that light can be added to an image; its lightness rises evenly
SEQUENTIAL = "viridis"  # for ordered values; its lightness rises evenly
DARK, PALE = "#222222", "#EEEEEE"
_FILLER = "\N{WORD JOINER}"
# For letters that DejaVu Sans lacks, those of them that are installed.
_FALLBACKS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "WenQuanYi Zen Hei", "Microsoft YaHei", "Hiragino Sans GB"),
    *("Noto Sans", "Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai"),
)
_STYLE = Path(__file__).with_suffix(".mplstyle")
_reported: set[str] = set()  # letters: every figure of a sweep would say the same
logger = logging.getLogger(__name__)


@contextmanager
def look() -> Iterator[None]:
    """Draw in the project's style inside this block; what was set before holds again after it."""
    installed = set(font_manager.get_font_names())
    # DejaVu Sans comes with matplotlib, so figures look alike on every machine.
    families = ["DejaVu Sans", *(name for name in _FALLBACKS if name in installed)]
    added: Any = {"axes.prop_cycle": cycler(color=PALETTE), "font.family": families, "savefig.dpi": DPI}
    with mpl.rc_context(added, _STYLE):
        yield


def subplots(
    rows: int = 1, columns: int = 1, width: float = WIDTH, height: float = 4.0, **options: Any
) -> tuple[Figure, np.ndarray]:
    """A new figure of `width` x `height` inches and its (rows, columns) array of Axes; see `Figure.subplots`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def title(figure: Figure, text: str) -> None:
    """Set the figure's title, at the left and broken into lines that fit its width."""
    letters = max(20, int(10 * figure.get_size_inches()[0]))
    figure.suptitle(wrapped(text, letters), x=0.01, horizontalalignment="left", fontweight="bold")


def wrapped(text: str, letters: int) -> str:
    """The `lines` of a text as one text."""
    return "\n".join(lines(text, letters))


def lines(text: str, letters: int) -> list[str]:
    """`text` in lines of at most `letters` (Chinese ones take two); a number stays with the word before."""
    bound = re.sub(r" (?=\d)", "\N{NO-BREAK SPACE}", text)  # "lr 0.1" stays on one line
    wide = "".join(sign + _FILLER * (unicodedata.east_asian_width(sign) in "WF") for sign in bound)
    return [line.replace(_FILLER, "") for line in textwrap.wrap(wide, max(letters, 2))]


def epoch_axis(axes: Axes, last: int) -> None:
    """Name the x axis and give it whole epochs, from 1 to `last`."""
    axes.set_xlabel("Epoch")
    axes.set_xlim(0.5, max(last, 1) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))


def ink_on(colour: tuple[float, float, float, float]) -> str:
    """Black or white, whichever has more contrast on `colour` (RGBA, each 0 to 1), as WCAG measures it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    luminance = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
    return "white" if 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05 else "black"


def rendered(figure: Figure, kind: str, **options: Any) -> bytes:
    """The figure as a file of that kind ("png", "svg"); `options` go to `Figure.savefig`.

    The log names letters that no font of the look has, once; they are boxes in the figure.
    """
    buffer = io.BytesIO()
    with look(), warnings.catch_warnings(record=True) as caught:
        warnings.filterwarnings("always", "Glyph")
        figure.savefig(buffer, format=kind, **options)
    lacking = set()
    for warning in caught:
        if code := re.match(r"Glyph (\d+) .* missing", str(warning.message)):
            lacking.add(chr(int(code[1])))
        else:
            warnings.warn(warning.message, stacklevel=2)
    if lacking := lacking - _reported:
        _reported.update(lacking)
        text = "No font has the letters %s: install Noto's (Debian, Ubuntu: fonts-noto-cjk, fonts-noto-core), delete %s"
        logger.warning(text, "".join(sorted(lacking)[:10]), mpl.get_cachedir())
    return buffer.getvalue()


def save(figure: Figure, path_without_suffix: Path) -> list[Path]:
    """Write the figure as PNG and as SVG, each atomically; `lr=0.01` becomes `lr=0.01.png`."""
    paths = []
    for kind, metadata in (("png", {"Software": None}), ("svg", {"Date": None})):
        path = path_without_suffix.with_name(f"{path_without_suffix.name}.{kind}")
        write_atomically(path, rendered(figure, kind, metadata=metadata))
        paths.append(path)
    return paths
