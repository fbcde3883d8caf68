"""Read a command line before Hydra does, to name every mistake in it at once.

Hydra stops at the first unknown key or wrong type, and knows no ranges; a sweep would find a bad value
only when its turn comes.
"""

from __future__ import annotations

import contextlib
import difflib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString, RangeSweep, Transformer
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src import value_range
from src.config import SCHEMAS, fields_of, range_mistake
from src.paths import is_dir
from src.settings import CAPTION_SETS, IMAGE_SETS, Settings

CONF = Path(__file__).parents[1] / "conf"
MOST_VALUES = 10_000  # of a range
MOST_JOBS = 100_000  # of a sweep
GROUPS = ("task", "data", "experiment")
HELP_FLAGS = (
    "--help",
    "-h",
    "--hydra-help",
    "--version",
    "--cfg",
    "-c",
    "--info",
    "-i",
    "--shell-completion",
    "-sc",
)
OPTIONS_WITH_VALUE = (
    "--config-dir",
    "-cd",
    "--config-path",
    "-cp",
    "--config-name",
    "-cn",
    "--package",
    "-p",
    "--cfg",
    "-c",
    "--experimental-rerun",
)


@dataclass
class Command:
    """What the command line says."""

    multirun: bool = False
    asks_only: bool = False  # --help and the like: nothing is run
    mistakes: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)  # options first: Hydra takes settings on one side only


def read_command(arguments: Sequence[str]) -> Command:
    """Check every override of a command line; nothing is composed or run."""
    command = Command(
        multirun=any(argument in ("-m", "--multirun", "hydra.mode=MULTIRUN") for argument in arguments),
        asks_only=any(argument in HELP_FLAGS for argument in arguments),
    )
    parser = OverridesParser.create()
    overrides: list[Override] = []
    conf = [CONF]
    waiting = iter(arguments)
    settings: list[str] = []
    for argument in waiting:
        if argument.startswith("-"):
            command.arguments.append(argument)
            option, _, value = argument.partition("=")
            if option in OPTIONS_WITH_VALUE:
                if not value:
                    value = next(waiting, "")
                    command.arguments.append(value)
                conf += [Path(value)] if option in ("--config-dir", "-cd") else []
            continue
        settings.append(value_range.quoted(argument))
        try:
            overrides.append(parser.parse_override(settings[-1]))
        # ValueError: a number of thousands of digits; RecursionError: brackets within brackets
        except (HydraException, ValueError, RecursionError):
            command.mistakes.append(f"{argument}: cannot be read; settings are given as key=value")
    command.arguments += settings
    if misfit := _data_of_other_task(overrides):
        command.mistakes.append(misfit)
    known = _known_settings(overrides)
    for override in overrides:
        command.mistakes += _mistakes_of(override, known, command.multirun, conf)
    if command.multirun and not command.mistakes:
        jobs = math.prod(sum(1 for _ in _values(one)) for one in overrides if one.is_sweep_override())
        if jobs > MOST_JOBS:
            command.mistakes.append(
                f"this sweep has {jobs:,} jobs, more than the limit of {MOST_JOBS:,}: give fewer values"
            )
    return command


def _known_settings(overrides: Sequence[Override]) -> dict[str, tuple[type[Settings], Any]]:
    """Dotted name -> schema and field, of the tasks that the command names, or of all where it names none."""
    named: set[str] = set()
    for override in overrides:
        if override.key_or_group == "task":
            with contextlib.suppress(HydraException, ValueError):  # reported with the other mistakes
                named |= {str(value) for value in _values(override)}
    schemas = [schema for task, schema in SCHEMAS.items() if task in named] or list(SCHEMAS.values())
    return {name: (schema, item) for schema in schemas for name, item in fields_of(schema).items()}


def _data_of_other_task(overrides: Sequence[Override]) -> str | None:
    """What is wrong with a data set that the chosen task cannot read, or None."""
    chosen = {
        override.key_or_group: str(override.value())
        for override in overrides
        if override.key_or_group in ("task", "data") and not override.is_sweep_override()
    }
    task, data = chosen.get("task", "classify"), chosen.get("data")
    if data not in IMAGE_SETS + CAPTION_SETS or task not in SCHEMAS:
        return None  # reported with the other mistakes
    fitting = fields_of(SCHEMAS[task])["data.name"].metadata["choices"]
    return None if data in fitting else f"data={data}: task={task} reads {' or '.join(fitting)}"


def _mistakes_of(
    override: Override, known: dict[str, tuple[type[Settings], Any]], multirun: bool, conf: Sequence[Path]
) -> Iterator[str]:
    key = override.key_or_group
    if key == "hydra" or key.startswith(("hydra.", "hydra/")):
        return  # Hydra's own settings are Hydra's to check
    text = override.input_line or key
    if override.is_delete() or override.is_add() or override.is_force_add():
        yield f"{text}: settings cannot be added or removed, only given a value (key=value)"
        return
    if key not in known and key not in GROUPS:
        near = difflib.get_close_matches(key, [*known, *GROUPS], n=1)
        yield f"{text}: there is no setting {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")
        return
    try:
        values = list(_values(override))
    except _TooManyValues as error:
        yield f"{text}: {error}"
        return
    except (HydraException, ValueError):
        yield f"{text}: the values of a sweep are listed (0.1,0.2) or given as range(...) or choice(...)"
        return
    if len(values) > 1 and not multirun:
        yield f"{text}: several values need -m (python -m src.train -m {text})"
        return
    for value in values:
        shown = f"{key}={value}"
        if key in GROUPS:
            choices = sorted({path.stem for folder in conf for path in _yaml_files(folder / key)})
            may_be_none = key == "experiment"
            if str(value) not in choices and not (value is None and may_be_none):
                yield f"{shown}: must be one of {', '.join(choices)}"
            continue
        if isinstance(value, str) and "${" in value:
            continue  # refers to other settings: checked when they are known
        schema, item = known[key]
        try:
            converted = OmegaConf.select(
                OmegaConf.merge(OmegaConf.structured(schema), _nested(key, value)), key
            )
        except (OmegaConfBaseException, OverflowError, RecursionError):
            yield f"{shown}: must be {type_name(item.type)}"
            continue
        mistake = range_mistake(item, converted)
        if mistake:
            yield f"{shown}: {mistake}"


def _yaml_files(folder: Path) -> list[Path]:
    return list(folder.glob("*.yaml")) if is_dir(folder) else []


class _TooManyValues(ValueError):
    """A range of more values than anybody trains. The message says how many it has."""


def _check_range(span: RangeSweep) -> None:
    """Raises ValueError (no step) or _TooManyValues: Hydra would list them all, or count for ever."""
    start, stop, step = (float(side or 0) for side in (span.start, span.stop, span.step))
    if step == 0:
        raise ValueError("a range needs a step")
    count = (stop - start) / step
    if not count <= MOST_VALUES:  # a NaN, too
        raise _TooManyValues(f"has {count:,.0f} values, more than the limit of {MOST_VALUES:,}")


def _values(override: Override) -> Iterator[Any]:
    """The values of an override as plain Python, one or, of a sweep, many."""
    found: list[Any]
    if override.is_sweep_override():
        if isinstance(span := override.value(), RangeSweep):
            _check_range(span)
        found = list(override.sweep_iterator(transformer=Transformer.identity))
    else:
        found = [override.value()]
    for value in found:
        yield value.text if isinstance(value, QuotedString) else value


def _nested(key: str, value: Any) -> dict[str, Any]:
    for part in reversed(key.split(".")):
        value = {part: value}
    return value


def type_name(kind: Any) -> str:
    """A setting's type in words."""
    names = {
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "str": "a text",
        "int | None": "a whole number or null",
        "float | None": "a number or null",
        "str | None": "a text or null",
    }
    return names.get(str(kind), str(kind))
