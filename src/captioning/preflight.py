"""Open every image once, before hours are spent."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from src.captioning.captioned import CaptionDataError, CaptionedImage, listed
from src.files import write_atomically
from src.images import MAX_PIXELS, BrokenImage, read_image
from src.pixels import Remark, sentences
from src.value_range import AUTO

logger = logging.getLogger(__name__)


def preflight(
    images: Iterable[CaptionedImage | Path],
    *,
    record: Path | None = None,
    workers: int = 4,
    max_pixels: int = MAX_PIXELS,
    value_range: str = AUTO,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Open every image file once, so that a broken one is known before hours are spent.

    Args:
        record: a JSON file that keeps which files, by size and time of change, were found good; those are
            not opened again. Missing or damaged, it is made anew.
        workers: threads (decoders leave Python's lock).
        max_pixels: as `src.images.read_image`.
        value_range: the same.
        progress: is told how many files are done and how many there are to open.

    Raises:
        CaptionDataError: naming the files that are missing, truncated, too large or no images: the first
            twenty, and the number of the others.
    """
    paths = list(dict.fromkeys(image if isinstance(image, Path) else image.path for image in images))
    known = _read_record(record)
    stamps = {path: _stamp(path, max_pixels, value_range) for path in paths}
    todo = [path for path in paths if stamps[path] is None or known.get(_key(path)) != stamps[path]]

    remarks: list[tuple[Path, Remark]] = []

    def fault(path: Path) -> str | None:
        try:
            remarks.extend((path, remark) for remark in read_image(path, max_pixels, value_range)[1])
        except BrokenImage as error:
            return str(error)
        return None

    faults: list[str] = []
    good: dict[str, Any] = {}
    with ThreadPoolExecutor(workers) as pool:
        for done, (path, said) in enumerate(zip(todo, pool.map(fault, todo), strict=True), start=1):
            if said is None:
                good[_key(path)] = stamps[path]
            else:
                faults.append(said)
            if progress is not None:
                progress(done, len(todo))
    if record is not None and good:
        write_atomically(record, json.dumps({**known, **good}))
    for line in sentences(sorted(remarks, key=lambda found: found[0])):
        logger.info(line)
    if faults:
        raise CaptionDataError(f"{len(faults)} of {len(paths)} images cannot be used: {listed(faults, '; ')}")


def _key(path: Path) -> str:
    return str(path.absolute())


def _stamp(path: Path, max_pixels: int, value_range: str) -> list[int | str] | None:
    """What changes when the file, or what is asked of it, does; None where there is no file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns, max_pixels, value_range]


def _read_record(record: Path | None) -> dict[str, Any]:
    if record is None:
        return {}
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
