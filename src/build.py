"""Objects from configurations with a `_target_` (`hydra.utils.instantiate`), and whose code they may run.

A configuration that comes out of a checkpoint or a stranger's folder could name any function of any package, so
only what is defined in TRUSTED is instantiated from there; `trust=[PACKAGE]` adds one.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import hydra.utils
from omegaconf import DictConfig, OmegaConf

from src.entry_point import UserError

# Where a class or function of a stranger's configuration has to be defined: `src.train.os.system` leads elsewhere.
TRUSTED = (
    *("src.classification.networks", "src.classification.datasets"),
    *(
        "src.captioning.backbones",
        "src.captioning.encoder",
        "src.captioning.decoders",
        "src.captioning.readers",
    ),
    *("src.captioning.karpathy", "src.captioning.coco", "src.captioning.captions_csv"),
    *("torch.nn", "torch.optim", "torchvision.models", "timm"),
)


def complete(config: Mapping[str, Any], **offered: Any) -> dict[str, Any]:
    """The configuration as plain values, with those of `offered` that its target takes and that it leaves open.

    So a stranger's network that takes `classes` is told their number, and one that does not is not.

    Args:
        config: with a `_target_`.
        offered: by the names of arguments; primitives only, since they go into checkpoints.
    """
    plain = OmegaConf.to_container(config, resolve=True) if isinstance(config, DictConfig) else dict(config)
    assert isinstance(plain, dict)
    taken = inspect.signature(pkgutil.resolve_name(plain["_target_"])).parameters
    return {**{name: value for name, value in offered.items() if name in taken}, **plain}


def build(config: Mapping[str, Any] | None, *positional: Any, **arguments: Any) -> Any:
    """The object that a configuration describes; None for None.

    Raises:
        UserError: its constructor refuses the arguments.
    """
    if config is None:
        return None
    try:
        return hydra.utils.instantiate(dict(config), *positional, _convert_="all", **arguments)
    except hydra.errors.InstantiationException as error:
        cause = error.__cause__ or error
        if isinstance(cause, UserError):
            raise cause from None
        raise UserError(f"{config['_target_']}: {str(cause).splitlines()[0]}") from error


def refuse_untrusted(config: Any, trust: Sequence[str] = ()) -> None:
    """Check every `_target_` of a configuration that came with a file, before it is instantiated.

    Args:
        config: nested dictionaries and lists.
        trust: packages that the user trusts besides TRUSTED.

    Raises:
        UserError: a target is of another package.
    """
    for target in targets(config):
        package = target.split(".")[0]
        home = target
        if f"{target}.".startswith(tuple(f"{name}." for name in (*TRUSTED, *trust))):
            try:
                home = getattr(pkgutil.resolve_name(target), "__module__", None) or ""
            except Exception as error:  # whatever an import of somebody's module raises
                raise UserError(f"{target} cannot be imported ({type(error).__name__}: {error})") from error
        if not f"{home}.".startswith(tuple(f"{name}." for name in (*TRUSTED, *trust))):
            raise UserError(
                f"this file asks to run {target}, code of the package {package!r}: trust=[{package}] allows it"
            )


def targets(config: Any) -> Iterator[str]:
    """Every `_target_` in nested dictionaries and lists."""
    if isinstance(config, Mapping):
        if "_target_" in config:
            yield str(config["_target_"])
        for value in config.values():
            yield from targets(value)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from targets(value)
