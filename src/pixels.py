"""The pixels of an opened image file as a person sees them: 8-bit RGB of every layout that Pillow opens.

Dimension letters: H, W, C bands.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageCms, ImageOps

from src.config.settings import AUTO, FULL, fixed_range

DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and satellites deliver in files of 16
# TIFF tags
_BITS, _PHOTOMETRIC, _BANDS, _PLANAR, _COLOURS, _EXTRA, _SAMPLE_FORMAT = 258, 262, 277, 284, 320, 338, 339
_WHITE_IS_ZERO, _RGB, _SIGNED, _APART = 0, 2, 2, 2
_APART_ERROR = "its bands are compressed one by one: save them interleaved"
_OTHER_ORDER = {"L": "B", "B": "L"}
_NATIVE = {"I;16BS": "I;16S", "I;32BS": "I;32S", "F;32BF": "F;32F"}
_GREY_ALPHA = "LA;16B"  # Pillow has no unpacker for the other byte order


class Remark(NamedTuple):
    """What is strange about a file: more than three bands (depth 0), or values of few of its bits."""

    depth: int = 0  # bits that hold the values
    setting: str = AUTO  # of images.range
    highest: int = 0  # of the values


def sentences(remarks: Sequence[tuple[Path, Remark]]) -> Iterator[str]:
    """One line for each kind of remark: its first file, and how many more."""
    ordered = sorted(remarks, key=lambda found: found[1][:2])
    for (depth, setting), group in itertools.groupby(ordered, key=lambda found: found[1][:2]):
        found = list(group)
        files = found[0][0].name + (f" and {len(found) - 1:,} more" if len(found) > 1 else "")
        values = f"{files}: values up to {max(remark.highest for _, remark in found):,} of 65,535"
        if not depth:
            yield f"{files}: more than three bands; the first three are taken as red, green and blue."
        elif setting == FULL:
            yield f"{values}, nearly black: images.range=auto or images.range=0,{2**depth - 1} rescales them."
        else:
            yield f"{values}: rescaled to 8 bits as {depth}-bit values (images.range=full does not rescale)."


def rgb_of(
    image: Image.Image, again: Callable[[], Image.Image], setting: str
) -> tuple[Image.Image, list[Remark]]:
    """Decode an image to RGB, turned the way its EXIF orientation says, transparent parts on white.

    Args:
        image: just opened.
        again: opens the same file once more: Pillow reads colours of 16 bits by halves.
        setting: `images.range` (`src.config.settings`).

    Raises:
        ValueError: deep values lie outside every known range.
    """
    tags = getattr(image, "tag_v2", {})
    remarks: list[Remark] = []
    apart = tags.get(_PLANAR) == _APART and image.info.get("compression") != "raw" and image.mode != "L"
    if apart and tags.get(_BANDS, 1) > 3 and not {*tags.get(_EXTRA, (1,))} & {0, 2}:
        raise ValueError(_APART_ERROR)  # libtiff divides by the fourth
    rawmode = _set_rawmodes(image, low=False)
    image.load()
    mode = image.mode
    values = _deep_values(image, again, rawmode, tags)
    if values is not None:
        mode = "L" if values.ndim == 2 else mode
        colours = values[..., :3] if mode == "RGBA" else values
        pixels, remark = _eight_bits(values, colours, setting, declared=max(tags.get(_BITS, (16,))))
        if apart and setting != FULL and (remark is not None or setting != AUTO):
            raise ValueError(_APART_ERROR)  # libtiff hands out the upper bytes only
        remarks += [] if remark is None else [remark]
        if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
            pixels = 255 - pixels
        seen = Image.frombytes(mode, image.size, pixels.tobytes())
        # Viewers leave out the transparent value of 16 bits, which no 8-bit pixel has.
        seen.info = {key: value for key, value in image.info.items() if key != "transparency"}
    else:
        seen = image
        _mend_palette(seen, rawmode, tags)
    if image.format == "TIFF":
        if tags.get(_PHOTOMETRIC) == _RGB and tags.get(_BANDS, 1) > 3:
            remarks.append(Remark())
            seen = seen.convert("RGB")
        return _on_white(seen), remarks  # Pillow has turned it
    return _on_white(ImageOps.exif_transpose(seen)), remarks


def _set_rawmodes(image: Image.Image, low: bool) -> str:
    """Have bands decoded as they are stored: no division by an alpha that may be near infrared.

    Args:
        image: opened, not loaded; its tiles are changed.
        low: take the lower 8 bits of 16 instead of the upper ones, by the unpacker for the other byte order.

    Returns:
        The raw mode of the first tile, "" where its format has none.
    """
    tags: Any = getattr(image, "tag_v2", {})
    first = ""
    tiles = []
    for tile in getattr(image, "tile", []):
        args = tile.args
        rawmode = args[0] if isinstance(args, tuple) and args else args
        if isinstance(rawmode, str) and image.format in ("TIFF", "PNG"):
            if tags and image.mode == "RGBA":
                rawmode = rawmode.replace("a", "A")
            if len(rawmode) == 1 < len(image.getbands()) and max(tags.get(_BITS, (8,))) == 16:
                rawmode += ";16L" if tags.prefix == b"II" else ";16B"  # Pillow takes such planes for 8 bits
            if tile.codec_name == "libtiff" and sys.byteorder == "little":  # which hands out native numbers
                rawmode = _NATIVE.get(rawmode, rawmode)
            first = first or rawmode
            if rawmode == _GREY_ALPHA:
                rawmode = "RGBA"  # as the four bytes that a pixel has
            elif low and ";16" in rawmode:
                order = rawmode[-1].replace("N", "L" if sys.byteorder == "little" else "B")
                rawmode = rawmode[:-1] + _OTHER_ORDER[order]
            args = (rawmode, *args[1:]) if isinstance(args, tuple) else rawmode
            tiles.append(tile._replace(args=args))
    if tiles:
        image.tile = tiles  # type: ignore[attr-defined]
    return first


def _deep_values(
    image: Image.Image, again: Callable[[], Image.Image], rawmode: str, tags: dict
) -> np.ndarray | None:
    """Values (H, W) or (H, W, C) of a loaded image with more than 8 bits or with signs; None of others."""
    if image.mode.startswith("I") or image.mode == "F":
        return np.asarray(image)
    if image.mode == "L" and tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED:
        return np.asarray(image).view(np.int8).astype(np.int32)
    if rawmode == _GREY_ALPHA:
        high, low = np.asarray(image)[..., ::2], np.asarray(image)[..., 1::2]
        grey, alpha = np.moveaxis(high.astype(np.uint16) << 8 | low, 2, 0)
        return np.stack([grey, grey, grey, alpha], 2)
    if ";16" not in rawmode:
        return None
    with again() as other:
        _set_rawmodes(other, low=True)
        other.load()
        return np.asarray(image).astype(np.uint16) << 8 | np.asarray(other)


def _eight_bits(
    values: np.ndarray, colours: np.ndarray, setting: str, declared: int
) -> tuple[np.ndarray, Remark | None]:
    """Values of any depth as uint8, and what is to be said of them.

    Args:
        values: with alpha, which is scaled alike.
        colours: the same without alpha.
        setting: `images.range`.
        declared: bits that the file says its values have.
    """
    low, high = float(colours.min()), float(colours.max())
    whole, remark = values.dtype.kind != "f", None
    if (fixed := fixed_range(setting)) is not None:
        bottom, top = fixed
    elif not (low >= 0 and high <= 65535):  # a NaN fails both
        raise ValueError(
            f"its values reach from {low:g} to {high:g}, outside 0 to 65535; save it with 8 bits, or say by "
            "images.range=MIN,MAX which become black and white"
        )
    elif not whole and high <= 1:
        bottom, top = 0, 1
    else:
        depth = next(bits for bits in DEPTHS if high < 2**bits)
        short = values.dtype.itemsize == 2
        strange = high > 0 and depth < min(16, declared) and (short or depth > 8)
        remark = Remark(depth, setting, int(high)) if strange else None
        if declared < 16:
            depth = declared
        elif setting == FULL and (short or depth > 8):
            depth = 16
        bottom, top = 0, 2**depth - 1
    factor = 256 / (top - bottom + 1) if whole else 255 / (top - bottom)

    def scaled(numbers: np.ndarray) -> np.ndarray:
        # Whole numbers keep their upper bits, fractions are rounded.
        fractions = (numbers - np.float64(bottom)) * factor
        return np.clip(np.floor(fractions) if whole else np.rint(fractions), 0, 255).astype(np.uint8)

    if values.dtype.itemsize == 2:  # a table: a quarter of the memory
        return scaled(np.arange(2**16))[values], remark
    return scaled(values), remark


def _mend_palette(image: Image.Image, rawmode: str, tags: dict) -> None:
    """Take a TIFF's colours of 8 bits as such, though 16 are the rule; match a PNG's transparent grey."""
    if image.mode == "P" and 0 < max(tags.get(_COLOURS, (0,))) < 256:
        image.putpalette(np.reshape(tags[_COLOURS], (3, -1)).T.astype(np.uint8).tobytes())
    if rawmode in ("L;2", "L;4") and isinstance(image.info.get("transparency"), int):
        image.info["transparency"] *= {"L;2": 85, "L;4": 17}[rawmode]  # as Pillow has scaled the pixels


def _on_white(image: Image.Image) -> Image.Image:
    """As `Image.convert("RGB")`, which would show what lies under transparency."""
    if image.mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        converted = ImageCms.profileToProfile(image, lab, rgb, outputMode="RGB")
        assert converted is not None
        return converted
    if image.has_transparency_data:
        image = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")
