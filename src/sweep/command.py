"""The command line of `python -m src.train`, checked before Hydra acts on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from src.config.validation import Overrides
from src.entry_point import CONF, InvalidCommand
from src.sweep.launcher import BASIC_SWEEPER

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

# Where runs go is the project's to say (src/run/folder.py); False of `chdir` is what None means.
FIXED = {
    "run.dir": (".",),
    "sweep.dir": ("${output_dir}/${name}",),
    "sweep.subdir": (".",),
    "output_subdir": (None,),
    "job.chdir": (None, False),
}


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
    with initialize_config_dir(str(CONF), job_name="train", version_base="1.3"):
        given = Overrides(with_own_targets(overrides), "train", config_dirs)
        nodes = [base.hydra for base in given.bases]
        multirun = any(node.mode == RunMode.MULTIRUN for node in nodes) or bool(
            {"-m", "--multirun"} & set(options)
        )
        searches = any(node.sweeper._target_ != BASIC_SWEEPER for node in nodes)
        accepted = given.check(multirun=multirun, searches=searches)
        errors = [*given.errors, *folder_errors(nodes), *sweep_errors(given, multirun)]
    if errors:
        raise InvalidCommand(errors)
    return [*options, *accepted]


def folder_errors(nodes: Sequence[DictConfig]) -> Iterator[str]:
    """Every setting of Hydra's that would lead the runs' folders elsewhere."""
    for node in nodes:
        plain: Any = OmegaConf.to_container(node, resolve=False)
        for key, usual in FIXED.items():
            parent, _, name = key.rpartition(".")
            value = (plain[parent] if parent else plain)[name]
            if value not in usual:
                yield f"hydra.{key}={value}: runs go to OUTPUT_DIR/NAME/<run>; give output_dir=... and name=..."


def sweep_errors(given: Overrides, multirun: bool) -> Iterator[str]:
    """Sweeps of files (`hydra.sweeper.params`) that Hydra would not run."""
    named = {one.key_or_group for one in given.parsed}
    sweeps = [dict(base.hydra.sweeper.get("params") or {}) for base in given.bases]
    for sweep, choice in zip(sweeps, given.choices, strict=True):
        shown = " ".join(choice)
        if not multirun and (left := [key for key in sweep if key not in named]):
            yield f"{shown}: its sweep over {', '.join(left)} needs -m (python -m src.train -m {shown})"
        elif any(other != sweep for other in sweeps):
            yield f"{shown}: its own sweep ({', '.join(sweep) or 'none'}) would be lost; one sweep in a command"


def with_own_targets(overrides: Sequence[str]) -> list[str]:
    """`network._target_=my.Net` starts from an empty node, not from the default network's arguments."""
    overrides = [_with_decoder(text) for text in overrides]
    groups = {text.partition("=")[0] for text in overrides}
    added = [
        f"{group}=own"
        for group in ("network", "data", "encoder", "decoder", "optimizer", "schedule")
        if f"{group}._target_" in groups and group not in groups
    ]
    return [*added, *overrides]


def _with_decoder(text: str) -> str:
    """The report's `attention=false,true` as `decoder=lstm,attention`."""
    key, _, values = text.partition("=")
    names = {"true": "attention", "false": "lstm"}
    known = [names.get(value.strip().lower()) for value in values.split(",")]
    return f"decoder={','.join(map(str, known))}" if key == "attention" and all(known) else text
