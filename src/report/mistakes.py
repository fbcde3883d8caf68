"""What the best classifier gets wrong on the test images, and whether its probabilities can be trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.findings import Comparison, Picture, Section, Statement, Table
from src.report.sources import Missing, Sources

if TYPE_CHECKING:
    from torch import Tensor

    from src.classification.mistakes import Mistakes
    from src.sweep.runs import RunFiles

COMMAND = "make sweep"
MOST_PAIRS = 8
# Images whose class may flip on another machine, where sums are taken in another order.
ROUNDING = 0.0003


def section(sources: Sources) -> Section:
    """The mistakes of the sweep's best run, weights of its last epoch, on Fashion-MNIST's test images."""
    key, title = "mistakes", "Mistakes of the best classifier"
    asked = (
        "Which garments does the best classifier of the sweep mix up, how sure is it when it is wrong, and "
        "can its probabilities be taken at their word?"
    )
    try:
        run = sources.best_run()
        module = sources.classifier(run)
        images, labels = sources.fashion_mnist("test")
        _fits(module.hparams, images)
    except Missing as error:
        return Section(key, title, asked, missing=(f"{error}.",), command=COMMAND)
    from src.classification.data import FASHION_MNIST_CLASSES as NAMES
    from src.classification.mistakes import mistakes_of, probabilities_of

    found = mistakes_of(probabilities_of(module, images), labels, seed=sources.seed)
    return Section(
        key,
        title,
        asked,
        answer=_answer(found, run, NAMES),
        comparisons=(
            Comparison(
                "test accuracy of this run",
                _of_report(run),
                found.overall.value,
                note=f"{found.overall.total:,} images, 95 % Wilson interval {_ends(found.overall.interval)}",
            ),
        ),
        statements=_statements(found, run),
        tables=(_class_table(found, NAMES), _pair_table(found, NAMES)),
        pictures=_pictures(found, images, NAMES),
        command=COMMAND,
    )


def _fits(hparams: object, images: Tensor) -> None:
    """Raises Missing where the best run was trained on other data than Fashion-MNIST."""
    assert isinstance(hparams, dict)
    size, classes = tuple(hparams["image_size"]), hparams["classes"]
    if size != tuple(images.shape[1:]) or classes != 10:
        raise Missing(
            f"the best run takes images of {size} in {classes} classes, not Fashion-MNIST's: {COMMAND}"
        )


def _of_report(run: RunFiles) -> float | None:
    """The report's test accuracy with the same dropout and learning rate."""
    from src.sweep.table2 import REPORT

    cell = (run.dropout or 0.0, run.lr or 0.0)
    return REPORT[cell][2] if cell in REPORT else None


def _answer(found: Mistakes, run: RunFiles, names: tuple[str, ...]) -> tuple[str, ...]:
    from src.classification.mistakes_figures import classes_title, confusion_title

    wrong = found.overall.total - found.overall.successes
    paragraphs = [
        f"{run.name}, weights of its last epoch: {wrong:,} of {found.overall.total:,} test images are wrong. "
        f"{classes_title(found, names)}. {confusion_title(found, names)}."
    ]
    if wrong:
        sure = [error for error in found.errors if error.probability > 0.99]
        close = sum(error.probability_of_true >= 0.25 for error in found.errors)
        paragraphs.append(
            f"{len(sure):,} errors had more than 99 % probability; in {close:,} the true class still got at "
            "least 25 %."
        )
    c = found.calibration
    verdict = (
        "no more than a calibrated classifier would show by chance"
        if c.error <= c.error_by_chance_high
        else f"more than a calibrated one would show by chance ({c.error_by_chance:.4f}, in 95 of 100 cases "
        f"at most {c.error_by_chance_high:.4f})"
    )
    paragraphs.append(
        f"Calibration: mean confidence {c.confidence:.4f} against an accuracy of {c.accuracy:.4f}. The "
        f"expected calibration error (Guo et al. 2017: {len(c.bins)} bins of equal width, the gap between "
        f"accuracy and mean confidence, weighted by the bin's images) is {c.error:.4f}, {verdict}."
    )
    return tuple(paragraphs)


def _statements(found: Mistakes, run: RunFiles) -> tuple[Statement, ...]:
    """The run's own test accuracy, found again from its checkpoint."""
    filed = run.numbers.get("test_acc")
    if filed is None or run.settings.get("limit_test") is not None:
        return ()
    difference = abs(filed - found.overall.value)
    return (
        Statement(
            "the checkpoint's test accuracy, measured afresh, against the run's results.json",
            f"{found.overall.value:.4f} and {filed:.4f}",
            f"apart by at most {ROUNDING} (rounding on another machine)",
            difference <= ROUNDING + 1e-9,
        ),
    )


def _class_table(found: Mistakes, names: tuple[str, ...]) -> Table:
    rows = []
    for k, name in enumerate(names):
        taken_for = [(int(n), j) for j, n in enumerate(found.confusion[k]) if j != k and n]
        most, other = max(taken_for, default=(0, k), key=lambda entry: (entry[0], -entry[1]))
        images = f"{found.classes[k].total:,}"
        mixed = f"{names[other]} ({most})" if most else "none"
        rows.append((name, images, found.classes[k].text, found.precision[k].text, mixed))
    return Table(
        "Accuracy by class",
        (
            "class",
            "images",
            "recognised (recall)",
            "right when predicted (precision)",
            "most often taken for",
        ),
        tuple(rows),
        "In brackets: 95 % Wilson score intervals.",
    )


def _pair_table(found: Mistakes, names: tuple[str, ...]) -> Table:
    wrong = max(found.overall.total - found.overall.successes, 1)
    rows = tuple(
        (
            f"{names[a]}, {names[b]}",
            f"{found.confusion[a, b]:,}",
            f"{found.confusion[b, a]:,}",
            f"{both:,}",
            f"{both / wrong:.1%}",
        )
        for a, b, both in found.pairs[:MOST_PAIRS]
        if both
    )
    columns = ("pair", "first taken for second", "second taken for first", "both ways", "share of all errors")
    return Table("Pairs that are mixed up most", columns, rows)


def _pictures(found: Mistakes, images: Tensor, names: tuple[str, ...]) -> tuple[Picture, ...]:
    from src.classification import mistakes_figures as draw

    total = found.overall.total
    shares = "; ".join(f"{name} {share.value:.3f}" for name, share in zip(names, found.classes, strict=True))
    shown = "; ".join(
        f"{names[e.true]} taken for {names[e.predicted]}, {e.probability:.4f}"
        for e in found.errors[: draw.SHOWN]
    )
    filled = [one for one in found.calibration.bins if one.correct.total]
    bins = "; ".join(
        f"{one.confidence:.2f}: {one.correct.value:.2f} of {one.correct.total:,}" for one in filled
    )
    return (
        Picture(
            "confusion-matrix",
            draw.confusion_title(found, names),
            f"Matrix of true against predicted class, counts of {total:,} test images; errors coloured.",
            draw.confusion_figure(found, names),
        ),
        Picture(
            "accuracy-by-class",
            draw.classes_title(found, names),
            f"A dot with its 95 % interval for each class. {shares}.",
            draw.classes_figure(found, names),
        ),
        Picture(
            "confident-errors",
            draw.errors_title(found.errors, names, total),
            f"Test images with predicted and true class. {shown}." if shown else "No errors.",
            draw.errors_figure(found.errors, images[:, 0].numpy(), names, total),
        ),
        Picture(
            "calibration",
            draw.calibration_title(found.calibration),
            f"Accuracy against confidence, with the number of images a bin. Confidence: accuracy. {bins}.",
            draw.calibration_figure(found.calibration),
        ),
    )


def _ends(interval: tuple[float, float]) -> str:
    return f"{interval[0]:.4f} to {interval[1]:.4f}"
