"""Every setting: its type, range and meaning. The values stand in `conf/`.

A setting that changes a run's numbers belongs to the run's identity: it is compared before a run is
resumed or taken for done, and shows in the run folder's name where it departs from the recipe.
Settings marked `numbers=False` (where to write, how many workers, ...) do not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING as UNSET

OPTIMIZERS = ("sgd", "adam", "adamw")
AUGMENTATIONS = ("none", "flip", "flip_crop")
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true")
ENCODERS = (
    "efficientnet_lite0",
    "efficientnet_lite0_s16",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet101",
    "tiny",
)
SCHEDULES = ("constant", "cosine")
ON_MEMORY = ("fail", "halve")
IMAGE_SETS = ("fashion_mnist", "idx")
CAPTION_SETS = ("scenes", "karpathy", "coco", "captions_csv")


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
    """Where the data come from (`data.*`), of every task."""

    name: str = setting("which data set", group="data", choices=IMAGE_SETS + CAPTION_SETS)
    root: str = setting("folder of the data set", group="data", numbers=False)


@dataclass
class ImageDataSettings(DataSettings):
    """Labelled images and how they are split."""

    name: str = setting(
        "fashion_mnist, fetched and checked by itself; idx, four files in MNIST's format at data.root",
        group="data",
        choices=IMAGE_SETS,
    )
    prefix: str | None = setting(
        "what its files' names begin with, such as emnist-letters (null: the folder holds one set)",
        group="data",
    )
    transpose: bool = setting("turn rows into columns, as EMNIST's images need", group="data")
    val_size: int = setting("training images set aside for validation", group="data", at_least=1)
    split_seed: int = setting(
        "seed of the train / validation split, apart from `seed`", group="data", at_least=0, at_most=2**32 - 1
    )


@dataclass
class CaptionDataSettings(DataSettings):
    """Captioned images."""

    name: str = setting(
        "scenes, synthetic and made by itself; at data.root karpathy, any set in Karpathy's JSON; coco, in "
        "COCO's annotation files; captions_csv, a table with image and caption",
        group="data",
        choices=CAPTION_SETS,
    )
    captions: str | None = setting(
        "the file of captions, relative to data.root (null: by its usual name)", group="data"
    )
    split_seed: int | None = setting(
        "seed by which splits that the data set lacks are drawn (null: they must be there)",
        group="data",
        at_least=0,
        at_most=2**32 - 1,
    )
    min_count: int = setting(
        "words that occur more rarely in the training captions are unknown", group="data", at_least=1
    )
    scenes: int | None = setting("how many scenes to make (data=scenes)", group="data", at_least=20)
    scene_size: int | None = setting("their side in pixels", group="data", at_least=64, at_most=1024)
    scene_seed: int | None = setting("their seed", group="data", at_least=0, at_most=2**32 - 1)


@dataclass
class Settings:
    """What every task has in common."""

    task: str = setting("what is trained", group="what", choices=("classify", "caption"))
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
        "CPU threads of a run (null: 1, as a second one gains up to a half on free cores and costs a "
        "multiple on busy ones; a run alone that classifies at batches above 16 or trains its encoder: all)",
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

    on_memory: str = setting(
        "when memory runs out in training: fail, or halve the parts that a batch is computed in and go on",
        group="hardware",
        choices=ON_MEMORY,
        numbers=False,
    )
    batch_parts: int = setting(
        "parts that a batch is computed in, one by one: less memory, the same numbers up to rounding",
        group="hardware",
        at_least=1,
        numbers=False,
    )

    output_dir: str = setting("folder that holds all results", group="output", numbers=False)
    force: bool = setting(
        "throw away what a run's folder holds and start afresh", group="output", numbers=False
    )
    progress: bool = setting("show progress bars on a terminal", group="output", numbers=False)


@dataclass
class ClassifySettings(Settings):
    """The classifier's own settings."""

    data: ImageDataSettings = field(default_factory=ImageDataSettings)
    dropout: float = setting("probability that dropout zeroes a unit", group="training", at_least=0, below=1)
    augment: str = setting("random changes of training images", group="training", choices=AUGMENTATIONS)


@dataclass
class EncoderSettings:
    """What turns an image into regions (`encoder.*`)."""

    name: str = setting(
        "network: efficientnet_lite0 (_s16: finer grid) brings its weights; tiny is trained with the decoder",
        group="encoder",
        choices=ENCODERS,
    )
    size: int = setting(
        "side in pixels that images are brought to", group="encoder", at_least=32, at_most=1024
    )
    weights: str | None = setting("file of weights (null: the package's or the hub's)", group="encoder")
    fine_tune: bool = setting("train the encoder, too", group="encoder")
    position: bool = setting("tell attention where each region lies", group="encoder")
    lr: float | None = setting("its learning rate when it is trained (null: lr)", group="encoder", above=0)
    cache: str = setting("folder that keeps computed features", group="encoder", numbers=False)


@dataclass
class DecoderSettings:
    """What writes the caption (`decoder.*`)."""

    embedding: int = setting("size of a word's embedding", group="decoder", at_least=1)
    state: int = setting("size of the LSTM's state", group="decoder", at_least=1)
    attention_size: int = setting("size of the attention's hidden layer", group="decoder", at_least=1)
    gate: bool = setting("scale the context by a gate (Xu et al. 2015, section 4.2.1)", group="decoder")
    deep_output: bool = setting(
        "let the output layer see context and last word, too (Xu et al. 2015, equation 7)", group="decoder"
    )


@dataclass
class CaptionSettings(Settings):
    """The captioner's own settings."""

    data: CaptionDataSettings = field(default_factory=CaptionDataSettings)
    encoder: EncoderSettings = field(default_factory=EncoderSettings)
    decoder: DecoderSettings = field(default_factory=DecoderSettings)

    attention: bool = setting("look at regions instead of the image's mean", group="training")
    dropout: float = setting(
        "probability that dropout zeroes a unit before the output layer",
        group="training",
        at_least=0,
        below=1,
    )
    schedule: str = setting("course of the learning rate", group="training", choices=SCHEDULES)
    clip: float | None = setting(
        "clamp every element of the gradient to -clip..clip (null: no)", group="training", above=0
    )
    clip_norm: float | None = setting("scale the gradient to at most this norm", group="training", above=0)
    label_smoothing: float = setting(
        "probability given to all words alike", group="training", at_least=0, below=1
    )
    sampling: float = setting(
        "scheduled sampling: probability, in the last epoch, that a word is the model's own; rises from 0",
        group="training",
        at_least=0,
        at_most=1,
    )
    attention_penalty: float = setting(
        "weight of the doubly stochastic penalty (Xu et al. 2015, equation 14)", group="training", at_least=0
    )
    beam: int = setting("beams of the test captions; 1 is greedy", group="decoding", at_least=1, at_most=50)
    compare_beam: int | None = setting(
        "report the test with as many beams, too (null: no)", group="decoding", at_least=1, at_most=50
    )
    max_words: int = setting("longest caption, its end included", group="decoding", at_least=1, at_most=200)
    gallery: list[str] = setting(
        "file names of test images for the gallery's picture ([]: six, evenly spaced)",
        group="output",
        numbers=False,
    )
    length_penalty: float = setting(
        "beams are compared by score / length ** length_penalty", group="decoding", at_least=0, at_most=5
    )
