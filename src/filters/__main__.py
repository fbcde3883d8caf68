"""Draw a classifier's filters and what they answer to: `python -m src.filters --help`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from src import door
from src.door import say
from src.filters.command import FilterSettings, chosen_filters, help_text, read_command
from src.images import BrokenImage, read_rgb
from src.paths import expanded
from src.sweep.runs import plain
from src.trained import CheckpointError, find_checkpoint, open_checkpoint, rebuilt

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL import Image
    from torch import Tensor

    from src.classification.module import Classifier

TOP = 100  # images a filter, for the classes that they come from
FILTERS = 8  # drawn where none are named


@dataclass(frozen=True, eq=False)
class Job:
    """A command whose files have been read."""

    settings: FilterSettings
    module: Classifier
    classes: tuple[str, ...]  # names, () where nobody knows them
    image: Image.Image | None
    training: tuple[Tensor, Tensor] | None  # images (N, 1, H, W) uint8 and labels (N,); None with top=0
    filters: list[int]


def kernels(job: Job) -> Iterator[tuple[str, Figure]]:
    """Both convolutions as the report draws them, and all channels of the second."""
    from src.filters.kernel_figures import all_channels_figure, protocol_figure

    network = job.module.network
    for name, weight in (("conv1", network.conv1.weight), ("conv2", network.conv2.weight)):
        of = f"{name}: {len(weight)} kernels of input channel 0, min-max normalised over the layer"
        yield f"kernels-{name}", protocol_figure(weight, of)
    channels = network.conv2.weight.shape[1]
    yield (
        "kernels-conv2-all",
        all_channels_figure(network.conv2.weight, f"conv2: all {channels} input channels"),
    )


def maps(job: Job) -> Iterator[tuple[str, Figure]]:
    """Activation maps of the image."""
    from src.classification.predict import prepare
    from src.filters.classifier import layers_of
    from src.filters.image_figures import activation_figure

    if job.image is None:
        return
    _, height, width = job.module.hparams["image_size"]
    seen = prepare(job.image, (height, width), job.settings.invert)  # (1, H, W)
    stages = layers_of(job.module, seen.unsqueeze(0))
    scores = [*stages.values()][-1].softmax(0)
    best = int(scores.argmax())
    name = job.classes[best] if job.classes else f"class {best}"
    text = f"What every layer answers to {plain(Path(str(job.settings.image)).name)}, taken for {name} "
    title = f"{text}({float(scores[best]):.0%})"
    yield "activations", activation_figure(seen[0], stages, title.replace("$", r"\$"), job.classes)


def exciting_images(job: Job) -> Iterator[tuple[str, Figure]]:
    """The training images that excite the chosen filters most."""
    from src.filters.classifier import exciting, window_of
    from src.filters.exciting import class_shares
    from src.filters.image_figures import ExcitingRow, exciting_figure

    if job.training is None:
        return
    images, labels = job.training
    layer = job.settings.layer
    top = min(TOP, len(images))
    found = exciting(job.module, layer, images, max(top, min(job.settings.top, len(images))))
    shares = class_shares(found.top[:, :top], labels)
    shown = job.settings.top
    rows = []
    for number in job.filters:
        label = shares[number].label
        name = job.classes[label] if job.classes else f"class {label}"
        note = f"of {top}:\n{shares[number].share:.0%} {name}"
        silent = "\n(silent)" if number in found.silent else ""
        best = found.top[number, :shown]
        rows.append(
            ExcitingRow(f"filter {number}{silent}", images[best, 0], found.peaks[number, :shown], note)
        )
    title = f"{layer}: the images, of {len(images):,}, that excite a filter most"
    yield f"exciting-{layer}", exciting_figure(rows, window_of(job.module, layer), title)


# What is drawn, in this order; each gives names of files and their figures, or nothing.
STEPS: tuple[Callable[[Job], Iterator[tuple[str, Figure]]], ...] = (kernels, maps, exciting_images)


def draw(arguments: Sequence[str]) -> int:
    """Run the command; its exit status (see `--help`)."""
    from src.figures import save

    settings, mistakes = read_command(arguments)
    if mistakes:
        return refuse(mistakes)
    try:
        job = opened(settings)
    except (CheckpointError, BrokenImage, ValueError) as error:
        return refuse([str(error)])
    folder = expanded(settings.out)
    try:
        for step in STEPS:
            for name, figure in step(job):
                for path in save(figure, folder / name):
                    say(f"Written: {path}")
    except OSError as error:
        return refuse([f"out={settings.out}: cannot be written: {error.strerror or error}"])
    return 0


def opened(settings: FilterSettings) -> Job:
    """Read the files that the command names.

    Raises:
        CheckpointError, BrokenImage, ValueError: with a sentence for the user.
    """
    path, chosen = find_checkpoint(settings.checkpoint)
    if chosen:
        say(chosen)
    trained = open_checkpoint(path)
    if trained.task != "classify":
        raise CheckpointError(f"{path} is a captioner's; give a classifier's checkpoint")

    from src.classification.data import FASHION_MNIST_CLASSES  # late: torch and Lightning take seconds
    from src.classification.module import Classifier

    module: Classifier = rebuilt(trained, Classifier)
    channels, height, width = module.hparams["image_size"]
    if channels != 1:
        raise CheckpointError(f"{path} takes images of {channels} channels; only grey ones can be drawn")
    known = trained.data == "fashion_mnist" and module.hparams["classes"] == len(FASHION_MNIST_CLASSES)
    count = getattr(module.network, settings.layer).out_channels
    try:
        filters = chosen_filters(settings.filters, count)
    except ValueError as error:
        raise ValueError(f"filters={settings.filters}: {error}") from error
    return Job(
        settings,
        module,
        FASHION_MNIST_CLASSES if known else (),
        None if settings.image is None else read_rgb(expanded(settings.image)),
        training_images(settings.data, (height, width)) if settings.top else None,
        filters or list(range(0, count, max(1, count // FILTERS)))[:FILTERS],
    )


def training_images(root: str, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Training images (N, 1, H, W) uint8 and labels (N,) below `root`.

    Raises:
        ValueError: they are not there, damaged, or of another size than (H, W).
    """
    import torch

    from src.classification.data import read_idx
    from src.download import FILES, DataUnavailable

    folder = expanded(root)
    raw = folder / "FashionMNIST" / "raw"
    folder = raw if raw.is_dir() else folder
    try:
        images, labels = (read_idx(folder / name) for name in [*FILES][:2])
    except DataUnavailable as error:
        raise ValueError(
            f"data={root}: {error}; make data fetches Fashion-MNIST, and top=0 does without"
        ) from error
    if images.shape[1:] != size or len(images) != len(labels):
        raise ValueError(
            f"data={root}: images {images.shape} and labels {labels.shape} do not fit a classifier of "
            f"{size[0]}x{size[1]} images"
        )
    return torch.from_numpy(images.copy()).unsqueeze(1), torch.from_numpy(labels.astype("int64"))


def refuse(mistakes: Sequence[str]) -> int:
    """Name every mistake; exit status 2."""
    return door.refuse("src.filters", "Not all was drawn", mistakes)


def main() -> None:
    """The command line."""
    door.enter(draw, help_text, "Stopped; pictures written so far stay.")


if __name__ == "__main__":
    main()
