"""Objects from configurations with a `_target_` (`hydra.utils.instantiate`), and whose code they may run.

A configuration that comes out of a checkpoint or a stranger's folder could name any function of any package, so
only what is defined in TRUSTED is instantiated from there; `trust=[PACKAGE]` adds one.
"""

from __future__ import annotations

import inspect
import pkgutil
import types
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import hydra.utils
from omegaconf import DictConfig, OmegaConf

from src.config.validation import nearest, type_name
from src.entry_point import UserError

if TYPE_CHECKING:
    import lightning as L
    from torch import nn

# Where a class or function of a stranger's configuration has to be defined: `src.train.os.system` leads elsewhere.
TRUSTED = (
    *("src.classification.networks", "src.classification.datasets", "src.captioning.backbones"),
    *("src.captioning.encoder", "src.captioning.decoders", "src.captioning.readers"),
    *(
        "src.captioning.karpathy",
        "src.captioning.coco",
        "src.captioning.captions_csv",
        "src.captioning.shards",
    ),
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
        reason = (str(cause) or "it says no more").splitlines()[0]
        raise UserError(f"{config['_target_']}: {type(cause).__name__}: {reason}") from error


def in_channels_last(network: nn.Module) -> bool:
    """Give a network's weights the layout in which a CPU convolves and pools faster; whether that was done.

    Not where a layer is of another package: `view` in its `forward` needs the usual layout.
    """
    import torch

    known = ("src", "torch", "torchvision", "timm")
    if not all(type(layer).__module__.partition(".")[0] in known for layer in network.modules()):
        return False
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return True


def refuse_untrusted(config: Any, trust: Sequence[str] = ()) -> None:
    """Check every `_target_` of a configuration that came with a file, before it is instantiated.

    Args:
        config: nested dictionaries and lists.
        trust: packages that the user trusts besides TRUSTED.

    Raises:
        UserError: a target is of another package.
    """
    allowed = tuple(f"{name}." for name in (*TRUSTED, *trust))
    if isinstance(config, Mapping) and "_target_" in config:
        target = home = str(config["_target_"])
        if f"{target}.".startswith(allowed):  # nothing else is imported
            try:
                home = getattr(pkgutil.resolve_name(target), "__module__", None) or ""
            except Exception as error:  # whatever an import of somebody's module raises
                raise UserError(f"{target} cannot be imported ({type(error).__name__}: {error})") from error
        if not f"{home}.".startswith(allowed):
            package = target.split(".", maxsplit=1)[0]
            asked = f"this file asks to run {target}, code of the package {package!r}"
            raise UserError(f"{asked}: trust=[{package}] allows it")
    inner = config.values() if isinstance(config, Mapping) else config
    for value in inner if isinstance(config, Mapping | list | tuple) else ():
        refuse_untrusted(value, trust)


def target_errors(cfg: Any, prefix: str = "", besides: Sequence[str] = ()) -> list[str]:
    """Arguments of `_target_`s that the target's signature does not take, at any depth.

    Args:
        cfg: a composed configuration, or a node of it.
        prefix: the node's dotted name, with a dot at its end.
        besides: keys of the node that are no arguments of its target.
    """
    if not isinstance(cfg, DictConfig):
        return []
    if missing := sorted(map(str, OmegaConf.missing_keys(cfg))):  # by their full names
        return [f"{name}: must be given a value ({name}=...)" for name in missing]
    found = []
    if name := cfg.get("_target_"):
        try:
            target = pkgutil.resolve_name(name)
        except Exception as error:  # whatever an import of somebody's module raises
            return [f"{prefix}_target_={name}: cannot be imported ({type(error).__name__}: {error})"]
        given = [key for key in map(str, cfg) if key not in besides and not key.startswith("_")]
        found += signature_errors(target, {key: cfg[key] for key in given}, prefix)
    key: Any  # also a number
    for key in cfg:
        if isinstance(node := cfg._get_node(key), DictConfig) and not node._is_none():
            found += target_errors(node, f"{prefix}{key}.")
    return found


def group_errors(cfg: DictConfig, group: str, besides: Sequence[str] = ()) -> list[str]:
    """`target_errors` of a group of which one is chosen; arguments where none is are errors, too."""
    node = cfg.get(group) or {}
    found = target_errors(node, f"{group}.", besides)
    if found or "_target_" in node:
        return found
    hint = f"there is no {group} to take it; choose one, or leave it out"
    return [f"{group}.{key}: {hint} (~{group}.{key})" for key in map(str, node)]


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


def configure_optimizers(
    module: L.LightningModule,
    optimizer: dict[str, Any],
    schedule: dict[str, Any] | None,
    groups: list[dict[str, Any]] | None = None,
    monitor: str = "val_loss",
) -> Any:
    """What a LightningModule's `configure_optimizers` returns.

    Args:
        module: attached to its Trainer.
        optimizer: `_target_` and arguments of a torch optimizer.
        schedule: `_target_` and arguments of a torch schedule. One that takes `T_max` or `total_steps` is told the
            number of optimizer steps, and stepped after each; any other is stepped once an epoch.
        groups: parameter groups; all parameters that are trained by default.
        monitor: the metric that ReduceLROnPlateau watches.
    """
    from torch.optim.lr_scheduler import ReduceLROnPlateau

    # fused: one pass over all weights; but Lightning does not unscale gradients for a fused optimizer in fp16, and does
    # not clip them in any mixed precision.
    plugin = module.trainer.precision_plugin
    clips = hasattr(plugin, "scaler") and module.trainer.gradient_clip_val
    fused = getattr(plugin, "scaler", None) is None and not clips
    built = build(complete(optimizer, fused=fused), groups or _trained(module))
    if not schedule:
        return built
    steps = int(module.trainer.estimated_stepping_batches)
    with_steps = complete(schedule, T_max=steps, total_steps=steps)
    scheduler = build(with_steps, built)
    each_step = {"T_max", "total_steps"} & (set(with_steps) - set(schedule))
    entry = {"scheduler": scheduler, "interval": "step" if each_step else "epoch"}
    if isinstance(scheduler, ReduceLROnPlateau):
        entry["monitor"] = monitor
    return {"optimizer": built, "lr_scheduler": entry}


def check_optimizer(module: L.LightningModule) -> None:
    """Build the optimizer and the schedule of a module's hyper-parameters.

    Raises:
        UserError: one of them refuses its arguments.
    """
    optimizer, schedule = build(module.hparams["optimizer"], _trained(module)), module.hparams["schedule"]
    if schedule:
        build(complete(schedule, T_max=1000, total_steps=1000), optimizer)


def _trained(module: nn.Module) -> Any:
    return [weight for weight in module.parameters() if weight.requires_grad]
