"""Images of any mode come out as RGB; files that are none are told apart, in one sentence each."""

import errno
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from src.images import BrokenImage, NoImages, find_images, read_rgb
from tests.fuzz.guard import timed

DATA = Path(__file__).parents[1].parent / "shared" / "data"
GREY = np.array([[0, 10, 200], [255, 90, 30]], dtype=np.uint8)
COLOURS = np.stack([GREY, 255 - GREY, GREY // 2], axis=-1)  # (2, 3, 3)


def save(path: Path, image: Image.Image, **options: object) -> Path:
    image.save(path, **options)  # type: ignore[arg-type]
    return path


def as_array(path: Path) -> np.ndarray:
    image = read_rgb(path)
    assert image.mode == "RGB"
    return np.asarray(image)


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "gif"])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1"])
def test_modes_that_every_format_has(tmp_path: Path, mode: str, suffix: str) -> None:
    image = Image.fromarray(COLOURS).convert(mode)
    np.testing.assert_array_equal(
        as_array(save(tmp_path / f"a.{suffix}", image)), np.asarray(image.convert("RGB"))
    )


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_deep_grey_keeps_its_upper_eight_bits(tmp_path: Path, suffix: str) -> None:
    # Pillow's own conversion clips at 255, which makes most of such images white
    deep = GREY.astype(np.uint16) * 256 + 77
    grey = as_array(save(tmp_path / f"a.{suffix}", Image.fromarray(deep)))
    np.testing.assert_array_equal(grey, np.stack([GREY] * 3, axis=-1))


@pytest.mark.parametrize(
    "values",
    [
        GREY.astype(np.float32),
        GREY.astype(np.float32) / 255,
        GREY.astype(np.int32),
        GREY.astype(np.int32) * 257,
    ],
)
def test_floats_and_long_integers_by_the_range_they_fill(tmp_path: Path, values: np.ndarray) -> None:
    np.testing.assert_array_equal(as_array(save(tmp_path / "a.tif", Image.fromarray(values)))[..., 0], GREY)


def test_values_outside_every_range_are_refused(tmp_path: Path) -> None:
    for value in (-1.0, 1e6, np.nan):
        path = save(tmp_path / "a.tif", Image.fromarray(np.array([[0.5, value]], dtype=np.float32)))
        with pytest.raises(BrokenImage, match=r"its values reach from .* outside 0 to 65535"):
            read_rgb(path)


def test_transparent_parts_lie_on_white(tmp_path: Path) -> None:
    alpha = np.array([[0, 255, 128]], dtype=np.uint8)
    red = np.dstack([np.full_like(alpha, 255), alpha * 0, alpha * 0, alpha])
    seen = as_array(save(tmp_path / "a.png", Image.fromarray(red)))
    assert seen.tolist() == [[[255, 255, 255], [255, 0, 0], [255, 127, 127]]]
    black = np.dstack([alpha * 0, alpha])
    seen = as_array(save(tmp_path / "b.png", Image.fromarray(black)))
    assert seen[0, :, 1].tolist() == [255, 0, 127]
    palette = Image.fromarray(COLOURS).convert("P")
    hole = int(np.asarray(palette)[0, 0])
    seen = as_array(save(tmp_path / "c.png", palette, transparency=hole))
    assert seen[0, 0].tolist() == [255, 255, 255]


def test_cmyk(tmp_path: Path) -> None:
    for suffix in ("jpg", "tif"):
        image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
        assert np.abs(as_array(save(tmp_path / f"a.{suffix}", image))[8, 8] - [0, 255, 255]).max() <= 2


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_exif_orientation_turns_the_image(tmp_path: Path, suffix: str) -> None:
    image = Image.new("RGB", (32, 16), "black")
    image.paste("white", (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise: left becomes top
    upright = read_rgb(save(tmp_path / f"a.{suffix}", image, exif=exif))
    assert upright.size == (16, 32)
    top, bottom = np.asarray(upright)[[4, 28], 8]
    assert top.min() > 200
    assert bottom.max() < 50


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "bmp", "gif", "webp"])
def test_truncated_files_never_pass(tmp_path: Path, suffix: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)
    whole = save(tmp_path / f"a.{suffix}", Image.fromarray(pixels))
    data, expected = whole.read_bytes(), as_array(whole)
    # from the last tenth's start downwards: what a PNG or GIF has behind its pixels may be missing
    for length in np.linspace(0, len(data) * 0.9, 30).astype(int):
        (tmp_path / f"b.{suffix}").write_bytes(data[:length])
        with pytest.raises(BrokenImage):
            read_rgb(tmp_path / f"b.{suffix}")
    assert expected.shape == (60, 50, 3)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    def chunk(name: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        )

    # 57 bytes that announce 2.5 billion pixels, and a size that Pillow itself would only warn of
    for side in (50_000, 12_000):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        path = tmp_path / "bomb.png"
        path.write_bytes(
            b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
        )
        with pytest.raises(BrokenImage, match=r"bomb\.png .*(12000x12000 = 144,000,000|2500000000) pixels"):
            read_rgb(path)
    with pytest.raises(BrokenImage, match=r"3x2 = 6 pixels, more than the limit of 5: make it smaller"):
        read_rgb(save(tmp_path / "a.png", Image.fromarray(GREY)), max_pixels=5)
    assert read_rgb(tmp_path / "a.png", max_pixels=6).size == (3, 2)


def test_what_is_no_image_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.png").touch()
    (tmp_path / "page.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    for name, said in {
        "missing.png": "does not exist",
        "text.jpg": "is not an image that can be read",
        "empty.png": "is not an image that can be read",
        "page.eps": "is not an image that can be read",
        "a\0b.png": "cannot be read",
        "x" * 300: "cannot be read",
        ".": "is a folder",
    }.items():
        with pytest.raises(BrokenImage, match=said) as caught:
            read_rgb(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_hundred_megapixels_are_refused_and_a_single_one_is_read(tmp_path: Path) -> None:
    large = save(tmp_path / "large.png", Image.new("1", (10_000, 10_000)))
    with pytest.raises(
        BrokenImage, match=r"10000x10000 = 100,000,000 pixels, more than the limit of 89,478,485"
    ):
        read_rgb(large)
    for suffix in ("png", "jpg", "tif", "bmp", "gif", "webp"):
        assert read_rgb(save(tmp_path / f"one.{suffix}", Image.new("RGB", (1, 1), "red"))).size == (1, 1)


def test_of_an_animation_the_first_frame_is_read(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    for suffix in ("gif", "png", "webp", "tif"):
        path = save(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:])
        red, green, blue = as_array(path)[4, 4].tolist()
        assert red > 240, suffix
        assert green + blue < 20, suffix


@pytest.mark.parametrize(
    "name", ["a b.png", "\u6f22\u5b57 \u00e9.png", "two\nlines.png", "\x1b[31mred.png", "-m.png", "%s.png"]
)
def test_odd_names(tmp_path: Path, name: str) -> None:
    path = save(tmp_path / name, Image.fromarray(GREY))
    assert read_rgb(path).size == (3, 2)
    assert find_images([tmp_path]) == find_images([path]) == find_images([f"{tmp_path}/*"]) == [path]
    path.write_bytes(b"no image")
    for broken in (path, tmp_path / "nowhere" / name):
        with pytest.raises(BrokenImage) as caught:
            read_rgb(broken)
        assert str(caught.value).isprintable()  # no line breaks, no colours for the terminal


def test_a_wrong_suffix_is_no_matter(tmp_path: Path) -> None:
    save(tmp_path / "a.png", Image.fromarray(COLOURS))
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    np.testing.assert_array_equal(as_array(tmp_path / "a.jpg"), COLOURS)


def test_pipes_and_devices_are_refused_before_they_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")  # nobody writes to it: opening it would wait for ever
    (tmp_path / "zero.png").symlink_to("/dev/zero")
    for name in ("pipe.png", "zero.png"):
        with timed(waiting_s=5), pytest.raises(BrokenImage, match="is a pipe or a device, not a file"):
            read_rgb(tmp_path / name)
    with pytest.raises(NoImages, match="holds no image"):
        find_images([tmp_path])


def test_links_to_files_are_followed_and_circles_are_not(tmp_path: Path) -> None:
    outside = save(tmp_path / "outside.png", Image.fromarray(GREY))
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "link.png").symlink_to(outside)
    (inside / "gone.png").symlink_to(tmp_path / "nowhere.png")
    for name in ("loop", "again", "third"):  # the walk would fork at each, forty levels deep
        (inside / name).symlink_to(".")
    for given in (inside, f"{inside}/*", f"{inside}/**/*.png", f"{inside}/**/**/**.png"):
        assert find_images([given]) == [inside / "link.png"]
    assert read_rgb(inside / "link.png").size == (3, 2)
    with pytest.raises(BrokenImage, match="does not exist"):
        read_rgb(inside / "gone.png")
    assert find_images([inside / "loop"]) == [inside / "loop" / "link.png"]  # named itself


def test_patterns_with_hidden_files_and_unknown_users(tmp_path: Path) -> None:
    for name in (".cache/a.png", ".cache/._a.png", "b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_images([f"{tmp_path}/.cache/*"]) == [tmp_path / ".cache/a.png"]
    assert find_images([f"{tmp_path}/**"]) == [tmp_path / "b.png"]
    assert find_images([f"{tmp_path}/.c*/.*"]) == [tmp_path / ".cache/._a.png"]
    with pytest.raises(NoImages, match=r"~nobody_of_this_name/a\.png does not exist"):
        find_images(["~nobody_of_this_name/a.png"])


def test_the_real_tif_and_jpg() -> None:
    if not DATA.exists():
        pytest.skip("the real caption data are not here")
    assert read_rgb(DATA / "sydney_captions/images/219.tif").size == (500, 500)
    assert read_rgb(DATA / "ucm_captions/images/1.jpg").size == (256, 256)


def test_files_folders_and_globs(tmp_path: Path) -> None:
    for name in (
        "b.PNG",
        "a.jpg",
        "deep/er/c.tif",
        "notes.txt",
        ".hidden/d.png",
        "deep/._a.jpg",
        "odd[1].png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    folder = [tmp_path / name for name in ("a.jpg", "b.PNG", "deep/er/c.tif", "odd[1].png")]
    assert find_images([str(tmp_path)]) == folder
    assert find_images([f"{tmp_path}/*"]) == [folder[0], folder[1], folder[3]]
    assert find_images([f"{tmp_path}/**/*.tif"]) == [folder[2]]
    assert find_images([f"{tmp_path}/odd[1].png"]) == [folder[3]]  # a file's name before a pattern
    # in the order given, each file once; a file named itself counts whatever its suffix
    assert find_images([folder[1], tmp_path / "notes.txt", tmp_path])[:3] == [
        folder[1],
        tmp_path / "notes.txt",
        folder[0],
    ]


def test_every_wrong_input_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "a.jpg").touch()
    wrong = [f"{tmp_path}/nowhere.png", f"{tmp_path}/empty", f"{tmp_path}/*.gif", "n" * 5000, "a\0b"]
    with pytest.raises(NoImages) as caught:
        find_images([*wrong[:3], f"{tmp_path}/a.jpg", *wrong[3:]])
    said = str(caught.value)
    assert "nowhere.png does not exist" in said
    assert f"the folder {tmp_path}/empty holds no image" in said
    assert f"the pattern {tmp_path}/*.gif matches no image" in said
    assert said.count("; ") == len(wrong) - 1
    with pytest.raises(NoImages, match="no inputs are given"):
        find_images([])


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path / "a.png", Image.fromarray(GREY))

    def refused(*_: object, **__: object) -> None:  # a mode of 000 would not keep root out
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Image, "open", refused)
    with pytest.raises(BrokenImage, match="Permission denied"):
        read_rgb(path)
