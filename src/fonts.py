"""Fonts for letters that the figures' own font lacks: installed ones, or the package of one to install."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

_CJK = ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH")


def complete(figure: Figure) -> dict[str, str]:
    """Give every text of a figure the fonts that its letters need.

    Returns:
        The letters that no installed font has, boxes in the figure, by the package with a font that has them.
    """
    packages: dict[str, str] = {}
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        own = str(font_manager.findfont(text.get_fontproperties()))
        lacking = frozenset(filter(_is_drawn, text.get_text())) - _letters_of(own)
        families, missing = _fonts_for(lacking) if lacking else ((), frozenset())
        text.set_fontfamily([*text.get_fontfamily(), *families])
        for letter in sorted(missing):
            is_cjk = unicodedata.name(letter, "").split(" ")[0] in _CJK
            package = "fonts-noto-cjk" if is_cjk else "fonts-noto-core"
            packages[package] = packages.get(package, "") + letter
    return packages


def _is_drawn(letter: str) -> bool:
    """Whether a letter without a glyph leaves a box: not spaces, joiners and variation selectors."""
    return unicodedata.category(letter)[0] not in "CZ" and not "\ufe00" <= letter <= "\ufe0f"


@lru_cache(maxsize=1000)
def _letters_of(file: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, FT2Font(file).get_charmap()))
    except (OSError, RuntimeError):  # removed or damaged since matplotlib listed it
        return frozenset()


@lru_cache(maxsize=1000)
def _fonts_for(letters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """The fewest families that have the letters, greedily, and the letters that no font has."""
    for file in set(font_manager.findSystemFonts()) - {
        font.fname for font in font_manager.fontManager.ttflist
    }:
        try:
            font_manager.fontManager.addfont(file)  # installed after matplotlib made its list
        except Exception:  # no font that matplotlib can draw, such as one of colours
            continue
    fonts = [font for font in font_manager.fontManager.ttflist if not font.name.startswith("Last Resort")]
    fonts = [font for font in fonts if font.style == "normal"]
    fonts.sort(key=lambda font: (abs(int(font.weight) - 400), "Sans" not in font.name, font.name))
    families = []
    while letters and fonts:
        best = max(fonts, key=lambda font: len(letters & _letters_of(font.fname)))
        if not letters & _letters_of(best.fname):
            break
        families.append(best.name)
        letters -= _letters_of(best.fname)
    return tuple(families), letters
