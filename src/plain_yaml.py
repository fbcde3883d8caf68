"""YAML of somebody else's: no tags that build objects, no aliases.

An alias stands for a part that was named before. Nine of nine of nine, nine times over, make gigabytes of a
few lines ("billion laughs"); what this project writes holds none.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

LARGEST = 64 * 2**10  # characters; a run's settings take three thousand, and the parser a second for these


def refuse_tricks(text: str) -> None:
    """Raises ValueError for a text longer than LARGEST or with an alias in it, yaml.YAMLError for no YAML."""
    import yaml  # type: ignore[import-untyped]

    if len(text) > LARGEST:
        raise ValueError(f"{len(text):,} characters of YAML are more than the limit of {LARGEST:,}")
    if "*" in text and any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
        raise ValueError("it holds an alias (*name), which no settings need: write the part out")


def settings_of(text: str) -> dict[Any, Any]:
    """The table of settings in a text, unresolved: nothing in it may read the environment.

    Raises:
        ValueError: it is no such table; also from `refuse_tricks`.
        Exception: nearly anything, from a YAML parser given garbage.
    """
    from omegaconf import OmegaConf

    refuse_tricks(text)
    content = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    if not isinstance(content, dict):
        raise ValueError("not a table of settings")
    return content


def read_settings(path: Path) -> dict[Any, Any]:
    """`settings_of` a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not a file, or too large.
        Exception: see `settings_of`.
    """
    if not path.is_file():  # a pipe, on which reading would wait for ever
        raise ValueError(f"{path} is not a file")
    with path.open("rb") as file:
        return settings_of(
            file.read(4 * LARGEST + 1).decode("utf-8-sig")
        )  # UTF-8: 4 bytes at most a character
