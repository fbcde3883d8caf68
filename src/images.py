"""Find image files and read them, of any kind, to RGB.

A missing, truncated or oversized file, or one that is no image, is a `BrokenImage`: one sentence.
"""

from __future__ import annotations

import logging
import mimetypes
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from src.config.image_range import AUTO
from src.entry_point import UserError, printable
from src.pixels import rgb_of
from src.tars import PackedImage

MAX_PIXELS = 89_478_485  # a quarter of a gibibyte as RGB; Pillow's own limit of caution
# Pillow knows some forty formats, among them EPS, which starts another program on the file.
FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "AVIF", "JPEG2000")
_UNREAD = frozenset({".dng", ".arw", ".raf", ".rw2", ".orf", ".tga", ".jxl", ".heic", ".heif"})
logger = logging.getLogger(__name__)

# What Pillow warns of (large sizes, cut tags) is either refused below or harmless. catch_warnings is not safe
# in the threads that read images.
warnings.filterwarnings("ignore", module=r"PIL\.")


class BrokenImage(UserError):
    """A file that cannot be read as an image."""


@cache
def suffixes() -> frozenset[str]:
    """The endings of the files that can be read, in small letters: ".jpg", ..."""
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, name in known if name in (*FORMATS, "MPO"))  # MPO: JPEGs in a row


def read_rgb(path: str | Path | PackedImage, value_range: str = AUTO) -> Image.Image:
    """`read_image` without its remarks."""
    return read_image(path, value_range)[0]


def read_image(
    source: str | Path | PackedImage | BinaryIO, value_range: str = AUTO, max_pixels: int = MAX_PIXELS
) -> tuple[Image.Image, list[str]]:
    """Read one image file or stream wholly, as RGB and turned the way its EXIF orientation says.

    Transparent parts lie on white; of several frames the first is taken, of a TIFF's four and more bands the
    first three. Grey values of more than 8 bits become 8: see `value_range`.

    Args:
        value_range: what becomes black and white in grey of 16 bits, 32 bits and floats. "auto": 0 and the
            highest number of the fewest bits (8, 10, 12, 14 or 16) that hold the image's values, or 0 and 1
            for floats up to 1; "full": 0 and 65,535 in files of 16 bits; or "MIN,MAX".
        max_pixels: more are refused.

    Returns:
        A Pillow image of mode RGB that no longer needs the file, and what is to be said of it
        (`src.pixels.sentences`).

    Raises:
        BrokenImage: the file is missing, truncated, too large, or no image that can be read.
    """
    shown = f"image {printable(source)}" if isinstance(source, str | Path | PackedImage) else "upload"
    try:
        if isinstance(source, str | Path) and Path(source).exists() and not Path(source).is_file():
            raise ValueError("it is a folder, a pipe or a device, not a file")  # a pipe would wait for ever
        file = source.open() if isinstance(source, PackedImage) else source
        with Image.open(file, formats=FORMATS) as image:
            if (pixels := image.width * image.height) > max_pixels:  # refused before anything is decoded
                raise ValueError(
                    f"it has {image.width}x{image.height} = {pixels:,} pixels, more than the limit of "
                    f"{max_pixels:,}: make it smaller"
                )
            return rgb_of(image, value_range)
    except Image.UnidentifiedImageError as error:
        problem = f"it is not one of {', '.join(FORMATS)}, or its bands are unusual: save it as RGB or grey"
        cause: Exception = error
    except Image.DecompressionBombError as error:  # of twice as many, Pillow's own
        problem, cause = f"it has more pixels than the limit of {max_pixels:,}: make it smaller", error
    except Exception as error:  # decoders refuse damaged bytes in a dozen ways
        reason = error.strerror if isinstance(error, OSError) else None
        problem, cause = reason or str(error) or type(error).__name__, error
    raise BrokenImage(f"the {shown} cannot be read: {printable(problem)}") from cause


def find_images(inputs: Sequence[str | Path]) -> list[Path]:
    """The image files that files and folders (with what lies in them at any depth) name.

    A file that is named itself is taken whatever its suffix; in folders only the suffixes of images that can
    be read count, and hidden files and folders do not. Sorted within each input, each file once. Images of
    formats that cannot be read are counted in one line of the log. Links to files are followed, links to
    folders are not, since they may lead in circles.

    Raises:
        UserError: naming every input that does not exist or holds no image.
    """
    found: dict[Path, None] = {}  # an ordered set
    unread: dict[Path, None] = {}
    errors = [] if inputs else ["no inputs are given: name image files or folders"]
    for given in inputs:
        try:
            path = Path(given).expanduser()
            path.stat()
            if given == "":  # of which a Path is the current folder
                raise ValueError("an input is empty")
            files = _files_in(path)
        except (OSError, ValueError, RuntimeError) as error:  # no such file or user, a name too long
            reason = getattr(error, "strerror", None) or error
            errors.append(f"{printable(given)} cannot be opened: {printable(reason)}")
            continue
        if not path.is_dir():
            found[path] = None
            continue
        images = [file for file in files if file.suffix.lower() in suffixes()]
        others = [file for file in files if _is_image(file) and file.suffix.lower() not in suffixes()]
        if not images and not others:
            errors.append(f"the folder {printable(given)} holds no image ({', '.join(sorted(suffixes()))})")
        found.update(dict.fromkeys(images))
        unread.update(dict.fromkeys(others))
    if errors:
        raise UserError("; ".join(errors))
    if unread:
        kinds = sorted(Counter(path.suffix.lower() for path in unread).items())
        logger.info(
            "Left out, since their format cannot be read here: %s; convert them to PNG or JPEG.",
            ", ".join(f"{count:,} {suffix}" for suffix, count in kinds),
        )
    return list(found)


def _files_in(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return [file for file in files if not any(part[0] == "." for part in file.relative_to(folder).parts)]


def _is_image(path: Path) -> bool:
    """Whether a file's name says that it is an image, of a readable format or not."""
    return (mimetypes.guess_type(path.name)[0] or "").startswith("image/") or path.suffix.lower() in _UNREAD
