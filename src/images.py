"""Read image files of any kind to RGB, and find them.

Every mistake - a missing, truncated, oversized file, one that is no image - is a sentence, never a traceback
of the decoder.
"""

from __future__ import annotations

import glob
import itertools
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from src.entry_point import UserError
from src.paths import exists, expanded, is_dir
from src.words import plain

# A quarter of a gibibyte as RGB; Pillow's own limit of caution.
MAX_PIXELS = 89_478_485

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".gif", ".webp", ".pgm", ".ppm"})

# Pillow knows some forty formats, among them EPS, which starts another program on the file.
_FORMATS = ("JPEG", "PNG", "TIFF", "BMP", "GIF", "WEBP", "PPM")

# What Pillow warns of (large sizes, cut tags) is either refused below or harmless. catch_warnings would
# not do: it is not safe in the threads that read images.
warnings.filterwarnings("ignore", module=r"PIL\.")


class BrokenImage(UserError):
    """A file that cannot be read as an image."""


class NoImages(UserError):
    """An input that names no image."""


def read_rgb(path: str | Path, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Read one image file wholly, as RGB and turned the way its EXIF orientation says.

    Grey of 16 bits keeps its upper 8; transparent parts lie on white; of several frames the first is taken.
    Integers of 32 bits and floats are taken as the smallest of the ranges 0..1 (floats only), 0..255 and
    0..65535 that holds them.

    Args:
        max_pixels: larger images are refused by their header, before anything is decoded.

    Returns:
        A Pillow image of mode RGB that no longer needs the file.

    Raises:
        BrokenImage: the file is missing, truncated, too large, or no image that can be read.
    """
    path, name = Path(path), plain(str(path), 1000)
    try:
        if exists(path) and not (path.is_file() or path.is_dir()):  # opening a pipe would wait for ever
            raise BrokenImage(f"the image {name} is a pipe or a device, not a file")
        with Image.open(path, formats=_FORMATS) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise BrokenImage(
                    f"the image {name} has {width}x{height} = {width * height:,} pixels, more than "
                    f"the limit of {max_pixels:,}: make it smaller"
                )
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except BrokenImage:
        raise
    except FileNotFoundError as error:
        raise BrokenImage(f"the image {name} does not exist") from error
    except IsADirectoryError as error:
        raise BrokenImage(f"the image {name} is a folder") from error
    except Image.UnidentifiedImageError as error:
        raise BrokenImage(f"{name} is not an image that can be read ({', '.join(_FORMATS)})") from error
    except Exception as error:  # decoders refuse damaged bytes in a dozen ways
        cause = plain(str(error) or type(error).__name__)
        raise BrokenImage(f"the image {name} cannot be read: {cause}") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    """As `Image.convert("RGB")`, which would clip deep grey and show what lies under transparency."""
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_eight_bits(np.asarray(image))).convert("RGB")
    return image.convert("RGB")


def _eight_bits(values: np.ndarray) -> np.ndarray:
    """Grey (H, W) of any depth as uint8."""
    if values.dtype.itemsize == 2:
        return (values >> 8).astype(np.uint8)
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= 65535):  # a NaN fails both
        raise ValueError(
            f"its values reach from {low:g} to {high:g}, outside 0 to 65535; save it with 8 bits"
        )
    if values.dtype.kind == "f" and high <= 1:
        values = values * 255
    elif high > 255:
        values = values / 257
    return np.rint(values).astype(np.uint8)


def find_images(inputs: Sequence[str | Path]) -> list[Path]:
    """The image files that files, folders (with what lies in them at any depth) and globs (`**` too) name.

    A file that is named itself is taken whatever its suffix; in folders and behind globs only the suffixes
    of images count, and hidden files and folders do not. Sorted within each input, each file once.

    Links to files are followed, wherever they lead: data sets are often made of them, and nothing but
    pixels comes in that way. Links to folders are not gone through by folders and `**`, since they may lead
    in circles; name the link itself to read what is behind it.

    Raises:
        NoImages: naming every input that does not exist or names no image.
    """
    found: dict[Path, None] = {}  # an ordered set
    mistakes: list[str] = []
    for given in inputs:
        try:
            paths, mistake = _images_of(str(given))
        except (OSError, ValueError) as error:  # too long a name, a NUL in it, no permission
            paths, mistake = [], f"{plain(str(given), 1000)} cannot be opened: {plain(str(error))}"
        found.update(dict.fromkeys(paths))
        if mistake:
            mistakes.append(mistake)
    if not inputs:
        mistakes.append("no inputs are given: name image files, folders or globs")
    if mistakes:
        raise NoImages("; ".join(mistakes))
    return list(found)


def _images_of(given: str) -> tuple[list[Path], str]:
    """What one input names, and what is wrong with it (or "")."""
    path, shown = expanded(given), plain(given, 1000)
    if is_dir(path):
        files = [file for file in path.rglob("*") if not _hidden(file.relative_to(path))]
        empty = f"the folder {shown} holds no image ({', '.join(sorted(SUFFIXES))})"
    elif exists(path):
        return [path], ""
    elif glob.has_magic(given):
        files = list(_matching(path))
        empty = f"the pattern {shown} matches no image ({', '.join(sorted(SUFFIXES))})"
    else:
        return [], f"{shown} does not exist"
    images = sorted(file for file in files if file.suffix.lower() in SUFFIXES and file.is_file())
    return images, "" if images else empty


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
