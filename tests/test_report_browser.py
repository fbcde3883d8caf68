"""The report's page in headless Chromium: narrow and wide, light and dark, on paper.

Chromium is taken from the system: `apt-get install chromium`, or CHROMIUM=path.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from src import figures
from src.findings import Comparison, Picture, Section, Statement, Table
from src.report.page import Entry, embedded_pictures, page

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
WIDTHS = (360, 800, 1400)
TOO_WIDE = "document.documentElement.scrollWidth > window.innerWidth"


def chromium() -> str:
    """The browser's path; skips without one, but fails where continuous integration should have it."""
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        reason = f"no Chromium: apt-get install chromium, or CHROMIUM=path (looked for {', '.join(NAMES)})"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    path = chromium()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        # Chromium's sandbox does not work for root, as in many containers.
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = driver.chromium.launch(executable_path=path, args=arguments)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A page with long words, a wide table, a wide figure, every kind of box and table."""
    folder = tmp_path_factory.mktemp("report")
    figure, ((axes,),) = figures.subplots()
    axes.plot([1, 2])
    figures.title(figure, "Curves")
    section = Section(
        "one",
        "Counting " + "parameters" * 20,
        "asked " * 50,
        ("answer " * 50,),
        tuple(Comparison(f"number {k}", 10_298 * k, 0.5, note="w" * 90) for k in range(9)),
        (Statement("what " * 20, "m" * 90, "e" * 90, True), Statement("other", "1", "2", False)),
        (Table("Wide", tuple(f"val acc {k}" for k in range(13)), (("0.9063",) * 13,), "note"),),
        (Picture("curves", "Curves", "Two points.", figure),),
        slip="slip " * 30,
        command="python -m src.report " + "only=parameters," * 20,
        missing=("missing/" * 40,),
    )
    pictures = embedded_pictures(section, folder)
    entries = [
        Entry(section, "Theory", pictures),
        Entry(Section("two", "Two", ""), "Other", failure="x" * 300),
    ]
    html = page(entries, {"Date": "today", "Command": "make report", "Versions": "torch" * 60})
    (folder / "report.html").write_text(html, encoding="utf-8")
    return (folder / "report.html").as_uri()


def opened(browser: "Browser", address: str, width: int = 1400, **options: str) -> tuple["Page", list[str]]:
    """The page in a window of this width, and what the browser complains about."""
    page = browser.new_page(viewport={"width": width, "height": 800}, **options)  # type: ignore[arg-type]
    complaints: list[str] = []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("requestfailed", lambda request: complaints.append(request.url[:80]))
    page.goto(address)
    return page, complaints


@pytest.mark.parametrize("width", WIDTHS)
def test_page_fits_the_window(browser: "Browser", address: str, width: int) -> None:
    page, complaints = opened(browser, address, width)
    assert not page.evaluate(TOO_WIDE)
    page.evaluate("document.querySelectorAll('details').forEach(item => item.open = true)")
    assert not page.evaluate(TOO_WIDE)
    # Nothing sticks out but what lies in a box that scrolls.
    outside = page.evaluate(
        """() => [...document.querySelectorAll('body *')].filter(item => !item.closest('.scroll, pre')
            && item.getBoundingClientRect().right > window.innerWidth + 1).map(item => item.outerHTML)"""
    )
    assert outside == []
    assert complaints == []
    page.close()


@pytest.mark.parametrize(("width", "contents"), [(1400, "nav.side"), (360, "details.contents")])
def test_contents_lead_to_the_sections(browser: "Browser", address: str, width: int, contents: str) -> None:
    page, _ = opened(browser, address, width)
    other = {"nav.side": "details.contents", "details.contents": "nav.side"}[contents]
    assert not page.locator(other).is_visible()
    assert page.locator(f"{contents} a").count() == 4  # the summary, two sections, and how it was made
    if contents == "details.contents":
        page.locator("summary").click()
    page.locator(f"{contents} a").nth(2).click()
    assert page.url.endswith("#two")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_reader(browser: "Browser", address: str, scheme: str) -> None:
    page, _ = opened(browser, address, color_scheme=scheme)
    light = {
        what: sum(map(int, page.evaluate(f"getComputedStyle({where}).{kind}").strip("rgb()").split(",")[:3]))
        / 765
        for what, where, kind in (
            ("ground", "document.body", "backgroundColor"),
            ("ink", "document.body", "color"),
            ("figure", "document.images[0]", "backgroundColor"),
        )
    }
    assert (light["ground"] < 0.2 and light["ink"] > 0.8) == (scheme == "dark")
    assert light["figure"] == 1
    page.close()


def test_paper(browser: "Browser", address: str, tmp_path: Path) -> None:
    page, _ = opened(browser, address, color_scheme="dark")
    page.pdf(path=str(tmp_path / "report.pdf"), format="A4", prefer_css_page_size=True)
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    page.emulate_media(media="print")
    page.set_viewport_size({"width": 688, "height": 1000})  # A4 without its margins
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.querySelector('nav.side')).position") == "static"
    assert not page.evaluate(TOO_WIDE)
    page.close()
