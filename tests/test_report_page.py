"""The report's page as text: what it shows, how it counts, that texts stay texts, and failing sections."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PILImage
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.findings import Comparison, Image, Section
from src.report.__main__ import show
from src.report.command import read_command
from src.report.make import Outcome, make
from src.report.numbers import difference, distances, number, percent
from src.report.page import Made, anchors
from src.report.pictures import drawn, encoded, fitted
from src.report.topics import CLASSIFIER, TOPICS, Topic
from tests.made_up_sections import HOSTILE, curves, parameters, sources_in
from tests.made_up_sections import TOPICS as MADE_UP

MADE = Made("2026-11-23 12:00 UTC", f"python -m src.report out={HOSTILE}", {"Commit": "34f4888ba88e"})
ROOT = Path(__file__).parents[1]


class Reader(HTMLParser):
    """Elements, anchors, links and texts of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Reader, list[str]]:
    """The page of all made-up sections, one of which fails."""
    folder = tmp_path_factory.mktemp("report")
    said: list[str] = []
    outcome = make(MADE_UP, sources_in(folder), folder / "out", MADE, say=said.append)
    return outcome, Reader(outcome.page.read_text(encoding="utf-8")), said


def test_links_lead_to_anchors_that_are_there_once(made: tuple[Outcome, Reader, list[str]]) -> None:
    _, reader, _ = made
    ids = [attributes["id"] for _, attributes in reader.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] or "" for attributes in reader.all("a")]
    assert all(link.startswith("#") and link[1:] in ids for link in links)
    assert {f"#{key}" for key in ("summary", "made", "parameters", "captions", "deep-filters")} <= set(links)


def test_hostile_texts_stay_texts(made: tuple[Outcome, Reader, list[str]]) -> None:
    outcome, reader, _ = made
    html = outcome.page.read_text(encoding="utf-8")
    assert not reader.all("script")
    assert "\u202e" not in html
    assert not [key for _, attributes in reader.tags for key in attributes if key.startswith("on")]
    assert '<script>alert("1")</script>' in reader.text  # as words, where a section or the command says it
    assert not re.search(r"""(src|href)=["'](?!data:|#)""", html)
    assert "default-src 'none'" in html


def test_pictures_have_sizes_and_words(made: tuple[Outcome, Reader, list[str]]) -> None:
    outcome, reader, _ = made
    images = reader.all("img")
    assert len(images) == 3
    for image in images:
        assert int(image["width"] or 0) > 0
        assert int(image["height"] or 0) > 0
        assert image["alt"]
        assert (image["src"] or "").startswith("data:image/")
    files = {path.name for path in (outcome.page.parent / "figures").iterdir()}
    assert files == {"curves.png", "curves.svg", "maps.png", "maps.svg"}
    assert "broken.png cannot be shown" in reader.text


def test_numbers_of_the_page(made: tuple[Outcome, Reader, list[str]]) -> None:
    """Row by row: the report's number, ours, the difference."""
    outcome, reader, _ = made
    html = outcome.page.read_text(encoding="utf-8")
    rows = [Reader(row).text for row in re.findall(r"<tr>.*?</tr>", html, flags=re.DOTALL)]
    for row in (
        "parameters of the CNN 10,298 10,298 0 (0 %)",
        "parameters of the fully connected network 24,540 236,310 +211,770 (+863.0 %) the slip below",
        "increase in percent 138.3 2,194.7 +2,056.4 (+1,486.9 %)",
        "best test accuracy 0.9073 0.9069 -0.0004 (below 0.1 %)",
        "best cell dropout 0.5, lr 0.01 dropout 0.4, lr 0.01 differs",
        "training loss, dropout 0.8, lr 0.1 0.4494 0.4341 -0.0153 (-3.4 %)",
        "test accuracy with another seed 0.9000 not measured yet",
        "seeds not given 3",
        "BLEU-4 with attention, on Sydney 0.5142 not yet",  # in the summary
        "max-pool 11 x 11 x 8 4 x 4 0 0 0.0 %",
    ):
        assert any(found.startswith(row) for found in rows), row
    assert (
        "10 numbers of the report compared: 4 the same to the digits shown, 2 within 1 %, 1 within 5 %, "
        "3 further away." in reader.text
    )
    assert "Statements put to the test: 2 of 3 hold." in reader.text
    assert "\N{BALLOT X} does not hold" in reader.text


def test_a_failing_section_costs_itself_alone(made: tuple[Outcome, Reader, list[str]]) -> None:
    outcome, reader, said = made
    assert outcome.status == 1
    assert "This section failed. ZeroDivisionError: no filter answers to" in reader.text
    trace = (outcome.page.parent / "failure-deep-filters.txt").read_text(encoding="utf-8")
    assert "Traceback" in trace
    assert len(said) == len(MADE_UP)
    assert next(line for line in said if "FAILED" in line).startswith("5/6")
    assert "Attention is ahead by 0.016." in reader.text  # a section after the one that failed


def test_failure_note_goes_when_the_section_is_well_again(tmp_path: Path) -> None:
    note = tmp_path / "failure-deep-filters.txt"
    note.write_text("of yesterday")
    topic = Topic("deep_filters", "", CLASSIFIER, parameters)
    assert make([topic], sources_in(tmp_path), tmp_path, MADE, say=print).status == 0
    assert not note.exists()


def test_pictures_and_numbers_land_in_tensorboard(made: tuple[Outcome, Reader, list[str]]) -> None:
    events = EventAccumulator(str(made[0].page.parent / "events"), size_guidance={"images": 0})
    events.Reload()
    assert set(events.Tags()["images"]) == {
        "report/sweep/curves",
        "report/filters/maps",
        "report/captions/gallery",
    }
    text = events.Tensors("report/parameters/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| parameters of the CNN | 10,298 | 10,298 | 0 |" in text
    hostile = events.Tensors("report/filters/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "<script" not in hostile


def noise(seed: int) -> PILImage.Image:
    """Which nothing compresses well."""
    values = np.random.default_rng(seed).integers(0, 256, (150, 800, 3), dtype=np.uint8)
    return PILImage.fromarray(values)


def test_the_largest_pictures_are_shrunk_first() -> None:
    small = encoded("small", PILImage.new("RGB", (400, 300), "white"))
    large = [encoded(f"noise-{seed}", noise(seed)) for seed in range(2)]
    assert {item.kind for item in large} == {"image/jpeg"}
    before = sum(item.size for item in (small, *large))
    after = fitted([small, *large], before // 2)
    assert sum(item.size for item in after) <= before // 2
    assert after[0] is small
    assert [item.shown_width for item in after] == [400, 800, 800]
    assert all(640 <= item.width <= 800 for item in after[1:])


def test_a_page_that_is_too_large_names_the_largest_pictures(tmp_path: Path) -> None:
    file = tmp_path / "noise.png"
    noise(1).save(file)
    section = Section("noise", "Noise", "", images=(Image("noise-1", "Noise", "Noise.", file),))
    topics = [Topic("filters", "", CLASSIFIER, lambda _: section)]
    outcome = make(topics, sources_in(tmp_path), tmp_path / "no", MADE, say=print, largest=60_000)
    assert outcome.status == 1
    assert re.search(r"more than 0\.06 MB, .* the largest are noise-1 0\.\d\d MB", outcome.too_large)
    assert outcome.page.stat().st_size == outcome.size


def test_a_figure_says_its_title_once() -> None:
    """The page has the title in words, so the picture leaves it out, and the figure keeps it."""
    picture = curves()
    with_title, without = drawn(picture.figure, "another"), drawn(picture.figure, picture.title + ".")
    dark = [int((np.asarray(image)[:30, 400:].max(axis=2) < 100).sum()) for image in (with_title, without)]
    assert dark[0] > 500
    assert dark[1] == 0
    assert picture.figure.texts[0].get_visible()


def test_few_colours_lose_nothing() -> None:
    image = PILImage.new("RGB", (400, 300), "white")
    image.paste((0, 114, 178), (10, 10, 300, 40))
    item = encoded("flat", image)
    assert item.kind == "image/png"
    assert len(item.data) < 3000
    assert fitted([item], item.size) == [item]


@pytest.mark.parametrize(
    ("item", "shown"),
    [
        (Comparison("", 10298, 10298), "0"),
        (Comparison("", 23530, 235300), "+211,770"),
        (Comparison("", 0.9073, 0.9028), "-0.0045"),
        (Comparison("", 0.5, 0.50000001), "0.0000"),
        (Comparison("", 0.5, 0.49999999), "0.0000"),
        (Comparison("", 0.5, float("nan")), "not finite"),
        (Comparison("", "yes", "yes"), "same"),
        (Comparison("", "yes", 1), ""),
        (Comparison("", None, 1.0), ""),
    ],
)
def test_difference(item: Comparison, shown: str) -> None:
    assert difference(item) == shown


def test_numbers_as_texts() -> None:
    assert number(769930, 4, "") == "769,930"
    assert number(-0.00001, 4, "") == "0.0000"
    assert number(None, 4, "not yet") == "not yet"
    assert percent(21.947) == "+2,194.7 %"
    assert percent(-0.0001) == "below 0.1 %"


def test_distances_put_every_comparison_into_one_class() -> None:
    items = [
        Comparison("same", 0.90731, 0.90729),
        Comparison("near", 1.0, 1.01),
        Comparison("further", 1.0, 0.95),
        Comparison("far", 1.0, 1.06),
        Comparison("from nothing", 0, 1),
        Comparison("words", "a", "b"),
        Comparison("unmeasured", 1, None),
        Comparison("ours", None, None),
    ]
    found = distances(items)
    assert [item.what for item in found.far] == ["far", "from nothing", "words"]
    assert [len(getattr(found, name)) for name in found.__dataclass_fields__] == [1, 1, 1, 3, 1, 1]
    assert found.compared == 6


def test_anchors_are_unique_and_plain() -> None:
    keys = ["made", "a", "a", "<b>", HOSTILE, "", "a-2"]
    found = anchors(keys)
    assert len(set(found)) == len(keys)
    assert all(re.fullmatch(r"[A-Za-z0-9-]+", anchor) for anchor in found)
    assert found[1] == "a"
    assert not {"summary", "made"} & set(found)


def test_terminal_shows_what_the_page_shows(
    made: tuple[Outcome, Reader, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    show(made[0])
    out = capsys.readouterr().out
    assert "+211,770" in out
    assert "Statements: 2 of 3 hold." in out
    assert "does not hold: a singular B breaks it" in out
    assert str(made[0].page) in out
    assert "\u202e" not in out


def test_mistakes_are_named_all_at_once(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    _, mistakes = read_command(
        [
            "only=mistakes,captons",
            f"out={tmp_path}",
            "seed=x",
            "sweeps=a",
            "--fast",
            "aerial=/nowhere",
            "data",
        ]
    )
    assert len(mistakes) == 7
    assert [m for m in mistakes if m.startswith("sweeps=a") and "'sweep'" in m]


def test_folders_that_cannot_be_are_named_or_missing(tmp_path: Path) -> None:
    long = "x" * 5000
    for given in (long, "~nobody_of_this_name/a"):
        settings, mistakes = read_command([f"aerial={given}", f"sweep={given}", f"data={given}"])
        assert mistakes == [f"aerial={given}: is no folder"]
        assert settings.sources.sweep == Path(given)
        read_command([f"out={given}"])


def test_command_is_read(tmp_path: Path) -> None:
    settings, mistakes = read_command(
        ["captions=outputs/a,outputs/b", 'captions=["c,d"]', "only=self-attention", f"out={tmp_path}"]
    )
    assert mistakes == []
    assert settings.sources.captions == (Path("outputs/a"), Path("outputs/b"), Path("c,d"))
    assert settings.only == ("self_attention",)


def test_every_topic_has_its_module() -> None:
    assert [topic.name for topic in TOPICS if find_spec(f"src.report.{topic.name}") is None] == []


def test_the_door_itself(tmp_path: Path) -> None:
    """Without runs or data the page is made all the same, and names what makes them."""
    done = subprocess.run(
        [sys.executable, "-m", "src.report", f"sweep={tmp_path}/none", f"captions={tmp_path}/none",
         f"data={tmp_path}/none", f"out={tmp_path}/out", "only=sweep,mistakes"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    reader = Reader((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert "make sweep" in reader.text
    assert "only=sweep,mistakes" in reader.text


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['report', '--help']; import src.report.__main__ as door\ntry: door.main()\n"
    )
    code += "except SystemExit: print(*sys.modules)"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert not {"torch", "matplotlib", "lightning"} & set(out.split())
    assert "only" in out
