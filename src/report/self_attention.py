"""The report's question on self-attention: what the scores depend on, and what leaves them alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.theory.attention import attention_findings

if TYPE_CHECKING:
    from src.findings import Section
    from src.report.sources import Sources


def section(sources: Sources) -> Section:
    """The identities over random sizes, counter-examples, one drawn example. Needs nothing but a seed."""
    return attention_findings(sources.seed)
