"""The settings of `src.predict` and how its command line is read: every mistake named at once, no torch."""

from __future__ import annotations

import difflib
import shlex
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src import value_range
from src.command import type_name
from src.config import fields_of, range_mistake
from src.paths import exists
from src.settings import ACCELERATORS, setting


@dataclass
class ImageSettings:
    """How image files are read (`images.*`)."""

    range: str | None = setting(
        "values that become black and white in images of more than 8 bits: auto, full or MIN,MAX, as "
        "src.train has it (null: as in training, which is auto for labels)",
        group="images",
        default=None,
        check=value_range.range_mistake,
    )


@dataclass
class PredictSettings:
    """Every setting of `src.predict`, with its default."""

    checkpoint: str = setting(
        "a checkpoint file; or a run's folder, for its best.ckpt; or a sweep's, for its best run",
        group="what",
        default="",
    )
    inputs: tuple[str, ...] = setting(
        "image files, folders (at any depth) and globs; one, or a list [a.jpg,folder/,'more/*.png']; "
        "words without = are inputs, too",
        group="what",
        default=(),
    )
    beam: int | None = setting(
        "beams of the search; 1 is greedy (null: as the run's test)",
        group="captions",
        default=None,
        at_least=1,
        at_most=50,
    )
    max_words: int | None = setting(
        "longest caption, its end included (null: as the run's test)",
        group="captions",
        default=None,
        at_least=1,
        at_most=200,
    )
    length_penalty: float | None = setting(
        "beams are compared by score / length ** length_penalty (null: as the run's test)",
        group="captions",
        default=None,
        at_least=0,
        at_most=5,
    )
    encoder_weights: str | None = setting(
        "where the file with a frozen encoder's weights lies now (null: where it lay in training)",
        group="captions",
        default=None,
    )
    invert: bool = setting(
        "turn dark on light into light on dark, as Fashion-MNIST has it; never done unasked",
        group="labels",
        default=False,
    )
    images: ImageSettings = field(default_factory=ImageSettings)
    output: str | None = setting(
        "folder to write to (null: outputs/predictions/<sweep>/<run>); an earlier prediction there is "
        "replaced",
        group="output",
        default=None,
    )
    progress: bool = setting("show a progress bar on a terminal", group="output", default=True)
    batch_size: int = setting(
        "images in memory at once, and as many more being read", group="hardware", default=50, at_least=1
    )
    accelerator: str = setting(
        "where to compute; auto takes a GPU if there is one",
        group="hardware",
        default="auto",
        choices=ACCELERATORS,
    )


HELP_WIDTH = 100  # columns
# What has no meaning for a checkpoint of the other task.
ONLY_OF = {
    "caption": ("beam", "max_words", "length_penalty", "encoder_weights"),
    "classify": ("invert",),
}
_KNOWN = fields_of(PredictSettings)


def read_command(arguments: Sequence[str]) -> tuple[PredictSettings, list[str], list[str]]:
    """Read `key=value` words; nothing is opened.

    Returns:
        The settings, the names of those that were given another value than their default, and every mistake.
    """
    texts: dict[str, str] = {}
    inputs: list[str] = []
    mistakes: list[str] = []
    for argument in arguments:
        key, sign, text = argument.partition("=")
        if key in _KNOWN and sign:
            if not text.strip():
                mistakes.append(f"{argument}: must be given a value")
            elif key == "inputs":
                try:
                    inputs += _listed(text)
                except ValueError as error:
                    mistakes.append(f"{argument}: cannot be read as a list: {str(error).lower()}")
            elif texts.setdefault(key, text) != text:
                mistakes.append(f"{argument}: {key}={texts[key]} is given, too")
        elif not argument.startswith("-") and (not sign or exists(Path(argument))):
            inputs.append(argument)
        elif argument.startswith("-"):
            mistakes.append(f"{argument}: there are no options; settings are given as key=value")
        else:
            near = difflib.get_close_matches(key, _KNOWN, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            mistakes.append(f"{argument}: there is no setting {key!r}{hint}")
    values: dict[str, Any] = {"inputs": tuple(inputs)}
    for key, text in texts.items():
        try:
            values[key] = _value(key, text)
        except ValueError as error:
            mistakes.append(f"{key}={text}: {error}")
    named = {argument.partition("=")[0] for argument in arguments}
    mistakes += [
        f"{key}: must be given ({key}={example})"
        for key, example in (("checkpoint", "outputs/NAME/RUN"), ("inputs", "PHOTO.jpg"))
        if key not in named and not values.get(key)
    ]
    changed = [key for key in texts if key in values and values[key] != _KNOWN[key].default]
    images = ImageSettings(values.pop("images.range", None))
    settings = PredictSettings(images=images, **values)
    return settings, changed, mistakes


def _value(key: str, text: str) -> Any:
    """Raises ValueError with what is wrong with a value."""
    item = _KNOWN[key]
    kind = str(item.type)
    if "None" in kind and text == "null":
        return None
    if "str" in kind:  # a path holds what it holds: nothing in it is YAML
        value: Any = _unquoted(text)
    else:
        try:
            value = OmegaConf.select(OmegaConf.merge(OmegaConf.structured(_Numbers), {key: text}), key)
        except OmegaConfBaseException as error:
            raise ValueError(f"must be {type_name(item.type)}") from error
    if mistake := range_mistake(item, value):
        raise ValueError(mistake)
    return value


@dataclass
class _Numbers:
    """The settings that are no texts, for OmegaConf to convert."""

    beam: int | None = None
    max_words: int | None = None
    length_penalty: float | None = None
    invert: bool = False
    progress: bool = True
    batch_size: int = 1


def _listed(text: str) -> list[str]:
    """One input, or the items of `[a, "b c", ...]`. Raises ValueError when a quotation mark stands alone."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return [_unquoted(text)]
    words = shlex.shlex(text[1:-1], posix=True)
    words.whitespace, words.whitespace_split = ",", True
    words.commenters, words.escape = "", ""  # in a path, # and \ are themselves
    return [word for word in (word.strip() for word in words) if word]


def _unquoted(text: str) -> str:
    text = text.strip()
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def help_text() -> str:
    """What `--help` prints."""
    return "\n".join(_help_lines())


def _help_lines() -> Iterator[str]:
    yield "Captions own images with a captioner's checkpoint, or labels them with a classifier's."
    yield ""
    yield "  python -m src.predict checkpoint=outputs/scenes inputs=PHOTO.jpg"
    yield "  python -m src.predict checkpoint=outputs/fashion_mnist/RUN inputs=shoes/ invert=true"
    yield "  python -m src.predict checkpoint=outputs/scenes/RUN/checkpoints/last.ckpt \\"
    yield "      inputs='[a.jpg,folder/,\"more/*.png\"]' beam=5 output=FOLDER"
    yield ""
    yield "Captions: captions.json in COCO's results format (image_id is the file's name, or its path where"
    yield "names repeat) and gallery.html, with attention a map for every word. Labels: labels.csv with the"
    yield "three most probable classes and gallery.html. Photos to be labelled are turned to grey and fitted,"
    yield "centred on black, into the size that the classifier was trained on; Fashion-MNIST shows light"
    yield "objects on black, so give invert=true for dark objects on a light ground."
    yield ""
    groups: dict[str, list[str]] = {}
    for name, item in _KNOWN.items():
        choices = item.metadata["choices"]
        text = item.metadata["help"] + (f" ({', '.join(choices)})" if choices else "")
        default = "" if item.default in (MISSING, "", (), None) else f" [{_shown(item.default)}]"
        lines = textwrap.wrap(
            text + default, HELP_WIDTH, initial_indent=f"  {name:16} ", subsequent_indent=" " * 19
        )
        groups.setdefault(item.metadata["group"], []).extend(lines)
    for group, lines in groups.items():
        yield f"== {group} =="
        yield from lines
        yield ""
    yield "Exit status: 0 all images done (files in folders whose format cannot be read here are counted and"
    yield "left out); 1 some or all could not be read and were skipped, the others are done; 2 a mistake in"
    yield "the command or no usable checkpoint; 130 interrupted, what was done until then is written."


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
