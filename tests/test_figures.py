"""Letters in pictures: drawn with an installed font that has them, or a package is named."""

from __future__ import annotations

from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder  # type: ignore[import-untyped]
from fontTools.pens.ttGlyphPen import TTGlyphPen  # type: ignore[import-untyped]
from matplotlib import font_manager
from matplotlib.figure import Figure

from src import figures


def made_up_font(path: Path, letters: str) -> Path:
    """A font in which each of the letters is a bar."""
    names = [".notdef", *(f"letter{number}" for number in range(len(letters)))]
    pen = TTGlyphPen(None)
    pen.moveTo((100, 0))
    for corner in ((100, 800), (300, 800), (300, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder(names)
    builder.setupCharacterMap(dict(zip(map(ord, letters), names[1:], strict=True)))
    builder.setupGlyf(dict.fromkeys(names, pen.glyph()))
    builder.setupHorizontalMetrics(dict.fromkeys(names, (1000, 100)))
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Noto Sans CJK SC", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(path)
    return path


@pytest.mark.filterwarnings("error")
def test_an_installed_font_is_taken_and_missing_letters_are_named_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[str]
) -> None:
    own = [font for font in font_manager.fontManager.ttflist if "mpl-data" in font.fname]
    monkeypatch.setattr(font_manager.fontManager, "ttflist", own)
    monkeypatch.setattr(figures, "_reported", set())

    def labelled() -> Figure:
        with figures.look():
            figure, axes = figures.subplots()
            axes[0, 0].set_xlabel("两架 planes é")
        return figure

    boxes = figures.rendered(labelled(), "png")
    figures.save(labelled(), tmp_path / "boxes")
    (line,) = messages
    assert line.startswith("No font has the letters 两架:")
    assert "fonts-noto-cjk" in line
    font_manager.fontManager.addfont(made_up_font(tmp_path / "made_up.ttf", "两架"))
    assert figures.rendered(labelled(), "png") != boxes
    assert len(messages) == 1


def test_lines_of_wide_letters_are_as_wide_as_others() -> None:
    assert figures.lines("abcdefghij klm", 10) == ["abcdefghij", "klm"]
    assert figures.lines("两架飞机停 在机场", 10) == ["两架飞机停", "在机场"]
    assert figures.lines("两架飞机停在", 10) == ["两架飞机停", "在"]
