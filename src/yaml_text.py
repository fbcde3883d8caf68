"""Reading a YAML file that somebody else may have written: plain values, nothing looked up, nothing run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

LARGEST_FILE = 4 * 2**20  # bytes; a run's settings are a few kilobytes


def refuse_aliases(text: str) -> None:
    """Refuse `*name`, by which a few hundred bytes can stand for gigabytes. No file of ours holds one.

    Raises:
        ValueError: there is one.
        yaml.YAMLError: the text is no YAML.
    """
    import yaml  # type: ignore[import-untyped]

    if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, Loader=yaml.SafeLoader)):
        raise ValueError("it holds a YAML alias (*name), and a run's settings hold none")


def read_settings(path: Path) -> dict[Any, Any]:
    """A run's config.yaml as it stands: ${...} is left unresolved, since it could read the environment.

    Raises:
        OSError, ValueError and what a YAML parser given garbage raises, which is nearly anything.
    """
    from omegaconf import OmegaConf

    if not path.is_file():  # a pipe, on which reading would wait for ever
        raise ValueError(f"{path} is not a file")
    with path.open("rb") as file:
        data = file.read(LARGEST_FILE + 1)
    if len(data) > LARGEST_FILE:
        raise ValueError(f"{path} is larger than {LARGEST_FILE // 2**20} MiB")
    text = data.decode("utf-8-sig")
    refuse_aliases(text)
    content = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    if not isinstance(content, dict):
        raise ValueError(f"{path} is not a table of settings")
    return content
