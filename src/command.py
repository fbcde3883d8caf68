"""Read a command line before Hydra does, to name every mistake in it at once.

Hydra stops at the first unknown key or wrong type, and knows no ranges; a sweep would find a bad value
only when its turn comes.
"""

from __future__ import annotations

import contextlib
import difflib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Override, ValueType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src import value_range
from src.composition import (
    CONF,
    folder_mistakes,
    hydra_node,
    is_basic,
    is_multirun,
    lost_sweeps,
    sweep_of,
)
from src.config import SCHEMAS, fields_of, range_mistake
from src.overrides import TooManyValues, hint, is_text, parsed, quoted, values_of
from src.paths import is_dir
from src.settings import CAPTION_SETS, IMAGE_SETS

MOST_JOBS = 100_000  # of a sweep
GROUPS = ("task", "data", "experiment")
LISTED = (ValueType.CHOICE_SWEEP, ValueType.SIMPLE_CHOICE_SWEEP)
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
    """What the command line says, the files that it names included."""

    multirun: bool = False
    asks_only: bool = False  # --help and the like: nothing is run
    mistakes: list[str] = field(default_factory=list)
    arguments: list[str] = field(default_factory=list)  # options first: Hydra takes settings on one side only


def read_command(arguments: Sequence[str]) -> Command:
    """Check every override of a command line; nothing is run."""
    command = Command(asks_only=any(argument in HELP_FLAGS for argument in arguments))
    overrides: list[Override] = []
    config_dir = None
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
                config_dir = value if option in ("--config-dir", "-cd") else config_dir
            continue
        try:
            overrides.append(parsed(value_range.quoted(argument)))
            settings.append(overrides[-1].input_line or argument)
        except ValueError:
            command.mistakes.append(f"{argument}: cannot be read; {hint(argument, settings)}")
    command.arguments += settings
    node = hydra_node(tuple(_of_hydra(overrides)), config_dir)
    command.multirun = is_multirun(node) or any(flag in arguments for flag in ("-m", "--multirun"))
    command.mistakes += _repeated(overrides)
    if misfit := _data_of_other_task(overrides):
        command.mistakes.append(misfit)
    known = _known_settings(overrides)
    conf = [CONF, Path(config_dir)] if config_dir is not None else [CONF]
    for override in overrides:
        command.mistakes += _mistakes_of(override, known, command.multirun, is_basic(node), conf)
    command.mistakes += folder_mistakes(node)
    command.mistakes += _sweep_mistakes(overrides, node, command.multirun, config_dir)
    if command.multirun and is_basic(node) and not command.mistakes:
        jobs = math.prod(sum(1 for _ in values_of(one)) for one in overrides if one.is_sweep_override())
        if jobs > MOST_JOBS:
            command.mistakes.append(
                f"this sweep has {jobs:,} jobs, more than the limit of {MOST_JOBS:,}: give fewer values"
            )
    return command


def _of_hydra(overrides: Sequence[Override]) -> Iterator[str]:
    """What decides over the `hydra` node: groups with one value, and its own settings."""
    for override in overrides:
        key = override.key_or_group
        if (key in GROUPS or _is_hydras(key)) and not override.is_sweep_override():
            yield override.input_line or key


def _is_hydras(key: str) -> bool:
    return key == "hydra" or key.startswith(("hydra.", "hydra/"))


def _repeated(overrides: Sequence[Override]) -> Iterator[str]:
    """Settings that are given twice, of which Hydra would take the last."""
    given: dict[str, str] = {}
    for override in overrides:
        text = override.input_line or override.key_or_group
        first = given.setdefault(override.get_key_element(), text)
        if first != text:
            yield f"{text}: {first} is given, too"


def _sweep_mistakes(
    overrides: Sequence[Override], node: DictConfig | None, multirun: bool, config_dir: str | None
) -> Iterator[str]:
    """Sweeps of files that would not be run."""
    fixed = tuple(_of_hydra(overrides))
    if not multirun:
        given = {override.key_or_group for override in overrides}
        if left := [key for key in sweep_of(node) if key not in given]:
            files = " ".join(text for text in fixed if text.partition("=")[0] in GROUPS)
            yield f"{files}: its sweep over {', '.join(left)} needs -m (python -m src.train -m {files} ...)"
        return
    for override in overrides:
        if override.key_or_group in GROUPS and override.is_sweep_override():
            with contextlib.suppress(HydraException, ValueError):  # reported with the other mistakes
                texts = [f"{override.key_or_group}={value}" for value in values_of(override)]
                yield from lost_sweeps(
                    node, [(text, hydra_node((*fixed, text), config_dir)) for text in texts]
                )


def _known_settings(overrides: Sequence[Override]) -> dict[str, tuple[DictConfig, Any]]:
    """Dotted name -> a table that checks types, and the field; of the tasks that are named, or of all."""
    named: set[str] = set()
    for override in overrides:
        if override.key_or_group == "task":
            with contextlib.suppress(HydraException, ValueError):  # reported with the other mistakes
                named |= {str(value) for value in values_of(override)}
    schemas = [schema for task, schema in SCHEMAS.items() if task in named] or list(SCHEMAS.values())
    tables = [OmegaConf.structured(schema) for schema in schemas]
    return {
        name: (table, item)
        for schema, table in zip(schemas, tables, strict=True)
        for name, item in fields_of(schema).items()
    }


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
    override: Override,
    known: dict[str, tuple[DictConfig, Any]],
    multirun: bool,
    basic: bool,
    conf: Sequence[Path],
) -> Iterator[str]:
    key = override.key_or_group
    if _is_hydras(key):
        return  # Hydra's own settings are Hydra's to check
    text = override.input_line or key
    if mistake := _key_mistake(override, known):
        yield f"{text}: {mistake}"
        return
    if override.is_sweep_override() and override.value_type not in LISTED and not basic:
        return  # a search space, which is the sweeper's to check
    try:
        values = list(values_of(override))
    except TooManyValues as error:
        yield f"{text}: {error}"
        return
    except (HydraException, ValueError):
        yield f"{text}: the values of a sweep are listed (0.1,0.2) or given as range(...) or choice(...)"
        return
    if len(values) > 1 and not multirun:
        comma = f"; a text with a comma is quoted: {quoted(text)}" if is_text(key) else ""
        yield f"{text}: several values need -m (python -m src.train -m {text}){comma}"
        return
    for value in values:
        if mistake := _value_mistake(override, value, known, conf):
            yield f"{key}={value}: {mistake}"


def _key_mistake(override: Override, known: Iterable[str]) -> str | None:
    if override.is_delete() or override.is_add() or override.is_force_add():
        return "settings cannot be added or removed, only given a value (key=value)"
    key = override.key_or_group
    if key in known or key in GROUPS:
        return None
    near = difflib.get_close_matches(key, [*known, *GROUPS], n=1)
    return f"there is no setting {key!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _value_mistake(
    override: Override, value: Any, known: dict[str, tuple[DictConfig, Any]], conf: Sequence[Path]
) -> str | None:
    key = override.key_or_group
    if key in GROUPS:
        files = {path.stem: path for folder in conf for path in _yaml_files(folder / key)}
        if value is None and key == "experiment":
            return None
        if str(value) not in files:
            return f"must be one of {', '.join(sorted(files))}"
        return _file_mistake(files[str(value)])
    if isinstance(value, str) and "${" in value:
        return None  # refers to other settings: checked when they are known
    table, item = known[key]
    try:
        OmegaConf.update(table, key, value)
    except (OmegaConfBaseException, OverflowError, RecursionError):
        as_text = f"; {quoted(override.input_line or key)} is one" if is_text(key) else ""
        return f"must be {type_name(item.type)}{as_text}"
    return range_mistake(item, OmegaConf.select(table, key))


def _file_mistake(path: Path) -> str | None:
    """Why a YAML file would be misread, or None."""
    try:
        mark = path.read_text(encoding="utf-8").startswith("\N{BYTE ORDER MARK}")
    except (OSError, UnicodeDecodeError) as error:
        return f"{path} cannot be read: {error}"
    return f"{path} begins with a byte order mark; save it as UTF-8 without one (BOM)" if mark else None


def _yaml_files(folder: Path) -> list[Path]:
    return list(folder.glob("*.yaml")) if is_dir(folder) else []


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
