"""Pages for people: one style sheet and small pieces of HTML, safe whatever a caption or file name holds."""

from __future__ import annotations

import base64
import html
import io
import re
import unicodedata
from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.colors import to_hex
from PIL import Image

from src.figures import HEAT

NAMES = {
    "bleu1": "BLEU-1",
    "bleu2": "BLEU-2",
    "bleu3": "BLEU-3",
    "bleu4": "BLEU-4",
    "bleu4_sentence": "BLEU-4, mean of the images",
    "cider_d": "CIDEr-D",
    "rouge_l": "ROUGE-L",
}

_MARKS = "\\`*_{}[]|#!"  # of Markdown

# Nothing may be loaded from anywhere, whatever a caption or a file name holds.
_HEAD = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
"""

COLOURS = """
:root { --page: #f5f5f2; --card: #fff; --ink: #1c1c1a; --quiet: #5d5d58; --line: #dcdcd6; --mark: #005a9c;
  --warn: #fff3cd; --warn-ink: #5c4400; }
@media (prefers-color-scheme: dark) { :root { --page: #161615; --card: #222220; --ink: #ecece8;
  --quiet: #a9a9a2; --line: #3a3a36; --mark: #7cc0f4; --warn: #4a3a08; --warn-ink: #ffe9a8; } }
"""
_STYLE = """
* { box-sizing: border-box; }
body { margin: 0; padding: 1.5rem clamp(.75rem, 3vw, 2.5rem) 3rem; background: var(--page); color: var(--ink);
  font: 16px/1.45 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
header, main { max-width: 76rem; margin: 0 auto; }
h1 { margin: 0 0 .5rem; font-size: clamp(1.35rem, 4vw, 1.9rem); line-height: 1.2; overflow-wrap: anywhere; }
header p { margin: .3rem 0; color: var(--quiet); max-width: 60rem; overflow-wrap: anywhere; }
header p.synthetic { display: inline-block; padding: .45rem .8rem; border-radius: .4rem;
  background: var(--warn); color: var(--warn-ink); font-weight: 600; }
dl.scores { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; }
dl.scores div { padding: .45rem .8rem; border: 1px solid var(--line); border-radius: .4rem;
  background: var(--card); }
dl.scores dt { color: var(--quiet); font-size: .78rem; }
dl.scores dd { margin: 0; font-size: 1.15rem; font-weight: 600; font-variant-numeric: tabular-nums; }
header p.scale { font-size: .88rem; max-width: none; }
p.scale i { display: inline-block; width: 7rem; height: .75rem; margin: 0 .25rem; border-radius: .2rem;
  background: linear-gradient(to right, RAMP); }
main { display: grid; gap: 1rem; margin-top: 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 19rem), 1fr)); }
main.attention { grid-template-columns: 100%; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1rem;
  min-width: 0; }
article h2 { margin: .7rem 0 .35rem; font-size: 1.18rem; line-height: 1.3; overflow-wrap: anywhere; }
article h2.none { color: var(--quiet); font-style: italic; }
.attention article { display: grid; grid-template-columns: minmax(0, 300px) minmax(0, 1fr); gap: 0 1.3rem; }
.attention h2 { margin-top: 0; }
@media (max-width: 44rem) { .attention article { grid-template-columns: 100%; }
  .attention h2 { margin-top: .7rem; } }
.picture { position: relative; }
.picture img { display: block; width: 100%; height: auto; border-radius: .35rem; background: #888; }
.box { position: absolute; border: 2px solid #00e5ff; box-shadow: 0 0 0 1px #0008; border-radius: 2px; }
.box b { position: absolute; left: 0; top: 0; padding: 0 .25em; background: #000b; color: #fff;
  font: 11px/1.35 system-ui, sans-serif; white-space: nowrap; }
.file { margin: .3rem 0 0; color: var(--quiet); font-size: .8rem; overflow-wrap: anywhere; }
.about { min-width: 0; }
.references { margin: .2rem 0 0; padding: 0; list-style: none; color: var(--quiet); font-size: .92rem;
  overflow-wrap: anywhere; }
.references li { padding: .14rem 0 .14rem .7rem; border-left: 3px solid var(--line); }
.label { margin: .6rem 0 .1rem; font-size: .75rem; letter-spacing: .03em; color: var(--quiet); }
.maps { display: grid; grid-template-columns: repeat(auto-fill, minmax(88px, 1fr)); gap: .5rem;
  margin: .2rem 0 0;
  padding: 0; list-style: none; }
.maps li { min-width: 0; text-align: center; font-size: .86rem; line-height: 1.25; overflow-wrap: anywhere; }
.maps img { display: block; width: 100%; max-width: 110px; height: auto; margin: 0 auto .15rem;
  border-radius: .25rem; }
@media print { body { background: #fff; } article { break-inside: avoid; } }
"""


def head(title: str, style: str | None = None) -> str:
    """The page up to its body, in `COLOURS` and the galleries' style or another one."""
    if style is not None:
        return _HEAD.format(title=text(title), style=COLOURS + style)
    ramp = ", ".join(to_hex(mpl.colormaps[HEAT](place / 8)) for place in range(9))
    return _HEAD.format(title=text(title), style=COLOURS + _STYLE.replace("RAMP", ramp))


def text(value: str) -> str:
    """`value` for an element or a quoted attribute: on one line, escaped, without what UTF-8 cannot hold."""
    shown = "".join(" " if c.isspace() else "\N{REPLACEMENT CHARACTER}" if _odd(c) else c for c in value)
    return html.escape(shown, quote=True)


def _odd(character: str) -> bool:
    """Control characters, halves of surrogate pairs (from file names), and what turns the text around."""
    return (
        unicodedata.category(character) in ("Cc", "Cs") or character in "\u202a\u202b\u202d\u202e\u2066\u2067"
    )


def markdown(value: str) -> str:
    """`value` for TensorBoard's Markdown: on one line, the signs of Markdown and HTML as themselves."""
    line = " ".join(
        "".join("\N{REPLACEMENT CHARACTER}" if _odd(c) and not c.isspace() else c for c in value).split()
    )
    shown = html.escape(line, quote=False)
    shown = "".join("\\" + letter if letter in _MARKS else letter for letter in shown)
    return re.sub(r"^(\d*)([-+.])", r"\1\\\2", shown)  # a line that begins so would be a list


def picture(image: Image.Image, side: int, alt: str, quality: int = 78) -> str:
    """An <img> that holds the image itself, as JPEG, shrunk to at most `side` pixels."""
    small = image.convert("RGB")
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=quality, optimize=True)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    width, height = small.size
    return f'<img src="data:image/jpeg;base64,{data}" width="{width}" height="{height}" alt="{text(alt)}">'


def box(name: str, sides: tuple[float, float, float, float]) -> str:
    """The outline of a named thing; `sides` are x0, y0, x1, y1 as fractions of the image."""
    x0, y0, x1, y1 = (min(max(side, 0.0), 1.0) * 100 for side in sides)
    place = f"left:{x0:.2f}%;top:{y0:.2f}%;width:{max(x1 - x0, 0):.2f}%;height:{max(y1 - y0, 0):.2f}%"
    return f'<span class="box" style="{place}"><b>{text(name)}</b></span>'


def score_list(scores: Mapping[str, float]) -> str:
    """Scores with their usual names."""
    cells = (
        f"<div><dt>{text(NAMES.get(key, key))}</dt><dd>{value:.4f}</dd></div>"
        for key, value in scores.items()
    )
    return f'<dl class="scores">{"".join(cells)}</dl>\n'


def listed(kind: str, entries: Sequence[str]) -> str:
    """A list of ready HTML."""
    return f'<ul class="{kind}">{"".join(f"<li>{entry}</li>" for entry in entries)}</ul>\n'
