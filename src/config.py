"""The settings' machinery: ranges, identity, help text, and the schemas' way to Hydra (src/settings.py)."""

from __future__ import annotations

import dataclasses
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from src.settings import CaptionSettings, ClassifySettings, Settings

SCHEMAS: dict[str, type[Settings]] = {"classify": ClassifySettings, "caption": CaptionSettings}
# Always in a run folder's name, in this order; the table and the plots of a sweep read them, too.
ALWAYS_NAMED = {"classify": ("dropout", "lr"), "caption": ("attention", "dropout", "lr")}

# A task's headline figures in results.json: on validation, which ranks, and on test, which reports.
FIGURES = {"classify": ("val_acc", "test_acc"), "caption": ("val_bleu4", "test_bleu4")}
# Its speed, a column of metrics.csv: training examples a second.
RATES = {"classify": "images_per_second", "caption": "captions_per_second"}


def fields_of(schema: type) -> dict[str, dataclasses.Field]:
    """Every setting of a schema by its dotted name, e.g. `data.val_size`."""
    found: dict[str, dataclasses.Field] = {}
    for item in dataclasses.fields(schema):
        factory: Any = item.default_factory
        if isinstance(factory, type) and dataclasses.is_dataclass(factory):
            nested = fields_of(factory)
            found.update({f"{item.name}.{name}": inner for name, inner in nested.items()})
        else:
            found[item.name] = item
    return found


def range_mistake(item: dataclasses.Field, value: Any) -> str | None:
    """What is wrong with a value of the right type, or None where nothing is."""
    if value is None:
        return None
    choices = item.metadata["choices"]
    if choices is not None and value not in choices:
        return f"must be one of {', '.join(choices)}"
    words = {"at_least": "at least", "above": "above", "at_most": "at most", "below": "below"}
    holds = {
        "at_least": lambda bound: value >= bound,
        "above": lambda bound: value > bound,
        "at_most": lambda bound: value <= bound,
        "below": lambda bound: value < bound,
    }
    bounds = item.metadata["bounds"]
    finite = not isinstance(value, float) or abs(value) < float("inf")  # NaN compares false, too
    if finite and all(holds[kind](bound) for kind, bound in bounds.items()):
        return None
    limits = " and ".join(f"{words[kind]} {bound}" for kind, bound in bounds.items())
    if not {"at_most", "below"} & set(bounds) and not finite:
        limits = f"a finite number {limits}".rstrip()
    return f"must be {limits}"


def mistakes_in(cfg: DictConfig) -> list[str]:
    """Every setting of a composed configuration that is missing or out of its range."""
    found = []
    for name, item in fields_of(SCHEMAS.get(cfg.task, Settings)).items():
        try:
            value = OmegaConf.select(cfg, name, throw_on_missing=True)
        except MissingMandatoryValue:
            found.append(f"{name}: must be given a value ({name}=...)")
            continue
        mistake = range_mistake(item, value)
        if mistake:
            found.append(f"{name}={value}: {mistake}")
    if not found and cfg.momentum and cfg.optimizer != "sgd":
        found.append(f"momentum={cfg.momentum}: must be 0 with optimizer={cfg.optimizer}, which has none")
    if not found and cfg.task == "caption" and cfg.clip is not None and cfg.clip_norm is not None:
        found.append(f"clip={cfg.clip} and clip_norm={cfg.clip_norm}: one of them must be null")
    if not found and cfg.batch_parts > cfg.batch_size:
        found.append(f"batch_parts={cfg.batch_parts}: must be at most batch_size={cfg.batch_size}")
    if not found and cfg.batch_parts > 1 and (obstacle := parts_obstacle(cfg)):
        found.append(f"batch_parts={cfg.batch_parts}: must be 1 with {obstacle}")
    return found


def parts_obstacle(cfg: DictConfig) -> str | None:
    """The setting for which a batch in parts would give other numbers, and why; None where none does."""
    if cfg.task != "caption":
        return None
    if cfg.encoder.name == "tiny":
        return "encoder.name=tiny, whose batch norms look at the whole batch"
    if cfg.sampling:
        return f"sampling={cfg.sampling}, which draws for the whole batch"
    return None


def numbers_of(cfg: DictConfig) -> dict[str, Any]:
    """The settings that determine a run's numbers, flat, by dotted name."""
    items = fields_of(SCHEMAS[cfg.task]).items()
    return {name: OmegaConf.select(cfg, name) for name, item in items if item.metadata["numbers"]}


def help_text() -> str:
    """What `--help` prints before the composed configuration."""
    lines = [
        "Trains one configuration, or with -m every combination of the values given.",
        "",
        "  python -m src.train dropout=0.5 lr=0.01",
        "  python -m src.train -m dropout=0.1,0.2,0.3 lr=0.1,0.01,0.001",
        "  python -m src.train -m experiment=table2        a recipe of conf/experiment/",
        "",
        "The same command again goes on where it stopped. Results: OUTPUT_DIR/NAME/<run>/results.json,",
        "and for a sweep OUTPUT_DIR/NAME/ranking.md with plots/.",
        "",
    ]
    groups: dict[str, list[tuple[str, str]]] = {}
    for schema in SCHEMAS.values():
        for name, item in fields_of(schema).items():
            text = item.metadata["help"]
            choices = item.metadata["choices"]
            if choices is not None and len(choices) > 1 and not name.endswith("name"):
                text += f" ({', '.join(choices)})"
            entry = (name, text)
            if entry not in groups.setdefault(item.metadata["group"], []):
                groups[item.metadata["group"]].append(entry)
    for group, entries in groups.items():
        lines.append(f"== {group} ==")
        lines += [f"  {name:16} {text}" for name, text in entries]
        lines.append("")
    lines += [
        "Exit status: 0 all runs done; 1 a run failed; 2 a mistake in the command, nothing was run;",
        "3 a run diverged; 128 + n stopped by signal n (Ctrl-C 130, SIGTERM 143, SIGUSR1 138):",
        "finished epochs are saved.",
        "",
        "== Values of this command ==",
        "$CONFIG",
    ]
    return "\n".join(lines)


def register() -> None:
    """Make the schemas and the help text known to Hydra, once, before it composes."""
    store = ConfigStore.instance()
    for name, schema in SCHEMAS.items():
        store.store(group="schema", name=name, node=schema)
    store.store(group="hydra/help", name="settings", node={"app_name": "src.train", "template": help_text()})
