"""The report's first question: how many parameters two networks have, and ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.theory.parameters import parameter_findings

if TYPE_CHECKING:
    from src.findings import Section
    from src.report.sources import Sources


def section(sources: Sources) -> Section:
    """Counts by formula and from the built networks. Needs nothing but the code."""
    return parameter_findings()
