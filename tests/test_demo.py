"""The demo: its page in headless Chromium, its limits, its behaviour under broken and hostile uploads."""

from __future__ import annotations

import io
import json
import signal
import struct
import time
import urllib.error
import urllib.request
import uuid
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from tests.command_line import Command, plan, run, train_here
from tests.made_up_captions import write_captioned
from tests.test_report_browser import TOO_WIDE, WIDTHS, browser, opened  # noqa: F401  a fixture

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

MAX_MIB, MAX_PIXELS = 1, 1_000_000


@pytest.fixture(scope="module")
def models(on_idx: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], Path]:
    """Folders of a captioner and a classifier, and an image of the captioner's kind."""
    output = tmp_path_factory.mktemp("models")
    squares = write_captioned(output / "squares")
    common = ("accelerator=cpu", "threads=1", "progress=false", f"output_dir={output}")
    caption = (
        *("task=caption", "data=karpathy", "encoder=tiny", "encoder.size=64", "decoder=attention", "lr=0.01"),
        *(f"data.root={squares}", "dropout=0", "epochs=4", "compare_beam=null", "name=squares"),
    )
    plans = [plan(*common, *caption), plan(*common, *on_idx, "epochs=1", "lr=0.05", "name=labels")]
    for made in plans:
        train_here(made)
    return [str(made.run.folder) for made in plans], squares / "images" / "34.png"


@pytest.fixture(scope="module")
def address(models: tuple[list[str], Path]) -> Iterator[str]:
    folders = ",".join(f'"{folder}"' for folder in models[0])
    limits = (f"max_mib={MAX_MIB}", f"max_pixels={MAX_PIXELS}")
    command = Command("demo.__main__", f"models=[{folders}]", "port=0", "accelerator=cpu", *limits)
    until = time.monotonic() + 60
    while "Ctrl-C" not in command.texts[1].read_text():
        assert not command.is_over(), command.end()
        assert time.monotonic() < until
        time.sleep(0.01)
    yield command.texts[1].read_text().split()[1]
    command.send(signal.SIGTERM)
    ended = command.end()
    assert ended.status == 128 + 15, ended.err
    assert "Traceback" not in ended.err


def png(width: int = 64, height: int = 64, data: bytes | None = None, **chunks: Any) -> bytes:
    """A PNG whose header may promise more than its data hold."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    pixels = zlib.compress(bytes((3 * width + 1) * height)) if data is None else data
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", header), *((key.encode(), value) for key, value in chunks.items())]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(*part) for part in (*parts, (b"IDAT", pixels), (b"IEND", b""))
    )


def saved(kind: str, **options: Any) -> bytes:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, kind, **options)
    return file.getvalue()


def post(address: str, parts: list[tuple[str, bytes]], **headers: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON of an answer; a part is the head of its disposition, and its content."""
    edge = uuid.uuid4().hex
    body = b"".join(
        f"--{edge}\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"
        for head, content in parts
    )
    kind = {"Content-Type": f"multipart/form-data; boundary={edge}"}
    request = urllib.request.Request(
        f"{address}api/predict", body + f"--{edge}--\r\n".encode(), {**kind, **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def image_part(content: bytes, name: str = "image.png") -> tuple[str, bytes]:
    return f'name="image"; filename="{name}"', content


SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
HOSTILE = {
    "empty": b"",
    "text": b"hello",
    "truncated png": saved("png")[:900],
    "truncated jpeg": saved("jpeg")[:900],
    "truncated gif": saved("gif")[:30],
    "truncated webp": saved("webp")[:200],
    "header only": png()[:33],
    "wrong pixel checksum": saved("png").replace(b"IDAT", b"IDAT\x00", 1),
    "huge dimensions": png(50_000, 50_000, b""),
    "largest dimensions": png(2**31 - 1, 2**31 - 1, b""),
    "no width": png(0, 64, b""),
    "zip bomb": png(1001, 1000),
    "zip bomb in a text": png(zTXt=b"a\0\0" + zlib.compress(bytes(80 * 2**20))),
    "fewer pixels than promised": png(900, 900, zlib.compress(b"")),
    "svg": SVG,
    "html": b"<!DOCTYPE html><script>alert(1)</script>",
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(/etc/passwd) (r) file",
    "pdf": b"%PDF-1.4\n1 0 obj",
    "icon": saved("ico"),
    "a path as content": b"/etc/passwd",
    "script for ImageMagick": b"push graphic-context\nimage over 0,0 0,0 'ephemeral:/etc/passwd'",
    "too many bytes": bytes(MAX_MIB * 2**20 + 1),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_broken_and_hostile_uploads_get_a_sentence(address: str, what: str) -> None:
    status, answer = post(address, [image_part(HOSTILE[what])])
    assert 400 <= status < 500, (status, answer)
    assert answer["detail"].endswith(".")
    assert "/etc" not in answer["detail"]
    assert "Traceback" not in answer["detail"]


def test_incomplete_requests_get_a_sentence(address: str) -> None:
    good = image_part(saved("png"))
    for parts, expected in (
        ([], 422),
        ([('name="image"', b"/etc/passwd")], 422),  # a text where a file belongs
        ([good, ('name="model"', b"7")], 404),
        ([good, ('name="model"', b"-1")], 422),
        ([good, ('name="mask"; filename="m"', b"no image")], 400),
    ):
        status, answer = post(address, parts)
        assert status == expected, answer
        assert answer["detail"].endswith(".")
    for path in ("api/examples/99", "../pyproject.toml", "%2e%2e/__main__.py", "__main__.py"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(address + path)
    assert post(address, [good], Host="other.example")[0] == 400  # DNS rebinding


def test_a_file_name_is_never_a_path(address: str, tmp_path: Path) -> None:
    for name in ("../../evil.png", "/etc/passwd", str(tmp_path / "x.png"), "a\\b.png", "x" * 300):
        status, answer = post(address, [image_part(saved("png"), name)])
        assert status == 200, answer
    assert list(tmp_path.iterdir()) == []


def test_an_upload_without_a_length_is_bounded(address: str) -> None:
    import http.client

    connection = http.client.HTTPConnection(address.split("/")[2], timeout=60)
    edge = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    chunks = [edge, *[bytes(2**18)] * (4 * MAX_MIB + 1), b"\r\n--x--\r\n"]
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    connection.request("POST", "/api/predict", iter(chunks), headers, encode_chunked=True)
    answer = connection.getresponse()
    assert answer.status == 413
    assert "limit of 1 MiB" in json.loads(answer.read())["detail"]


def test_captions_are_those_of_predict(address: str, models: tuple[list[str], Path], tmp_path: Path) -> None:
    folders, image = models
    ended = run("predict", f'checkpoint="{folders[0]}"', str(image), "accelerator=cpu", f"output={tmp_path}")
    assert ended.status == 0, ended.err
    (known,) = json.loads((tmp_path / "captions.json").read_text())
    status, answer = post(address, [image_part(image.read_bytes())])
    greedy, beams = answer["captions"]
    assert status == 200
    assert " ".join(greedy["words"]) == known["caption"]  # trained with beam=1
    assert beams["score"] >= greedy["score"] - 1e-4
    attention = np.array(greedy["attention"])  # (T, L)
    assert attention.shape == (len(greedy["words"]), np.prod(answer["grid"]))
    assert (attention >= 0).all()
    assert attention.max() <= 1


def test_without_models_it_says_how_to_train_one(tmp_path: Path) -> None:
    ended = run("demo.__main__", "port=0", folder=tmp_path)
    assert ended.status == 1
    assert "make sweep EPOCHS=1" in ended.err
    assert "make caption" in ended.err
    ended = run("demo.__main__", "models=[nowhere]", "port=99999", folder=tmp_path)
    assert ended.status == 2
    assert "port" in ended.err
    ended = run("demo.__main__", "models=[nowhere]", folder=tmp_path)
    assert "models: nowhere: there is no such file or folder" in ended.err


def at_the_page(browser: Browser, address: str, **options: Any) -> tuple[Page, list[str]]:  # noqa: F811
    page, complaints = opened(browser, address, **options)
    page.wait_for_selector("#first option", state="attached", timeout=60_000)
    return page, complaints


def caption_of(page: Page, number: int = 0) -> str:
    page.wait_for_selector("#status:empty", state="attached", timeout=60_000)
    return " ".join(page.locator(".caption").nth(number).inner_text().split())


def test_upload_hover_and_hide(browser: Browser, address: str, models: tuple[list[str], Path]) -> None:  # noqa: F811
    page, complaints = at_the_page(browser, address)
    page.set_input_files("#file", models[1])
    caption = caption_of(page)
    assert "square" in caption
    score = page.locator("h3").first.inner_text()
    lit = "document.querySelector('#light').classList.contains('on')"
    assert not page.evaluate(lit)
    page.locator(".word").nth(2).hover()
    assert page.evaluate(lit)
    drawn = "document.querySelector('#light').toDataURL()"
    one = page.evaluate(drawn)
    page.locator(".word").first.focus()
    assert page.evaluate(drawn) != one  # another word, another place
    box = page.locator("#paint").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 3, box["y"] + 0.3 * box["height"])
    page.mouse.down()
    for step in range(12):  # everything
        x = box["x"] + (box["width"] - 3 if step % 2 else 3)
        page.mouse.move(x, box["y"] + box["height"] * step / 11)
    page.mouse.up()
    page.wait_for_selector("text=Whole image:")
    assert page.locator("h3").first.inner_text() != score
    assert f"Whole image: {caption}" in page.locator(".quiet").all_inner_texts()
    page.locator("#clear").click()
    page.wait_for_selector("text=Whole image:", state="detached")
    assert caption_of(page) == caption
    page.select_option("#second", "1")
    page.wait_for_selector("meter")
    assert page.locator("article").count() == 2
    assert page.locator("meter").count() == 3
    page.set_input_files("#file", {"name": "a.png", "mimeType": "image/png", "buffer": b"no image"})
    page.wait_for_selector("#status.bad")
    assert "cannot be read" in page.locator("#status").inner_text()
    assert all("status of 400" in complaint for complaint in complaints), complaints
    page.close()


def test_keyboard_alone_does(browser: Browser, address: str) -> None:  # noqa: F811
    page, complaints = at_the_page(browser, address)

    def tab_to(selector: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.evaluate(f"document.activeElement.matches('{selector}')"):
                return
        pytest.fail(f"Tab never reaches {selector}")

    tab_to("#examples button:last-child")
    page.keyboard.press("Enter")
    caption_of(page)
    tab_to("#paint")
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Space")
    page.wait_for_selector("text=Whole image:")
    tab_to(".word")
    assert page.evaluate("document.querySelector('#light').classList.contains('on')")
    assert complaints == []
    page.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_page_fits_the_window(browser: Browser, address: str, width: int) -> None:  # noqa: F811
    page, complaints = at_the_page(browser, address, width=width, color_scheme="dark")
    assert not page.evaluate(TOO_WIDE)
    page.select_option("#second", "1")
    page.locator("#examples button").nth(5).click()
    caption_of(page)
    assert not page.evaluate(TOO_WIDE)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert sum(map(int, ground.strip("rgb()").split(",")[:3])) < 150
    outside = page.evaluate("performance.getEntriesByType('resource').map(one => one.name)")
    assert all(url.startswith((address, "data:")) for url in outside), outside
    assert complaints == []
    page.close()
