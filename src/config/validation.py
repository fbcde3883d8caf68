"""Validation of a command: every error of it at once, as sentences.

`Overrides` checks each `key=value` of a command line against the composed configuration; it asks Hydra, so that
groups, own `--config-dir`s and defaults lists count. `config_errors` checks the ranges of a composed configuration.
"""

from __future__ import annotations

import dataclasses
import difflib
import operator
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from src.config.overrides import parse, quoted, values_of

TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


class Overrides:
    """The overrides of a command line, checked against what Hydra composes of the groups among them.

    Make it inside an initialized Hydra (`hydra.initialize_config_dir`).

    Args:
        arguments: `key=value` each.
        config_name: the primary configuration.
        config_dirs: folders given by `--config-dir`.

    Attributes:
        errors: what was found so far.
        bases: the configurations, with their `hydra` nodes, one for each choice of a group that is swept.
    """

    def __init__(self, arguments: Sequence[str], config_name: str, config_dirs: Sequence[Path] = ()) -> None:
        self.errors: list[str] = []
        self.parsed: list[Override] = []
        self.bases: list[DictConfig] = []
        self.choices: list[list[str]] = []  # of each base
        for argument in arguments:
            try:
                self.parsed.append(parse(argument))
            except ValueError as error:
                self.errors.append(str(error))
        self._refuse_repeated()
        self.errors += [  # Hydra would not see the line `# @package` behind it
            f"{path} begins with a byte order mark: save it as UTF-8 without one"
            for folder in config_dirs
            for path in sorted(folder.rglob("*.yaml"))
            if path.read_bytes().startswith(b"\xef\xbb\xbf")
        ]
        self.groups = {
            one.key_or_group: options
            for one in self.parsed
            if (options := _options(one.key_or_group, config_dirs)) and not one.is_delete()
        }
        self.misfits = self._check_choices()
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
        for given in self.parsed if self.bases else ():
            override = given
            key, text = override.key_or_group, str(override.input_line)
            is_space = override.is_sweep_override() and not override.is_choice_sweep() and searches
            if key in self.groups or _is_of_hydra(key) or override.is_delete() or is_space:
                accepted.append(text)
                continue
            if (
                self._is_list(key)
                and not override.is_sweep_override()
                and not isinstance(override.value(), list)
            ):
                text = f"{key}=[{text.partition('=')[2]}]"  # one of them
                override = parse(text)
            try:
                values = values_of(override)
            except (HydraException, ValueError) as error:
                self.errors.append(f"{text}: {str(error).splitlines()[0]}")
                continue
            if len(values) > 1 and not multirun:
                self.errors.append(
                    f"{text}: several values need -m; one text with a comma is quoted: {quoted(text)}"
                )
                continue
            wrong = [[_value_error(base, key, value) for base in self.bases] for value in values]
            found = [str(of_value[0]) for of_value in wrong if all(of_value)]
            self.errors += found
            if not found:
                is_new = all(OmegaConf.select(base, key, default=_ABSENT) is _ABSENT for base in self.bases)
                accepted.append(f"++{text}" if is_new and not text.startswith("+") else text)
        return accepted

    def _is_list(self, key: str) -> bool:
        holder, name = _holder(self.bases[0], key)
        return typing.get_origin(_declared(holder, name)[0]) is list

    def _refuse_repeated(self) -> None:
        given: dict[str, str] = {}
        for override in self.parsed:
            text = str(override.input_line)
            first = given.setdefault(override.get_key_element(), text)
            if first != text:
                self.errors.append(f"{text}: {first} is given, too")

    def _check_choices(self) -> set[str]:
        """The groups of which there is no such choice."""
        misfits = set()
        for override in self.parsed:
            group, options = override.key_or_group, self.groups.get(override.key_or_group, [])
            for value in values_of(override) if options else ():
                names = value if isinstance(value, list) else [] if value is None else [value]
                shown = ", ".join(option for option in options if option != "own")
                for name in (name for name in names if str(name) not in options):
                    self.errors.append(f"{group}={name}: must be one of {shown}{nearest(name, options)}")
                    misfits.add(group)
        return misfits

    def _compose(self, config_name: str, config_dirs: Sequence[Path]) -> None:
        folders = ",".join(f'"file://{path.absolute()}"' for path in config_dirs)
        fixed = [f"hydra.searchpath=[{folders}]"] if config_dirs else []
        fixed += [
            str(one.input_line)
            for one in self.parsed
            if _is_of_hydra(one.key_or_group) and not one.is_sweep_override()
        ]
        chosen = [
            [f"{one.key_or_group}={_text(value)}" for value in values_of(one)]
            for one in self.parsed
            if one.key_or_group in self.groups and not _is_of_hydra(one.key_or_group)
            if one.key_or_group not in self.misfits
        ]
        for place in range(max(map(len, chosen), default=1)):
            choice = [texts[min(place, len(texts) - 1)] for texts in chosen]
            try:
                self.bases.append(compose(config_name, [*fixed, *choice], return_hydra_config=True))
                self.choices.append(choice)
            except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
                self.errors.append(" ".join(str(error).splitlines()[:2]))  # the second names the key


_ABSENT = object()


def _is_of_hydra(key: str) -> bool:
    return key == "hydra" or key.startswith(("hydra.", "hydra/"))


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
        return f"{key}={_text(value)}: there is no setting {key!r}{nearest(key, list(_leaves(base)))}"
    if isinstance(value, str) and "${" in value:
        return None  # refers to others: known when they are
    kind, metadata = _declared(holder, name)
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
    parent = key.rpartition(".")[0]
    while parent:
        if isinstance(node := OmegaConf.select(base, parent, default=None), DictConfig):
            return node, key[len(parent) + 1 :]
        parent = parent.rpartition(".")[0]
    return base, key


def _leaves(config: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in map(str, config):
        if key == "hydra" and not prefix:
            continue
        node = config._get_node(key)
        yield f"{prefix}{key}"
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
            yield from _leaves(node, f"{prefix}{key}.")


def _declared(holder: DictConfig, name: str) -> tuple[Any, typing.Mapping[str, Any]]:
    """The type of a setting in its schema and its `setting`'s metadata; None and nothing where it has no schema."""
    schema = OmegaConf.get_type(holder)
    for item in dataclasses.fields(schema) if dataclasses.is_dataclass(schema) else ():
        if item.name == name:
            return typing.get_type_hints(schema)[name], item.metadata
    return None, {}


def type_name(kind: Any) -> str:
    """A setting's type in words."""
    kinds = [one for one in (typing.get_args(kind) or (kind,)) if one is not types.NoneType]
    names = [TYPE_NAMES.get(one, "of another type") for one in kinds]
    return " or ".join(names + (["null"] if len(kinds) < len(typing.get_args(kind)) else []))


def range_error(metadata: typing.Mapping[str, Any], value: Any) -> str | None:
    """What is wrong with a value of the right type, by its `setting`'s bounds and choices; None if nothing."""
    if value is None:
        return None
    if metadata.get("check") is not None:
        return metadata["check"](value)
    choices, bounds = metadata.get("choices"), metadata.get("bounds", {})
    if choices is not None and value not in choices:
        return f"must be one of {', '.join(choices)}{nearest(value, choices)}"
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    holds = {"at_least": operator.ge, "above": operator.gt, "at_most": operator.le, "below": operator.lt}
    if abs(value) < float("inf") and all(holds[kind](value, bound) for kind, bound in bounds.items()):
        return None  # of a NaN nothing holds
    limits = [f"{kind.replace('_', ' ')} {bound}" for kind, bound in bounds.items()]
    return f"must be {' and '.join(limits) or 'a finite number'}"


def config_errors(cfg: DictConfig, prefix: str = "") -> list[str]:
    """Every typed setting that is missing or out of its range, in a composed configuration."""
    found = []
    schema = OmegaConf.get_type(cfg)
    for item in dataclasses.fields(schema) if dataclasses.is_dataclass(schema) else ():
        name = f"{prefix}{item.name}"
        try:
            value = cfg[item.name]
        except MissingMandatoryValue:
            found.append(f"{name}: must be given a value ({name}=...)")
            continue
        if isinstance(value, DictConfig):
            found += config_errors(value, f"{name}.")
        elif error := range_error(item.metadata, value):
            found.append(f"{name}={value}: {error}")
    return found
