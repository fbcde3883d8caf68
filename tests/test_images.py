"""Images of any mode come out as RGB; files that are none are told apart, in one sentence each."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.entry_point import UserError
from src.images import BrokenImage, find_images, read_rgb, suffixes

GREY = np.array([[0, 10, 200], [255, 90, 30]], dtype=np.uint8)
COLOURS = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)  # (2, 3, 3)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def as_array(path: Path) -> np.ndarray:
    image = read_rgb(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def test_modes_that_every_format_has(tmp_path: Path) -> None:
    for suffix in ("png", "tif", "bmp", "gif"):
        for mode in ("RGB", "L", "P", "1"):
            image = Image.fromarray(COLOURS).convert(mode)
            found = as_array(save(tmp_path / f"a.{suffix}", image))
            np.testing.assert_array_equal(found, np.asarray(image.convert("RGB")), f"{mode} {suffix}")
    for suffix in ("jpg", "tif"):
        image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
        assert np.abs(as_array(save(tmp_path / f"a.{suffix}", image))[8, 8] - [0, 255, 255]).max() <= 2
    save(tmp_path / "a.png", Image.fromarray(COLOURS)).rename(tmp_path / "wrong_suffix.jpg")
    np.testing.assert_array_equal(as_array(tmp_path / "wrong_suffix.jpg"), COLOURS)


def test_transparent_parts_lie_on_white(tmp_path: Path) -> None:
    alpha = np.array([[0, 255, 128]], dtype=np.uint8)
    red = np.dstack([np.full_like(alpha, 255), alpha * 0, alpha * 0, alpha])
    seen = as_array(save(tmp_path / "a.png", Image.fromarray(red)))
    assert seen.tolist() == [[[255, 255, 255], [255, 0, 0], [255, 127, 127]]]
    seen = as_array(save(tmp_path / "b.png", Image.fromarray(np.dstack([alpha * 0, alpha]))))
    assert seen[0, :, 1].tolist() == [255, 0, 127]
    palette = Image.fromarray(COLOURS).convert("P")
    hole = int(np.asarray(palette)[0, 0])
    assert as_array(save(tmp_path / "c.png", palette, transparency=hole))[0, 0].tolist() == [255] * 3


def test_exif_orientation_turns_the_image(tmp_path: Path) -> None:
    image = Image.new("RGB", (32, 16), "black")
    image.paste("white", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise: left becomes top
    for suffix in ("jpg", "png", "tif"):
        upright = read_rgb(save(tmp_path / f"a.{suffix}", image, exif=exif))
        assert upright.size == (16, 32)
        top, bottom = np.asarray(upright)[[4, 28], 8]
        assert top.min() > 200
        assert bottom.max() < 50


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    for suffix in ("gif", "png", "webp", "tif"):
        path = save(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:])
        red, green, blue = as_array(path)[4, 4].tolist()
        assert red > 240, suffix
        assert green + blue < 20, suffix


def test_truncated_files_never_pass(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    for suffix in ("jpg", "png", "tif", "bmp", "gif", "webp"):
        data = save(tmp_path / f"a.{suffix}", Image.fromarray(pixels)).read_bytes()
        # up to the last tenth: what a PNG or GIF has behind its pixels may be missing
        for length in np.linspace(0, len(data) * 0.9, 12).astype(int):
            (tmp_path / f"b.{suffix}").write_bytes(data[:length])
            with pytest.raises(BrokenImage):
                read_rgb(tmp_path / f"b.{suffix}")


def test_large_images_are_refused_by_their_header(tmp_path: Path) -> None:
    large = save(tmp_path / "large.png", Image.new("1", (10_000, 10_000)))
    large.write_bytes(large.read_bytes()[:200])
    with pytest.raises(BrokenImage, match=r"10000x10000 = 100,000,000 pixels, more than .* 89,478,485"):
        read_rgb(large)


def test_what_is_no_image_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.png").touch()
    (tmp_path / "page.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    (tmp_path / "\x1b[31mtwo\nlines.png").write_bytes(b"no image")
    os.mkfifo(tmp_path / "pipe.png")  # nobody writes to it: opening it would wait for ever
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name, said in {
        "missing.png": "cannot be read: No such file",
        "text.jpg": "cannot be read: it is not one of",
        "empty.png": "cannot be read: it is not one of",
        "page.eps": "cannot be read: it is not one of",
        "\x1b[31mtwo\nlines.png": r"\?\[31mtwo lines.png cannot be read: it is not one of",
        "a\0b.png": "cannot be read",
        "x" * 300: "cannot be read",
        ".": "it is a folder, a pipe or a device",
        "pipe.png": "it is a folder, a pipe or a device",
        "zero.png": "it is a folder, a pipe or a device",
    }.items():
        with pytest.raises(BrokenImage, match=said) as caught:
            read_rgb(tmp_path / name)
        assert str(caught.value).isprintable()
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "zero.png").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="holds no image"):
        find_images([tmp_path / "only"])


def test_files_and_folders(tmp_path: Path) -> None:
    names = ("b.PNG", "a.jpg", "deep/er/c.tif", "notes.txt", ".hidden/d.png", "deep/._a.jpg", "odd[1] é.png")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folder = [tmp_path / name for name in ("a.jpg", "b.PNG", "deep/er/c.tif", "odd[1] é.png")]
    assert find_images([str(tmp_path)]) == folder
    assert find_images([folder[3]]) == [folder[3]]
    assert find_images([tmp_path / ".hidden"]) == [tmp_path / ".hidden" / "d.png"]  # named itself
    # in the order given, each file once; a file named itself counts whatever its suffix
    notes = tmp_path / "notes.txt"
    assert find_images([folder[1], notes, tmp_path])[:3] == [folder[1], notes, folder[0]]


def test_images_that_cannot_be_read_are_counted_in_a_line(tmp_path: Path, messages: list[str]) -> None:
    for name in ("a.png", "b.heic", "c.HEIC", "d.svg", "notes.txt"):
        (tmp_path / name).touch()
    assert find_images([tmp_path]) == [tmp_path / "a.png"]
    (said,) = messages
    assert said.startswith("Left out, since their format cannot be read here: 2 .heic, 1 .svg;")
    assert {".jfif", ".jpe", ".tiff", ".webp"} < suffixes()


def test_links_to_files_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    outside, inside = save(tmp_path / "outside.png", Image.fromarray(GREY)), tmp_path / "inside"
    inside.mkdir()
    (inside / "link.png").symlink_to(outside)
    (inside / "gone.png").symlink_to(tmp_path / "nowhere.png")
    for name in ("loop", "again", "third"):  # the walk would fork at each, forty levels deep
        (inside / name).symlink_to(".")
    assert find_images([inside]) == [inside / "link.png"]
    assert find_images([inside / "loop"]) == [inside / "loop" / "link.png"]  # named itself
    with pytest.raises(BrokenImage, match="No such file"):
        read_rgb(inside / "gone.png")


def test_every_wrong_input_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    wrong = [f"{tmp_path}/nowhere.png", f"{tmp_path}/empty", "~nobody_of_this_name/a.png", "n" * 5000, "a\0b"]
    with pytest.raises(UserError) as caught:
        find_images([*wrong, __file__])
    said = str(caught.value)
    assert "nowhere.png cannot be opened: No such file" in said
    assert f"the folder {tmp_path}/empty holds no image" in said
    assert said.count("; ") == len(wrong) - 1
    assert said.isprintable()
    with pytest.raises(UserError, match="no inputs are given"):
        find_images([])
