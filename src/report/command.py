"""The settings of `src.report` and how its command line is read; nothing heavy is imported."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from src.key_value import help_lines, read
from src.paths import exists, expanded, is_dir
from src.report.sources import Sources
from src.report.topics import TOPICS
from src.settings import setting


@dataclass
class ReportSettings:
    """Every setting of `src.report`, with its default."""

    sweep: str = setting(
        "the sweep over dropout and learning rate", group="made from", default="outputs/fashion_mnist"
    )
    captions: tuple[str, ...] = setting(
        "sweeps of task=caption, those that are there",
        group="made from",
        default=tuple(str(folder) for folder in Sources.captions),
    )
    data: str = setting("folder that holds FashionMNIST/", group="made from", default="data")
    aerial: str | None = setting(
        "real aerial images with captions in Karpathy's layout (dataset.json, images/); without them the "
        "synthetic scenes stand in",
        group="made from",
        default=None,
    )
    only: tuple[str, ...] = setting(
        "these sections alone",
        group="output",
        default=(),
        choices=tuple(topic.name for topic in TOPICS),
    )
    out: str = setting(
        "folder of report.html, figures/ and events/; an earlier report there is replaced",
        group="output",
        default="outputs/report",
    )
    seed: int = setting(
        "of whatever is drawn at random", group="output", default=42, at_least=0, at_most=2**32 - 1
    )

    @property
    def sources(self) -> Sources:
        """Where runs and data lie."""
        return Sources(
            sweep=expanded(self.sweep),
            captions=tuple(map(expanded, self.captions)),
            data=expanded(self.data),
            aerial=expanded(self.aerial) if self.aerial else None,
            seed=self.seed,
        )


def read_command(arguments: Sequence[str]) -> tuple[ReportSettings, list[str]]:
    """The settings and every mistake. A run that is not there is none: the page says what makes it."""
    words = [word.replace("-", "_") if word.startswith("only=") else word for word in arguments]
    settings, given, mistakes = read(ReportSettings, words)
    if "aerial" in given and settings.aerial is not None:
        mistakes += aerial_mistakes("aerial", settings.aerial)
    mistakes += _out_mistakes(settings.out)
    return settings, mistakes


def aerial_mistakes(name: str, folder: str) -> Iterator[str]:
    """What is wrong with the folder of a caption data set."""
    place = expanded(folder)
    if not is_dir(place):
        yield f"{name}={folder}: is no folder"
    elif not (place / "dataset.json").is_file():
        yield f"{name}={folder}: holds no dataset.json (Karpathy's layout: dataset.json and images/)"


def _out_mistakes(out: str) -> Iterator[str]:
    folder = expanded(out)
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if exists(place))
    if exists(folder / "config.yaml"):
        yield f"out={out}: is a run's own folder; name another one"
    elif not there.is_dir():
        yield f"out={out}: a file is in the way; name a folder"
    elif not os.access(there, os.W_OK):
        yield f"out={out}: the folder {there} cannot be written to"


def help_text() -> str:
    """What `--help` prints."""
    lines = [
        "Makes one page that walks through the report, ours beside theirs, from finished runs alone.",
        "",
        "  python -m src.report",
        "  python -m src.report sweep=outputs/fashion_mnist captions=outputs/scenes,outputs/captions_ucm \\",
        "      data=data aerial=FOLDER out=outputs/report only=parameters,mistakes",
        "",
        "report.html needs no network and no other file; figures/ holds its figures as PNG and SVG; events/",
        "the same for TensorBoard. What is not there yet is named with the command that makes it;",
        "python -m src.reproduce makes all of it.",
        "",
        *help_lines(ReportSettings),
        "Exit status: 0 the page is made; 1 a section failed (the page says which, failure-SECTION.txt why)",
        "or the page is too large; 2 a mistake in the command or a folder that cannot be written;",
        "130 interrupted, an earlier page stays as it was.",
    ]
    return "\n".join(lines)
