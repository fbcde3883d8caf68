"""Open every image once, before hours are spent."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from src.captioning.captioned import CaptionDataError, listed
from src.config.settings import AUTO
from src.files import write_atomically
from src.images import MAX_PIXELS, BrokenImage, read_image
from src.pixels import Remark, sentences

WORKERS = 4  # threads; image decoders leave Python's lock
logger = logging.getLogger(__name__)


def preflight(
    images: Iterable[Path],
    *,
    record: Path | None = None,
    max_pixels: int = MAX_PIXELS,
    value_range: str = AUTO,
) -> None:
    """Open every image file once, so that a broken one is known before hours are spent.

    Args:
        record: a JSON file that keeps which files, by size and time of change, were found good; those are
            not opened again. Missing or damaged, it is made anew.
        max_pixels, value_range: as `src.images.read_image`.

    Raises:
        CaptionDataError: naming the files that are missing, truncated, too large or no images: the first
            twenty, and the number of the others.
    """
    paths = list(dict.fromkeys(images))
    known: dict[str, Any] = {}
    if record is not None:
        with suppress(OSError, ValueError, RecursionError, TypeError):
            known = dict(json.loads(record.read_text(encoding="utf-8")))
    stamps = {path: _stamp(path, max_pixels, value_range) for path in paths}
    unknown = [
        path for path in paths if stamps[path] is None or known.get(str(path.absolute())) != stamps[path]
    ]

    def look(path: Path) -> list[Remark] | BrokenImage:
        try:
            return read_image(path, max_pixels, value_range)[1]
        except BrokenImage as error:
            return error

    with ThreadPoolExecutor(WORKERS) as pool:
        found = dict(zip(unknown, pool.map(look, unknown), strict=True))
    errors = [str(one) for one in found.values() if isinstance(one, BrokenImage)]
    good = {path: remarks for path, remarks in found.items() if not isinstance(remarks, BrokenImage)}
    if record is not None and good:
        content = {**known, **{str(path.absolute()): stamps[path] for path in good}}
        write_atomically(record, json.dumps(content))
    for line in sentences([(path, remark) for path in sorted(good) for remark in good[path]]):
        logger.info(line)
    if errors:
        raise CaptionDataError(f"{len(errors)} of {len(paths)} images cannot be used: {listed(errors, '; ')}")


def _stamp(path: Path, max_pixels: int, value_range: str) -> list[int | str] | None:
    """What changes when the file, or what is asked of it, does; None where there is no file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns, max_pixels, value_range]
