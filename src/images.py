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

from PIL import Image, features

from src.config.settings import AUTO
from src.entry_point import UserError, printable
from src.pixels import Remark, rgb_of

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
    """The image files that files and folders (with what lies in them at any depth) name.

    A file that is named itself is taken whatever its suffix; in folders only the suffixes of images that can
    be read count, and hidden files and folders do not. Sorted within each input, each file once. Images of
    formats that cannot be read are counted in one line of the log. Links to files are followed, links to
    folders are not, since they may lead in circles.

    Raises:
        NoImages: naming every input that does not exist or holds no image.
    """
    found: dict[Path, None] = {}  # ordered sets
    unread: dict[Path, None] = {}
    errors = [] if inputs else ["no inputs are given: name image files or folders"]
    for given in inputs:
        path = Path(given)
        try:
            path = path.expanduser()
            inside = _files_in(path) if path.is_dir() else []
            exists = path.exists()
        except (OSError, ValueError, RuntimeError) as error:  # a name too long, of no user, no permission
            errors.append(f"{printable(given)} cannot be opened: {printable(error)}")
            continue
        images = [file for file in inside if file.suffix.lower() in suffixes()]
        others = [file for file in inside if file.suffix.lower() not in suffixes() and _is_image(file)]
        if exists and not path.is_dir():
            images = [path]
        elif not exists:
            errors.append(f"{printable(given)} does not exist")
        elif not images and not others:
            errors.append(f"the folder {printable(given)} holds no image ({', '.join(sorted(suffixes()))})")
        found.update(dict.fromkeys(images))
        unread.update(dict.fromkeys(others))
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


def _files_in(folder: Path) -> list[Path]:
    files = (file for file in folder.rglob("*") if file.is_file())
    return sorted(
        file for file in files if not any(part[0] == "." for part in file.relative_to(folder).parts)
    )


def _is_image(path: Path) -> bool:
    """Whether a file's name says that it is an image, of a readable format or not."""
    return (mimetypes.guess_type(path.name)[0] or "").startswith("image/") or path.suffix.lower() in _UNREAD
