"""Misclassifications and calibration against counts by hand."""

import numpy as np
import pytest
import torch

from src.classification import misclassifications as draw
from src.classification.misclassifications import (
    Misclassifications,
    calibration,
    class_probabilities,
    misclassifications,
    wilson,
)


def found_of(rows: list[list[float]], labels: list[int]) -> Misclassifications:
    return misclassifications(torch.tensor(rows, dtype=torch.float64), torch.tensor(labels))


def test_confusion_and_the_most_confident_errors() -> None:
    found = found_of([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.2, 0.7, 0.1], [0.8, 0.1, 0.1]], [0, 1, 1, 2])
    assert found.confusion.tolist() == [[1, 0, 0], [1, 1, 0], [1, 0, 0]]
    assert found.errors.tolist() == [3, 1]
    assert found.pairs == [(0, 1), (0, 2)]


def test_calibration_error_is_the_weighted_gap() -> None:
    """Two bins of ten: 0.75 right at 0.95 confidence (4 images), 0.5 right at 0.55 (2 images)."""
    highest = np.array([0.95] * 4 + [0.55] * 2)
    right = np.array([True, True, True, False, True, False])
    found = calibration(highest, right, bins=10)
    assert found.error == pytest.approx((4 * 0.2 + 2 * 0.05) / 6)
    assert found.counts.tolist() == [0] * 5 + [2, 0, 0, 0, 4]
    assert found.hits.tolist() == [0] * 5 + [1, 0, 0, 0, 3]
    assert found.confidence[9] == pytest.approx(0.95)
    assert np.isnan(found.confidence[0])


def test_a_calibrated_classifier_stays_below_the_error_by_chance() -> None:
    rng = np.random.default_rng(0)
    highest = rng.uniform(0.3, 1, 4000)
    calm = calibration(highest, rng.random(4000) < highest)
    sure = calibration(highest, rng.random(4000) < highest - 0.2)
    assert calm.error <= calm.error_by_chance < sure.error


@pytest.mark.parametrize(
    ("hits", "total", "expected"),  # R's binom.wilson
    [(0, 10, (0.0, 0.2775)), (10, 10, (0.7225, 1.0)), (9073, 10000, (0.9015, 0.9128)), (0, 0, (0.0, 1.0))],
)
def test_wilson(hits: int, total: int, expected: tuple[float, float]) -> None:
    assert wilson(hits, total) == pytest.approx(expected, abs=1e-4)


def test_probabilities_are_those_of_batches() -> None:
    torch.manual_seed(0)
    module, images = torch.nn.Linear(4, 3), torch.randn(7, 4)
    found = class_probabilities(module, images, batch_size=3)
    torch.testing.assert_close(found, module(images).detach().double().softmax(1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("predicted", ["all right", "all wrong"])
def test_figures_of_extremes(predicted: str) -> None:
    labels = [0, 0, 0] if predicted == "all right" else [1, 1, 1]
    found, names = found_of([[1.0, 0.0]] * 3, labels), ("left", "right")
    images = torch.zeros(3, 3, 8, 8, dtype=torch.uint8)
    for figure in (
        draw.confusion_figure(found, names, "Confusion matrix"),
        draw.errors_figure(found, images, names, "Errors"),
        draw.calibration_figure(found.calibration, "Reliability diagram"),
    ):
        assert figure.get_suptitle()
    assert len(found.errors) == (0 if predicted == "all right" else 3)
