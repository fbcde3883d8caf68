"""Make the report's files from its topics: sections one by one, then figures, events and the page."""

from __future__ import annotations

import contextlib
import datetime
import re
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image as PILImage

from src.figures import save
from src.files import write_atomically
from src.findings import Section
from src.report.board import write_events
from src.report.page import Entry, Made, Shown, anchors, page
from src.report.pictures import Encoded, drawn, encoded, fitted
from src.report.sources import Sources
from src.report.topics import Topic

PAGE = "report.html"
LARGEST = 10_000_000  # bytes of the page
MOST_PIXELS = 50_000_000  # of a PNG file that is shown; more is no picture for a page
Say = Callable[[str], None]


@dataclass(frozen=True)
class Outcome:
    """What was made."""

    entries: tuple[Entry, ...]
    page: Path
    size: int  # bytes
    too_large: str = ""  # a sentence that names the largest pictures

    @property
    def status(self) -> int:
        return 1 if self.too_large or any(entry.failure for entry in self.entries) else 0


def make(
    topics: Sequence[Topic], sources: Sources, out: Path, made: Made, *, say: Say, largest: int = LARGEST
) -> Outcome:
    """Write `out`/report.html, figures/, events/ and, for a section that failed, failure-<key>.txt.

    Args:
        largest: bytes that the page may take.

    Raises:
        OSError: a file cannot be written.
    """
    entries = []
    for place, topic in enumerate(topics, 1):
        began = time.perf_counter()
        entry = _entry(topic, sources, out)
        entry = replace(entry, seconds=time.perf_counter() - began)
        end = "  FAILED: " + entry.failure if entry.failure else "  incomplete" if entry.missing else ""
        say(f"{place}/{len(topics)}  {entry.section.title}  {entry.seconds:.1f} s{end}")
        entries.append(entry)
    entries = [
        replace(entry, key=key)
        for entry, key in zip(entries, anchors([entry.key for entry in entries]), strict=True)
    ]
    write_events(out / "events", entries)
    entries, html = _within(entries, made, largest)
    content = html.encode("utf-8")
    write_atomically(out / PAGE, content)
    return Outcome(tuple(entries), out / PAGE, len(content), _too_large(entries, len(content), largest))


def _entry(topic: Topic, sources: Sources, out: Path) -> Entry:
    """The topic's section, its pictures drawn, its figures written; whatever goes wrong stays with it."""
    note = out / f"failure-{topic.key}.txt"
    try:
        section = topic.section(sources)
        entry = _with_pictures(Entry(section.key, topic.group, section), out)
    except OSError as error:
        if error.filename is not None and Path(str(error.filename)).is_relative_to(out):
            raise  # our own folder: nothing else can be written either
        return _failed(topic, error, note)
    except (Exception, SystemExit) as error:  # one section's bug must not cost the others
        return _failed(topic, error, note)
    with contextlib.suppress(FileNotFoundError):
        note.unlink()  # of an earlier time
    return entry


def _failed(topic: Topic, error: BaseException, note: Path) -> Entry:
    """The traceback goes to `note`, its last line to the page."""
    write_atomically(note, "".join(traceback.format_exception(error)).encode("utf-8", "replace"))
    words = " ".join(str(error).split())
    why = f"{type(error).__name__}: {words}" if words else type(error).__name__
    why = why if len(why) <= 300 else why[:299] + "\N{HORIZONTAL ELLIPSIS}"
    section = Section(key=topic.key, title=topic.title, asked="")
    return Entry(topic.key, topic.group, section, failure=f"{why} (see {note.name})")


def _with_pictures(entry: Entry, out: Path) -> Entry:
    section = entry.section
    shown, remarks = [], []
    for item in section.pictures:
        name = _file_name(item.name)
        save(item.figure, out / "figures" / name)
        shown.append(Shown(item.title, item.alt, encoded(name, drawn(item.figure, item.title))))
    for file in section.images:
        try:
            with PILImage.open(file.path) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise ValueError(f"{image.width} x {image.height} pixels are too many")
                image.load()
                picture = encoded(_file_name(file.name), image)
        except (OSError, ValueError, SyntaxError, PILImage.DecompressionBombError) as error:
            remarks.append(f"The picture {file.path} cannot be shown: {error}.")
        else:
            shown.append(Shown(file.title, file.alt, picture))
    return replace(entry, pictures=tuple(shown), remarks=tuple(remarks))


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9-]+", "-", name).strip("-")[:100] or "figure"


def _within(entries: list[Entry], made: Made, largest: int) -> tuple[list[Entry], str]:
    """The page, its pictures made smaller where it would be too large."""
    html = page(entries, made)
    pictures = [shown.picture for entry in entries for shown in entry.pictures]
    words = len(html.encode("utf-8")) - sum(item.size for item in pictures)
    if words + sum(item.size for item in pictures) <= largest:
        return entries, html
    smaller = iter(fitted(pictures, largest - words))
    entries = [
        replace(entry, pictures=tuple(replace(shown, picture=next(smaller)) for shown in entry.pictures))
        for entry in entries
    ]
    return entries, page(entries, made)


def _too_large(entries: Sequence[Entry], size: int, largest: int) -> str:
    if size <= largest:
        return ""
    pictures: list[Encoded] = [shown.picture for entry in entries for shown in entry.pictures]
    worst = sorted(pictures, key=lambda item: item.size, reverse=True)[:5]
    named = ", ".join(f"{item.name} {item.size / 1e6:.2f} MB" for item in worst)
    return (
        f"The page takes {size / 1e6:.2f} MB, more than {largest / 1e6:g} MB, with its pictures shrunk; "
        f"the largest are {named or 'none: it is the text'}."
    )


def today() -> str:
    """The date and time of the page, with the time zone."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
