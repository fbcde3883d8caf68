"""Read image files of any kind to RGB, and find them.

Every mistake - a missing, truncated, oversized file, one that is no image - is a sentence, never a traceback
of the decoder.
"""

from __future__ import annotations

import contextlib
import functools
import glob
import itertools
import mimetypes
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from PIL import Image, features

from src.entry_point import UserError
from src.paths import exists, expanded, is_dir
from src.pixels import Remark, rgb_of
from src.value_range import AUTO
from src.words import plain

# A quarter of a gibibyte as RGB; Pillow's own limit of caution.
MAX_PIXELS = 89_478_485

# Pillow knows some forty formats, among them EPS, which starts another program on the file. What it can read
# of these depends on the libraries that it was built with.
_NEEDS = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}
_FORMATS = tuple(
    name
    for name in ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "AVIF", "JPEG2000")
    if name not in _NEEDS or features.check(_NEEDS[name])
)
_RAW = frozenset({".dng", ".arw", ".raf", ".rw2", ".orf", ".tga", ".jxl", ".heic", ".heif"})  # as in no list
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # how such files begin

# What Pillow warns of (large sizes, cut tags) is either refused below or harmless. catch_warnings would
# not do: it is not safe in the threads that read images.
warnings.filterwarnings("ignore", module=r"PIL\.")


class BrokenImage(UserError):
    """A file that cannot be read as an image."""


class NoImages(UserError):
    """An input that names no image."""


@functools.cache
def suffixes() -> frozenset[str]:
    """The endings of the files that can be read, in small letters: ".jpg", ..."""
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, name in known if name in (*_FORMATS, "MPO"))  # MPO: JPEGs in a row


def read_rgb(path: str | Path, max_pixels: int = MAX_PIXELS, value_range: str = AUTO) -> Image.Image:
    """`read_image` without its remarks."""
    return read_image(path, max_pixels, value_range)[0]


def read_image(
    path: str | Path, max_pixels: int = MAX_PIXELS, value_range: str = AUTO
) -> tuple[Image.Image, list[Remark]]:
    """Read one image file wholly, as RGB and turned the way its EXIF orientation says.

    Transparent parts lie on white; of several frames the first is taken, of a TIFF's four and more bands the
    first three. Values of more than 8 bits become 8: see `value_range`.

    Args:
        max_pixels: larger images are refused by their header, before anything is decoded.
        value_range: what becomes black and white in files of 16 bits, 32 bits and floats. "auto": 0 and the
            highest number of the fewest bits (8, 10, 12, 14 or 16) that hold the image's values, or 0 and 1
            for floats up to 1; "full": 0 and 65,535, or for 32 bits the smallest of 0..1 (floats), 0..255 and
            0..65,535; or "MIN,MAX".

    Returns:
        A Pillow image of mode RGB that no longer needs the file, and what is to be said of it
        (`src.pixels.sentences`).

    Raises:
        BrokenImage: the file is missing, truncated, too large, or no image that can be read.
    """
    path, name = Path(path), plain(str(path), 1000)

    def opened() -> Image.Image:
        return Image.open(path, formats=_FORMATS)

    try:
        if exists(path) and not (path.is_file() or path.is_dir()):  # opening a pipe would wait for ever
            raise BrokenImage(f"the image {name} is a pipe or a device, not a file")
        with opened() as image:
            width, height = image.size
            if width * height > max_pixels:
                raise BrokenImage(
                    f"the image {name} has {width}x{height} = {width * height:,} pixels, more than "
                    f"the limit of {max_pixels:,}: make it smaller"
                )
            return rgb_of(image, opened, value_range)
    except BrokenImage:
        raise
    except FileNotFoundError as error:
        raise BrokenImage(f"the image {name} does not exist") from error
    except IsADirectoryError as error:
        raise BrokenImage(f"the image {name} is a folder") from error
    except Image.UnidentifiedImageError as error:
        known = f"an image that can be read ({', '.join(_FORMATS)})"
        if _begins_as_tiff(path):
            known += ": its bands or their type are unusual, save it as RGB or grey with 8 or 16 bits"
        raise BrokenImage(f"{name} is not {known}") from error
    except Exception as error:  # decoders refuse damaged bytes in a dozen ways
        cause = plain(str(error) or type(error).__name__)
        raise BrokenImage(f"the image {name} cannot be read: {cause}") from error


def _begins_as_tiff(path: Path) -> bool:
    with contextlib.suppress(OSError), path.open("rb") as file:
        return file.read(4) in _TIFF
    return False


def _ends_as_image(path: Path) -> bool:
    """Whether a file's name says that it is an image of any format, readable here or not."""
    return (mimetypes.guess_type(path.name)[0] or "").startswith("image/") or path.suffix.lower() in _RAW


def find_images(inputs: Sequence[str | Path], say: Callable[[str], None] | None = None) -> list[Path]:
    """The image files that files, folders (with what lies in them at any depth) and globs (`**` too) name.

    A file that is named itself is taken whatever its suffix; in folders and behind globs only the suffixes
    of images that can be read count, and hidden files and folders do not. Sorted within each input, each file
    once. Nothing is returned where all the images are of formats that cannot be read.

    Links to files are followed, wherever they lead: data sets are often made of them, and nothing but
    pixels comes in that way. Links to folders are not gone through by folders and `**`, since they may lead
    in circles; name the link itself to read what is behind it.

    Args:
        say: takes one line on the images of formats that cannot be read.

    Raises:
        NoImages: naming every input that does not exist or names no image.
    """
    found: dict[Path, None] = {}  # ordered sets
    left_out: dict[Path, None] = {}
    mistakes: list[str] = []
    for given in inputs:
        try:
            paths, others, mistake = _images_of(str(given))
        except (OSError, ValueError) as error:  # too long a name, a NUL in it, no permission
            paths, others, mistake = (
                [],
                [],
                f"{plain(str(given), 1000)} cannot be opened: {plain(str(error))}",
            )
        found.update(dict.fromkeys(paths))
        left_out.update(dict.fromkeys(others))
        if mistake:
            mistakes.append(mistake)
    if not inputs:
        mistakes.append("no inputs are given: name image files, folders or globs")
    if mistakes:
        raise NoImages("; ".join(mistakes))
    if say is not None and (unread := [path for path in left_out if path not in found]):
        kinds = Counter(path.suffix.lower() for path in unread)
        counts = ", ".join(f"{count:,} {suffix}" for suffix, count in sorted(kinds.items()))
        say(
            f"Left out, since their format cannot be read here: {counts} ({unread[0]}"
            f"{', ...' if len(unread) > 1 else ''}); convert them to PNG or JPEG."
        )
    return list(found)


def _images_of(given: str) -> tuple[list[Path], list[Path], str]:
    """What one input names, what of it is of no readable format, and what is wrong with it (or "")."""
    path, shown = expanded(given), plain(given, 1000)
    if is_dir(path):
        files = [file for file in path.rglob("*") if not _hidden(file.relative_to(path))]
        empty = f"the folder {shown} holds no image ({', '.join(sorted(suffixes()))})"
    elif exists(path):
        return [path], [], ""
    elif glob.has_magic(given):
        files = list(_matching(path))
        empty = f"the pattern {shown} matches no image ({', '.join(sorted(suffixes()))})"
    else:
        return [], [], f"{shown} does not exist"
    images, others = [], []
    for file in sorted(files):
        if file.suffix.lower() in suffixes() and file.is_file():
            images.append(file)
        elif _ends_as_image(file) and file.is_file():
            others.append(file)
    return images, others, "" if images or others else empty


def _matching(pattern: Path) -> Iterator[Path]:
    """The files of a pattern; hidden ones where the pattern says so."""
    parts: list[str] = []
    for part in pattern.relative_to(pattern.anchor).parts:
        if part == "**" == (parts or [""])[-1]:
            continue  # the same twice, at the cost of a walk within each walk
        parts.append(part if part == "**" else re.sub(r"\*{2,}", "*", part))
    parts += ["*"] if parts[-1:] == ["**"] else []  # the files in those folders, as a shell has it
    fixed = len(
        Path(pattern.anchor, *itertools.takewhile(lambda part: not glob.has_magic(part), parts)).parts
    )
    asked = any(part.startswith(".") and part != ".." for part in pattern.parts[fixed:])
    for path in Path(pattern.anchor).glob(str(Path(*parts))):
        if asked or not _hidden(Path(*path.parts[fixed:])):
            yield path


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") and part != ".." for part in path.parts)
