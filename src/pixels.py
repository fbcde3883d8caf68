"""The pixels of an opened image file as a person sees them, in 8-bit RGB; `images.range` for deeper ones.

Grey of 16 bits, 32 bits and floats is scaled; colours of 16 bits keep their upper 8.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from src.config.image_range import AUTO, FULL, fixed_range

DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and satellites deliver in files of 16
_BITS, _PHOTOMETRIC, _BANDS, _PLANAR, _SAMPLE_FORMAT = 258, 262, 277, 284, 339  # TIFF tags
_WHITE_IS_ZERO, _RGB, _APART, _SIGNED = 0, 2, 2, 2


def sentences(remarks: Sequence[tuple[Path, str]]) -> Iterator[str]:
    """One line for each different remark: its first file, and how many more."""
    files: dict[str, list[str]] = {}
    for path, remark in remarks:
        files.setdefault(remark, []).append(path.name)
    for remark, names in files.items():
        yield names[0] + (f" and {len(names) - 1:,} more" if len(names) > 1 else "") + f": {remark}"


def rgb_of(image: Image.Image, setting: str) -> tuple[Image.Image, list[str]]:
    """Decode an image to RGB, turned the way its EXIF orientation says, transparent parts on white.

    Args:
        image: just opened.
        setting: `images.range`.

    Returns:
        The image, and what is to be said of it.

    Raises:
        ValueError: its layout is not supported, or its values lie outside the range.
    """
    tags: Any = getattr(image, "tag_v2", {})  # of a TIFF
    tiles: Any = getattr(image, "tile", [])
    rawmode = str(tiles[0].args) if tiles else ""
    is_colour, bands = len(image.getbands()) > 1, tags.get(_BANDS, 1)
    is_deep = ";16" in rawmode or max(tags.get(_BITS, (8,))) > 8
    if tags.get(_PLANAR) == _APART and is_colour and (is_deep or bands > 3):
        raise ValueError("its bands lie one after another: save them interleaved")
    is_swapped = image.mode in ("I", "F") and tiles[0].codec_name == "libtiff" and tags.prefix == b"MM"
    if is_swapped or (image.mode == "L" and tags.get(_SAMPLE_FORMAT, (1,))[0] == _SIGNED):
        # Pillow would take the bytes in the wrong order, or a sign for a high value.
        raise ValueError("it has signed bytes, or 32 bits big-endian and compressed: save it as 8-bit grey")
    remarks = []
    if tags.get(_PHOTOMETRIC) == _RGB and bands > 3:
        remarks.append("more than three bands; the first three are taken as red, green and blue.")
        for place, tile in enumerate(tiles):  # no division by an alpha that may be near infrared
            tiles[place] = tile._replace(args=(tile.args[0].replace("a", "A"), *tile.args[1:]))
    image.load()
    if remarks:
        image = image.convert("RGB")
    if image.mode.startswith("I") or image.mode == "F":
        pixels, said = _eight_bits(np.asarray(image), setting)
        remarks += said
        grey = Image.fromarray(255 - pixels if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else pixels)
        grey.info, image = image.info, grey
    elif is_colour and is_deep:
        _check_deep_colours(image, setting)
    if is_deep:
        image.info.pop("transparency", None)  # a value of 16 bits, which no 8-bit pixel has
    elif rawmode in ("L;2", "L;4") and isinstance(image.info.get("transparency"), int):
        image.info["transparency"] *= {"L;2": 85, "L;4": 17}[rawmode]  # as Pillow has scaled the pixels
    return _on_white(ImageOps.exif_transpose(image)), remarks


def _eight_bits(values: np.ndarray, setting: str) -> tuple[np.ndarray, list[str]]:
    """Grey values of any depth as uint8, and what is to be said of them."""
    low, high = float(values.min()), float(values.max())
    is_whole, is_short, remarks = values.dtype.kind != "f", values.dtype.itemsize == 2, []
    if (fixed := fixed_range(setting)) is not None:
        bottom, top = fixed
    elif not (low >= 0 and high <= 65535):  # a NaN fails both
        raise ValueError(
            f"its values reach from {low:g} to {high:g}, outside 0 to 65535; save it with 8 bits, or say by "
            "images.range=MIN,MAX which become black and white"
        )
    elif not is_whole and high <= 1:
        bottom, top = 0, 1
    else:
        depth = next(bits for bits in DEPTHS if high < 2**bits)
        if is_short and high > 0 and depth < 16:
            said = f"{depth}-bit values in 16 bits"
            if setting == FULL:
                said += f", nearly black: images.range=auto or images.range=0,{2**depth - 1} rescales them."
            else:
                said += ", rescaled to 8 bits (images.range=full does not rescale)."
            remarks.append(said)
        bottom, top = 0, 2 ** (16 if is_short and setting == FULL else depth) - 1
    fractions = values.astype(np.float32) - np.float32(bottom)
    # Whole numbers keep their upper bits, fractions are rounded.
    scaled = (
        np.floor(fractions * (256 / (top - bottom + 1)))
        if is_whole
        else np.rint(fractions * (255 / (top - bottom)))
    )
    return np.clip(scaled, 0, 255).astype(np.uint8), remarks


def _check_deep_colours(image: Image.Image, setting: str) -> None:
    """Refuse what the upper 8 of 16 bits, all that Pillow decodes of colours, do not show."""
    if fixed_range(setting) is not None:
        raise ValueError(
            f"images.range={setting} is for grey images, not for colours of 16 bits: save 8 bits"
        )
    bands: Any = image.convert("RGB").getextrema()  # (lowest, highest) of each
    if setting == AUTO and max(highest for _, highest in bands) < 64:
        raise ValueError(
            "its colours of 16 bits fill 14 bits or fewer, so are nearly black: save it with 8 bits "
            "(images.range=full takes it as it is)"
        )


def _on_white(image: Image.Image) -> Image.Image:
    """As `Image.convert("RGB")`, which would show what lies under transparency."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    image = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
