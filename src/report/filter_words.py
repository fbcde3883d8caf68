"""What the section on filters says; every number is handed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from src.classification.data import FASHION_MNIST_CLASSES as CLASSES
from src.filters.exciting import chance_share
from src.filters.frei_chen import GROUPS
from src.filters.image_figures import ExcitingRow
from src.findings import Table

if TYPE_CHECKING:
    from torch import Tensor

    from src.filters.exciting import ClassShare, Exciting
    from src.filters.frei_chen import Beside, Contents

WORDS = {"mixed": "kernels of no kind", "line": "kernels mostly line or spot"}
HARDLY_CHANGED = 0.99  # cosine with the initial kernel


def first_layer_title(found: Contents) -> str:
    """Of the sheet of layer 1."""
    size = len(found.cosines)
    edge = found.counts["edge"]
    return (
        f"Layer 1: {edge.trained:.0f} of {size} kernels are mostly edge-like; {size} random ones have "
        f"{edge.random:.1f} ({edge.low:.0f} to {edge.high:.0f})"
    )


def first_layer(found: Contents) -> tuple[str, ...]:
    """Whether the kernels are what the report says, and what training did to them."""
    size = len(found.cosines)
    counts = {name: f"{beside.trained:.0f}" for name, beside in found.counts.items()}
    chance = found.counts["edge"]
    inside = [
        f"{name} {beside.random:.1f} ({beside.low:.0f} to {beside.high:.0f})"
        for name, beside in found.counts.items()
    ]
    if chance.trained > chance.high:
        verdict = "That is more edges than random kernels have"
    elif chance.trained < chance.low:
        verdict = "That is fewer edges than random kernels have"
    else:
        verdict = "By itself that shows no learning, since random kernels look alike"
    gradient, even = found.change["gradient"], _even("gradient")
    still = sum(cosine > HARDLY_CHANGED for cosine in found.cosines)
    middle = sorted(found.cosines)[size // 2]
    mostly = max(found.change, key=lambda name: found.change[name] / _even(name))
    favourite = "" if mostly == "gradient" else f"; training preferred {mostly}"
    if not any(found.change.values()):
        return ("The first layer's kernels are those that training began with.",)
    first = (
        f"In Frei and Chen's orthogonal basis {counts['edge']} of the {size} first-layer kernels are mostly "
        f"edge (first derivatives), {counts['line']} mostly line or spot (second derivatives), "
        f"{counts['average']} mostly average (blur), {counts['mixed']} mixed. {verdict}: as many freshly "
        f"drawn kernels have on average (middle 95 %) {', '.join(inside)}."
    )
    second = (
        "What training added shows more: of the energy of the difference between the kernels after and "
        f"before training {gradient:.0%} lies in the two oriented gradients, where {even:.0%} would show no "
        f"preference{favourite}. The median kernel has a cosine of {middle:.2f} with its initial "
        f"self, and {still} of {size} hardly turned at all (cosine above {HARDLY_CHANGED})."
    )
    return first, second


def contents_table(found: Contents) -> Table:
    """Kinds and shares beside those of random kernels."""

    def row(what: str, beside: Beside, digits: int, change: str) -> tuple[str, ...]:
        interval = f"{beside.random:.{digits or 1}f} ({beside.low:.{digits}f} to {beside.high:.{digits}f})"
        return (what, f"{beside.trained:.{digits}f}", f"{beside.initial:.{digits}f}", interval, change)

    return Table(
        f"What the {len(found.cosines)} first-layer kernels consist of",
        ("", "trained", "before training", "random: mean (middle 95 %)", "of what training added"),
        (
            *(
                row(WORDS.get(kind, f"kernels mostly {kind}"), beside, 0, "")
                for kind, beside in found.counts.items()
            ),
            *(
                row(f"energy in {name}, mean share", beside, 2, f"{found.change[name]:.2f}")
                for name, beside in found.shares.items()
            ),
        ),
        note=(
            "Edge: gradient + ripple, 4 of 9 directions; line: line + Laplacian, 4 of 9; average: 1 of 9 "
            "(Frei and Chen 1977). A random kernel holds 1/9 of its energy in each direction on average. "
            "Kinds count kernels with more than half of their energy in one."
        ),
    )


def _even(group: str) -> float:
    """A group's share of nine directions."""
    first, last = GROUPS[group]
    return (last - first) / 9


def sheet_alt(layer: int, filters: int) -> str:
    return (
        f"{filters} small grey pictures of 3x3 pixels, eight a row: the kernels of convolution {layer}, "
        "input channel 0, from the layer's smallest weight (black) to its largest (white)."
    )


def channel_0_title(shares: Sequence[float]) -> str:
    return (
        f"Layer 2 as the report draws it: input channel 0 alone, which holds {shares[0]:.1%} of the "
        "weights' energy"
    )


def all_channels_title(shares: Sequence[float], filters: int) -> str:
    most, least = (choose(range(len(shares)), key=lambda c: shares[c]) for choose in (max, min))
    return (
        f"All {filters * len(shares)} kernels of layer 2: input channel {most} weighs most "
        f"({shares[most]:.1%} of the energy), channel {least} least ({shares[least]:.1%})"
    )


def all_channels_alt(weight: Tensor) -> str:
    below = float((weight < 0).float().mean())
    return (
        f"A table of {weight.shape[0]} columns (filters) and {weight.shape[1]} rows (input channels) of 3x3 "
        f"kernels, red above 0 and blue below; {below:.0%} of the weights are below 0."
    )


def second_layer(shares: Sequence[float], half: int) -> str:
    """`half`: the median number of input channels that hold half of a filter's energy."""
    even = 1 / len(shares)
    most = max(range(len(shares)), key=lambda channel: shares[channel])
    return (
        f"The report's picture of layer 2 shows input channel 0 only, one of {len(shares)}: {shares[0]:.1%} "
        f"of the weights' energy, where an even spread would be {even:.1%}. The picture of all channels "
        f"shows that channel {most} weighs most ({shares[most]:.1%}). Filters combine first-layer maps: in "
        f"the median filter it takes {half} of {len(shares)} channels to hold half of the energy."
    )


def image_title(number: int, label: int, stages: Mapping[str, Tensor]) -> str:
    """What the image is, what it is taken for, and how sparse the answer is."""
    *inner, scores = stages.values()
    probabilities = scores.double().softmax(0)
    guess = int(probabilities.argmax())
    verdict = "rightly" if guess == label else "wrongly"
    dense = [values for values in inner if values.ndim == 1]
    active, units = sum(int((values > 0).sum()) for values in dense), sum(len(values) for values in dense)
    return (
        f"Test image {number}, {_named(label)}: {verdict} taken for {_named(guess)} "
        f"({float(probabilities[guess]):.0%}); {active} of {units} dense units answer"
    )


def activations_alt(stages: Mapping[str, Tensor]) -> str:
    return (
        f"The image, the probabilities of the classes, and below them what {', '.join([*stages][:-1])} answer"
        ": maps in which bright places are high values, and strips for the dense layers."
    )


def exciting_row(
    number: int, found: Exciting, share: ClassShare, images: Tensor, columns: int
) -> ExcitingRow:
    """A filter of `exciting_figure`, with its `columns` strongest images."""
    best = found.top[number, :columns]
    note = f"of {found.top.shape[1]}:\n{share.share:.0%} {_named(share.label)}"
    return ExcitingRow(f"filter {number}", images[best, 0], found.peaks[number, :columns], note)


def exciting_title(shares: Sequence[ClassShare], top: int) -> str:
    first, last = shares[0], shares[-1]
    if len(shares) == 1:
        return f"Of the {top} images that excite the filter most {first.share:.0%} are {_named(first.label)}"
    return (
        f"Layer 2: of the {top} images that excite a filter most, {first.share:.0%} ({_named(first.label)}) "
        f"to {last.share:.0%} ({_named(last.label)}) are of one class"
    )


def exciting_alt(rows: Sequence[ExcitingRow]) -> str:
    listed = "; ".join(f"{row.label}, {row.note.replace(chr(10), ' ')}" for row in rows)
    return (
        "A row a filter: the training images that excite it most, the strongest first, with a frame around "
        f"what the filter saw at its peak. The commonest class among its strongest images: {listed}."
    )


@dataclass(frozen=True, eq=False)
class Peakedness:
    """How far filters answer to one class."""

    top: int  # images a filter
    of: int  # images looked at
    trained: Sequence[ClassShare]
    initial: Sequence[ClassShare]
    labels: Tensor
    seed: int

    @property
    def chance(self) -> float:
        return chance_share(self.top, self.labels, self.seed)


def exciting(found: Peakedness, silent: Sequence[int]) -> str:
    trained, initial = (_mean(shares) for shares in (found.trained, found.initial))
    half = sum(share.share >= 0.5 for share in found.trained)
    change = "more than" if trained > initial else "no more than"
    dead = f" {len(silent)} filters answer to no image at all." if silent else ""
    return (
        f"Of the {found.top} training images (of {found.of:,}, validation included) that excite a filter of "
        f"layer 2 most, {trained:.0%} are of its commonest class on average, {change} the {initial:.0%} "
        f"before training and {found.chance:.0%} among {found.top} images drawn at random; for {half} of "
        f"{len(found.trained)} filters it is half or more. A frame marks what the filter saw at "
        f"its peak.{dead}"
    )


def exciting_table(found: Peakedness, silent: Sequence[int], silent_before: Sequence[int]) -> Table:
    def row(what: str, shares: Sequence[ClassShare], dead: Sequence[int]) -> tuple[str, ...]:
        values = [share.share for share in shares]
        over = [f"{sum(value >= limit for value in values)}" for limit in (0.5, 0.9)]
        ends = (f"{min(values):.0%}", f"{max(values):.0%}")
        return (what, f"{_mean(shares):.0%}", *ends, *over, str(len(dead)))

    return Table(
        f"Share of the commonest class among the {found.top} images that excite a filter of layer 2 most",
        ("", "mean", "lowest", "highest", "filters with half or more", "with 90 % or more", "silent filters"),
        (
            row("trained", found.trained, silent),
            row("before training", found.initial, silent_before),
            (f"{found.top} images at random", f"{found.chance:.0%}", "", "", "", "", ""),
        ),
        note="Silent: no image brings the filter above 0, so that ReLU leaves nothing of it.",
    )


def _mean(shares: Sequence[ClassShare]) -> float:
    return sum(share.share for share in shares) / len(shares)


def _named(label: int) -> str:
    return CLASSES[label] if label < len(CLASSES) else f"class {label}"
