"""Captions and file names stay texts on every page: in Chromium nothing of them runs."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image

from src import page
from src.captioning.gallery import GalleryItem, write_gallery
from src.classification.predict import Label
from src.report import captions, sweep
from src.report.page import Entry
from src.report.page import page as report_page
from src.report.sources import Sources
from tests.made_up_runs import caption_run, classifier_run
from tests.test_report_browser import browser  # noqa: F401  a fixture

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SCRIPT = "<script>window.ran=1;document.title='ran'</script>"
HOSTILE = (
    SCRIPT,
    f"</h2></style></title>{SCRIPT}",
    "<img src=x onerror=window.ran=1>",
    "\"'><svg onload=window.ran=1>",
    "<iframe srcdoc='<script>parent.ran=1</script>'>",
    "&lt;script&gt; &#60;script&#62;",
    "[here](javascript:window.ran=1) ![](http://127.0.0.1:9/seen.png) <http://127.0.0.1:9/>",
    "**bold** _i_ `code` # head | cell | \\ ~~~ 1. one",
)


@pytest.fixture(scope="module")
def hostile_pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Every kind of page, with hostile captions, references, names of files, things, runs, and classes."""
    folder = tmp_path_factory.mktemp("hostile")
    image = Image.new("RGB", (40, 30), "green")
    found = {name: folder / f"{name}.html" for name in ("gallery", "labels")}
    things: Any = [_Thing(text, (0.1, 0.1, 0.6, 0.6)) for text in HOSTILE]
    items = [
        GalleryItem(text, image, (text, "river"), ((text,), ("a", text)), score=0.5, boxes=things)
        for text in HOSTILE
    ]
    write_gallery(found["gallery"], HOSTILE[1], items, HOSTILE, {SCRIPT: 0.5})
    picture = page.photo(image, 40)
    cards = [
        {"filename": text, "picture": picture, "seen": picture, "bars": [Label(0, text, 0.9)]}
        for text in HOSTILE
    ]
    html = page.render(
        "classification/templates/labels.html.j2", title=HOSTILE[1], notes=HOSTILE, cards=cards
    )
    found["labels"].write_text(html, "utf-8")
    # A run's name is a file's: no slash.
    for number, text in enumerate(text.replace("/", "\u2215") for text in HOSTILE):
        classifier_run(folder / "sweep", 0.5, 0.01, name=f"{number}{text}", status="failed", cause=text)
        caption_run(folder / "captions", text, number, 0.5, name=f"{number}{text}")
    classifier_run(folder / "sweep", 0.4, 0.1)
    sources = Sources(folder / "sweep", (folder / "captions", folder / SCRIPT.replace("/", "")))
    entries = [Entry(module.section(sources), SCRIPT) for module in (sweep, captions)]
    found["report"] = folder / "report.html"
    html = report_page(entries, {"Date": SCRIPT, "Command": SCRIPT, SCRIPT: SCRIPT})
    found["report"].write_text(html, "utf-8")
    return found


class _Thing:
    def __init__(self, name: str, box: tuple[float, float, float, float]) -> None:
        self.name, self.box = name, box


@pytest.mark.parametrize("policy", [True, False])
@pytest.mark.parametrize("name", ["gallery", "labels", "report"])
def test_nothing_runs(browser: "Browser", hostile_pages: dict[str, Path], name: str, policy: bool) -> None:  # noqa: F811
    # Without the page's own policy, too: the texts must be harmless by themselves.
    context = browser.new_context(bypass_csp=not policy)
    opened = context.new_page()
    asked: list[str] = []
    opened.on("request", lambda request: asked.append(request.url[:80]))
    opened.on("pageerror", lambda error: asked.append(str(error)))
    opened.on("dialog", lambda dialog: dialog.dismiss())
    opened.goto(hostile_pages[name].as_uri())
    opened.wait_for_timeout(100)
    assert opened.evaluate("window.ran") is None
    assert opened.title() != "ran"
    tags = opened.evaluate("[...document.querySelectorAll('*')].map(item => item.localName)")
    assert not {"script", "iframe", "svg", "object", "link", "base", "form"} & set(tags)
    assert (
        opened.evaluate(
            "[...document.querySelectorAll('*')].flatMap(e => e.getAttributeNames())"
            ".filter(name => name.startsWith('on'))"
        )
        == []
    )
    assert (
        opened.evaluate("[...document.querySelectorAll('a')].map(a => a.href).filter(h => !h.includes('#'))")
        == []
    )
    outside = [url for url in asked if not url.startswith(("data:", "file:"))]
    assert outside == []
    shown = opened.evaluate("document.body.textContent")
    if name != "report":
        assert all(text in shown for text in HOSTILE)
    elif policy:
        assert SCRIPT.replace("/", "\u2215") in shown
    context.close()


def test_the_browser_would_run_it(browser: "Browser", tmp_path: Path) -> None:  # noqa: F811
    (tmp_path / "page.html").write_text(f"<!DOCTYPE html><body>{SCRIPT}</body>")
    opened = browser.new_page()
    opened.goto((tmp_path / "page.html").as_uri())
    assert opened.evaluate("window.ran") == 1
    opened.close()
