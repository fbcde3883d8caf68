"""Settings: what a setting is, those of `python -m src.train` with types, ranges and meanings, and the tasks.

The values stand in `conf/`. Settings that affect a run's results make up its fingerprint: it is compared before a run
is resumed or taken for done, and shows in the run folder's name where it departs from the recipe. Dictionaries are
open: they hold a `_target_` with its arguments, or options of L.Trainer, and are checked against the signature.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from src.config.image_range import fixed_range

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
PRECISIONS = ("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true")
AUGMENTATIONS = ("none", "flip", "flip_crop", "flip_crop_erase")
# Options of L.Trainer that change no numbers.
SILENT_TRAINER_OPTIONS = (
    *("accelerator", "devices", "num_nodes", "strategy", "profiler", "log_every_n_steps", "benchmark"),
    *("enable_progress_bar", "enable_model_summary", "deterministic", "barebones"),
)


def setting(
    help: str,
    *,
    group: str | None = None,
    default: Any = MISSING,
    choices: tuple[str, ...] | None = None,
    affects_results: bool | tuple[str, ...] = True,
    check: Callable[[Any], object] | None = None,
    **bounds: float,
) -> Any:
    """A field of a settings dataclass.

    Args:
        help: one line for `--help`.
        group: the heading it stands under there, else its schema's.
        default: lists and dictionaries are copied.
        choices: of a text.
        affects_results: whether the run's numbers depend on it; of a dictionary, a tuple names the keys on which they
            do not depend.
        check: raises ValueError for a wrong value, where bounds and choices do not do.
        bounds: of a number, `at_least`, `above`, `at_most`, `below`.
    """
    metadata: dict[str, Any] = {"help": help, "group": group, "bounds": bounds, "choices": choices}
    metadata |= {"affects_results": affects_results, "check": check}
    if isinstance(default, list | dict):
        return field(default_factory=default.copy, metadata=metadata)
    return field(default=default, metadata=metadata)


def fields_of(schema: type, prefix: str = "") -> Iterator[tuple[str, dataclasses.Field[Any]]]:
    """Every setting of a schema by its dotted name."""
    for item in dataclasses.fields(schema):
        factory: Any = item.default_factory
        if isinstance(factory, type) and dataclasses.is_dataclass(factory):
            yield from fields_of(factory, f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", item


def limits(bounds: Mapping[str, float]) -> str:
    """A setting's bounds in words."""
    return " and ".join(f"{kind.replace('_', ' ')} {bound}" for kind, bound in bounds.items())


@dataclass
class Settings:
    """What every task has in common."""

    task: str = setting("classifier or captioner", group="What is trained", choices=("classify", "caption"))
    choices: dict[str, Any] = setting("groups' choices, filled in", default={})
    name: str = setting("folder under output_dir that the runs go to", affects_results=False)
    data: dict[str, Any] = setting(
        "data set, or data._target_", default={}, affects_results=("root", "cache")
    )

    lr: float = setting("learning rate", group="How it is trained", above=0)
    dropout: float = setting("probability that dropout zeroes a unit", at_least=0, below=1)
    epochs: int = setting("passes over the training examples", at_least=1, at_most=1_000_000)
    batch_size: int = setting("examples an optimizer step", at_least=1, at_most=1_000_000)
    seed: int = setting("seed of weights, order, dropout; 0 is a seed", at_least=0, at_most=2**32 - 1)
    optimizer: dict[str, Any] = setting("a torch optimizer, or optimizer._target_", default={})
    schedule: dict[str, Any] = setting("of the learning rate, or schedule._target_", default={})
    label_smoothing: float = setting(
        "probability given to all classes or words alike", default=0.0, at_least=0, below=1
    )
    precision: str = setting(
        "number format of the computation, as Lightning names it; auto: bf16-mixed if the device has it",
        choices=PRECISIONS,
    )
    callbacks: dict[str, Any] = setting("Lightning callbacks, one or a list", default={})
    trainer: dict[str, Any] = setting(
        "any option of L.Trainer", default={}, affects_results=SILENT_TRAINER_OPTIONS
    )
    limit_train: int | None = setting("train on that many examples only (null: all)", at_least=1)
    limit_val: int | None = setting("validate on that many images only", at_least=1)
    limit_test: int | None = setting("test on that many images only", at_least=1)

    accelerator: str = setting(
        "where to compute; auto takes a GPU if there is one",
        group="How it is run",
        choices=ACCELERATORS,
        affects_results=False,
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
    n_trials: int = setting(
        "trials of a search (hydra/sweeper=optuna)", default=40, at_least=1, affects_results=False
    )
    stop_after: int | None = setting(
        "pause after that epoch; without it the run goes on", default=None, at_least=1, affects_results=False
    )
    trial: str | None = setting("trial of a search, filled in", default=None, affects_results=False)
    fast: bool = setting("use fast paths where they apply", default=True, affects_results=False)

    logger: dict[str, Any] = setting(
        "Lightning loggers, one or a list", group="What is kept and shown", default={}, affects_results=False
    )
    output_dir: str = setting("folder that holds all results", affects_results=False)
    force: bool = setting("empty a run's folder and start afresh", affects_results=False)
    progress: bool = setting("show progress bars on a terminal", affects_results=False)


@dataclass
class ClassifySettings(Settings):
    """Settings of the classifier (task=classify)."""

    network: dict[str, Any] = setting("network, or network._target_ with its arguments", default={})
    augment: str = setting("random changes of training images", choices=AUGMENTATIONS)
    flip_tta: bool = setting("score each image together with its mirror image, but in training")


@dataclass
class ImageSettings:
    """How image files are read (`images.*`)."""

    range: str = setting(
        "black and white of deep grey images: auto (0 and the fewest bits that hold them), full (16 bits), or MIN,MAX",
        check=fixed_range,
    )


@dataclass
class CaptionSettings(Settings):
    """Settings of the captioner (task=caption)."""

    images: ImageSettings = field(default_factory=ImageSettings)
    encoder: dict[str, Any] = setting(
        "image network, or encoder._target_ with its arguments", default={}, affects_results=("cache",)
    )
    decoder: dict[str, Any] = setting("decoder, or decoder._target_", default={})
    sampling: float = setting(
        "scheduled sampling: probability, in the last epoch, that a word is the model's own; rises from 0",
        at_least=0,
        at_most=1,
    )
    attention_penalty: float = setting(
        "weight of the doubly stochastic penalty (Xu et al. 2015, equation 14)", at_least=0
    )
    beam: int = setting("beams of the test captions; 1 is greedy", at_least=1, at_most=50)
    compare_beam: int | None = setting(
        "report the test with as many beams, too (null: no)", at_least=1, at_most=50
    )
    max_words: int = setting("longest caption, its end included", at_least=1, at_most=200)
    length_penalty: float = setting(
        "beams are compared by score / length ** length_penalty", at_least=0, at_most=5
    )
    consensus: float | None = setting(
        "choose the test captions by consensus; weight of the log-probability (null: the decoder's own)",
        at_least=0,
    )
    gallery: list[str] = setting(
        "test images for the gallery's picture ([]: six, evenly spaced)", default=[], affects_results=False
    )


@dataclass(frozen=True)
class Task:
    """What a run of a task consists of. A further task is one module and one line in TASKS.

    Its module offers

        build_data(cfg) -> LightningDataModule       with `examples` (training examples an epoch) and `digest`
        build_module(cfg, data, trainer) -> LightningModule
        check_module(cfg, data)                      tries the network on a little data
        log_artifacts(module, data, folder, trainer, cfg) -> dict       pictures of a finished run, further results

    Args:
        name, settings: the value of `task`, and the schema that conf/task/NAME.yaml names.
        module: dotted path of its implementation.
        monitor: validation metric that picks the best epoch and ranks runs, a fraction; more is better.
        test: the test metric that is reported.
        label, unit: of the monitor in tables and plots.
        columns: metrics of metrics.csv, besides epoch, step, seconds and `rate`.
        rate: column of the training examples a second.
        always_named: settings that stand in every run folder's name.
        further: test metrics shown in the ranking, and their highest values.
        remark: a fixed sentence below the ranking.
    """

    name: str
    settings: type[Settings]
    module: str
    monitor: str
    test: str
    label: str
    unit: str
    columns: tuple[str, ...]
    rate: str
    always_named: tuple[str, ...]
    further: Mapping[str, float] = field(default_factory=dict)
    remark: str = ""

    @property
    def test_best(self) -> str:
        """The test metric measured with the weights of the best validation epoch."""
        return f"{self.test}_best_val"

    @property
    def heading(self) -> str:
        """The label as the first words of a title or an axis."""
        return self.label[:1].upper() + self.label[1:]

    def load(self) -> Any:
        """The task's module."""
        return importlib.import_module(self.module)


TASKS = {
    task.name: task
    for task in (
        Task(
            name="classify",
            settings=ClassifySettings,
            module="src.classification.task",
            monitor="val_acc",
            test="test_acc",
            label="validation accuracy",
            unit="fraction correct",
            columns=("train_loss", "train_loss_epoch", "val_loss", "val_acc"),
            rate="images_per_second",
            always_named=("dropout", "lr"),
        ),
        Task(
            name="caption",
            settings=CaptionSettings,
            module="src.captioning.task",
            monitor="val_bleu4",
            test="test_bleu4",
            label="validation BLEU-4",
            unit="BLEU-4",
            columns=(
                *("train_loss", "train_loss_epoch", "val_loss"),
                *("val_bleu4", "val_bleu4_sentence", "val_cider_d", "val_rouge_l", "val_correctness"),
            ),
            rate="captions_per_second",
            always_named=("decoder", "dropout", "lr"),
            further={
                "test_bleu4_sentence": 1.0,
                "test_cider_d": 10.0,
                "test_rouge_l": 1.0,
                "test_correctness": 1.0,
            },
            remark="BLEU-4 is the corpus's, test_bleu4_sentence the mean over the images.",
        ),
    )
}


def register() -> None:
    """Make the schemas known to Hydra, before it composes."""
    for name, task in TASKS.items():
        ConfigStore.instance().store(group="schema", name=name, node=task.settings)
