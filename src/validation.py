"""Validation of a command: every error of it at once, as sentences.

`override_errors` checks each `key=value` of a command line against the composed configuration; it asks Hydra,
so that groups, own `--config-dir`s and defaults lists count. `config_errors` checks a composed configuration:
ranges of the typed settings (src/settings.py), arguments of the `_target_`s.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import itertools
import types
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import hydra.utils
from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString, RangeSweep, Transformer
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

MAX_VALUES = 10_000  # of one setting in a sweep
TYPE_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


def override_errors(  # noqa: PLR0912  a command line has that many kinds of error
    arguments: Sequence[str], config_name: str, *, multirun: bool = False, config_dirs: Sequence[Path] = ()
) -> tuple[list[str], list[str]]:
    """Check overrides inside an initialized Hydra (`hydra.initialize_config_dir`).

    Args:
        arguments: `key=value` each.
        config_name: the primary configuration.
        multirun: whether a setting may have several values.
        config_dirs: folders given by `--config-dir`.

    Returns:
        The errors, and the arguments as Hydra takes them: new keys of open nodes (arguments of a `_target_`,
        `trainer`, `callbacks`, ...) with `++`.
    """
    parser = OverridesParser.create()
    errors, parsed = [], []
    for argument in arguments:
        try:
            parsed.append(parser.parse_override(argument))
        except (HydraException, ValueError, RecursionError):
            errors.append(
                f"{argument}: cannot be read; settings are given as key=value, quoted as {_quoted(argument)}"
            )
    seen: dict[str, str] = {}
    for override in parsed:
        key, text = override.key_or_group, str(override.input_line)
        if key in seen and not override.is_delete():
            errors.append(f"{text}: {seen[key]} is given, too; give one of them")
        seen[key] = text
    search_path = [f"hydra.searchpath=[{','.join(f'file://{path.absolute()}' for path in config_dirs)}]"]
    search_path = search_path if config_dirs else []
    groups = {one.key_or_group: _options(one.key_or_group, config_dirs) for one in parsed}
    chosen = [one for one in parsed if groups[one.key_or_group] and not one.is_delete()]
    for override in chosen:
        options = groups[override.key_or_group]
        for value in _values(override):
            names = value if isinstance(value, list) else [value]
            errors += [
                f"{override.key_or_group}={name}: must be one of {', '.join(options)}"
                + _nearest(name, options)
                for name in names
                if name is not None and str(name) not in options
            ]
    if errors:
        return errors, []
    # One configuration for each choice of a group that is swept: a key has to be in one of them.
    choices = itertools.zip_longest(
        *([f"{one.key_or_group}={_text(value)}" for value in _values(one)] for one in chosen)
    )
    bases = []
    for choice in choices if chosen else [()]:
        overrides = [given or _text_of(one) for given, one in zip(choice, chosen, strict=True)]
        try:
            bases.append(compose(config_name, [*search_path, *overrides]))
        except (HydraException, OmegaConfBaseException) as error:
            return [str(error).splitlines()[0]], []
    accepted = []
    for override in parsed:
        key, text = override.key_or_group, str(override.input_line)
        if groups[key] or key.split(".")[0].split("/")[0] == "hydra" or override.is_delete():
            accepted.append(text)
            continue
        try:
            values = list(_values(override))
        except (HydraException, ValueError) as error:
            errors.append(f"{text}: {str(error).splitlines()[0]}")
            continue
        if len(values) > 1 and not multirun:
            errors.append(f"{text}: several values need -m")
            continue
        wrong = [[_value_error(base, key, value) for base in bases] for value in values]
        errors += [str(found[0]) for found in wrong if all(found)]
        if any(map(all, wrong)):
            continue
        is_new = not any(OmegaConf.select(base, key, default=_ABSENT) is not _ABSENT for base in bases)
        accepted.append(f"++{text}" if is_new and not text.startswith("+") else text)
    return errors, accepted


_ABSENT = object()


def _quoted(argument: str) -> str:
    key, _, value = argument.partition("=")
    return f"""'{key}="{value}"'"""


def _options(group: str, config_dirs: Sequence[Path]) -> list[str]:
    """The choices of a Hydra group, of the project and of the given folders; none where it is no group."""
    found = set(GlobalHydra.instance().config_loader().get_group_options(group))
    for folder in config_dirs:
        found |= {path.stem for path in (folder / group).glob("*.yaml")}
    return sorted(found)


def _nearest(word: Any, words: Sequence[str]) -> str:
    near = difflib.get_close_matches(str(word), words, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _values(override: Override) -> Iterator[Any]:
    """The values of an override as plain Python: one or, of a sweep, many.

    Raises:
        ValueError: a range without a step, or of too many values.
        HydraException: a sweep that Hydra cannot list.
    """
    if not override.is_sweep_override():
        yield _plain(override.value())
        return
    if isinstance(span := override.value(), RangeSweep):
        start, stop, step = (float(side or 0) for side in (span.start, span.stop, span.step))
        if step == 0 or not (stop - start) / step <= MAX_VALUES:
            raise ValueError(f"a range has a step and at most {MAX_VALUES:,} values")
    for value in override.sweep_iterator(transformer=Transformer.identity):
        yield _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return (
        {str(_plain(key)): _plain(item) for key, item in value.items()} if isinstance(value, dict) else value
    )


def _text(value: Any) -> str:
    if isinstance(value, list):
        return f"[{','.join(map(_text, value))}]"
    return "null" if value is None else str(value)


def _text_of(override: Override) -> str:
    return f"{override.key_or_group}={_text(next(_values(override)))}"


def _value_error(base: DictConfig, key: str, value: Any) -> str | None:
    """Why the configuration takes no such value for this key; ranges are checked once all is composed."""
    parent_key, _, name = key.rpartition(".")
    parent = OmegaConf.select(base, parent_key, default=None) if parent_key else base
    is_open = isinstance(parent, DictConfig) and OmegaConf.get_type(parent) is dict and parent is not base
    is_open = is_open or (parent is None and _has_open_ancestor(base, parent_key))
    if not is_open and not (isinstance(parent, DictConfig) and name in parent.keys()):  # noqa: SIM118  `in` leaves out missing values
        known = list(_leaves(base))
        return f"{key}={_text(value)}: there is no setting {key!r}{_nearest(key, known)}"
    if isinstance(value, str) and "${" in value:
        return None  # refers to others: known when they are
    config = base.copy()
    try:
        OmegaConf.update(config, key, value, force_add=is_open)
    except (OmegaConfBaseException, ValueError, OverflowError):
        kind = _type_name(_annotation(parent, name))
        return f"{key}={_text(value)}: must be {kind}"
    error = range_error(_metadata(parent, name), OmegaConf.select(config, key))
    return f"{key}={_text(value)}: {error}" if error else None


def _has_open_ancestor(base: DictConfig, key: str) -> bool:
    while key:
        key = key.rpartition(".")[0]
        node = OmegaConf.select(base, key, default=None) if key else None
        if isinstance(node, DictConfig):
            return OmegaConf.get_type(node) is dict
    return False


def _leaves(config: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in map(str, config):
        node = config._get_node(key)
        yield f"{prefix}{key}"
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
            yield from _leaves(node, f"{prefix}{key}.")


def _annotation(parent: Any, name: str) -> Any:
    schema = OmegaConf.get_type(parent) if isinstance(parent, DictConfig) else None
    return typing.get_type_hints(schema).get(name) if dataclasses.is_dataclass(schema) else None


def _metadata(parent: Any, name: str) -> typing.Mapping[str, Any]:
    schema = OmegaConf.get_type(parent) if isinstance(parent, DictConfig) else None
    fields = dataclasses.fields(schema) if dataclasses.is_dataclass(schema) else ()
    return next((item.metadata for item in fields if item.name == name), {})


def _type_name(kind: Any) -> str:
    """A setting's type in words."""
    kinds = [one for one in (typing.get_args(kind) or (kind,)) if one is not types.NoneType]
    names = [TYPE_NAMES.get(one, "of another type") for one in kinds]
    return " or ".join(names + (["null"] if len(kinds) < len(typing.get_args(kind)) else []))


def range_error(metadata: typing.Mapping[str, Any], value: Any) -> str | None:
    """What is wrong with a value of the right type, by its `setting`'s bounds and choices; None if nothing."""
    if value is None:
        return None
    choices, bounds = metadata.get("choices"), metadata.get("bounds", {})
    if choices is not None and value not in choices:
        return f"must be one of {', '.join(choices)}{_nearest(value, choices)}"
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    holds = {
        "at_least": lambda bound: value >= bound,
        "above": lambda bound: value > bound,
        "at_most": lambda bound: value <= bound,
        "below": lambda bound: value < bound,
    }
    if abs(value) < float("inf") and all(holds[kind](bound) for kind, bound in bounds.items()):  # a NaN fails
        return None
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


def target_errors(cfg: Any, prefix: str = "", given: Sequence[str] = ()) -> list[str]:
    """Arguments of `_target_`s that the target's signature does not take, at any depth.

    Args:
        cfg: a composed configuration, or a node of it.
        prefix: the node's dotted name, with a dot at its end.
        given: names of arguments that the code itself passes.
    """
    if not isinstance(cfg, DictConfig):
        return []
    found: list[str] = []
    if "_target_" in cfg:
        try:
            target = hydra.utils.get_object(cfg["_target_"])
        except Exception as error:  # whatever an import of somebody's module raises
            return [
                f"{prefix}_target_={cfg['_target_']}: cannot be imported ({type(error).__name__}: {error})"
            ]
        found += signature_errors(
            target, {str(k): v for k, v in cfg.items() if not str(k).startswith("_")}, prefix, given
        )
    for key in map(str, cfg):
        if isinstance(node := cfg._get_node(key), DictConfig) and not node._is_none():
            found += target_errors(node, f"{prefix}{key}.")
    return found


def signature_errors(
    target: Any, arguments: typing.Mapping[str, Any], prefix: str = "", given: Sequence[str] = ()
) -> list[str]:
    """Arguments that `target` does not take by name or by type; required ones that are missing."""
    name = getattr(target, "__qualname__", str(target))
    try:
        parameters = inspect.signature(target).parameters
    except (TypeError, ValueError):  # written in C
        return []
    found = []
    takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters.values())
    function = target.__init__ if inspect.isclass(target) else target
    try:
        hints = typing.get_type_hints(function)
    except Exception:  # annotations that name what is not there
        hints = {}
    for key, value in arguments.items():
        if key not in parameters:
            if not takes_all:
                found.append(
                    f"{prefix}{key}: {name} has no argument {key!r}{_nearest(key, list(parameters))}"
                )
        elif not _fits(value, hints.get(key, Any)):
            found.append(f"{prefix}{key}={value}: must be {_type_name(hints[key])} ({name})")
    for key, one in parameters.items():
        required = one.default is one.empty and one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)
        if required and key not in arguments and key not in given:
            found.append(f"{prefix}{key}: {name} needs this argument ({prefix}{key}=...)")
    return found


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value can be of the annotated type; True where that cannot be told."""
    kinds = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if not all(kind in (int, float, bool, str, types.NoneType) for kind in kinds):
        return True
    allowed = {*kinds, int} if float in kinds else set(kinds)
    return type(value) in allowed
