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
PALETTE = np.random.default_rng(1).integers(0, 256, (256, 3))
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
def test_short_values_in_files_of_16_bits_fill_the_range_and_are_named(tmp_path: Path, bits: int) -> None:
    grey, rgb, opaque = deep(GREY, bits), deep(RGB, bits), np.full((5, 7, 1), 65535)
    files = {
        "png grey": (png(grey, 0, 16), SHADES),
        "png grey, tRNS": (png(grey, 0, 16, [grey[0, 0]]), SHADES),
        "png rgb": (png(rgb, 2, 16), RGB),
        "png rgb, tRNS": (png(rgb, 2, 16, rgb[0, 0]), RGB),
        "png grey, alpha": (png(np.dstack([grey, opaque]), 4, 16), SHADES),
        "png rgb, alpha": (png(np.dstack([rgb, opaque]), 6, 16), RGB),
        "png rgb, alpha as short": (png(np.dstack([rgb, opaque >> (16 - bits)]), 6, 16), RGB),
    }
    orders: tuple[Literal["<", ">"], ...] = ("<", ">")
    for order in orders:
        for packed in (False, True):
            files[f"tiff grey {order} {packed}"] = tiff(grey, 1, order=order, packed=packed), SHADES
            files[f"tiff rgb {order} {packed}"] = tiff(rgb, 2, order=order, packed=packed), RGB
        files[f"tiff rgb, planes {order}"] = tiff(rgb, 2, order=order, apart=True), RGB
        cmyk = np.dstack([rgb.max() - rgb, 0 * grey])
        files[f"tiff cmyk {order}"] = tiff(cmyk, 5, order=order), RGB
    for name, (data, expected) in files.items():
        pixels, told = seen(tmp_path, data)
        np.testing.assert_array_equal(pixels, expected, name)
        top = f"values up to {2**bits - 1:,} of 65,535: rescaled to 8 bits as {bits}-bit values"
        assert (top in told) == (bits < 16), name


def test_the_range_can_be_given(tmp_path: Path) -> None:
    file = png(deep(RGB, 12), 2, 16)
    dark, told = seen(tmp_path, file, "full")
    np.testing.assert_array_equal(dark, RGB >> 4)
    assert "values up to 4,095 of 65,535, nearly black" in told
    assert "images.range=0,4095" in told
    np.testing.assert_array_equal(seen(tmp_path, file, "0,4095")[0], RGB)
    half, told = seen(tmp_path, file, "0,2047")
    np.testing.assert_array_equal(half, np.minimum(RGB.astype(int) * 2 + (RGB >> 7), 255))
    assert told == ""
    below = tiff((GREY.astype(np.int16) - 128).astype(np.int8), 1, signed=True)
    with pytest.raises(BrokenImage, match=r"from -128 to 127, .*say by images\.range=MIN,MAX"):
        seen(tmp_path, below)
    np.testing.assert_array_equal(seen(tmp_path, below, "-128,127")[0], SHADES)
    for packed in (False, True):
        floats = tiff((GREY / 127.5 - 1).astype(np.float32), 1, order=">", packed=packed)
        np.testing.assert_array_equal(seen(tmp_path, floats, "-1,1")[0], SHADES)


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
    with pytest.raises(BrokenImage, match="bands are compressed one by one: save them interleaved"):
        seen(tmp_path, tiff(np.dstack([wide, beyond]), 2, extra=[1], order=order, apart=True, packed=True))
    with pytest.raises(BrokenImage, match="its bands or their type are unusual"):
        seen(tmp_path, tiff(np.dstack([wide] * 3).astype(np.float32), 2, extra=[0] * 6, order=order))


def test_odd_layouts(tmp_path: Path) -> None:
    opaque = np.full_like(GREY, 255)
    files = {
        "white is zero": (tiff(deep(255 - GREY, 16), 0), SHADES),
        "white is zero, fractions": (tiff((1 - GREY / 255).astype(np.float32), 0), SHADES),
        "signs": (tiff(GREY.astype(np.int16) * 16, 1, signed=True), SHADES),
        "32 bits": (tiff(GREY.astype(np.uint32) * 16, 1), SHADES),
        "grey and associated alpha": (tiff(np.dstack([GREY, opaque]), 1, extra=[1]), SHADES),
        "colours of 8 bits": (tiff(GREY, 3, colours=PALETTE.T.ravel().tolist()), PALETTE[GREY]),
        "colours of 16 bits": (tiff(GREY, 3, colours=(PALETTE * 257).T.ravel().tolist()), PALETTE[GREY]),
    }
    for depth in (1, 2, 4, 8):
        steps = GREY >> (8 - depth)
        hole = steps[2, 3]
        shown = np.where(steps == hole, 255, steps.astype(int) * 255 // (2**depth - 1))
        files[f"transparent grey of {depth} bits"] = png(steps, 0, depth, [hole]), np.dstack([shown] * 3)
    for name, (data, expected) in files.items():
        np.testing.assert_array_equal(seen(tmp_path, data)[0], expected, name)
    lab = np.dstack([GREY, 0 * GREY, 0 * GREY])  # without colour
    pixels, _ = seen(tmp_path, tiff(lab, 8))
    assert np.ptp(pixels.astype(int), axis=2).max() <= 3
    assert (np.diff(pixels[..., 1].ravel()[np.argsort(GREY.ravel())].astype(int)) >= 0).all()


@pytest.mark.skipif(not FIELD.exists(), reason="the files from the field are not here")
def test_files_from_the_field() -> None:
    means = {path.name: np.asarray(read_image(path)[0]).mean() for path in FIELD.iterdir() if path.is_file()}
    for name in ("03_grey16_12bit.tif", "08_rgbnir8_alpha.tif", "32_grey16_trns.png"):
        assert 115 < means[name] < 125, name
