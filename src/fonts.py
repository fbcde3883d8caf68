"""Fonts for letters that the figures' own font lacks: installed ones, or the name of one to install."""

from __future__ import annotations

import functools
import unicodedata

from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text

_LAST_RESORT = "Last Resort"  # matplotlib's own: a box for every letter
_CJK = ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "HANGUL", "BOPOMOFO", "IDEOGRAPHIC", "FULLWIDTH")


def complete(figure: Figure) -> dict[str, str]:
    """Give every text of a figure the fonts that its letters need.

    Returns:
        The letters that no installed font has, boxes in the figure, by the package with a font that has them.
    """
    missing: set[str] = set()
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        wanted = frozenset(filter(_is_drawn, text.get_text()))
        lacking = wanted - _letters_of(str(font_manager.findfont(text.get_fontproperties())))
        if lacking:
            families, left = _fonts_for(lacking)
            text.set_fontfamily([*text.get_fontfamily(), *families])
            missing |= left
    packages: dict[str, str] = {}
    for letter in sorted(missing):
        script = unicodedata.name(letter, "").split(" ")[0]
        package = "fonts-noto-cjk" if script in _CJK else "fonts-noto-core"
        packages[package] = packages.get(package, "") + letter
    return packages


def _is_drawn(letter: str) -> bool:
    """Whether a letter without a glyph leaves a box: not spaces, joiners and variation selectors."""
    return unicodedata.category(letter)[0] not in "CZ" and not "\ufe00" <= letter <= "\ufe0f"


@functools.lru_cache(maxsize=1000)
def _letters_of(file: str) -> frozenset[str]:
    try:
        return frozenset(map(chr, FT2Font(file).get_charmap()))
    except (OSError, RuntimeError):  # removed or damaged since matplotlib listed it
        return frozenset()


@functools.lru_cache(maxsize=1000)
def _fonts_for(letters: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """The fewest families that have the letters, greedily, and the letters that no font has."""
    listed = {entry.fname for entry in font_manager.fontManager.ttflist}
    for file in set(font_manager.findSystemFonts()) - listed:  # installed after matplotlib made its list
        try:
            font_manager.fontManager.addfont(file)
        except Exception:  # no font that matplotlib can draw, such as one of colours
            continue
    regular = [
        entry
        for entry in font_manager.fontManager.ttflist
        if entry.style == "normal" and not entry.name.startswith(_LAST_RESORT)
    ]
    regular.sort(key=lambda entry: (abs(int(entry.weight) - 400), "Sans" not in entry.name, entry.name))
    families: list[str] = []
    while letters and regular:
        best = max(regular, key=lambda entry: len(letters & _letters_of(entry.fname)))
        if not letters & _letters_of(best.fname):
            break
        families.append(best.name)
        letters -= _letters_of(best.fname)
    return tuple(families), letters
