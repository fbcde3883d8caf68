"""Make the page that walks through the report: `python -m src.report sweep=outputs/fashion_mnist`."""

from __future__ import annotations

import datetime
import logging
import os
import platform
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from src.config.settings import setting
from src.entry_point import UserError, entry_point

if TYPE_CHECKING:
    from src.report.page import Entry
    from src.report.sources import Sources

logger = logging.getLogger("src.report")  # __name__ may be __main__
THEORY, CLASSIFIER, CAPTIONER = "Theory", "The classifier", "The captioner"
# Function below src.report -> heading and title. Imported one by one: a broken one costs no other section.
SECTIONS = {
    "theory.parameters": (THEORY, "Counting parameters"),
    "theory.self_attention": (THEORY, "Self-attention"),
    "theory.equivariance": (THEORY, "Equivariance"),
    "sweep.section": (CLASSIFIER, "Dropout and learning rate"),
    "filters.classifier": (CLASSIFIER, "Convolution filters of the classifier"),
    "filters.late": (CLASSIFIER, "Late filters of a deep network"),
    "misclassified.section": (CLASSIFIER, "Misclassifications of the best run"),
    "captions.section": (CAPTIONER, "Captions without and with attention"),
}
FOLDERS = ["outputs/scenes", "outputs/captions_ucm", "outputs/captions_sydney"]


@dataclass
class ReportSettings:
    """Settings of `python -m src.report`."""

    sweep: str = setting("sweep over dropout and learning rate", default="outputs/fashion_mnist")
    captions: list[str] = setting("caption sweeps, those that are there", default=FOLDERS)
    only: list[str] = setting("sections ([]: all)", default=[], choices=tuple(SECTIONS))
    out: str = setting("folder of report.html and figures/", default="outputs/report")
    trust: list[str] = setting("packages whose classes the runs may name", default=[])


@entry_point("report", ReportSettings, positional="sweep")
def main(cfg: DictConfig) -> int:
    """Make one page that walks through the report, ours beside theirs, from finished runs alone.

    What is not there yet is named with the command that makes it. Exit status 1: a section failed.
    """
    from src.files import write_atomically
    from src.report.page import page
    from src.report.sources import Sources

    folder, sweep, *captions = (Path(place).expanduser() for place in (cfg.out, cfg.sweep, *cfg.captions))
    sources = Sources(sweep, tuple(captions), tuple(cfg.trust))
    entries = [make_entry(name, sources, folder) for name in cfg.only or SECTIONS]
    html = page(entries, facts(cfg)).encode("utf-8")
    write_atomically(folder / "report.html", html)
    show(entries)
    sys.stdout.write(f"Page: {folder / 'report.html'} ({len(html) / 1e6:.1f} MB)\n")
    return int(any(entry.failure for entry in entries))


def make_entry(name: str, sources: Sources, folder: Path) -> Entry:
    """A section with its pictures; what is missing or fails stays with it."""
    from src.findings import Section
    from src.report.page import Entry, embedded_pictures

    began = time.perf_counter()
    group, title = SECTIONS[name]
    key = name.removesuffix(".section").replace(".", "-").replace("_", "-")
    module, _, function = name.rpartition(".")
    try:
        section = getattr(import_module(f"src.report.{module}"), function)(sources)
        pictures = embedded_pictures(section, folder / "figures")
    except UserError as error:
        return Entry(Section(key, title, "", missing=(str(error),)), group)
    except Exception as error:  # one section's bug must not cost the others
        logger.warning("%s failed (--traceback shows where)", title, exc_info="--traceback" in sys.argv)
        return Entry(Section(key, title, ""), group, failure=f"{type(error).__name__}: {error}")
    return Entry(section, group, pictures, seconds=time.perf_counter() - began)


def facts(cfg: DictConfig) -> dict[str, str]:
    """How the page was made, for its foot."""
    from src.run.environment import processor, provenance

    known = provenance()
    return {
        "Command": shlex.join(["python", "-m", "src.report", *sys.argv[1:]]),
        "Date": f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC",
        "Commit": f"{known['commit']}{' with changes' if known['dirty'] else ''}",
        "Versions": ", ".join(f"{name} {value}" for name, value in known["versions"].items()),
        "Hardware": f"{processor()}, {os.cpu_count()} cores, {platform.system()}",
        "Sweep": cfg.sweep,
        "Captions": ", ".join(cfg.captions),
    }


def show(entries: Sequence[Entry]) -> None:
    """Print a row a section, and what is missing."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False, markup=False)
    table = Table("section", "state", "statements that hold", "seconds")
    for entry in entries:
        statements = entry.section.statements
        state = "failed" if entry.failure else "incomplete" if entry.section.missing else "complete"
        held = f"{sum(one.holds for one in statements)} of {len(statements)}" if statements else ""
        table.add_row(entry.section.title, state, held, f"{entry.seconds:.1f}")
    console.print(table)
    for entry in entries:
        for line in (*entry.section.missing, *filter(None, [entry.failure])):
            console.print(f"{entry.section.title}: {line}")


if __name__ == "__main__":
    main()
