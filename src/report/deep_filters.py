"""The report's statement about late filters (protocol, section 5), put to the test."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from src.findings import Picture, Section, Statement, Table
from src.report.sources import Sources

if TYPE_CHECKING:
    from src.filters.deep_study import Study

KEY, TITLE = "deep-filters", "What deep filters answer to"
ASKED = (
    "The report shows with a deep network how a late filter answers to one kind of object wherever it "
    "stands in the image. Does it, and is that different from an early filter?"
)
COMMAND = "make report"


def section(sources: Sources) -> Section:
    """Of efficientnet_lite0, on real aerial images where there are some, and on synthetic scenes."""
    from src.captioning.encoder import EncoderError
    from src.captioning.karpathy import CaptionDataError
    from src.filters.deep_study import study
    from src.filters.image_sets import aerial_set, scenes_set
    from src.images import BrokenImage

    missing: list[str] = []
    try:
        scenes = scenes_set(sources.data)
        images, note = scenes, "No folder of real aerial images was given: synthetic scenes stand in."
        if sources.aerial is not None:
            try:
                real = aerial_set(sources.aerial)
                images = real or scenes
                note = "" if real else "The aerial images have no classes: synthetic scenes stand in."
            except (CaptionDataError, BrokenImage, OSError) as error:
                note = "Synthetic scenes stand in for real aerial images."
                missing.append(f"The aerial images cannot be used: {error}")
        done = study(images, scenes, sources.seed)
    except (EncoderError, CaptionDataError, BrokenImage, OSError) as error:
        return Section(
            KEY, TITLE, ASKED, command=COMMAND, missing=(f"{error} (make setup installs packages)",)
        )
    statements = _statements(done)
    return Section(
        KEY,
        TITLE,
        ASKED,
        _answer(done, statements, note),
        statements=statements,
        tables=(_layers(done), _climbs(done), _objects(done)),
        pictures=_pictures(done),
        command=COMMAND,
        missing=tuple(missing),
    )


def _statements(done: Study) -> tuple[Statement, ...]:
    """The report's sentence, part by part."""
    from src.filters.deep import LAYERS
    from src.filters.deep_study import BEST

    moved, boxes, share = done.moved, done.boxes, done.preferred.share
    early, late = LAYERS[0].when, LAYERS[-1].when
    chance = moved.followed[late][0].chance
    return (
        Statement(
            "wherever it stands: the late filters' peaks, from the centres of the objects they were chosen "
            "for",
            f"{moved.mean_distance(late):.0f} pixels off on average",
            f"at most half of chance, {chance:.0f} pixels",
            moved.mean_distance(late) <= chance / 2,
        ),
        Statement(
            "more than early filters: the median kind's contrast inside to outside its boxes, late and early",
            f"{boxes.median(late):.1f} and {boxes.median(early):.1f}",
            "the late one is greater",
            boxes.median(late) > boxes.median(early),
        ),
        Statement(
            f"to one kind: share of the {BEST} images that excite a late filter most which are of its kind",
            f"{share[late]:.0%} (early {share[early]:.0%}, chance {done.preferred.chance:.0%})",
            "more than half",
            share[late] > 0.5,
        ),
        Statement(
            "to one kind: objects that excite the late filter chosen for them more than any other object "
            "does",
            f"{moved.ahead(late)} of {len(moved.nouns)}",
            "all of them",
            moved.ahead(late) == len(moved.nouns),
        ),
    )


def _answer(done: Study, statements: tuple[Statement, ...], note: str) -> tuple[str, ...]:
    """The study in words."""
    from src.filters.deep import LAYERS
    from src.filters.deep_study import BEST

    moved, boxes, share = done.moved, done.boxes, done.preferred.share
    early, late = LAYERS[0].when, LAYERS[-1].when
    chance = moved.followed[late][0].chance
    held = sum(one.holds for one in statements)
    verdict = (
        "holds here" if held == len(statements) else "is only partly true here" if held else "fails here"
    )
    follow = [layer.when for layer in LAYERS if moved.mean_distance(layer.when) <= chance / 2]
    off = _and([f"{moved.mean_distance(layer.when):.0f} ({layer.when})" for layer in LAYERS])
    cells = _and([str(layer.stride) for layer in LAYERS])
    best = [one.highest for one in done.preferred.favourites]
    above = sum(reached > height for reached, height in zip(done.reached, best, strict=True))
    if len(follow) == len(LAYERS):
        shared = (
            "Filters of all three layers follow it: that is the convolution's, not the late layers', own."
        )
    else:
        shared = f"It is followed by {_and([f'{when} filters' for when in follow]) or 'none of them'}."
    return (
        f"The statement {verdict}: {held} of its {len(statements)} parts below hold.",
        f"Wherever it stands: of {len(moved.nouns)} kinds one drawn object is moved over "
        f"{len(moved.centres)} "
        f"places of a meadow. The peaks of the filters chosen for it lie {off} pixels from its centre on "
        "average, "
        f"{chance:.0f} by chance; a cell of their maps is {cells} pixels wide. {shared}",
        f"One kind: on images that chose no filter, {share[late]:.0%} of the {BEST} that excite a late "
        "filter most "
        f"are of the kind it was chosen for, {share[early]:.0%} for early filters, "
        f"{done.preferred.chance:.0%} by "
        "chance. Inside the boxes of a kind of thing, the filter chosen for it answers "
        f"{boxes.median(late):.1f} "
        f"times as strongly as elsewhere at the late layer, {boxes.median(early):.1f} times at the early one "
        f"(median of {len(boxes.kinds)} kinds). Of single objects, {moved.ahead(late)} of {len(moved.nouns)} "
        "excite the late filter chosen for them more than any other object does "
        f"({moved.ahead(early)} of {len(moved.nouns)} at the early layer).",
        f"Images: {done.images.name}; for boxes, {done.scenes.name}. {note} Filters are chosen by a rule, "
        "the "
        "greatest d' between a kind and everything else on one part of the images, and judged on the other "
        "part. "
        "The network has learned ImageNet's photographs, few of which were taken from above.".replace(
            "  ", " "
        ),
        f"The synthetic inputs excite their units more than any judging image in {above} of {len(best)} "
        "cases. "
        "Those of the early and the middle layer show what lies in the unit's receptive field.",
    )


def _layers(done: Study) -> Table:
    from src.filters.deep import LAYERS
    from src.filters.deep_study import BEST

    preferred, boxes, moved = done.preferred, done.boxes, done.moved
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


def _climbs(done: Study) -> Table:
    climbs = zip(done.preferred.favourites, done.reached, strict=True)
    rows = tuple(
        (f"{one.layer.when}, filter {one.filter}", one.kind, f"{one.highest:.2f}", f"{reached:.2f}")
        for one, reached in climbs
    )
    return Table(
        "What the synthetic inputs reach", ("filter", "chosen for", "best image", "synthetic input"), rows
    )


def _objects(done: Study) -> Table:
    from src.filters.deep import LAYERS

    moved = done.moved
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


def _pictures(done: Study) -> tuple[Picture, ...]:
    from src.filters import deep_figures as figures
    from src.filters.deep import LAYERS

    preferred, boxes, moved = done.preferred, done.boxes, done.moved

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
        f"As one object ({moved.nouns[0]}) moves, the late filter's peak lies "
        f"{float(found.distance.mean()):.0f} pixels from it on average ({found.chance:.0f} by chance), "
        f"its height varies by {found.spread:.0%}"
    )
    third = (
        f"Inside a kind's boxes the filter chosen for it answers {boxes.median(late):.1f} times as "
        "strongly as "
        f"outside at the late layer, {boxes.median(early):.1f} times at the early one (medians)"
    )
    return (
        Picture(
            "deep-filters-favourites",
            first,
            "A row a filter, two of each layer: on the left the synthetic input that excites it most, then "
            "the "
            f"images that do ({done.images.name}), each with a circle where the filter peaks; green frames "
            "mark "
            "images of the kind that the filter was chosen for, orange ones others.",
            figures.favourites_figure(preferred.favourites, done.inputs, done.images, first),
        ),
        Picture(
            "deep-filters-moved",
            second,
            f"A drawn {moved.nouns[0]} at a grid of places on one meadow. Above, the late filter's "
            "response as a "
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


def _and(parts: Sequence[str]) -> str:
    """ "a, b and c"; "" for nothing."""
    return f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else "".join(parts)
