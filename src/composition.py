"""What Hydra makes of a command's groups and of its own settings, asked before the command runs.

An experiment's file may hold a sweep, switch a multirun on or choose another sweeper: none of it shows on
the command line.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from src.config import register
from src.paths import is_dir

CONF = Path(__file__).parents[1] / "conf"
BASIC_SWEEPER = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
# Where runs go is ours to say (src/run.py); False of `chdir` is what None means.
FIXED = {
    "run.dir": (".",),
    "sweep.dir": ("${expanded:${output_dir}}/${name}",),
    "sweep.subdir": (".",),
    "output_subdir": (None,),
    "job.chdir": (None, False),
}


@lru_cache(maxsize=64)
def hydra_node(overrides: tuple[str, ...], config_dir: str | None) -> DictConfig | None:
    """The composed `hydra` node; None where Hydra cannot compose it, and will say why.

    Args:
        overrides: of groups, one value each, and of Hydra's own settings.
        config_dir: the folder given by `--config-dir`.
    """
    register()
    own = config_dir is not None and is_dir(Path(config_dir))
    search = [f'hydra.searchpath=["file://{Path(config_dir or "").absolute()}"]'] if own else []
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(CONF)):
            return compose("train", [*search, *overrides], return_hydra_config=True).hydra
    except Exception:  # nearly anything, of a broken file
        return None


def is_multirun(node: DictConfig | None) -> bool:
    """Whether a file or a setting switches a multirun on."""
    return node is not None and node.mode == RunMode.MULTIRUN


def is_basic(node: DictConfig | None) -> bool:
    """Whether every combination of listed values is run; another sweeper has search spaces of its own."""
    return node is not None and node.sweeper.get("_target_") == BASIC_SWEEPER


def sweep_of(node: DictConfig | None) -> dict[str, str]:
    """The values that the files sweep over, by setting."""
    params = None if node is None else node.sweeper.get("params")
    return {} if params is None else {str(key): str(value) for key, value in params.items()}


def folder_mistakes(node: DictConfig | None) -> Iterator[str]:
    """Every setting of Hydra's that would lead the runs' folders elsewhere."""
    composed: Any = OmegaConf.to_container(node, resolve=False) if node is not None else None
    for key, usual in FIXED.items() if composed else ():
        parent, _, name = key.rpartition(".")
        value = (composed[parent] if parent else composed)[name]
        if value not in usual:
            yield f"hydra.{key}={value}: runs go to OUTPUT_DIR/NAME/<run>; give output_dir=... and name=..."


def lost_sweeps(node: DictConfig | None, each: Sequence[tuple[str, DictConfig | None]]) -> Iterator[str]:
    """The sweeps of files that are themselves swept over, which Hydra drops.

    Args:
        node: of the command as a whole.
        each: an override of one value, and the node that it leads to.
    """
    for text, alone in each:
        lost = [key for key, values in sweep_of(alone).items() if sweep_of(node).get(key) != values]
        if lost:
            yield f"{text}: its own sweep ({', '.join(lost)}) would be lost; one sweep in a command"
