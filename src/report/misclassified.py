"""What the best classifier gets wrong on the test images, and whether its probabilities can be trusted."""

from __future__ import annotations

from dataclasses import replace

from src.findings import Comparison, Picture, Section, Statement, Table
from src.report.sources import Sources
from src.sweep.comparison import REPORT
from src.sweep.runs import RunRecord

MOST_PAIRS = 8
ROUNDING = 0.0003  # share of images whose class may flip on another machine, where sums have another order
SECTION = Section(
    "misclassified",
    "Misclassifications of the best run",
    "Which classes does the best classifier of the sweep mix up, how sure is it when it is wrong, and can "
    "its probabilities be taken at their word?",
    answer=(
        "Expected calibration error (Guo et al. 2017): the gap between accuracy and mean confidence in bins "
        "of equal width, weighted by their images.",
    ),
    command="make sweep",
)


def section(sources: Sources) -> Section:
    """The best run, weights of its last epoch, on its test images."""
    from src.classification import misclassifications as draw
    from src.classification.misclassifications import class_probabilities, misclassifications, wilson

    module, (images, labels), names = sources.classifier, sources.images("test"), sources.data.class_names
    found = misclassifications(class_probabilities(module, images), labels)
    right = int(found.confusion.trace())
    low, high = wilson(right, len(labels))
    note = f"{len(labels):,} images, 95 % interval {low:.4f} to {high:.4f}"

    def share(hits: int, total: int) -> str:
        return "{:.3f} ({:.3f} to {:.3f})".format(hits / total, *wilson(hits, total)) if total else "none"

    sums, given = found.confusion.sum(1), found.confusion.sum(0)
    rows = [
        (name, f"{sums[k]:,}", *(share(int(found.confusion[k, k]), int(of[k])) for of in (sums, given)))
        for k, name in enumerate(names)
    ]
    pairs = [
        (f"{names[a]}, {names[b]}", f"{found.confusion[a, b]:,}", f"{found.confusion[b, a]:,}")
        for a, b in found.pairs[:MOST_PAIRS]
    ]
    theirs = REPORT.get(sources.best.cell)
    calibration, accuracy = found.calibration, right / len(labels)
    confusion, errors, reliability = "Confusion matrix", "Most confident errors", "Reliability diagram"
    pictures = {
        "confusion-matrix": (confusion, draw.confusion_figure(found, names, confusion)),
        "confident-errors": (errors, draw.errors_figure(found, images, names, errors)),
        "calibration": (reliability, draw.calibration_figure(calibration, reliability)),
    }
    return replace(
        SECTION,
        comparisons=(
            Comparison("test accuracy of this run", theirs[3] if theirs else None, accuracy, note=note),
            Comparison("expected calibration error", None, calibration.error),
        ),
        statements=tuple(_statements(sources.best, accuracy, calibration.error, calibration.error_by_chance)),
        tables=(
            Table("By class", ("class", "images", "recall (95 %)", "precision (95 %)"), tuple(rows)),
            Table("Pairs mixed up most", ("pair", "first as second", "second as first"), tuple(pairs)),
        ),
        pictures=tuple(
            Picture(name, title, f"{title}.", figure) for name, (title, figure) in pictures.items()
        ),
    )


def _statements(run: RunRecord, accuracy: float, error: float, by_chance: float) -> list[Statement]:
    found = [
        Statement(
            "calibrated: expected calibration error",
            f"{error:.4f}",
            f"at most {by_chance:.4f}, as 95 % of calibrated classifiers would show by chance",
            error <= by_chance,
        )
    ]
    if (filed := run.number("test_acc")) is not None:
        same, measured = abs(filed - accuracy) <= ROUNDING + 1e-9, f"{accuracy:.4f} and {filed:.4f}"
        found.append(Statement("test accuracy, measured afresh and on file", measured, "the same", same))
    return found
