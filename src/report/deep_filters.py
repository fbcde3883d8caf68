"""The report's statement about late filters (protocol, section 5), put to the test on a pretrained encoder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from src.findings import Picture, Section, Statement, Table
from src.report.sources import Sources

if TYPE_CHECKING:
    from types import ModuleType

    from torch import Tensor

    from src.filters.deep_study import Boxes, Favourites, Moved, Preferred
    from src.filters.image_sets import ImageSet

KEY, TITLE = "deep-filters", "What deep filters answer to"
ASKED = (
    "The report shows with a deep network how a late filter answers to one kind of object wherever it stands "
    "in the image. Does it, and is that different from an early filter?"
)
COMMAND = "python -m src.report"


def section(sources: Sources) -> Section:
    """Measured on efficientnet_lite0 with ImageNet weights, on real aerial images where there are some, and on
    the synthetic scenes."""
    from src.captioning.encoder import EncoderError, build_encoder
    from src.captioning.karpathy import CaptionDataError
    from src.filters import deep_study as study
    from src.filters.image_sets import SIDE, aerial_set, scenes_set
    from src.images import BrokenImage

    missing: list[str] = []
    try:
        encoder = build_encoder(study.ENCODER, SIDE).requires_grad_(False)
        scenes = scenes_set(sources.data)
    except (EncoderError, CaptionDataError, BrokenImage, OSError) as error:
        return Section(
            KEY, TITLE, ASKED, missing=(f"{_sentence(error)} make setup installs what is needed.",)
        )
    images, note = scenes, ""
    if sources.aerial is None:
        note = "No folder of real aerial images was given, so synthetic scenes stand in for them."
    else:
        try:
            real = aerial_set(sources.aerial)
            images = real or scenes
            note = "" if real else "The aerial images given have no classes, so synthetic scenes stand in."
        except (CaptionDataError, BrokenImage, OSError) as error:
            missing.append(f"Real aerial images are not there: {_sentence(error)}")
    preferred = study.preferred(encoder, images)
    boxes = study.in_boxes(encoder, scenes)
    moved = study.moved(encoder, boxes, sources.seed)
    return _told(preferred, boxes, moved, images, scenes, note, missing, sources.seed)


def _told(
    preferred: Preferred,
    boxes: Boxes,
    moved: Moved,
    images: ImageSet,
    scenes: ImageSet,
    note: str,
    missing: list[str],
    seed: int,
) -> Section:
    """The study in words, tables and pictures."""
    from src.filters import deep_figures as figures
    from src.filters.deep import LAYERS
    from src.filters.deep_study import BEST, synthetic_inputs

    early, late = LAYERS[0].when, LAYERS[-1].when
    inputs, climbs = {}, []
    for layer in LAYERS:
        ours = [one for one in preferred.favourites if one.layer is layer]
        found, inputs[layer.when] = synthetic_inputs(layer, [one.filter for one in ours], seed)
        climbs += [(one, float(value)) for one, value in zip(ours, found.reached, strict=True)]
    above = sum(reached > one.highest for one, reached in climbs)
    chance = moved.followed[late][0].chance
    share = preferred.share
    statements = (
        Statement(
            "wherever it stands: the late filters' peaks, from the centres of the objects they were chosen for",
            f"{moved.mean_distance(late):.0f} pixels off on average",
            f"at most half of chance, {chance:.0f} pixels",
            moved.mean_distance(late) <= chance / 2,
        ),
        Statement(
            "more than early filters: the median kind's contrast inside and outside its boxes, late over early",
            f"{boxes.median(late):.1f} against {boxes.median(early):.1f}",
            "the late one is greater",
            boxes.median(late) > boxes.median(early),
        ),
        Statement(
            f"to one kind: share of the {BEST} images that excite a late filter most which are of its kind",
            f"{share[late]:.0%} (early {share[early]:.0%}, chance {preferred.chance:.0%})",
            "more than half",
            share[late] > 0.5,
        ),
        Statement(
            "to one kind: objects that excite the late filter chosen for them more than any other object does",
            f"{moved.ahead(late)} of {len(moved.nouns)}",
            "all of them",
            moved.ahead(late) == len(moved.nouns),
        ),
    )
    held = sum(one.holds for one in statements)
    verdict = (
        "holds"
        if held == len(statements)
        else "is not borne out"
        if held == 0
        else "is only partly true here"
    )
    follows = [layer.when for layer in LAYERS if moved.mean_distance(layer.when) <= chance / 2]
    answer = (
        f"The statement {verdict}: {held} of the {len(statements)} tests of it below hold.",
        f"Wherever it stands: with one drawn object moved over {len(moved.centres)} places of a meadow, the peaks of "
        f"the filters chosen for it lie {_by_layer(moved.mean_distance, '.0f')} pixels from its centre "
        f"({chance:.0f} by chance; a cell is {', '.join(str(layer.stride) for layer in LAYERS)} pixels wide). "
        + (
            f"{_and(follows).capitalize()} filters follow it: that is the convolution's, not the late layers', own."
            if len(follows) > 1
            else "So not even that is common to all layers."
        ),
        f"One kind: on images that chose no filter, {share[late]:.0%} of the {BEST} that excite a late filter most "
        f"are of the kind it was chosen for; {share[early]:.0%} for early filters, {preferred.chance:.0%} by chance. "
        f"Inside the boxes of a kind of thing, the filter chosen for it answers {boxes.median(late):.1f} times as "
        f"strongly as elsewhere at the late layer and {boxes.median(early):.1f} times at the early one (median of "
        f"{len(boxes.kinds)} kinds). But shown single objects, {moved.ahead(late)} of {len(moved.nouns)} late filters "
        f"answer most to the kind they were chosen for ({moved.ahead(early)} of {len(moved.nouns)} early ones): a late "
        "filter is more selective than an early one where it stands out at all, and rarely a detector of one kind.",
        f"Images: {images.name}; for boxes, {scenes.name}. {note} Filters are chosen by a rule, the greatest "
        "d' between a kind and everything else on one half of the images, and judged on the other half; the network "
        "learned ImageNet's photographs, so that none of these kinds were its classes as seen from above.",
        f"The synthetic inputs excite their units more than any judging image does in {above} of {len(climbs)} "
        "cases; those of the early and the middle layer show the unit's receptive field.",
    )
    return Section(
        KEY,
        TITLE,
        ASKED,
        tuple(" ".join(part.split()) for part in answer),
        statements=statements,
        tables=(_layers(preferred, boxes, moved), _climbs(climbs), _objects(moved)),
        pictures=_pictures(figures, preferred, boxes, moved, images, inputs),
        command=COMMAND,
        missing=tuple(missing),
    )


def _layers(preferred: Preferred, boxes: Boxes, moved: Moved) -> Table:
    from src.filters.deep import LAYERS
    from src.filters.deep_study import BEST

    rows = tuple(
        (
            layer.when,
            f"{layer.place}, {layer.filters:,} filters",
            "whole image" if layer.field is None else f"{layer.field} x {layer.field}",
            f"{preferred.share[layer.when]:.0%}",
            f"{boxes.median(layer.when):.2f}",
            f"{moved.mean_distance(layer.when):.1f}",
            f"{moved.ahead(layer.when)} of {len(moved.nouns)}",
        )
        for layer in LAYERS
    )
    columns = (
        "layer",
        "where",
        "receptive field (pixels)",
        f"of its kind, among the {BEST} best images",
        "inside / outside boxes, median kind",
        "peak to object (pixels)",
        "kinds it answers to most",
    )
    note = f"By chance {preferred.chance:.0%}, 1, {moved.followed[LAYERS[0].when][0].chance:.0f} pixels."
    return Table("Three layers of efficientnet_lite0", columns, rows, note)


def _climbs(climbs: list[tuple[Favourites, float]]) -> Table:
    rows = tuple(
        (f"{one.layer.when}, filter {one.filter}", one.kind, f"{one.highest:.2f}", f"{reached:.2f}")
        for one, reached in climbs
    )
    return Table(
        "What the synthetic inputs reach", ("filter", "chosen for", "best image", "synthetic input"), rows
    )


def _objects(moved: Moved) -> Table:
    from src.filters.deep import LAYERS

    rows = []
    for place, noun in enumerate(moved.nouns):
        for layer in LAYERS:
            found, (_, rival) = moved.followed[layer.when][place], moved.rivals[layer.when][place]
            rows.append(
                (
                    f"{noun}, {layer.when}",
                    str(moved.filters[layer.when][place]),
                    f"{float(found.distance.mean()):.1f}",
                    f"{found.spread:.2f}",
                    f"{moved.margin(layer.when, place):.2f} ({rival})",
                )
            )
    return Table(
        f"One object at {len(moved.centres)} places of one background",
        (
            "object, layer",
            "filter",
            "peak to object (pixels)",
            "coefficient of variation of the peak",
            "peak over that for the strongest other object",
        ),
        tuple(rows),
    )


def _pictures(
    figures: ModuleType,
    preferred: Preferred,
    boxes: Boxes,
    moved: Moved,
    images: ImageSet,
    inputs: dict[str, Tensor],
) -> tuple[Picture, ...]:
    from src.filters.deep import LAYERS

    early, late = LAYERS[0].when, LAYERS[-1].when
    hits = {
        layer.when: [hit for one in preferred.favourites if one.layer is layer for hit in one.hits]
        for layer in LAYERS
    }
    first = (
        f"Of the images that excite the two shown late filters most, {sum(hits[late])} of {len(hits[late])} "
        f"are of their kind; for the early ones {sum(hits[early])} of {len(hits[early])}"
    )
    found = moved.followed[late][0]
    second = (
        f"As a {moved.nouns[0]} moves, the late filter's peak lies {float(found.distance.mean()):.0f} pixels from "
        f"it on average ({found.chance:.0f} by chance), its height varies by {found.spread:.0%}"
    )
    third = (
        f"Inside a kind's boxes the filter chosen for it answers {boxes.median(late):.1f} times as strongly as "
        f"outside at the late layer, {boxes.median(early):.1f} times at the early one (medians)"
    )
    return (
        Picture(
            "deep-filters-favourites",
            first,
            "A row a filter, two of each layer: on the left the synthetic input that excites it most, then the "
            f"images that do ({images.name}), each with a circle where the filter peaks; green frames mark "
            "images of the kind that the filter was chosen for, orange ones others.",
            figures.favourites_figure(preferred.favourites, inputs, images, first),
        ),
        Picture(
            "deep-filters-moved",
            second,
            f"A drawn {moved.nouns[0]} at a grid of places on one meadow. Above, the late filter's response as a "
            "heat map over three of the pictures; below, for each layer, circles at the object's centres and "
            "crosses at the filter's peaks, joined by lines.",
            figures.moved_figure(moved, second),
        ),
        Picture(
            "deep-filters-boxes",
            third,
            "For each kind of thing on the synthetic scenes, the mean response inside its boxes over that "
            "outside: a mark each for the early, the middle and the late layer, on a logarithmic scale.",
            figures.boxes_figure(boxes, third),
        ),
    )


def _by_layer(number: Callable[[str], float], form: str) -> str:
    """ "12 (early), 15 (middle) and 24 (late)"."""
    from src.filters.deep import LAYERS

    return _and([f"{number(layer.when):{form}} ({layer.when})" for layer in LAYERS])


def _and(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _sentence(error: Exception) -> str:
    text = str(error).strip().rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."
