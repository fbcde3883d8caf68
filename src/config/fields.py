"""A setting: a dataclass field that carries its range, its help text and whether it affects results."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

from omegaconf import MISSING


def setting(
    help: str,
    *,
    group: str = "settings",
    default: Any = MISSING,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] | None = None,
    affects_results: bool | tuple[str, ...] = True,
    path: bool = False,
    check: Callable[[Any], str | None] | None = None,
) -> Any:
    """A field of a settings dataclass.

    Args:
        help: one line for `--help`.
        group: the heading it stands under there.
        default: lists and dictionaries are copied.
        at_least, above, at_most, below: bounds of a number.
        choices: of a text.
        affects_results: whether the run's numbers depend on it; of a dictionary, a tuple names the keys on which they
            do not depend.
        check: says what is wrong with a value for which bounds and choices do not do.
        path: a leading `~` is the user's home.
    """
    bounds = {"at_least": at_least, "above": above, "at_most": at_most, "below": below}
    metadata = {
        "help": help,
        "group": group,
        "bounds": {name: value for name, value in bounds.items() if value is not None},
        "choices": choices,
        "affects_results": affects_results,
        "path": path,
        "check": check,
    }
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def fields_of(schema: type, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Every setting of a schema by its dotted name."""
    for item in dataclasses.fields(schema):
        factory: Any = item.default_factory
        if isinstance(factory, type) and dataclasses.is_dataclass(factory):
            yield from fields_of(factory, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", item
