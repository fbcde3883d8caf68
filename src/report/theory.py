"""Questions 1 to 3: the theory's findings, with the sweep's classifier and its test images."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from src.findings import Section
from src.report.sources import Missing, Sources

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

    measured: dict[str, Any] = {}
    missing: tuple[str, ...] = ()
    try:
        images, labels = sources.images("test")
        if images.shape[1] == 1 and max(images.shape[2:]) <= LARGEST:
            network = sources.classifier.network
            shown = scaled(images[:MOVED_IMAGES])
            measured = {"images": shown, "labels": labels[:MOVED_IMAGES], "network": network}
    except Missing as error:
        missing = (f"No classifier is measured: {error}",)
    return replace(equivariance_findings(**measured), missing=missing)
