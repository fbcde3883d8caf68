"""The report's question of equivariance: what do convolution, pooling and the classifier commute with?"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from src.report.sources import Missing

if TYPE_CHECKING:
    from src.findings import Section
    from src.report.sources import Sources

IMAGES = 400  # that the classifier sees at each movement


def section(sources: Sources) -> Section:
    """Errors of equivariance with the trained kernels, and the classifier's answers to moved test images.

    Without a classifier: random kernels; without data: drawn images, and no classifier's answers.
    """
    from src.theory.equivariance_findings import equivariance_findings

    missing = []
    images = labels = network = None
    try:
        images, labels = sources.fashion_mnist("test")
        images, labels = images[:IMAGES] / 255, labels[:IMAGES]
    except Missing as error:
        missing.append(f"The images are drawn, not Fashion-MNIST's. {error}")
    try:
        classifier = sources.classifier()
        network = classifier.network
        if images is not None and tuple(classifier.hparams["image_size"]) != tuple(images.shape[1:]):
            raise Missing(f"{sources.sweep} was trained on other images: make sweep")
    except Missing as error:
        network = None
        missing.append(f"The kernels are random, and no classifier is measured. {error}")
    found = equivariance_findings(images, labels, network, seed=sources.seed)
    return replace(found, missing=tuple(missing))
