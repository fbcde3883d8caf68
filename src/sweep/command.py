"""The command line of `python -m src.train`, checked before Hydra acts on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hydra import initialize_config_dir

from src.config.validation import override_errors
from src.entry_point import CONF, InvalidCommand

FLAGS = ("--multirun", "-m", "--traceback")
ONLY_ASKS = ("--hydra-help", "--version", "--info", "-i", "--shell-completion", "-sc", "--run", "-r")
WITH_VALUE = (
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
)


def read_command(arguments: Sequence[str]) -> list[str]:
    """The arguments as Hydra takes them, options first.

    Raises:
        InvalidCommand: naming every error; nothing was run.
    """
    options: list[str] = []
    overrides: list[str] = []
    config_dirs: list[Path] = []
    rest = iter(arguments)
    for argument in rest:
        name, _, value = argument.partition("=")
        if not argument.startswith("-"):
            overrides.append(argument)
        elif name in WITH_VALUE:
            value = value or next(rest, "")
            options += [name, value]
            config_dirs += [Path(value)] if name in ("--config-dir", "-cd") else []
        elif argument in (*FLAGS, *ONLY_ASKS) or name in ONLY_ASKS:
            options += [argument] if argument != "--traceback" else []
        else:
            raise InvalidCommand([f"{argument}: there is no such option; --help lists all settings"])
    if set(options) & set(ONLY_ASKS):
        return [*options, *overrides]
    words = [text for text in overrides if "=" not in text and not text.startswith("~")]
    if words:
        raise InvalidCommand([f"{word}: settings are given as key=value" for word in words])
    overrides = with_own_targets(overrides)
    multirun = bool({"-m", "--multirun"} & set(options))
    with initialize_config_dir(str(CONF), job_name="train", version_base="1.3"):
        errors, overrides = override_errors(overrides, "train", multirun=multirun, config_dirs=config_dirs)
    if errors:
        raise InvalidCommand(errors)
    return [*options, *overrides]


def with_own_targets(overrides: Sequence[str]) -> list[str]:
    """`network._target_=my.Net` starts from an empty node, not from the default network's arguments."""
    groups = {text.partition("=")[0] for text in overrides}
    added = [
        f"{group}=own"
        for group in ("network", "data", "encoder", "decoder", "optimizer", "schedule")
        if f"{group}._target_" in groups and group not in groups
    ]
    return [*added, *overrides]
