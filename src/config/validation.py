"""Validation of a command: every error of it at once, as sentences.

`Overrides` checks each `key=value` of a command line against the composed configuration; it asks Hydra, so that
groups, own `--config-dir`s and defaults lists count. `config_errors` checks the ranges of a composed configuration.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import itertools
import math
import operator
import re
import shlex
import types
import typing
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, RangeSweep, Transformer
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.config.settings import limits

TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}
MAX_VALUES = 10_000  # of one setting in a sweep
OF_HYDRA = re.compile(r"hydra\b").match
UNQUOTED = re.compile(r"[\w/.+$%*@?|:~, -]*")  # what a value may hold that is not quoted


def parse(argument: str) -> Override:
    """An override; `~`, `=` (of a run's folder) and letters beyond ASCII, which Hydra wants in quotes, may stand bare.

    Raises:
        ValueError: it cannot be read; the message says how to write it.
    """
    # Else MIN,MAX would be two values of a sweep.
    argument = re.sub(r"^(\+*images\.range)=([-+.\de]+,[-+.\de]+)$", r"\1='\2'", argument)
    key, sign, value = argument.partition("=")
    texts = [argument]
    if ("~" in value or not value.isascii()) and UNQUOTED.fullmatch(value):
        texts.append(f"{key}{sign}" + ",".join(f'"{item}"' for item in value.split(",")))
    if "=" in value and UNQUOTED.fullmatch(value.replace("=", "")):  # one text, its commas included
        texts.append(f'{key}="{value}"')
    for text in texts:
        # ValueError: a number of thousands of digits; RecursionError: brackets within brackets
        with contextlib.suppress(HydraException, ValueError, RecursionError):
            return OverridesParser.create().parse_override(text)
    hint = f"quote the value: {quoted(argument)}" if sign else "settings are given as key=value"
    raise ValueError(f"{argument}: cannot be read; {hint}")


def quoted(argument: str) -> str:
    """An override as a shell and Hydra take it: the value in quotes for Hydra, the whole for the shell."""
    key, _, value = argument.replace('"', '\\"').partition("=")
    return shlex.quote(f'{key}="{value}"')


def values_of(override: Override) -> list[Any]:
    """The values of an override as plain Python, one or, of a sweep, many.

    Raises:
        HydraException: a sweep whose values cannot be listed.
        ValueError: a range without a step, or of too many values.
    """
    found: Sequence[Any]
    if not override.is_sweep_override():
        found = [override.value()]
    elif isinstance(span := override.value(), RangeSweep):
        found = _numbers(span)
    else:
        found = list(override.sweep_iterator(transformer=Transformer.identity))
    return [Override._convert_value(value) for value in found]  # without Hydra's quotes


def _numbers(span: RangeSweep) -> list[int | float]:
    """The numbers of a range, `stop` left out, as they are written: Hydra adds up binary fractions."""
    start, stop, step = (Decimal(repr(side or 0)) for side in (span.start, span.stop, span.step))
    if not step or not (stop - start) / step <= MAX_VALUES:
        raise ValueError(f"a range has a step and at most {MAX_VALUES:,} values")
    whole = all(isinstance(side, int) for side in (span.start, span.stop, span.step))
    values = (start + place * step for place in range(max(0, math.ceil((stop - start) / step))))
    return [int(value) if whole else rounded(float(value)) for value in values]


def with_listed_ranges(argument: str) -> str:
    """An override whose range of fractions is a list of its values, for Hydra's own sweeper."""
    override = parse(argument)
    span = override.value()
    if not isinstance(span, RangeSweep) or isinstance(span.range(), range):
        return argument
    listed = ",".join(map(str, values_of(override)))
    return f"{override.get_key_element()}={f'shuffle({listed})' if span.shuffle else listed}"


def rounded(value: Any) -> Any:
    """Floats to 12 significant digits: a range's 0.30000000000000004 is 0.3."""
    return float(f"{value:.12g}") if isinstance(value, float) else value


class Overrides:
    """The overrides of a command line, checked, in an initialized Hydra, against what it composes of their groups.

    Args:
        arguments: `key=value` each.
        config_name: the primary configuration.
        config_dirs: folders given by `--config-dir`.

    Attributes:
        bases: the configurations, with their `hydra` nodes, one for each choice of a group that is swept.
    """

    def __init__(self, arguments: Sequence[str], config_name: str, config_dirs: Sequence[Path] = ()) -> None:
        self.errors = [f"--config-dir {path}: no such folder" for path in config_dirs if not path.is_dir()]
        self.parsed: list[Override] = []
        self.bases: list[DictConfig] = []
        self.choices: list[list[str]] = []  # of each base
        for argument in arguments:
            try:
                self.parsed.append(parse(argument))
            except ValueError as error:
                self.errors.append(str(error))
        changed = [one.key_or_group for one in self.parsed if not one.is_delete()]
        self.groups = {key: options for key in changed if (options := _options(key, config_dirs))}
        self._compose(config_name, config_dirs)

    def check(self, *, multirun: bool, searches: bool = False) -> list[str]:
        """Check every value.

        Args:
            multirun: whether a setting may have several values.
            searches: whether a sweeper takes search spaces, such as interval(0, 1), that are its own to check.

        Returns:
            The arguments as Hydra takes them: new keys of open nodes (arguments of a `_target_`, `trainer`,
            `callbacks`, ...) with `++`. Errors are added to `errors`.
        """
        accepted = []
        for override in self.parsed if self.bases else ():
            key, text = override.key_or_group, str(override.input_line)
            is_space = searches and override.is_sweep_override() and not override.is_choice_sweep()
            if key in self.groups or OF_HYDRA(key) or override.is_delete() or is_space:
                accepted.append(text)
                continue
            try:
                values = values_of(override)
            except (HydraException, ValueError) as error:
                self.errors.append(f"{text}: {str(error).splitlines()[0]}")
                continue
            if len(values) > 1 and not multirun:
                hint = f"one text with a comma is quoted: {quoted(text)}"
                self.errors.append(f"{text}: several values need -m; {hint}")
                continue
            holder, name = _holder(self.bases[0], key)
            is_list = typing.get_origin(schema_of(holder).get(name, (None,))[0]) is list
            if is_list and len(values) == 1 and not isinstance(values[0], list):
                text, values = f"{key}=[{text.partition('=')[2]}]", [values]  # one of them
            wrong = [[_value_error(base, key, value) for base in self.bases] for value in values]
            found = [str(of_value[0]) for of_value in wrong if all(of_value)]
            self.errors += found
            if not found:
                is_new = all(OmegaConf.select(base, key, default="???") == "???" for base in self.bases)
                accepted.append(f"++{text}" if is_new and not text.startswith("+") else text)
        return accepted

    def _compose(self, config_name: str, config_dirs: Sequence[Path]) -> None:
        """Compose for the groups' choices; those that there are not are named and left out."""
        folders = ",".join(f'"file://{path.absolute()}"' for path in config_dirs)
        fixed = [f"hydra.searchpath=[{folders}]"] if config_dirs else []
        chosen: list[list[str]] = []  # of each group
        for one in self.parsed:
            group, options = one.key_or_group, self.groups.get(one.key_or_group, [])
            values = values_of(one) if options else []
            lists = [value if isinstance(value, list) else [value] for value in values]
            shown = ", ".join(option for option in options if option != "own")
            errors = [
                f"{group}={_text(name)}: must be one of {shown}{nearest(_text(name), options)}"
                for name in itertools.chain(*lists)
                if name is None or str(name) not in options
            ]
            self.errors += errors
            if OF_HYDRA(group) and not one.is_sweep_override() and not errors:
                fixed.append(str(one.input_line))
            elif values and not errors and not OF_HYDRA(group):
                chosen.append([f"{group}={_text(value)}" for value in values])
        for place in range(max(map(len, chosen), default=1)):
            choice = [texts[min(place, len(texts) - 1)] for texts in chosen]
            try:
                self.bases.append(compose(config_name, [*fixed, *choice], return_hydra_config=True))
                self.choices.append(choice)
            except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
                self.errors.append(" ".join(str(error).splitlines()[:2]))  # the second names the key


def _options(group: str, config_dirs: Sequence[Path]) -> list[str]:
    """The choices of a Hydra group, of the project and of the given folders; none where it is no group."""
    found = set(GlobalHydra.instance().config_loader().get_group_options(group))
    for folder in config_dirs:
        found |= {path.stem for path in (folder / group).glob("*.yaml")}
    return sorted(found)


def nearest(word: Any, words: Sequence[str]) -> str:
    """`; did you mean 'lr'?`, or nothing."""
    near = difflib.get_close_matches(str(word), words, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    return "null" if value is None else str(value)


def _value_error(base: DictConfig, key: str, value: Any) -> str | None:
    """Why the configuration takes no such value for this key; ranges are checked once all is composed."""
    holder, name = _holder(base, key)
    is_open = holder is not base and OmegaConf.get_type(holder) is dict
    if not is_open and name not in holder.keys():  # noqa: SIM118  `in` leaves out missing values
        return f"{key}={_text(value)}: there is no setting {key!r}{nearest(name, list(holder))}"
    if isinstance(value, str) and "${" in value:
        return None  # refers to others: known when they are
    kind, metadata = schema_of(holder).get(name, (None, {}))
    config = base.copy()
    try:
        if bool in (kind, *typing.get_args(kind)) and isinstance(value, int) and not isinstance(value, bool):
            raise ValueError("OmegaConf takes any number for true or false")
        OmegaConf.update(config, key, value, force_add=is_open)
    except (OmegaConfBaseException, ValueError, OverflowError):
        return f"{key}={_text(value)}: must be {type_name(kind)}"
    error = range_error(metadata, OmegaConf.select(config, key))
    return f"{key}={_text(value)}: {error}" if error else None


def _holder(base: DictConfig, key: str) -> tuple[DictConfig, str]:
    """The nearest node that there is above a key, and the rest of the key inside it."""
    parts = key.split(".")
    for end in range(len(parts) - 1, 0, -1):
        if isinstance(node := OmegaConf.select(base, ".".join(parts[:end])), DictConfig):
            return node, ".".join(parts[end:])
    return base, key


def schema_of(cfg: DictConfig) -> dict[str, tuple[Any, typing.Mapping[str, Any]]]:
    """Type and metadata of each declared setting of a configuration's node; empty for an open one."""
    schema = OmegaConf.get_type(cfg)
    if not dataclasses.is_dataclass(schema):
        return {}
    hints = typing.get_type_hints(schema)
    return {item.name: (hints[item.name], item.metadata) for item in dataclasses.fields(schema)}


def type_name(kind: Any) -> str:
    """A setting's type in words."""
    kinds = [one for one in (typing.get_args(kind) or (kind,)) if one is not types.NoneType]
    names = [TYPE_NAMES.get(one, "of another type") for one in kinds]
    return " or ".join(names + (["null"] if len(kinds) < len(typing.get_args(kind)) else []))


def range_error(metadata: typing.Mapping[str, Any], value: Any) -> str | None:
    """What is wrong with a value of the right type, by its `setting`'s bounds and choices; None if nothing."""
    if value is None:
        return None
    if check := metadata.get("check"):
        try:
            check(value)
        except ValueError as error:
            return str(error)
    choices, bounds = metadata.get("choices"), metadata.get("bounds", {})
    holds = {"at_least": operator.ge, "above": operator.gt, "at_most": operator.le, "below": operator.lt}
    for one in value if isinstance(value, Sequence) and not isinstance(value, str) else [value]:
        if choices is not None and one not in choices:
            return f"must be one of {', '.join(choices)}{nearest(one, choices)}"
        if bounds and not (abs(one) < math.inf and all(holds[kind](one, bounds[kind]) for kind in bounds)):
            return f"must be {limits(bounds)}"  # also of a NaN
    return None


def config_errors(cfg: DictConfig, prefix: str = "") -> list[str]:
    """Every typed setting that is missing or out of its range, in a composed configuration."""
    found = []
    for key, (_, metadata) in schema_of(cfg).items():
        name = f"{prefix}{key}"
        if OmegaConf.is_missing(cfg, key):
            found.append(f"{name}: must be given a value ({name}=...)")
        elif isinstance(value := cfg[key], DictConfig):
            found += config_errors(value, f"{name}.")
        elif error := range_error(metadata, value):
            found.append(f"{name}={value}: {error}")
    return found
