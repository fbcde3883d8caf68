"""Every setting's type, range and meaning. The values stand in `conf/`.

A setting that changes a run's numbers belongs to the run's identity: it is compared before a run is
resumed or taken for done, and shows in the run folder's name where it departs from the recipe.
Settings marked `numbers=False` (where to write, how many workers, ...) do not.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING as UNSET
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

OPTIMIZERS = ("sgd", "adam", "adamw")
AUGMENTATIONS = ("none", "flip", "flip_crop")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true")
DATA_SETS = ("fashion_mnist", "idx")


def setting(
    help: str,
    *,
    group: str,
    default: Any = UNSET,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] | None = None,
    numbers: bool = True,
) -> Any:
    """A dataclass field that carries its range, its help text and whether it changes a run's numbers."""
    bounds = {"at_least": at_least, "above": above, "at_most": at_most, "below": below}
    metadata = {
        "help": help,
        "group": group,
        "bounds": {name: value for name, value in bounds.items() if value is not None},
        "choices": choices,
        "numbers": numbers,
    }
    return field(default=default, metadata=metadata)


@dataclass
class DataSettings:
    """Where images come from and how they are split (`data.*`)."""

    name: str = setting(
        "fashion_mnist, fetched and checked by itself; idx, four files in MNIST's layout at data.root",
        group="data",
        choices=DATA_SETS,
    )
    root: str = setting("folder of the data set", group="data", numbers=False)
    val_size: int = setting("training images set aside for validation", group="data", at_least=1)
    split_seed: int = setting(
        "seed of the train / validation split, apart from `seed`", group="data", at_least=0, at_most=2**32 - 1
    )


@dataclass
class Settings:
    """What every task has in common."""

    task: str = setting("what is trained: classify", group="what", choices=("classify",))
    name: str = setting("folder under output_dir that the runs go to", group="output", numbers=False)
    data: DataSettings = field(default_factory=DataSettings)

    lr: float = setting("learning rate", group="training", above=0)
    epochs: int = setting("passes over the training images", group="training", at_least=1)
    batch_size: int = setting("images an optimizer step", group="training", at_least=1)
    seed: int = setting(
        "seed of weights, order and dropout; 0 is a seed", group="training", at_least=0, at_most=2**32 - 1
    )
    optimizer: str = setting("the update rule", group="training", choices=OPTIMIZERS)
    momentum: float = setting("momentum of sgd", group="training", at_least=0, below=1)
    weight_decay: float = setting("weight decay", group="training", at_least=0)
    precision: str = setting(
        "number format of the computation, as Lightning names it", group="training", choices=PRECISIONS
    )
    limit_train: int | None = setting(
        "train on this many images only (null: all)", group="limits", at_least=1
    )
    limit_val: int | None = setting("validate on this many images only", group="limits", at_least=1)
    limit_test: int | None = setting("test on this many images only", group="limits", at_least=1)

    accelerator: str = setting(
        "where to compute; auto takes a GPU if there is one",
        group="hardware",
        choices=ACCELERATORS,
        numbers=False,
    )
    threads: int | None = setting(
        "CPU threads of a run (null: all cores for a single run, 1 for a sweep's worker)",
        group="hardware",
        at_least=1,
        numbers=False,
    )
    workers: int | None = setting(
        "runs at once in a sweep (null: one a core, or one a GPU)",
        group="hardware",
        at_least=1,
        numbers=False,
    )

    output_dir: str = setting("folder that holds all results", group="output", numbers=False)
    force: bool = setting(
        "throw away what a run's folder holds and start afresh", group="output", numbers=False
    )
    accept_changed: bool = setting(
        "take runs of another code or torch version for done, or go on with them",
        group="output",
        numbers=False,
    )
    progress: bool = setting("show progress bars on a terminal", group="output", numbers=False)


@dataclass
class ClassifySettings(Settings):
    """The classifier's own settings."""

    dropout: float = setting("probability that dropout zeroes a unit", group="training", at_least=0, below=1)
    augment: str = setting("random changes of training images", group="training", choices=AUGMENTATIONS)


SCHEMAS: dict[str, type[Settings]] = {"classify": ClassifySettings}
# Always in a run folder's name, in this order; the table and the plots of a sweep read them, too.
ALWAYS_NAMED = ("dropout", "lr")


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
    return found


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
        "3 a run diverged; 130 interrupted.",
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
