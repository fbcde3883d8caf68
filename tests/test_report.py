"""The report's page from finished runs: complete, partial, diverged, missing ones, and hostile texts."""

import io
import math
import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from src.findings import Comparison, Section, Statement, Table
from src.report import captions, sweep
from src.report.page import Entry, difference, number, numeric_columns, page, percent
from src.report.sources import Sources
from tests.made_up_runs import caption_run, classifier_run, table_2_runs
from tests.pages import Page

TABLE2 = "python -m src.train -m experiment=table2"


def make_report(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The status of `python -m src.report`."""
    from src.report.__main__ import main

    monkeypatch.setattr(sys, "argv", ["report", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_page_of_a_weak_partial_and_diverged_sweep(
    tmp_path: Path, idx_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An untrained best run, one diverged, one that goes on, captions of one decoder, no gallery."""
    equivariance = Section("equivariance", "Equivariance", "")  # the theory's tests measure it
    name = "src.theory.equivariance_findings.equivariance_findings"
    monkeypatch.setattr(name, lambda images, labels, network: equivariance)
    monkeypatch.setattr("src.filters.pictures.TOP", 2)
    monkeypatch.setattr("src.report.filters.SIDE", 128)
    picture = io.BytesIO()
    Image.new("RGB", (4, 3)).save(picture, "png")  # drawing takes seconds, and has tests of its own
    monkeypatch.setattr("src.figures.rendered", lambda figure, kind, **options: picture.getvalue())
    folder = tmp_path / "sweep"
    classifier_run(folder, 0.5, 0.01, idx_data, test_acc=0.11)
    classifier_run(folder, 0.5, 0.1, status="diverged", cause="the loss is NaN", val_acc=None, test_acc=None)
    (classifier_run(folder, 0.3, 0.1) / "results.json").unlink()
    (caption_run(tmp_path / "scenes", "lstm", 42, 0.0) / "gallery.png").unlink()
    out = tmp_path / "out"
    places = f"captions=[{tmp_path / 'scenes'},{tmp_path / 'captions_ucm'}]"
    assert make_report(monkeypatch, f"sweep={folder}", places, f"out={out}") == 0
    html = (out / "report.html").read_text("utf-8")
    text = Page(html).text
    for shown in (
        "parameters of the CNN 10,298 10,298 0",
        "dropout 0.5, lr 0.01: test accuracy 0.9073 0.1100 -0.7973 (-87.9 %)",
        f"12 of the report's 13 cells are not trained yet: {TABLE2} output_dir={tmp_path} name=sweep",
        "not done are dropout=0.3,lr=0.1 (queued), dropout=0.5,lr=0.1 (diverged)",
        "table2_seeds is not a folder: name the one that holds the runs: make seeds",
        "gallery.png is gone: make caption with force=true",
        "captions_ucm is not a folder: name the one that holds the runs: make caption-ucm",
        "holds finished runs of one decoder only",
        "Late filters' maps over objects",
        "share that show its kind ✓ holds",
    ):
        assert shown in text, shown
    assert "This section failed" not in text
    assert re.findall(r'(?:src|href)="(?!data:|#)[^"]*"', html) == []
    names = {path.stem for path in (out / "figures").glob("*.png")}
    assert {"kernels-conv1", "top-conv2", "late-filters", "confusion-matrix"} <= names
    assert "complete" in capsys.readouterr().out


def test_without_runs_every_section_names_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = "only=[sweep.section,filters.classifier,misclassified.section,captions.section]"
    out = tmp_path / "out"
    options = (f"sweep={tmp_path / 'none'}", f"captions=[{tmp_path / 'scenes'}]", f"out={out}", only)
    assert make_report(monkeypatch, *options) == 0
    text = Page((out / "report.html").read_text("utf-8")).text
    missing = (
        f"none is not a folder: name the one that holds the runs: {TABLE2} output_dir={tmp_path} name=none"
    )
    assert text.count(missing) == 3
    assert "scenes is not a folder: name the one that holds the runs: make caption" in text
    assert "dropout 0.5, lr 0.01: test accuracy 0.9073 not measured yet" in text


def test_a_failing_section_costs_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("src.report.sweep.section", lambda sources: 1 // 0)
    only = "only=[theory.parameters,sweep.section]"
    assert make_report(monkeypatch, f"out={tmp_path}", only) == 1
    text = Page((tmp_path / "report.html").read_text("utf-8")).text
    assert "This section failed. ZeroDivisionError" in text
    assert "parameters of the classifier 769,930 769,930 0" in text
    assert "Traceback" not in capsys.readouterr().err


def test_unknown_section(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert make_report(monkeypatch, "only=[sweep]", f"out={tmp_path}") == 2
    assert "only=[sweep]: must be one of theory.parameters" in capsys.readouterr().err


def test_the_reports_own_numbers_hold(tmp_path: Path) -> None:
    """A sweep with just the report's numbers: no difference, both statements hold, nothing is missing."""
    table_2_runs(tmp_path / "s")
    for seed, validation in ((1, 0.91), (2, 0.92)):
        classifier_run(tmp_path / "table2_seeds", 0.4, 0.01, name=f"seed={seed}", val_acc=validation)
    found = sweep.section(Sources(tmp_path / "s"))
    assert {difference(item).strip("0.") for item in found.comparisons} == {"", "same"}
    assert [one.holds for one in found.statements] == [True, True]
    assert found.missing == ()
    assert any("0.9150 ± 0.0071" in cell for table in found.tables for row in table.rows for cell in row)
    ranked = next(table for table in found.tables if "Table 2" in table.title)
    assert [row[0] for row in ranked.rows] == [str(place) for place in range(1, 14)]
    published = next(table for table in found.tables if "Published" in table.title)
    assert ("our best run by validation", "0.9073", "0.9015 to 0.9128") in published.rows


def test_attention_helps_where_seeds_can_tell(tmp_path: Path) -> None:
    folder = tmp_path / "captions_sydney"
    for decoder, mean in {"lstm": 0.505, "attention": 0.605, "transformer": 0.515}.items():
        for seed, off in enumerate((-0.005, 0.005)):
            caption_run(folder, decoder, seed, round(mean + off, 3))
    found = captions.section(Sources(tmp_path, (folder,)))
    assert {one.what.split(", ")[1]: one.holds for one in found.statements} == {
        "attention less lstm": True,
        "transformer less lstm": False,
    }
    assert [item.ours for item in found.comparisons] == [pytest.approx(0.505), pytest.approx(0.56)]
    rows = [row for table in found.tables for row in table.rows]
    assert ("ours: attention, 2 seeds", "0.605 ± 0.007", "0.60 ± 0.01") in rows
    assert len(found.images) == 3


@pytest.mark.parametrize(
    ("item", "shown"),
    [
        (Comparison("", 0.9073, 0.9069), ("0.9073", "0.9069", "-0.0004", "(-0.0 %)")),
        (Comparison("", 24_540, 236_310), ("24,540", "236,310", "+211,770", "(+863.0 %)")),
        (Comparison("", 0.9, 0.9), ("0.9000", "0.9000", "0.0000", "")),
        (Comparison("", None, 3), ("nothing", "3", "", "")),
        (Comparison("", 0.5, math.nan), ("0.5000", "not finite", "not finite", "")),
        (Comparison("", "a", "b"), ("a", "b", "differs", "")),
        (Comparison("", 0, 2), ("0", "2", "+2", "")),
    ],
)
def test_numbers(item: Comparison, shown: tuple[str, ...]) -> None:
    values = [number(value, item.digits, "nothing") for value in (item.report, item.ours)]
    assert (*values, difference(item), percent(item)) == shown


def test_columns_of_numbers() -> None:
    rows = (("1", "0.61 ± 0.01", "12 %", "", "yes"), ("2", "-1,000", "1.5e-3", "3", "4"))
    assert numeric_columns(Table("", ("a", "b", "c", "d", "e"), rows)) == [True, True, True, True, False]


def test_texts_stay_texts() -> None:
    hostile = "<script>alert(1)</script>\u202e\udc80\n<img src=x onerror=alert(1)>{{ 7 * 7 }}"
    table = Table(hostile, (hostile,), ((hostile,),), hostile)
    section = Section(
        "key",
        hostile,
        hostile,
        (hostile,),
        (Comparison(hostile, hostile, None, note=hostile),),
        (Statement(hostile, hostile, hostile, False),),
        (table,),
        slip=hostile,
        command=hostile,
        missing=(hostile,),
    )
    facts = {"Date": hostile, "Command": hostile, hostile: "1"}
    html = page([Entry(section, hostile, failure=hostile)], facts)
    html.encode("utf-8")
    read = Page(html)
    assert not {"script", "img"} & {tag for tag, _ in read.tags}
    assert not any("onerror" in attributes for _, attributes in read.tags)
    assert read.text.count("<script>alert(1)</script>\N{REPLACEMENT CHARACTER}") > 15
    assert "\u202e" not in html
    assert "does not hold" in read.text
