"""A list of layers as it is typed or stands in a YAML file.

    input=3x28x28 'conv 8 5x5' 'maxpool 4x4 stride 2' flatten 'linear 10'

Every mistake is a sentence that names the layer, the value, the limit and what to do.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from src.plain_yaml import refuse_tricks
from src.theory.layers import KINDS, Layer, LayerError, LayerList, Shape, sides
from src.words import quoted

OPTIONS = {"conv": ("stride", "padding"), "maxpool": ("stride", "padding"), "avgpool": ("stride", "padding")}
OPTION_NAMES = ("stride", "padding")
_NUMBERS = {  # fewest and most numbers after the kind, options aside
    **{"input": (1, 1), "conv": (2, 2), "maxpool": (1, 1), "avgpool": (1, 1)},
    **{"linear": (1, 1), "dropout": (0, 1)},
}
MOST = 1_000_000  # of any number in a list

_USAGE = {
    "conv": "conv FILTERS KERNEL [stride S] [padding P], e.g. conv 8 5x5",
    "maxpool": "maxpool KERNEL [stride S] [padding P], e.g. maxpool 4x4 stride 2",
    "avgpool": "avgpool KERNEL [stride S] [padding P], e.g. avgpool 2x2",
    "relu": "relu",
    "dropout": "dropout [PROBABILITY], e.g. dropout 0.5",
    "flatten": "flatten",
    "linear": "linear UNITS, e.g. linear 10",
}


def parse(words: Iterable[str]) -> LayerList:
    """A list as it is typed; quotes around a layer and `=` are a matter of taste.

    Raises:
        LayerError: a word that is no layer, a number that is none or out of range, or no input.
    """
    groups = _groups(words)
    if not groups or groups[0][0].lower() != "input":
        begins = f"begins with {' '.join(groups[0])!r}" if groups else "is empty"
        raise LayerError(
            f"the list {begins}, but must begin with the input's shape: input=CHANNELSxHEIGHTxWIDTH, e.g. "
            "input=3x28x28, or input=NUMBERS for a vector"
        )
    shape = _input(groups[0][1:])
    layers = tuple(_layer(group, place) for place, group in enumerate(groups[1:], start=1))
    if not layers:
        raise LayerError(
            f"the list has an input of {sides(shape)} but no layer: add one of {', '.join(KINDS)}"
        )
    return LayerList(shape, layers)


def read_yaml(path: Path) -> LayerList:
    """The list of a YAML file: `input: 3x28x28` (or [3, 28, 28]) and `layers:`, each as it is typed.

    Raises:
        LayerError: the file cannot be read, is no such list, or `parse` refuses it.
    """
    import yaml  # type: ignore[import-untyped]

    form = "it needs `input: 3x28x28` and `layers:` with a list such as [conv 8 5x5, flatten, linear 10]"
    try:
        text = path.read_text(encoding="utf-8")
        refuse_tricks(text)
        content: Any = yaml.safe_load(text)
    except OSError as error:
        raise LayerError(f"{path} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # no UTF-8 is a ValueError, too
        said = " ".join(str(error).split())
        raise LayerError(f"{path} is not YAML ({said}): {form}") from error
    if not isinstance(content, dict) or not isinstance(content.get("layers"), list) or "input" not in content:
        raise LayerError(f"{path} is not a list of layers: {form}")
    given = content["input"]
    words = [f"input={sides(given) if isinstance(given, list) else given}"]
    for item in content["layers"]:
        if isinstance(item, dict) and len(item) == 1:  # `- linear: 10`
            words.append(" ".join(map(str, *item.items())))
        elif isinstance(item, str):
            words.append(item)
        else:
            raise LayerError(f"{path}: {quoted(item)} is not a layer: {form}")
    try:
        return parse(words)
    except LayerError as error:
        raise LayerError(f"{path}: {error}") from error


def _groups(arguments: Iterable[str]) -> list[list[str]]:
    """The words of each layer. Its kind begins one; an argument of several words is not torn otherwise."""
    groups: list[list[str]] = []
    for argument in arguments:
        words = argument.replace("=", " ").replace(",", " ").split()
        for place, word in enumerate(words):
            quoted = len(words) > 1
            if word.lower() in ("input", *KINDS) or not groups or (quoted and place == 0):
                begins = not groups or word.lower() not in OPTION_NAMES
            else:  # a misspelt kind, unless the layer before still waits for its numbers
                known = word.lower() in OPTION_NAMES or not word[0].isalpha()
                fewest, _ = _NUMBERS.get(groups[-1][0].lower(), (0, 0))
                begins = not quoted and not known and len(groups[-1]) > fewest
            if begins:
                groups.append([])
            groups[-1].append(word)
    return groups


def _input(given: list[str]) -> Shape:
    """The shape after `input`."""
    numbers = given[0].lower().split("x") if len(given) == 1 else []
    if len(numbers) not in (1, 3):
        raise LayerError(
            f"input {' '.join(given)!r} is not a shape: give CHANNELSxHEIGHTxWIDTH, e.g. input=3x28x28, or "
            "input=NUMBERS for a vector"
        )
    return tuple(_number(number, "input", "size", 1) for number in numbers)


def _layer(words: list[str], place: int) -> Layer:
    """One layer from its words."""
    kind, rest = words[0].lower(), [word.lower() for word in words[1:]]
    name = f"layer {place} ({' '.join(words)})"
    if kind not in KINDS:
        close = difflib.get_close_matches(kind, [*KINDS, *OPTION_NAMES, "dense", "fc"], 1)
        meant = {"dense": "linear", "fc": "linear"}.get(close[0], close[0]) if close else ""
        raise LayerError(
            f"{name}: there is no layer {words[0]!r}; "
            + (f"did you mean {meant}? " if meant else "")
            + f"known are {', '.join(KINDS)}"
        )
    plain, options = _split(rest, kind, name)
    fewest, most = _NUMBERS.get(kind, (0, 0))
    if not fewest <= len(plain) <= most:
        raise LayerError(f"{name}: a {kind} layer is written {_USAGE[kind]}")
    if kind == "linear":
        return Layer(kind, units=_number(plain[0], name, "number of units", 1))
    if kind == "dropout":
        return Layer(kind, probability=_probability(plain[0], name) if plain else 0.5)
    if kind in ("relu", "flatten"):
        return Layer(kind)
    kernel = _pair(plain[-1], name, "kernel", 1)
    stride = (1, 1) if kind == "conv" else kernel
    units = _number(plain[0], name, "number of filters", 1) if kind == "conv" else 0
    stride = _pair(options["stride"], name, "stride", 1) if "stride" in options else stride
    padding = _pair(options.get("padding", "0"), name, "padding", 0)
    return Layer(kind, units, kernel, stride, padding)


def _split(words: list[str], kind: str, name: str) -> tuple[list[str], dict[str, str]]:
    """The numbers of a layer, and its options with their values."""
    plain: list[str] = []
    options: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if word not in OPTION_NAMES:
            plain.append(word)
            continue
        value = next(rest, None)
        if word not in OPTIONS.get(kind, ()) or word in options or value is None:
            raise LayerError(f"{name}: a {kind} layer is written {_USAGE[kind]}")
        options[word] = value
    return plain, options


def _pair(text: str, name: str, what: str, least: int) -> tuple[int, int]:
    """`5x5`, or `5` for the same."""
    parts = text.split("x")
    if len(parts) > 2:
        raise LayerError(
            f"{name}: its {what} {text!r} has {len(parts)} numbers: give HEIGHTxWIDTH, e.g. 5x5, or 5"
        )
    numbers = [_number(part, name, what, least) for part in parts]
    return numbers[0], numbers[-1]


def _number(text: str, name: str, what: str, least: int) -> int:
    if not re.fullmatch(r"[+-]?\d+", text, flags=re.ASCII):
        raise LayerError(f"{name}: its {what} {text!r} is not a whole number: give {least} to {MOST:,}")
    digits = text.lstrip("+-0") or "0"
    if text[0] == "-" or len(digits) > len(str(MOST)) or not least <= int(digits) <= MOST:
        raise LayerError(f"{name}: its {what} {text[:40]} is out of range: give {least} to {MOST:,}")
    return int(digits)


def _probability(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise LayerError(f"{name}: its probability {text!r} is not a number from 0 to 1")
    return value
