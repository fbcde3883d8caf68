"""The report's question of equivariance: what do convolution, pooling and the classifier commute with?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from src.findings import Picture, Section, Table
from src.report.sources import Missing, Sources

if TYPE_CHECKING:
    from torch import Tensor

    from src.classification.module import Classifier
    from src.theory.equivariance_curves import Panel
    from src.theory.invariance import Invariance

MAPPED = 24  # images whose feature maps are compared
JUDGED = 800  # images that the classifier sees at each movement
SHOWN = {
    "shift": ("shift by {:g} px", (0, 1, 2, 4, 8)),
    "turn": ("turn by {:g} degrees", (5, 10, 30, 90, 180)),
    "zoom": ("zoom by {:g}", (0.5, 0.8, 0.9, 1.1, 1.5, 2)),
}
ASKED = (
    "A convolution is equivariant to translation, f(g(x)) = g(f(x)); pooling makes it approximately "
    "invariant to small shifts; it is not equivariant to rotation or to a change of scale. How far does "
    "each of this hold?"
)


def section(sources: Sources) -> Section:
    """Errors of equivariance with the trained kernels, and the classifier's invariance on test images.

    Without a classifier: random kernels; without data: drawn images, and no classifier's answers.
    """
    from src.classification.module import scaled
    from src.theory.equivariance import statements
    from src.theory.equivariance_curves import error_panels, invariance_curves
    from src.theory.kernels import drawn_images, random_kernels

    missing = []
    images = labels = classifier = None
    try:
        bytes_, labels = sources.fashion_mnist("test")
        images, labels = scaled(bytes_[:JUDGED]), labels[:JUDGED]
    except Missing as error:
        missing.append(f"The images are drawn, not Fashion-MNIST's. {error}")
    try:
        classifier = sources.classifier()
    except Missing as error:
        missing.append(f"The kernels are random, and no classifier is measured. {error}")
    mapped = drawn_images(sources.seed, MAPPED) if images is None else images[:MAPPED]
    kernels = random_kernels(sources.seed) if classifier is None else classifier.network.conv1.weight.detach()
    if classifier is not None and tuple(classifier.hparams["image_size"]) != tuple(mapped.shape[1:]):
        kernels, classifier = random_kernels(sources.seed), None
        missing.append(
            f"The classifier in {sources.sweep} takes other images than Fashion-MNIST's: make sweep"
        )
    found, table = statements(mapped, sources.seed, kernels)
    panels = error_panels(mapped, kernels)
    pooling = invariance_curves(mapped, kernels)
    answers = [_about_maps(panels, pooling, images is not None, classifier is not None), _about_borders()]
    tables, pictures = [table], [*_pictures(panels, pooling, mapped, kernels)]
    if classifier is not None and images is not None and labels is not None:
        measured = _measured(classifier, images, labels)
        tables.append(_classifier_table(measured, len(labels)))
        pictures.append(_classifier_picture(measured, len(labels), classifier.hparams["classes"]))
        answers.insert(1, _about_classifier(measured, classifier.hparams["augment"] != "none"))
    return Section(
        "equivariance",
        "Equivariance",
        ASKED,
        tuple(answers),
        statements=found,
        tables=tuple(tables),
        pictures=tuple(pictures),
        command="make theory\nmake report",
        missing=tuple(missing),
    )


def _measured(classifier: Classifier, images: Tensor, labels: Tensor) -> dict[str, tuple[Invariance, ...]]:
    from src.theory.invariance import KINDS, invariance

    return {kind: invariance(classifier.network, images, labels, kind) for kind in KINDS}


def _about_maps(panels: tuple[Panel, Panel, Panel], pooling: Panel, real: bool, trained: bool) -> str:
    from src.theory.equivariance import error_text
    from src.theory.equivariance_curves import ALONG, BACK, CONVOLUTION, POOLING

    shifts, turns, zooms = panels
    plain, soft = shifts.curve(CONVOLUTION), shifts.curve(POOLING)
    even = max(soft.at(size) for size in soft.sizes if size % 2 == 0)
    images = f"{MAPPED} {'test images of Fashion-MNIST' if real else 'drawn images'}"
    kernels = "the best run's first-layer kernels" if trained else "random kernels of 3 x 3"
    beside = []
    for panel, size, what in ((turns, 45.0, "a turn by 45 degrees"), (zooms, 1.5, "a zoom by 1.5")):
        along, back = (error_text(panel.curve(name).at(size)) for name in (ALONG, BACK))
        error = panel.curve(CONVOLUTION).at(size)
        controls = f"{along} for a Gaussian moved along, {back} there and back"
        beside.append(f"{error:.2f} at {what} (controls: {controls})")
    first, last = pooling.curves[0], pooling.curves[-1]
    return (
        f"Measured with {kernels} on {images}, in standard deviations of g(f(x)). The convolution's error is "
        f"{_largest(max(plain.errors))} at all shifts, those by half a pixel included: interpolating a shift "
        "is itself a convolution, and convolutions commute. With pooling 2 x 2 behind it, the error is "
        f"{_largest(even)} at even shifts, which move the cells by whole strides, and {soft.at(1.0):.2f} at "
        f"a shift by 1 pixel. The convolution's error is {beside[0]} and {beside[1]}. A shift by 1 pixel "
        f"changes the unpooled maps by {first.at(1.0):.2f} and those pooled {last.name} by "
        f"{last.at(1.0):.2f}; that is how approximate pooling's invariance is."
    )


def _largest(error: float) -> str:
    return "exactly 0" if error == 0 else f"at most {error:.1e}"


def _about_classifier(measured: dict[str, tuple[Invariance, ...]], augmented: bool) -> str:
    at = {kind: {point.size: point for point in points} for kind, points in measured.items()}
    small, large, still = (at["shift"][size] for size in (1.0, 4.0, 0.0))
    kept = large.whole
    text = (
        f"The classifier, as a whole, keeps its answer at {small.agreement} of the shifts by 1 pixel, at "
        f"{large.agreement} of those by 4 pixels, at {at['turn'][10.0].agreement} of the turns by 10 "
        f"degrees, {at['turn'][90.0].agreement} by 90 degrees, and at {at['zoom'][0.8].agreement} of the "
        f"zooms by 0.8 (95 % intervals over images; its accuracy on these, unmoved: {still.accuracy}). Its "
        "dense layers have weights of their own for each place"
        + ("." if augmented else ", and its training showed it no moved images.")
    )
    if math.isnan(kept.value):  # too few images
        return text
    cut = (
        "what is cut off at the border does not explain the change"
        if kept.value - kept.half < large.agreement.value + large.agreement.half
        else "part of the change comes from what is cut off at the border"
    )
    return (
        f"{text} Where a shift by 4 pixels moves nothing out ({kept.images} images, in at least one "
        f"direction), the agreement is {kept}: {cut} (these images are another mix of classes, though)."
    )


def _about_borders() -> str:
    return (
        "Borders: what lies beyond the image is NaN, in the convolution's padding and in what a movement "
        "brings in, and only places that are finite on both sides are compared. The classifier needs whole "
        "images, so black, the data's background, moves in; images that lose at most 1 % of their light are "
        "counted apart."
    )


def _classifier_table(measured: dict[str, tuple[Invariance, ...]], images: int) -> Table:
    rows = []
    for kind, (text, sizes) in SHOWN.items():
        at = {point.size: point for point in measured[kind]}
        for size in sizes:
            p = at[size]
            rows.append(
                (
                    text.format(size),
                    str(p.agreement),
                    str(p.accuracy),
                    f"{p.change:.3f}",
                    f"{p.whole} ({p.whole.images} images)",
                )
            )
    return Table(
        "The classifier's answers when the image moves",
        ("movement", "agreement", "accuracy", "change of scores", "agreement, nothing lost"),
        tuple(rows),
        f"{images} test images, 95 % intervals over images; shifts in four directions, turns both ways. "
        "The change of scores is relative to the unmoved scores, each image's less their mean.",
    )


def _pictures(
    panels: tuple[Panel, Panel, Panel], pooling: Panel, images: Tensor, kernels: Tensor
) -> tuple[Picture, ...]:
    from src.theory import equivariance_plots as plots

    image = images[:1]
    kernel = plots.clearest(image, kernels)
    return (
        Picture(
            "equivariance-errors",
            plots.errors_title(panels),
            "Three panels of the error against the size of a shift (logarithmic), a turn and a zoom: a "
            "convolution, a convolution with pooling, and two controls of the interpolation's own error.",
            plots.error_figure(panels),
        ),
        Picture(
            "equivariance-strip",
            plots.strip_title(image, kernel),
            "An image, the image shifted or turned, the convolution of the moved image, the moved "
            "convolution of the image, and their difference: a row for the shift and one for the turn.",
            plots.strip_figure(image, kernel),
        ),
        Picture(
            "equivariance-pooling",
            plots.pooling_title(pooling),
            "The change of feature maps against the shift in pixels, a curve for each pooling window.",
            plots.pooling_figure(pooling),
        ),
    )


def _classifier_picture(measured: dict[str, tuple[Invariance, ...]], images: int, classes: int) -> Picture:
    from src.theory import equivariance_plots as plots

    return Picture(
        "equivariance-classifier",
        plots.invariance_title(measured),
        f"Three panels against the size of a shift, a turn and a zoom: the share of {images} test images "
        "whose predicted class is that of the unmoved image, the accuracy, and the agreement of images that "
        "lost nothing beyond the border.",
        plots.invariance_figure(measured, classes),
    )
