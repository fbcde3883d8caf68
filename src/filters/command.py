"""The settings of `python -m src.filters` and how its command line is read: every mistake named, no torch."""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from src.command import type_name
from src.config import fields_of, range_mistake
from src.settings import setting

LAYERS = ("conv1", "conv2")
HELP_WIDTH = 100  # columns


@dataclass
class FilterSettings:
    """Every setting of `src.filters`, with its default."""

    checkpoint: str = setting(
        "a classifier's checkpoint; or a run's folder, for its best.ckpt; or a sweep's, for its best run",
        group="what",
        default="",
    )
    image: str | None = setting(
        "an image whose activation maps are drawn (null: none)", group="what", default=None
    )
    invert: bool = setting(
        "turn the image's dark on light into light on dark, as Fashion-MNIST has it",
        group="what",
        default=False,
    )
    layer: str = setting(
        "whose filters' most exciting images are drawn", group="what", default="conv2", choices=LAYERS
    )
    filters: str | None = setting(
        "numbers of its filters, from 0, as 3,17 (null: eight of them, evenly spaced)",
        group="what",
        default=None,
    )
    top: int = setting(
        "exciting images drawn of each filter; 0 leaves them out and needs no data",
        group="what",
        default=8,
        at_least=0,
        at_most=20,
    )
    data: str = setting(
        "Fashion-MNIST's root, or a folder of files in MNIST's layout, whose training images are searched",
        group="what",
        default="data",
    )
    out: str = setting(
        "folder to write pictures to, as PNG and SVG", group="output", default="outputs/filters"
    )


KNOWN = fields_of(FilterSettings)


def read_command(arguments: Sequence[str]) -> tuple[FilterSettings, list[str]]:
    """Read `key=value` words; nothing is opened. Returns the settings and every mistake, a sentence each."""
    values: dict[str, Any] = {}
    mistakes: list[str] = []
    for argument in arguments:
        key, sign, text = argument.partition("=")
        if not sign or key.startswith("-"):
            mistakes.append(f"{argument}: cannot be read; settings are given as key=value")
        elif key not in KNOWN:
            near = difflib.get_close_matches(key, KNOWN, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            mistakes.append(f"{argument}: there is no setting {key!r}{hint}")
        elif key in values:
            mistakes.append(f"{argument}: {key} is given twice")
        else:
            try:
                values[key] = _value(key, text.strip())
            except ValueError as error:
                values[key] = KNOWN[key].default
                mistakes.append(f"{argument}: {error}")
    settings = FilterSettings(**values)
    if "checkpoint" not in values:
        mistakes.append("checkpoint: must be given (checkpoint=outputs/fashion_mnist)")
    try:
        chosen_filters(settings.filters, None)
    except ValueError as error:
        mistakes.append(f"filters={settings.filters}: {error}")
    return settings, mistakes


def chosen_filters(text: str | None, count: int | None) -> list[int]:
    """The filters that `filters=` names; [] for null.

    Args:
        text: numbers with commas between them.
        count: how many the layer has; None to check the text alone.

    Raises:
        ValueError: no such list, or no such filter.
    """
    if text is None:
        return []
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() and len(word) < 6 for word in words):
        raise ValueError("must be whole numbers from 0 with commas between them, as 3,17")
    found = list(dict.fromkeys(int(word) for word in words))
    if count is not None and (beyond := [number for number in found if number >= count]):
        raise ValueError(f"there is no filter {beyond[0]}; the layer's are 0 to {count - 1}")
    return found


def _value(key: str, text: str) -> Any:
    """Raises ValueError with what is wrong with a value."""
    item = KNOWN[key]
    kind = str(item.type)
    value: Any = text
    if not text:
        raise ValueError("must be given a value")
    if "None" in kind and text == "null":
        return None
    if kind == "bool":
        if text.lower() not in ("true", "false"):
            raise ValueError(f"must be {type_name(kind)}")
        value = text.lower() == "true"
    elif kind == "int":
        if not (text.isascii() and text.lstrip("-").isdigit() and len(text) < 10):
            raise ValueError(f"must be {type_name(kind)}")
        value = int(text)
    if mistake := range_mistake(item, value):
        raise ValueError(mistake)
    return value


def help_text() -> str:
    """What `--help` prints."""
    lines = [
        "Draws what a classifier's filters look like and what they answer to.",
        "",
        "  python -m src.filters checkpoint=outputs/fashion_mnist image=SHOE.png out=FOLDER",
        "  python -m src.filters checkpoint=outputs/fashion_mnist/RUN layer=conv2 filters=3,17 top=12",
        "",
        "Kernels of both convolutions as the report draws them, all channels of the second with their signs,",
        "activation maps of an image at every layer, and the training images that excite filters most.",
        "",
    ]
    for name, item in KNOWN.items():
        choices = item.metadata["choices"]
        shown = "" if item.default in ("", None) else f" [{str(item.default).lower()}]"
        text = item.metadata["help"] + (f" ({', '.join(choices)})" if choices else "") + shown
        lines += textwrap.wrap(text, HELP_WIDTH, initial_indent=f"  {name:12} ", subsequent_indent=" " * 15)
    lines += ["", "Exit status: 0 all is drawn; 2 a mistake in the command, or something cannot be read."]
    return "\n".join(lines)
