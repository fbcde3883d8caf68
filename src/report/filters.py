"""Question 5: what the classifier's filters look like, and what a deep network's late filters answer to."""

from __future__ import annotations

from dataclasses import replace
from statistics import fmean

from src.entry_point import UserError
from src.findings import Picture, Section, Statement, Table
from src.report.sources import Sources

CLASSIFIER = Section(
    "filters",
    "Convolution filters of the classifier",
    "What do the learned filters look like? The report says that first-layer kernels pick up edges, "
    "orientation and simple contrast, and that deeper kernels combine them.",
)
LATE = Section(
    "late-filters",
    "Late filters of a deep network",
    "The report shows with a deep network how a late filter answers to one kind of object wherever it "
    "stands in the image. Does it?",
    answer=(
        "One object of five kinds stands at nine places of a meadow. For each kind the filter is chosen "
        "there that tells it best from the others; it is judged on another meadow. The network is "
        "efficientnet_lite0 with ImageNet weights.",
    ),
    command="make report",
)
SIDE = 192  # pixels of the drawn images


def classifier(sources: Sources) -> Section:
    """Kernels, activation maps, top activations and synthetic inputs of the best run."""
    from src.filters import pictures
    from src.filters.activations import convolutions

    module, missing = sources.classifier, []
    layers = list(convolutions(module.network))
    if not layers:
        raise UserError("The best run's network has no 2-d convolution.")
    found = [*pictures.kernel_pictures(module), pictures.synthetic_picture(module)]
    try:
        found.append(pictures.map_picture(module, sources.images("test")[0][0], "the first test image"))
        found.append(pictures.top_picture(module, layers[:2][-1], sources.images("train")[0]))
    except UserError as error:
        missing.append(str(error))
    command = f"python -m src.filters {sources.best.folder}/checkpoints/last.ckpt image=PHOTO.png"
    return replace(CLASSIFIER, pictures=tuple(found), missing=tuple(missing), command=command)


def late(sources: Sources) -> Section:
    """The one statement on late filters."""
    from src.captioning.encoder import build_encoder
    from src.filters.late import KINDS, PLACES, late_figure, selectivity

    network = build_encoder({"_target_": "src.captioning.backbones.efficientnet_lite0"}, SIDE)
    first, last = selectivity(network, SIDE)
    shares = [fmean(one.share for one in choices) for choices in (first, last)]
    chance = 1 / len(KINDS)
    statement = Statement(
        f"of the {len(PLACES)} images that excite a late filter most, the share that show its kind",
        f"{shares[1]:.0%} (the first convolution's filters {shares[0]:.0%}, chance {chance:.0%})",
        "more than half, and more than the first convolution's filters",
        shares[1] > max(0.5, shares[0]),
    )
    rows = tuple(
        (own.kind, str(own.filter), f"{own.share:.2f}", f"{other.share:.2f}", f"{own.distance:.0f}")
        for own, other in zip(last, first, strict=True)
    )
    columns = ("kind", "late filter", "share of its kind", "first convolution's", "peak to object (pixels)")
    title = "Late filters' maps over objects at several places of an unseen background"
    alt = "Heat lies on the circled object wherever it stands, a row for each of three kinds."
    table = Table("Filters chosen for a kind of object", columns, rows, f"Images of {SIDE} pixels.")
    picture = Picture("late-filters", title, alt, late_figure(last, SIDE, title))
    return replace(LATE, statements=(statement,), tables=(table,), pictures=(picture,))
