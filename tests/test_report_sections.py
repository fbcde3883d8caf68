"""The report's sections of trained systems: numbers are the files', and nothing missing or damaged raises."""

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

from src.findings import Section
from src.report import captions, mistakes, sweep
from src.report.sources import Sources
from tests.made_up_data import write_data_set
from tests.sweep_folders import TABLE_2, make_caption_run, make_run, make_table_2

SECTIONS = (captions.section, mistakes.section, sweep.section)
BASELINES = {"class_commonest": {"bleu4": 0.7, "cider_d": 3.4}, "human": {"bleu4": 0.75, "cider_d": 3.7}}


def sources(folder: Path) -> Sources:
    return Sources(
        sweep=folder / "fashion_mnist",
        captions=(folder / "scenes", folder / "captions_ucm", folder / "captions_sydney"),
        data=folder / "data",
    )


def with_decoders(sweep_folder: Path, data: str, seeds: tuple[int, ...] = (42, 43)) -> list[Path]:
    """Runs with captions of two test images and their pictures."""
    runs = []
    for attention in (False, True):
        for seed in seeds:
            run = make_caption_run(
                sweep_folder,
                attention,
                seed=seed,
                val_bleu4=0.5 + 0.1 * attention + 0.01 * (seed - 42),
                settings={"beam": 1, "compare_beam": 5, "data.name": data},
                test_beam5_bleu4=0.69,
                test_beam5_bleu4_sentence=0.65,
                baselines=BASELINES,
            )
            entries = [{"image_id": f"{n}.tif", "caption": f"a <b>{n}</b> plane"} for n in (1, 2)]
            (run / "captions.json").write_text(json.dumps(entries))
            for name in ("gallery", "attention/1", "attention/2"):
                (run / name).parent.mkdir(exist_ok=True)
                Image.new("RGB", (8, 8)).save(run / f"{name}.png")
            runs.append(run)
    return runs


def test_table_2_holds_the_files_numbers(tmp_path: Path) -> None:
    make_table_2(tmp_path / "fashion_mnist")
    found = sweep.section(sources(tmp_path))
    ours = {one.what: one for one in found.comparisons}
    for dropout, lr, loss, validation, test in TABLE_2:
        cell = f"dropout {dropout:g}, lr {lr:g}"
        assert ours[f"{cell}: training loss (running mean)"].ours == loss
        assert ours[f"{cell}: validation accuracy"].ours == validation
        assert ours[f"{cell}: test accuracy"].ours == test
    # These are the report's own numbers.
    assert found.comparisons[0].ours == found.comparisons[0].report == "dropout 0.5, lr 0.01"
    assert {one.difference for one in found.comparisons[1:]} == {0}
    assert (
        found.comparisons[1].what == "dropout 0.5, lr 0.01: test accuracy"
    )  # the summary shows the first few
    assert [one.holds for one in found.statements] == [True, True]
    assert found.statements[0].measured == "at 3 of 3 dropouts"
    (table, others, published) = found.tables
    assert [row[1:6] for row in table.rows] == [
        (f"{d:g}", f"{lr:g}", f"{loss:.4f}", f"{val:.4f}", f"{test:.4f}")
        for d, lr, loss, val, test in TABLE_2
    ]
    assert others.rows[0][3:] == ("0.9129", "0.9111", "0.9053", "0.9060")
    places = [row[0] for row in published.rows]
    assert places[-3:] == ["two convolutional layers", "this network, our best run by validation", "people"]
    assert found.missing == ()
    assert "make seeds" in found.answer[-1]  # what is noise is told where it was measured
    assert {picture.name for picture in found.pictures} == {
        *("sweep-best-run", "sweep-heat-map", "sweep-all-runs", "sweep-course-curve")
    }


def test_a_sweep_that_comes_out_otherwise_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "fashion_mnist"
    for lr, accuracy in ((0.1, 0.92), (0.01, 0.91), (0.001, 0.85)):
        make_run(folder, 0.5, lr, val_acc=accuracy, test_acc=0.9273, train_loss=0.4)
    for seed, accuracy in ((42, 0.90), (43, 0.91), (44, 0.92)):
        make_run(tmp_path / "table2_seeds", seed=seed, name=f"seed={seed}", val_acc=accuracy)
    found = sweep.section(sources(tmp_path))
    order, distance = found.statements
    assert not order.holds
    assert order.measured == "at 0 of 1 dropouts (not at 0.5)"
    assert not distance.holds
    assert "the farthest is +0.0798 at dropout 0.5, lr 0.001" in distance.measured
    assert "has rank 2 here, with 0.9100 on validation" in found.answer[0]
    # The deviation of 0.90, 0.91, 0.92 is 0.01; two of a difference are 0.0283.
    noise = found.answer[-1]
    assert "standard deviation of 0.0100 (pooled, 3 runs)" in noise
    assert "0.0283 apart" in noise
    assert "1 other cells lie" in noise
    assert sum("no finished run" in text for text in found.missing) == len(TABLE_2) - 3


def test_caption_sweeps_are_compared_with_what_shares_their_data(tmp_path: Path) -> None:
    for name in ("scenes", "captions_ucm", "captions_sydney"):
        with_decoders(tmp_path / name, "scenes" if name == "scenes" else "karpathy")
    found = captions.section(sources(tmp_path))
    assert found.missing == ()
    # Greedy, the mean of the images' own (0.45 and 0.46, 0.55 and 0.56), not the corpus's, not beam 5's.
    assert [(one.report, one.ours) for one in found.comparisons] == [
        (0.4981, pytest.approx(0.455)),
        (0.5142, pytest.approx(0.555)),
    ]
    assert all("mean of the images" in one.what for one in found.comparisons)
    titles = [table.title for table in found.tables]
    assert titles == [
        "The task's scores on Sydney-Captions",
        "Scores on the test split: synthetic scenes",
        "Scores on the test split: UCM-Captions",
        "Published results on UCM-Captions",
        "Scores on the test split: Sydney-Captions",
        "Published results on Sydney-Captions",
    ]
    ucm = {row[0]: row[1:] for row in found.tables[3].rows}
    assert ucm["with attention, beam 1, 2 seeds"] == ("ours", "0.585 ± 0.007", "2.40 ± 0.00")
    assert ucm["commonest training caption of the true class"] == ("baseline", "0.700", "3.40")
    order = [float(row[2].split()[0]) for row in found.tables[3].rows]
    assert order == sorted(order, reverse=True)
    assert [one.holds for one in found.statements] == [True, True, True]
    assert found.statements[0].what.startswith("synthetic scenes")
    # Of each decoder the lowest seed's gallery, and the maps of the one that has them.
    assert [image.name for image in found.images[:4]] == [
        "scenes-without-attention-gallery",
        "scenes-with-attention-gallery",
        "scenes-with-attention-map-1",
        "scenes-with-attention-map-2",
    ]
    assert all(image.path.is_file() and "seed=42" in str(image.path) for image in found.images)
    assert "1.tif: a <b>1</b> plane" in found.images[0].alt
    assert all("synthetic scenes" in image.title for image in found.images[:4])
    names = [image.name for image in found.images] + [picture.name for picture in found.pictures]
    assert len(set(names)) == len(names)


def test_what_is_missing_is_named_with_its_command(tmp_path: Path) -> None:
    for make in SECTIONS:
        found = make(sources(tmp_path))
        assert found.missing
        assert all("make " in text or "python -m src.train" in text for text in found.missing)
    commands = captions.section(sources(tmp_path)).missing
    assert [text.rsplit(": ", 1)[1] for text in commands] == [
        "make caption",
        "make caption-ucm ARGS='data.root=FOLDER'",
        "make caption-sydney ARGS='data.root=FOLDER'",
    ]
    assert sweep.section(sources(tmp_path)).comparisons[0].ours is None
    make_caption_run(tmp_path / "scenes", True, settings={"data.name": "scenes", "beam": 1})
    make_caption_run(tmp_path / "scenes", True, seed=1, settings={"data.name": "scenes"}, results=False)
    texts = " ".join(captions.section(sources(tmp_path)).missing)
    assert "no finished run without attention: make caption" in texts
    assert "is running (epoch 6 of 6): make caption" in texts
    assert "gallery.png is gone or damaged: make caption ARGS='force=true'" in texts


@pytest.mark.parametrize("data", [b"", b"\x00\xff{", b"[]", b'{"status": "done"}', b"epoch\n1\n"])
def test_damaged_files_never_raise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    if data:  # once with the figures, which take long
        monkeypatch.setattr(captions, "_pictures", lambda *_: ())
        monkeypatch.setattr(sweep, "_pictures", lambda *_: ())
    for lr in (0.1, 0.01):
        make_run(tmp_path / "fashion_mnist", 0.5, lr)
    make_run(tmp_path / "table2_seeds")
    (run, *_) = with_decoders(tmp_path / "scenes", "scenes", seeds=(42,))
    for folder, make in (
        (run, captions.section),
        (tmp_path / "fashion_mnist" / "dropout=0.5,lr=0.01", sweep.section),
        (tmp_path / "table2_seeds", sweep.section),
    ):
        for file in [file for file in folder.rglob("*.*") if file.is_file()]:
            kept = file.read_bytes()
            file.write_bytes(data)
            found = make(sources(tmp_path))
            assert isinstance(found, Section)
            if file.name == "gallery.png":
                assert any("gallery.png is gone or damaged" in text for text in found.missing)
            file.write_bytes(kept)


@pytest.mark.parametrize(
    "change",
    [
        {"baselines": {"human": "high", "constant": {"bleu4": "NaN"}}, "pointing_game": [1]},
        {"pointing_game": {"words": None, "rate": "x", "chance": 0}},
        {"pointing_game": {"words": 5, "rate": 0.2, "chance": 0.0, "times_chance": None}, "baselines": 3},
        {"test_bleu1": True, "test_beam5_bleu4": "0.5"},
    ],
)
def test_odd_values_in_results_are_left_out(tmp_path: Path, change: dict) -> None:
    make_caption_run(tmp_path / "scenes", True, settings={"data.name": "scenes", "beam": 1}, **change)
    found = captions.section(sources(tmp_path))
    assert found.tables[1].rows[0][:3] == ("the captioner", "1", "42")


def make_sweep(folder: Path, kind: str) -> None:
    """A sweep and a caption sweep that came out as nobody hopes."""
    ended = {"status": kind, "val_acc": None, "test_acc": None, "test_acc_best_val": None, "train_loss": None}
    cells, captioned = folder / "fashion_mnist", folder / "captions_sydney"
    if kind == "weak":
        for lr in (0.1, 0.01):
            make_run(cells, 0.3, lr, val_acc=0.1, test_acc=0.1, test_acc_best_val=0.1, train_loss=0.0)
        for attention in (False, True):
            for seed in (1, 2):
                scores = {f"test_{name}": 0.0 for name in ("bleu1", "bleu2", "bleu3", "bleu4")}
                scores |= dict.fromkeys(("test_bleu4_best_val", "test_bleu4_sentence", "test_cider_d"), 0.0)
                make_caption_run(captioned, attention, seed=seed, val_bleu4=0.0, **scores)
    elif kind == "single":
        make_run(cells, 0.3, 0.01, epochs=1)
        make_caption_run(captioned, True, epochs=1, settings={"beam": 1})
    elif kind in ("diverged", "failed"):
        make_run(cells, 0.3, 0.1, **ended)
        make_caption_run(captioned, True, status=kind)
    else:  # partial
        make_run(cells, 0.3, 0.01)
        make_run(cells, 0.3, 0.1, results=False)
        make_run(cells, 0.5, 0.1, results=False, epochs=0)
        make_run(cells, 0.5, 1.0, **{**ended, "status": "diverged"})
        make_caption_run(captioned, True, settings={"beam": 1})
        make_caption_run(captioned, False, results=False, epochs=0)


@pytest.mark.parametrize("kind", ["weak", "single", "diverged", "failed", "partial"])
def test_no_section_fails_for_a_sweep_that_came_out_badly(tmp_path: Path, kind: str) -> None:
    make_sweep(tmp_path, kind)
    of_runs = ("sweep", "captions", "mistakes", "filters", "synthetic_inputs")
    found = {name: import_module(f"src.report.{name}").section(sources(tmp_path)) for name in of_runs}
    assert all(section.missing for section in found.values())  # with what to do
    if kind in ("weak", "single", "partial"):
        rows = {name: (value, interval) for name, value, interval in found["sweep"].tables[-1].rows}
        value, interval = rows["this network, our best run by validation"]
        # Of 10,000 images; by the formula of Wilson 1927.
        expected = {"0.1000": "0.0943 to 0.1060", "0.8900": "0.8837 to 0.8960"}
        assert interval == expected[value]


def test_the_interval_is_over_the_images_of_the_test(tmp_path: Path) -> None:
    settings = {"dropout": 0.5, "lr": 0.01, "seed": 42, "limit_test": 100}
    make_run(tmp_path / "fashion_mnist", test_acc=0.5, filed={"settings": settings})
    (*_, published) = sweep.section(sources(tmp_path)).tables
    assert published.rows[-1][1:] == ("0.5000", "0.4038 to 0.5962")
    make_run(tmp_path / "own" / "fashion_mnist", filed={"settings": {**settings, "data.name": "idx"}})
    (*_, published) = sweep.section(sources(tmp_path / "own")).tables
    assert not any("this network" in row[0] for row in published.rows)  # other images do not compare


@pytest.fixture
def classified(tmp_path: Path) -> Path:
    """A sweep whose only run has an untrained network's checkpoint, and a small test set."""
    import torch

    from src.checkpoints import write_checkpoint
    from src.classification.module import Classifier

    torch.manual_seed(0)
    module = Classifier(dropout=0.5, lr=0.01)
    run = make_run(tmp_path / "fashion_mnist", test_acc=0.99)
    content = {"hyper_parameters": dict(module.hparams), "state_dict": module.state_dict()}
    write_checkpoint(run / "checkpoints" / "last.ckpt", content)
    write_data_set(tmp_path / "data" / "FashionMNIST" / "raw", train=10, test=300)
    return tmp_path


def test_mistakes_are_those_of_the_checkpoint(classified: Path) -> None:
    given = sources(classified)
    module = given.classifier()
    images, labels = given.fashion_mnist("test")
    right = int((module(images).argmax(1) == labels).sum())
    found = mistakes.section(given)
    assert found.missing == ()
    assert found.comparisons[0].ours == right / 300
    assert found.comparisons[0].report == 0.9073
    # results.json says 0.99, which this network does not reach
    assert [one.holds for one in found.statements] == [False]
    assert sum(int(row[1]) for row in found.tables[0].rows) == 300
    assert [picture.name for picture in found.pictures] == [
        *("confusion-matrix", "accuracy-by-class", "confident-errors", "calibration")
    ]
    assert all(picture.title and picture.alt for picture in found.pictures)
    assert found.answer == mistakes.section(given).answer


@pytest.mark.parametrize(
    ("harm", "cause"),
    [
        (lambda folder: shutil.rmtree(folder / "data"), "make data"),
        (lambda folder: next(folder.rglob("last.ckpt")).unlink(), "there is no checkpoint"),
        (lambda folder: next(folder.rglob("last.ckpt")).write_bytes(b"x" * 900), "cut off or not one"),
    ],
)
def test_mistakes_without_data_or_checkpoint(
    classified: Path, harm: Callable[[Path], None], cause: str
) -> None:
    harm(classified)
    found = mistakes.section(sources(classified))
    assert cause in found.missing[0]
    assert found.pictures == ()
