"""The section on the classifier's filters: kernels, and what they answer to (protocol, sections 4 and 5).

The words are in `filter_words.py`, so that every number they hold comes from a measurement.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from src.findings import Picture, Section, Table
from src.report.sources import Missing, Sources

if TYPE_CHECKING:
    from src.classification.module import Classifier

KEY = "filters"
TITLE = "Convolution filters of the classifier"
ASKED = (
    "What do the learned filters look like? The report says that first-layer kernels pick up edges, "
    "orientation and simple contrast, and that deeper kernels combine them."
)
TOP = 100  # images a filter, for the classes that they come from
ROWS, COLUMNS = 8, 8  # filters drawn, and images of each


def section(sources: Sources) -> Section:
    """Kernels of both layers, what they consist of, activation maps, and the most exciting images.

    Without a finished run the section only says how to make one; without the data it shows the kernels alone.
    """
    try:
        run = sources.best_run()
        module = sources.classifier(run)
    except Missing as error:
        return Section(KEY, TITLE, ASKED, missing=(str(error),))
    from src.filters.classifier import untrained

    begun = untrained(module)
    parts = [first_layer(module, begun, sources.seed), second_layer(module)]
    missing = []
    for images_needed in (maps_of_images, exciting_images):
        try:
            parts.append(images_needed(module, begun, sources))
        except Missing as error:
            missing.append(str(error))
    place = shlex.quote(str(sources.sweep / run.name / "checkpoints" / "last.ckpt"))
    return Section(
        KEY,
        TITLE,
        ASKED,
        answer=tuple(text for part in parts for text in part.answer),
        tables=tuple(table for part in parts for table in part.tables),
        pictures=tuple(picture for part in parts for picture in part.pictures),
        command=f"python -m src.filters checkpoint={place} image=PHOTO.png",
        missing=tuple(dict.fromkeys(missing)),
    )


def first_layer(module: Classifier, begun: Classifier, seed: int) -> Section:
    """The 3x3 kernels of layer 1 in grey, and what they consist of, before and after training."""
    from src.filters import frei_chen
    from src.filters.kernel_figures import protocol_figure
    from src.report import filter_words as words

    weight = module.network.conv1.weight
    kernels, initial = (of.network.conv1.weight.detach().flatten(0, 1) for of in (module, begun))
    found = frei_chen.contents(kernels, initial, seed)
    kinds = [kind or "mixed" for kind in frei_chen.kinds(kernels)]
    by_kind = frei_chen.grouped(frei_chen.shares(kernels), frei_chen.KINDS)
    title = words.first_layer_title(found)
    labels = kinds if len(kinds) == len(weight) else ()  # one input channel
    sheet = Picture(
        "kernels-conv1", title, words.sheet_alt(1, len(weight)), protocol_figure(weight, title, labels)
    )
    rows = tuple(
        (str(number), *(f"{float(part[number]):.2f}" for part in by_kind.values()), kind, f"{cosine:.3f}")
        for number, (kind, cosine) in enumerate(zip(kinds, found.cosines, strict=True))
    )
    single = Table(
        "The first-layer kernels one by one: share of energy",
        ("kernel", *by_kind, "mostly", "cosine with its initial self"),
        rows,
        note="Mostly: more than half of the energy; mixed: of none.",
    )
    return Section(
        KEY,
        TITLE,
        ASKED,
        answer=words.first_layer(found),
        tables=(words.contents_table(found), single),
        pictures=(sheet,),
    )


def second_layer(module: Classifier) -> Section:
    """The kernels of layer 2: the report's sheet of input channel 0, and all input channels with signs."""
    from src.filters.kernel_figures import all_channels_figure, protocol_figure
    from src.filters.kernels import channel_shares, channels_for_half
    from src.report import filter_words as words

    weight = module.network.conv2.weight.detach()
    shares = channel_shares(weight)
    sheet_title = words.channel_0_title(shares)
    every_title = words.all_channels_title(shares, len(weight))
    sheet_alt, every_alt = words.sheet_alt(2, len(weight)), words.all_channels_alt(weight)
    return Section(
        KEY,
        TITLE,
        ASKED,
        answer=(words.second_layer(shares, channels_for_half(weight)),),
        pictures=(
            Picture("kernels-conv2-channel-0", sheet_title, sheet_alt, protocol_figure(weight, sheet_title)),
            Picture("kernels-conv2-all", every_title, every_alt, all_channels_figure(weight, every_title)),
        ),
    )


def maps_of_images(module: Classifier, _: Classifier, sources: Sources) -> Section:
    """Activation maps of the first test image and of the first one that is labelled wrongly.

    Raises:
        Missing: the test images are not there.
    """
    import torch

    from src.filters.classifier import layers_of
    from src.filters.image_figures import activation_figure
    from src.report import filter_words as words

    images, labels = sources.fashion_mnist("test")
    with torch.inference_mode():
        given = module(images[:1000]).argmax(1)
    wrong = (given != labels[: len(given)]).nonzero().flatten().tolist()
    pictures = []
    for number in dict.fromkeys([0, *wrong[:1]]):
        stages = layers_of(module, images[number : number + 1])
        title = words.image_title(number, int(labels[number]), stages)
        figure = activation_figure(images[number, 0], stages, title, words.CLASSES)
        pictures.append(Picture(f"activations-{number}", title, words.activations_alt(stages), figure))
    return Section(KEY, TITLE, ASKED, pictures=tuple(pictures))


def exciting_images(module: Classifier, begun: Classifier, sources: Sources) -> Section:
    """The training images that excite the filters of layer 2 most, and from which classes they come.

    All 60,000 images of the official training files are looked at, those set aside for validation included.

    Raises:
        Missing: the training images are not there.
    """
    from src.filters.classifier import exciting, window_of
    from src.filters.exciting import class_shares
    from src.filters.image_figures import exciting_figure
    from src.report import filter_words as words

    images, labels = sources.fashion_mnist("train")
    top = min(TOP, len(images))
    found, before = (exciting(of, "conv2", images, top) for of in (module, begun))
    shares, shares_before = (class_shares(of.top, labels) for of in (found, before))
    heard = [number for number in range(len(shares)) if number not in found.silent]
    chosen = evenly(sorted(heard, key=lambda number: -shares[number].share), ROWS)
    rows = [words.exciting_row(number, found, shares[number], images, COLUMNS) for number in chosen]
    pictures = []
    if rows:
        title = words.exciting_title([shares[number] for number in chosen], top)
        figure = exciting_figure(rows, window_of(module, "conv2"), title)
        pictures.append(Picture("exciting-conv2", title, words.exciting_alt(rows), figure))
    summary = words.Peakedness(top, len(images), shares, shares_before, labels, sources.seed)
    return Section(
        KEY,
        TITLE,
        ASKED,
        answer=(words.exciting(summary, found.silent),),
        tables=(words.exciting_table(summary, found.silent, before.silent),),
        pictures=tuple(pictures),
    )


def evenly(items: list[int], count: int) -> list[int]:
    """At most `count` of the items, the first and the last among them, evenly spaced."""
    if len(items) <= count:
        return items
    return [items[round(place * (len(items) - 1) / (count - 1))] for place in range(count)]
