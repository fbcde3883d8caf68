"""A run's fingerprint: the settings that determine its numbers; and its folder's name, made of them."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import Any

from omegaconf import DictConfig, OmegaConf

from src.tasks import TASKS

MAX_NAME = 200  # bytes of a folder's name: the file system's limit is 255, with room for suffixes
REFERENCE = re.compile(r"\$\{[\w.]+\}")  # to another setting, which tells it all
GROUPS_IN_PATH = ("task", "data", "experiment")  # whose choice the sweep's folder tells, not the run's name


def fingerprint(cfg: DictConfig) -> dict[str, Any]:
    """The settings that affect a run's results, flat, by dotted name.

    Left out are those marked `affects_results=False` in the schema (src/settings.py), and of an open node the
    keys that its mark lists: where data lie, which device computes, what is logged.
    """
    found: dict[str, Any] = {}
    schema = OmegaConf.get_type(cfg)
    for item in dataclasses.fields(schema) if dataclasses.is_dataclass(schema) else ():
        affects = item.metadata.get("affects_results", True)
        if affects is False:
            continue
        value = cfg[item.name]
        if isinstance(value, DictConfig) and dataclasses.is_dataclass(OmegaConf.get_type(value)):
            found |= {f"{item.name}.{key}": inner for key, inner in fingerprint(value).items()}
        elif isinstance(value, DictConfig):
            written, resolved = (flat(OmegaConf.to_container(value, resolve=each)) for each in (False, True))
            ignored = affects if isinstance(affects, tuple) else ()
            found |= {
                key if item.name == "choices" else f"{item.name}.{key}": inner
                for key, inner in resolved.items()
                if key.split(".")[0] not in ignored and not REFERENCE.fullmatch(str(written[key]))
            }
        else:
            found[item.name] = OmegaConf.to_container(value) if OmegaConf.is_config(value) else value
    return {key: rounded(value) for key, value in found.items()}


def flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def settings_of(config: Any) -> dict[str, Any]:
    """A config.yaml's settings under the names of a fingerprint."""
    found = flat(config)
    return {key.removeprefix("choices."): rounded(value) for key, value in found.items()}


def rounded(value: Any) -> Any:
    """Floats to 12 significant digits: a range's 0.30000000000000004 is 0.3."""
    return float(f"{value:.12g}") if isinstance(value, float) else value


def run_name(cfg: DictConfig, recipe: DictConfig, usual: DictConfig) -> str:
    """The name of a run's folder: the task's main settings, then whatever departs from the recipe.

    Args:
        cfg: the run's settings.
        recipe: what `conf/` gives for the same choices of groups.
        usual: the choices of groups where the command line makes none.
    """
    mine, theirs = fingerprint(cfg), fingerprint(recipe)
    named = {key: mine[key] for key in TASKS[cfg.task].always_named if mine.get(key, "own") != "own"}
    named |= {
        key: choice for key, choice in cfg.choices.items() if choice not in (usual.get(key), "own", "none")
    }
    named |= {key: mine[key] for key in sorted(mine) if key not in named and mine[key] != theirs.get(key)}
    name = ",".join(f"{key}={_as_text(value)}" for key, value in named.items())
    if len(name.encode()) <= MAX_NAME:
        return name
    return f"{name.encode()[: MAX_NAME - 9].decode(errors='ignore')}-{_digest(name)}"


def _as_text(value: Any) -> str:
    """A value without separators, of a path the last part; what had to be changed ends in a digest of the whole."""
    text = str(value).lower() if isinstance(value, bool) else str(value)  # as on the command line
    last = text.rstrip("/").rpartition("/")[2]
    kept = "".join("_" if sign in '/\\,= \n\t:*?"<>|' else sign for sign in last)
    return kept if kept == text else f"{kept}-{_digest(text)}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]
