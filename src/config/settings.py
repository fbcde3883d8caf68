"""Settings: what a setting is, and those of `python -m src.train` with types, ranges and meanings.

The values stand in `conf/`. Settings that affect a run's results make up its fingerprint: it is compared before a run
is resumed or taken for done, and shows in the run folder's name where it departs from the recipe. Dictionaries are
open: they hold a `_target_` with its arguments, or options of L.Trainer, and are checked against the signature.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true")
AUGMENTATIONS = ("none", "flip", "flip_crop")
# Options of L.Trainer that change no numbers.
SILENT_TRAINER_OPTIONS = (
    *("accelerator", "devices", "num_nodes", "strategy", "profiler", "log_every_n_steps", "benchmark"),
    *("enable_progress_bar", "enable_model_summary", "deterministic", "barebones"),
)
MOST_EXAMPLES = 10**9


def setting(
    help: str,
    *,
    group: str = "settings",
    default: Any = MISSING,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    choices: tuple[str, ...] | None = None,
    affects_results: bool | tuple[str, ...] = True,
    path: bool = False,
    check: Callable[[Any], str | None] | None = None,
) -> Any:
    """A field of a settings dataclass.

    Args:
        help: one line for `--help`.
        group: the heading it stands under there.
        default: lists and dictionaries are copied.
        at_least, above, at_most, below: bounds of a number.
        choices: of a text.
        affects_results: whether the run's numbers depend on it; of a dictionary, a tuple names the keys on which they
            do not depend.
        check: says what is wrong with a value for which bounds and choices do not do.
        path: a leading `~` is the user's home.
    """
    bounds = {"at_least": at_least, "above": above, "at_most": at_most, "below": below}
    metadata = {
        "help": help,
        "group": group,
        "bounds": {name: value for name, value in bounds.items() if value is not None},
        "choices": choices,
        "affects_results": affects_results,
        "path": path,
        "check": check,
    }
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def fields_of(schema: type, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Every setting of a schema by its dotted name."""
    for item in dataclasses.fields(schema):
        factory: Any = item.default_factory
        if isinstance(factory, type) and dataclasses.is_dataclass(factory):
            yield from fields_of(factory, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", item


@dataclass
class Settings:
    """What every task has in common."""

    task: str = setting("what is trained", choices=("classify", "caption"))
    choices: dict[str, Any] = setting("groups' choices, filled in", default={})
    name: str = setting("folder under output_dir that the runs go to", affects_results=False)
    data: dict[str, Any] = setting(
        "data set: data=NAME or data._target_", default={}, affects_results=("root", "cache")
    )

    lr: float = setting("learning rate", above=0)
    dropout: float = setting("probability that dropout zeroes a unit", at_least=0, below=1)
    epochs: int = setting("passes over the training examples", at_least=1, at_most=1_000_000)
    batch_size: int = setting("examples an optimizer step", at_least=1, at_most=1_000_000)
    seed: int = setting("seed of weights, order, dropout; 0 is a seed", at_least=0, at_most=2**32 - 1)
    optimizer: dict[str, Any] = setting("optimizer=sgd|adam|adamw, or optimizer._target_", default={})
    schedule: dict[str, Any] = setting(
        "of the learning rate: schedule=constant|cosine|onecycle|step|plateau, or _target_", default={}
    )
    label_smoothing: float = setting(
        "probability given to all classes or words alike", default=0.0, at_least=0, below=1
    )
    precision: str = setting("number format of the computation, as Lightning names it", choices=PRECISIONS)
    callbacks: dict[str, Any] = setting("Lightning callbacks: callbacks=early_stopping|ema", default={})
    trainer: dict[str, Any] = setting(
        "any option of L.Trainer", default={}, affects_results=SILENT_TRAINER_OPTIONS
    )
    limit_train: int | None = setting(
        "train on that many examples only (null: all)", at_least=1, at_most=MOST_EXAMPLES
    )
    limit_val: int | None = setting("validate on that many images only", at_least=1, at_most=MOST_EXAMPLES)
    limit_test: int | None = setting("test on that many images only", at_least=1, at_most=MOST_EXAMPLES)

    accelerator: str = setting(
        "where to compute; auto takes a GPU if there is one", choices=ACCELERATORS, affects_results=False
    )
    threads: int | None = setting(
        "CPU threads of a run (null: 1 for a sweep's worker or small batches, else all)",
        at_least=1,
        at_most=1024,
        affects_results=False,
    )
    workers: int | None = setting(
        "runs at once in a sweep (null: one a core, or one a GPU)",
        at_least=1,
        at_most=1024,
        affects_results=False,
    )
    fast: bool = setting("use fast paths where they apply", default=True, affects_results=False)

    logger: dict[str, Any] = setting(
        "Lightning loggers: logger=tensorboard|csv|wandb|mlflow", default={}, affects_results=False
    )
    output_dir: str = setting("folder that holds all results", affects_results=False, path=True)
    force: bool = setting("empty a run's folder and start afresh", affects_results=False)
    progress: bool = setting("show progress bars on a terminal", affects_results=False)


@dataclass
class ClassifySettings(Settings):
    """The classifier's own settings."""

    network: dict[str, Any] = setting(
        "network=NAME, or network._target_ with its arguments", group="task=classify", default={}
    )
    augment: str = setting("random changes of training images", group="task=classify", choices=AUGMENTATIONS)


def images_range_error(value: str) -> str | None:
    """What is wrong with a value of `images.range`, or None."""
    from src.pixels import fixed_range  # NumPy and Pillow, which `--help` does not need

    try:
        fixed_range(value)
    except ValueError as error:
        return str(error)
    return None


@dataclass
class ImageSettings:
    """How image files are read (`images.*`)."""

    range: str = setting(
        "values that become black and white in grey of more than 8 bits: auto (0 and the highest of the "
        "fewest bits that hold the image's), full (of all 16 bits), or MIN,MAX",
        group="task=caption",
        check=images_range_error,
    )


@dataclass
class CaptionSettings(Settings):
    """The captioner's own settings."""

    images: ImageSettings = dataclasses.field(default_factory=ImageSettings)
    encoder: dict[str, Any] = setting(
        "encoder=NAME with its arguments", group="task=caption", default={}, affects_results=("cache",)
    )
    decoder: dict[str, Any] = setting(
        "decoder=lstm|attention|transformer, or decoder._target_", group="task=caption", default={}
    )
    sampling: float = setting(
        "scheduled sampling: probability, in the last epoch, that a word is the model's own; rises from 0",
        group="task=caption",
        at_least=0,
        at_most=1,
    )
    attention_penalty: float = setting(
        "weight of the doubly stochastic penalty (Xu et al. 2015, equation 14)",
        group="task=caption",
        at_least=0,
    )
    beam: int = setting(
        "beams of the test captions; 1 is greedy", group="task=caption", at_least=1, at_most=50
    )
    compare_beam: int | None = setting(
        "report the test with as many beams, too (null: no)", group="task=caption", at_least=1, at_most=50
    )
    max_words: int = setting(
        "longest caption, its end included", group="task=caption", at_least=1, at_most=200
    )
    length_penalty: float = setting(
        "beams are compared by score / length ** length_penalty", group="task=caption", at_least=0, at_most=5
    )
    gallery: list[str] = setting(
        "test images for the gallery's picture ([]: six, evenly spaced)",
        group="task=caption",
        default=[],
        affects_results=False,
    )


def register() -> None:
    """Make the schemas known to Hydra, before it composes."""
    for name, schema in (("classify", ClassifySettings), ("caption", CaptionSettings)):
        ConfigStore.instance().store(group="schema", name=name, node=schema)
