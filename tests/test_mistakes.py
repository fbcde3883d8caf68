"""Confusion, intervals and calibration on cases known by hand and against reference implementations."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.patches import Rectangle
from torch import Tensor, nn
from torchmetrics.functional.classification import multiclass_calibration_error

from src.classification.mistakes import (
    Proportion,
    calibration,
    confident_errors,
    mistakes_of,
    probabilities_of,
    wilson,
)
from src.classification.mistakes_figures import (
    calibration_figure,
    calibration_title,
    classes_figure,
    classes_title,
    confusion_figure,
    confusion_title,
    errors_figure,
    errors_title,
    shown_probability,
)

NAMES = ("cat", "dog", "owl")
# predicted: cat, dog, dog, owl, cat, owl; wrong: the third (a cat, at 0.9) and the sixth (a dog, at 0.5)
PROBABILITIES = torch.tensor(
    [
        [0.7, 0.2, 0.1],
        [0.1, 0.8, 0.1],
        [0.06, 0.9, 0.04],
        [0.3, 0.1, 0.6],
        [0.95, 0.03, 0.02],
        [0.2, 0.3, 0.5],
    ],
    dtype=torch.float64,
)
LABELS = torch.tensor([0, 1, 0, 2, 0, 1])


def drawn(count: int, classes: int, seed: int, sharpness: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    scores = sharpness * torch.randn(count, classes, generator=generator, dtype=torch.float64)
    probabilities = scores.softmax(1)
    return probabilities, torch.multinomial(probabilities, 1, generator=generator).flatten()


def test_a_small_case_by_hand() -> None:
    found = mistakes_of(PROBABILITIES, LABELS)
    assert found.confusion.tolist() == [[2, 1, 0], [0, 1, 1], [0, 0, 1]]
    assert (found.overall.successes, found.overall.total) == (4, 6)
    assert [(c.successes, c.total) for c in found.classes] == [(2, 3), (1, 2), (1, 1)]
    assert [(c.successes, c.total) for c in found.precision] == [(2, 2), (1, 2), (1, 2)]
    assert [(e.index, e.true, e.predicted) for e in found.errors] == [(2, 0, 1), (5, 1, 2)]
    assert [(e.probability, e.probability_of_true) for e in found.errors] == [(0.9, 0.06), (0.5, 0.3)]
    assert found.pairs == [(0, 1, 1), (1, 2, 1), (0, 2, 0)]
    # Each image has a bin of its own (0.5, 0.6, 0.7, 0.8, 0.9, 0.95 in fifteenths), but for 0.95 and 1.
    gaps = (0.5, 0.4, 0.3, 0.2, 0.9, 0.05)
    assert found.calibration.error == pytest.approx(sum(gaps) / 6)


def test_confusion_is_scikit_learns_and_torchmetrics_gives_the_calibration_error() -> None:
    from sklearn.metrics import confusion_matrix

    for seed in range(3):
        probabilities, labels = drawn(700, 7, seed)
        found = mistakes_of(probabilities, labels)
        assert np.array_equal(found.confusion, confusion_matrix(labels, probabilities.argmax(1)))
        for bins in (10, 15):
            reference = multiclass_calibration_error(probabilities, labels, num_classes=7, n_bins=bins)
            assert calibration(probabilities, labels, bins).error == pytest.approx(float(reference), abs=1e-6)


def test_an_image_on_an_edge_belongs_to_the_bin_below() -> None:
    """Guo et al. 2017: (low, high]."""
    halves = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.75, 0.25]], dtype=torch.float64)
    found = calibration(halves, torch.tensor([0, 0, 1]), bins=4)
    assert [one.correct.total for one in found.bins] == [0, 1, 1, 1]
    assert math.isnan(found.bins[0].confidence)


def test_chance_tells_a_calibrated_classifier_from_one_too_sure() -> None:
    probabilities, labels = drawn(4000, 5, seed=1)
    found = calibration(probabilities, labels)
    assert found.error < found.error_by_chance_high
    assert calibration_title(found).startswith("Calibrated as far as can be seen")
    surer = calibration((3 * probabilities.log()).softmax(1), labels)
    assert surer.error > surer.error_by_chance_high > surer.error_by_chance > 0
    assert calibration_title(surer).startswith("Too sure on average")
    duller = calibration((0.5 * probabilities.log()).softmax(1), labels)
    assert calibration_title(duller).startswith("Not sure enough on average")
    assert calibration(probabilities, labels, seed=7) == calibration(probabilities, labels, seed=7)


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [
        # Newcombe 1998, Statistics in Medicine 17, table I, method 3 (score, without continuity correction)
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilsons_interval_as_published(successes: int, total: int, low: float, high: float) -> None:
    assert wilson(successes, total) == pytest.approx((low, high), abs=5e-5)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 20_000), st.floats(0, 1), st.floats(0.5, 0.99))
def test_wilsons_interval_solves_the_score_equation(total: int, share: float, confidence: float) -> None:
    """Its ends are the proportions from which the observed one is just z standard errors away."""
    from scipy import stats

    successes = round(share * total)
    low, high = wilson(successes, total, confidence)
    assert 0 <= low <= successes / total <= high <= 1
    reference = stats.binomtest(successes, total).proportion_ci(confidence, method="wilson")
    assert (low, high) == pytest.approx((reference.low, reference.high), abs=1e-9)
    mirrored = wilson(total - successes, total, confidence)
    assert (1 - mirrored[1], 1 - mirrored[0]) == pytest.approx((low, high), abs=1e-12)


def test_what_makes_no_sense_is_refused() -> None:
    for successes, total, confidence in ((3, 2, 0.95), (-1, 2, 0.95), (1, 2, 1.0)):
        with pytest.raises(ValueError, match="must"):
            wilson(successes, total, confidence)
    assert wilson(0, 0) == (0.0, 1.0)
    with pytest.raises(ValueError, match="labels from 0 to 2 must be from 0 to 1"):
        mistakes_of(PROBABILITIES[:, :2], LABELS)
    with pytest.raises(ValueError, match=r"must be \(N, K\)"):
        confident_errors(PROBABILITIES, LABELS[:2])


def test_probabilities_are_those_of_the_network_without_dropout() -> None:
    linear = nn.Linear(4, 3)
    network = nn.Sequential(nn.Flatten(), linear, nn.Dropout(0.9)).train()
    images = torch.rand(7, 1, 2, 2)
    expected = linear(images.flatten(1)).softmax(1)
    assert torch.allclose(probabilities_of(network, images, batch_size=3).float(), expected, atol=1e-6)
    assert network.training


def test_titles_come_from_the_numbers() -> None:
    found = mistakes_of(PROBABILITIES, LABELS)
    assert (
        confusion_title(found, NAMES) == "cat and dog are mixed up most: 1 of 2 errors; then dog and owl (1)"
    )
    assert classes_title(found, NAMES) == (
        "dog is the hardest class (0.500 recognised), but not clearly behind cat; easiest: owl (1.000)"
    )
    assert errors_title(found.errors, NAMES, 6) == (
        "The 2 most confident of 2 errors; 0 of all errors had more than 99 % probability"
    )
    perfect = mistakes_of(torch.eye(3, dtype=torch.float64), torch.arange(3))
    assert confusion_title(perfect, NAMES) == "No error among 3 images"
    assert errors_title(perfect.errors, NAMES, 3) == "No error among 3 images"
    assert [shown_probability(p) for p in (1.0, 0.9996, 0.9994, 0.0004)] == [
        "> .999",
        "> .999",
        ".999",
        "< .001",
    ]


@pytest.mark.parametrize("perfect", [False, True])
def test_figures_draw_the_numbers(perfect: bool) -> None:
    probabilities = torch.eye(3, dtype=torch.float64) if perfect else PROBABILITIES
    found = mistakes_of(probabilities, torch.arange(3) if perfect else LABELS)
    images = np.zeros((6, 8, 8), dtype=np.uint8)
    confusion = confusion_figure(found, NAMES).axes[0]
    shown = [text.get_text() for text in confusion.texts]
    assert shown == [str(n) if n else "·" for n in found.confusion.flatten()]
    classes = classes_figure(found, NAMES).axes[0]
    assert list(np.asarray(classes.lines[0].get_xdata())) == sorted(
        (c.value for c in found.classes), reverse=True
    )
    assert len(errors_figure(found.errors, images, NAMES, 6).axes) >= len(found.errors)
    above, below = calibration_figure(found.calibration).axes
    heights = [patch.get_height() for patch in below.patches if isinstance(patch, Rectangle)]
    assert sum(heights) == found.overall.total
    assert list(np.asarray(above.lines[1].get_ydata())) == [
        b.correct.value for b in found.calibration.bins if b.correct.total
    ]


def test_nothing_of_nothing() -> None:
    assert math.isnan(Proportion(0, 0).value)
    assert Proportion(0, 0).interval == (0.0, 1.0)
