"""Arguments of `_target_`s, checked against the signatures of what they name."""

from __future__ import annotations

import inspect
import pkgutil
import types
import typing
from collections.abc import Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.config.validation import nearest, type_name


def target_errors(cfg: Any, prefix: str = "", besides: Sequence[str] = ()) -> list[str]:
    """Arguments of `_target_`s that the target's signature does not take, at any depth.

    Args:
        cfg: a composed configuration, or a node of it.
        prefix: the node's dotted name, with a dot at its end.
        besides: keys of the node that are no arguments of its target.
    """
    if not isinstance(cfg, DictConfig):
        return []
    found = [
        f"{prefix}{key}: must be given a value ({prefix}{key}=...)" for key in OmegaConf.missing_keys(cfg)
    ]
    if found:
        return found
    if "_target_" in cfg:
        try:
            target = pkgutil.resolve_name(cfg["_target_"])
        except Exception as error:  # whatever an import of somebody's module raises
            return [
                f"{prefix}_target_={cfg['_target_']}: cannot be imported ({type(error).__name__}: {error})"
            ]
        found += signature_errors(
            target,
            {str(k): v for k, v in cfg.items() if not str(k).startswith("_") and k not in besides},
            prefix,
        )
    for key in map(str, cfg):
        if isinstance(node := cfg._get_node(key), DictConfig) and not node._is_none():
            found += target_errors(node, f"{prefix}{key}.")
    return found


def takes(target: str, argument: str) -> bool:
    """Whether a target has an argument of that name."""
    return argument in inspect.signature(pkgutil.resolve_name(target)).parameters


def signature_errors(target: Any, arguments: typing.Mapping[str, Any], prefix: str = "") -> list[str]:
    """Arguments that `target` does not take by name or by type."""
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
                found.append(f"{prefix}{key}: {name} has no argument {key!r}{nearest(key, list(parameters))}")
        elif not _fits(value, hints.get(key, Any)):
            found.append(f"{prefix}{key}={value}: must be {type_name(hints[key])} ({name})")
    return found


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value can be of the annotated type; True where that cannot be told."""
    kinds = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    if not all(kind in (int, float, bool, str, types.NoneType) for kind in kinds):
        return True
    allowed = {*kinds, int} if float in kinds else set(kinds)
    return type(value) in allowed
