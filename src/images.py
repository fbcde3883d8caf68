"""Find image files and read them, of any kind, to RGB.

A missing, truncated or oversized file, or one that is no image, is a `BrokenImage`: one sentence.
"""

from __future__ import annotations

import glob
import itertools
import logging
import mimetypes
import warnings
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from PIL import Image, features

from src.entry_point import UserError
from src.pixels import Remark, rgb_of
from src.streams import printable
from src.value_range import AUTO

MAX_PIXELS = 89_478_485  # a quarter of a gibibyte as RGB; Pillow's own limit of caution

# Pillow knows some forty formats, among them EPS, which starts another program on the file. What it can read
# of these depends on the libraries that it was built with.
_NEEDS = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}
FORMATS = tuple(
    name
    for name in ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "PPM", "AVIF", "JPEG2000")
    if name not in _NEEDS or features.check(_NEEDS[name])
)
_UNREAD = frozenset({".dng", ".arw", ".raf", ".rw2", ".orf", ".tga", ".jxl", ".heic", ".heif"})
logger = logging.getLogger(__name__)

# What Pillow warns of (large sizes, cut tags) is either refused below or harmless. catch_warnings is not safe
# in the threads that read images.
warnings.filterwarnings("ignore", module=r"PIL\.")


class BrokenImage(UserError):
    """A file that cannot be read as an image."""


class NoImages(UserError):
    """An input that names no image."""


@cache
def suffixes() -> frozenset[str]:
    """The endings of the files that can be read, in small letters: ".jpg", ..."""
    known = Image.registered_extensions().items()
    return frozenset(suffix for suffix, name in known if name in (*FORMATS, "MPO"))  # MPO: JPEGs in a row


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
    path = Path(path)

    def opened() -> Image.Image:
        return Image.open(path, formats=FORMATS)

    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # opening a pipe would wait for ever
            raise BrokenImage("is a pipe or a device, not a file")
        with opened() as image:
            width, height = image.size
            if width * height > max_pixels:
                raise BrokenImage(
                    f"has {width}x{height} = {width * height:,} pixels, more than the limit of "
                    f"{max_pixels:,}: make it smaller"
                )
            return rgb_of(image, opened, value_range)
    except BrokenImage as error:
        problem, cause = str(error), error.__cause__
    except FileNotFoundError as error:
        problem, cause = "does not exist", error
    except IsADirectoryError as error:
        problem, cause = "is a folder", error
    except Image.UnidentifiedImageError as error:
        problem, cause = f"is not an image that can be read ({', '.join(FORMATS)})", error
        with path.open("rb") as file:
            is_tiff = file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
        if is_tiff:
            problem += ": its bands or their type are unusual, save it as RGB or grey with 8 or 16 bits"
    except Exception as error:  # decoders refuse damaged bytes in a dozen ways
        problem, cause = f"cannot be read: {printable(str(error) or type(error).__name__)}", error
    raise BrokenImage(f"the image {printable(path)} {problem}") from cause


def find_images(inputs: Sequence[str | Path]) -> list[Path]:
    """The image files that files, folders (with what lies in them at any depth) and globs (`**` too) name.

    A file that is named itself is taken whatever its suffix; in folders and behind globs only the suffixes
    of images that can be read count, and hidden files and folders do not. Sorted within each input, each file
    once. Images of formats that cannot be read are counted in one line of the log. Links to files are
    followed, links to folders are not, since they may lead in circles.

    Raises:
        NoImages: naming every input that does not exist or names no image.
    """
    found: dict[Path, None] = {}  # ordered sets
    unread: dict[Path, None] = {}
    errors = [] if inputs else ["no inputs are given: name image files, folders or globs"]
    for given in map(str, inputs):
        try:
            files, kind = _files_of(given)
        except (OSError, ValueError, RuntimeError) as error:  # a name too long, of no user, no permission
            errors.append(f"{printable(given)} cannot be opened: {printable(error)}")
            continue
        readable = [kind == "file" or file.suffix.lower() in suffixes() for file in files]
        images = list(itertools.compress(files, readable))
        others = [
            file
            for file, is_readable in zip(files, readable, strict=True)
            if not is_readable and _is_image(file)
        ]
        found.update(dict.fromkeys(images))
        unread.update(dict.fromkeys(others))
        if not images and not others:
            problem = "does not exist" if kind == "file" else "holds no image"
            known = "" if kind == "file" else f" ({', '.join(sorted(suffixes()))})"
            errors.append(f"the {kind} {printable(given)} {problem}{known}")
    if errors:
        raise NoImages("; ".join(errors))
    if unread:
        kinds = sorted(Counter(path.suffix.lower() for path in unread).items())
        logger.info(
            "Left out, since their format cannot be read here: %s (%s); convert them to PNG or JPEG.",
            ", ".join(f"{count:,} {suffix}" for suffix, count in kinds),
            printable(next(iter(unread))) + (", ..." if len(unread) > 1 else ""),
        )
    return list(found)


def _files_of(given: str) -> tuple[list[Path], str]:
    """The files that one input names, and whether it is a file, a folder or a pattern."""
    path = Path(given).expanduser()
    if path.is_dir():
        files = [file for file in path.rglob("*") if not _is_hidden(file.relative_to(path))]
        return sorted(file for file in files if file.is_file()), "folder"
    if path.exists() or not glob.has_magic(given):
        return [path] if path.exists() else [], "file"
    fixed = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
    pattern = path.relative_to(fixed)
    pattern = pattern / "*" if pattern.name == "**" else pattern  # the files in those folders, as in a shell
    files = [file for file in fixed.glob(str(pattern)) if file.is_file()]
    shown = [file for file in files if _is_hidden(pattern) or not _is_hidden(file.relative_to(fixed))]
    return sorted(shown), "pattern"


def _is_image(path: Path) -> bool:
    """Whether a file's name says that it is an image, of a readable format or not."""
    return (mimetypes.guess_type(path.name)[0] or "").startswith("image/") or path.suffix.lower() in _UNREAD


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") and part != ".." for part in path.parts)
