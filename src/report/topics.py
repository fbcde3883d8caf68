"""The report's questions in their order, and the module that answers each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from src.findings import Section
    from src.report.sources import Sources


@dataclass(frozen=True)
class Topic:
    """A section to be made: `src.report.<name>.section`, or `make`."""

    name: str  # of the module, and for `only=`
    title: str  # where the section itself cannot say it
    group: str
    make: Callable[[Sources], Section] | None = None

    @property
    def key(self) -> str:
        return self.name.replace("_", "-")

    def section(self, sources: Sources) -> Section:
        """Imported here, so that a module that cannot be imported costs its own section alone."""
        make = self.make or import_module(f"src.report.{self.name}").section
        return make(sources)


THEORY = "Theory: questions 1 to 3"
CLASSIFIER = "The classifier: questions 4 and 5"
CAPTIONER = "The captioner: question 6"

TOPICS = (
    Topic("parameters", "Counting parameters", THEORY),
    Topic("self_attention", "Self-attention", THEORY),
    Topic("equivariance", "Equivariance", THEORY),
    Topic("sweep", "The sweep over dropout and learning rate", CLASSIFIER),
    Topic("filters", "What the filters look like", CLASSIFIER),
    Topic("synthetic_inputs", "Inputs that excite a filter most", CLASSIFIER),
    Topic("deep_filters", "Filters of a deep network", CLASSIFIER),
    Topic("mistakes", "What the classifier gets wrong", CLASSIFIER),
    Topic("captions", "The captioner without and with attention", CAPTIONER),
)
