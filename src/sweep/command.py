"""The command line of `python -m src.train`, checked before Hydra acts on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import initialize_config_dir
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from src.config.validation import Overrides, with_listed_ranges
from src.entry_point import CONF, OPTIONS_WITH_VALUE, InvalidCommand, split_arguments, with_positional

BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
ONLY_ASKS = ("--hydra-help", "--version", "--info", "-i", "--shell-completion", "-sc", "--run", "-r")
FLAGS = ("--multirun", "-m", "--traceback", *ONLY_ASKS)
WITH_VALUE = {
    **OPTIONS_WITH_VALUE,
    **{name: name for name in ("--config-path", "-cp", "--config-name", "-cn", "--package", "-p")},
}

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
    given_options, words = split_arguments(arguments, WITH_VALUE, FLAGS)
    options = [text for option in given_options for text in option if text not in ("", "--traceback")]
    if set(options) & set(ONLY_ASKS):
        return [*options, *words]
    overrides = with_positional(words)
    config_dirs = [Path(value) for name, value in given_options if name == "--config-dir"]
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
    # Of several Hydra takes the last one.
    folders = ",".join(f'"file://{path.absolute()}"' for path in config_dirs[:-1])
    return [*options, *accepted, *([f"hydra.searchpath=[{folders}]"] if folders else [])]


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


class Planning(Callback):
    """Puts every launcher behind our checks, and lists ranges before Hydra adds them up (`conf/train.yaml`)."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Change the composed configuration in place."""
        from src.sweep.launcher import as_plugin, checked  # late: a single run needs none

        with open_dict(config):
            config.hydra.launcher = checked(config.hydra.launcher)
            config.hydra.sweeper = as_plugin(config.hydra.sweeper)
            if config.hydra.sweeper["_target_"] == BASIC_SWEEPER:
                asked = config.hydra.overrides.task
                config.hydra.overrides.task = [with_listed_ranges(argument) for argument in asked]
                for key, values in (config.hydra.sweeper.params or {}).items():
                    config.hydra.sweeper.params[key] = with_listed_ranges(f"{key}={values}").partition("=")[2]
