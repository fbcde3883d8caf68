"""Pixels of every layout are what a person sees, and what was taken for granted is told."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from src.images import BrokenImage, read_image
from src.pixels import sentences
from tests.made_up_files import png, tiff

FIELD = Path(__file__).parents[1].parent / "shared" / "data" / "field" / "images"
RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)  # (H, W, 3)
RGB[0, 0], RGB[0, 1] = 255, 0
GREY = RGB[..., 0]
NEAR_INFRARED = RGB[..., ::-1][..., :1]
SHADES = np.dstack([GREY] * 3)


def deep(values: np.ndarray, bits: int) -> np.ndarray:
    """8-bit values in so many bits of 16: black stays black, white white."""
    wide = values.astype(np.uint16)
    return wide << (bits - 8) | wide >> (16 - bits)


def seen(folder: Path, data: bytes, value_range: str = "auto") -> tuple[np.ndarray, str]:
    """The pixels of a file, and what is told of them."""
    path = folder / "a.img"
    path.write_bytes(data)
    image, remarks = read_image(path, value_range=value_range)
    assert image.mode == "RGB"
    return np.asarray(image), "\n".join(sentences([(path, remark) for remark in remarks]))


@pytest.mark.parametrize("bits", [10, 12, 14, 16])
def test_short_values_in_grey_of_16_bits_fill_the_range_and_are_named(tmp_path: Path, bits: int) -> None:
    grey = deep(GREY, bits)
    files = {"png": png(grey, 0, 16), "png, tRNS": png(grey, 0, 16, [grey[0, 0]])}
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    for order in orders:
        for packed in (False, True):
            files[f"tiff {order} {packed}"] = tiff(grey, 1, order=order, packed=packed)
    for name, data in files.items():
        pixels, told = seen(tmp_path, data)
        np.testing.assert_array_equal(pixels, SHADES, name)
        assert (f"a.img: {bits}-bit values in 16 bits, rescaled to 8" in told) == (bits < 16), name


def test_colours_of_16_bits_keep_their_upper_8(tmp_path: Path) -> None:
    opaque = np.full((5, 7, 1), 65535)

    def files(bits: int) -> dict[str, bytes]:
        rgb, grey = deep(RGB, bits), deep(GREY, bits)
        return {
            "png": png(rgb, 2, 16),
            "png, tRNS": png(rgb, 2, 16, rgb[0, 0]),
            "png, alpha": png(np.dstack([rgb, opaque]), 6, 16),
            "png grey, alpha": png(np.dstack([grey, opaque]), 4, 16),
            "tiff": tiff(rgb, 2),
            "tiff, big endian, packed": tiff(rgb, 2, order=">", packed=True),
            "tiff cmyk": tiff(np.dstack([rgb.max() - rgb, 0 * grey]), 5),
        }

    for name, data in files(16).items():
        expected = SHADES if "grey" in name else RGB
        np.testing.assert_array_equal(seen(tmp_path, data)[0], expected, name)
        with pytest.raises(BrokenImage, match=r"images\.range=0,9 is for grey images"):
            seen(tmp_path, data, "0,9")
    for name, data in files(12).items():
        if "cmyk" not in name:
            with pytest.raises(BrokenImage, match="fill 14 bits or fewer, so are nearly black"):
                seen(tmp_path, data)
    np.testing.assert_array_equal(seen(tmp_path, files(12)["png"], "full")[0], RGB >> 4)


def test_the_range_can_be_given(tmp_path: Path) -> None:
    file = png(deep(GREY, 12), 0, 16)
    dark, told = seen(tmp_path, file, "full")
    np.testing.assert_array_equal(dark, SHADES >> 4)
    assert "12-bit values in 16 bits, nearly black" in told
    assert "images.range=0,4095" in told
    np.testing.assert_array_equal(seen(tmp_path, file, "0,4095")[0], SHADES)
    half, told = seen(tmp_path, file, "0,2047")
    np.testing.assert_array_equal(half, np.minimum(SHADES.astype(int) * 2 + (SHADES >> 7), 255))
    assert told == ""
    for packed in (False, True):
        floats = tiff((GREY / 127.5 - 1).astype(np.float32), 1, packed=packed)
        with pytest.raises(BrokenImage, match=r"from -1 to 1, .*say by images\.range=MIN,MAX"):
            seen(tmp_path, floats)
        with pytest.raises(BrokenImage, match="from nan to nan"):
            seen(tmp_path, tiff(np.full((2, 2), np.nan, np.float32), 1, packed=packed))
        np.testing.assert_array_equal(seen(tmp_path, floats, "-1,1")[0], SHADES)
    swapped = tiff(GREY.astype(np.float32), 1, order=">", packed=True)
    for data in (swapped, tiff(GREY.astype(np.int8), 1, signed=True)):
        with pytest.raises(BrokenImage, match="it has signed bytes, or 32 bits big-endian and compressed"):
            seen(tmp_path, data)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("bits", [8, 16])
def test_of_many_bands_the_first_three_are_taken_and_said(
    tmp_path: Path, bits: int, order: Literal["<", ">"]
) -> None:
    wide = RGB if bits == 8 else deep(RGB, 16)
    beyond = NEAR_INFRARED if bits == 8 else deep(NEAR_INFRARED, 16)
    for extra in ([0], [1], [2], [], *([[0, 0], [1, 0], [2, 0], [0, 0, 0]] if bits == 8 else [])):
        values = np.dstack([wide, *[beyond] * max(1, len(extra))])
        for packed in (False, True):
            pixels, told = seen(tmp_path, tiff(values, 2, extra=extra, order=order, packed=packed))
            np.testing.assert_array_equal(pixels, RGB, f"{extra} {packed}")
            assert told == "a.img: more than three bands; the first three are taken as red, green and blue."
    with pytest.raises(BrokenImage, match="bands lie one after another: save them interleaved"):
        seen(tmp_path, tiff(np.dstack([wide, beyond]), 2, extra=[1], order=order, apart=True, packed=True))
    with pytest.raises(BrokenImage, match="or its bands are unusual"):
        seen(tmp_path, tiff(np.dstack([wide] * 3).astype(np.float32), 2, extra=[0] * 6, order=order))


def test_odd_layouts(tmp_path: Path) -> None:
    files = {
        "white is zero": (tiff(deep(255 - GREY, 16), 0), SHADES),
        "white is zero, fractions": (tiff((1 - GREY / 255).astype(np.float32), 0), SHADES),
        "signs": (tiff(GREY.astype(np.int16) * 16, 1, signed=True), SHADES),
        "32 bits": (tiff(GREY.astype(np.uint32) * 16, 1), SHADES),
        "planes": (tiff(RGB, 2, apart=True), RGB),
    }
    for depth in (1, 2, 4, 8):
        steps = GREY >> (8 - depth)
        hole = steps[2, 3]
        shown = np.where(steps == hole, 255, steps.astype(int) * 255 // (2**depth - 1))
        files[f"transparent grey of {depth} bits"] = png(steps, 0, depth, [hole]), np.dstack([shown] * 3)
    for name, (data, expected) in files.items():
        np.testing.assert_array_equal(seen(tmp_path, data)[0], expected, name)


@pytest.mark.skipif(not FIELD.exists(), reason="the files from the field are not here")
def test_files_from_the_field() -> None:
    means = {path.name: np.asarray(read_image(path)[0]).mean() for path in FIELD.iterdir() if path.is_file()}
    for name in ("03_grey16_12bit.tif", "08_rgbnir8_alpha.tif", "32_grey16_trns.png"):
        assert 115 < means[name] < 125, name
