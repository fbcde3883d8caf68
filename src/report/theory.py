"""Questions 1 to 3: the theory's findings, with the sweep's classifier and its test images."""

from __future__ import annotations

from dataclasses import replace

from src.entry_point import UserError
from src.findings import Section
from src.report.sources import Sources

MOVED_IMAGES = 400  # test images whose classification is followed
LARGEST = 32  # pixels a side of images that fit on the theory's canvas


def parameters(sources: Sources) -> Section:
    """Needs nothing but the code."""
    from src.theory.parameters import parameter_findings

    return parameter_findings()


def self_attention(sources: Sources) -> Section:
    """Needs nothing but the code."""
    from src.theory.attention import attention_findings

    return attention_findings()


def equivariance(sources: Sources) -> Section:
    """Random kernels and drawn images stand in where the classifier is missing or takes other images."""
    from src.classification.module import scaled
    from src.theory.equivariance_findings import equivariance_findings

    try:
        (images, labels), network = sources.images("test"), sources.classifier.network
    except UserError as error:
        return replace(equivariance_findings(), missing=(f"No classifier is measured: {error}",))
    if images.shape[1] > 1 or max(images.shape[2:]) > LARGEST:
        return equivariance_findings()
    shown = scaled(images[:MOVED_IMAGES])
    found = equivariance_findings(images=shown, labels=labels[:MOVED_IMAGES], network=network)
    # of the best run's images and kernels
    return replace(found, command=f"python -m src.report sweep={sources.sweep}")
