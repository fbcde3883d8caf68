"""Own images through `python -m src.predict`: captions, labels, and every mistake a user can make."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from src import predict as door
from src.captioning.encoder import build_encoder, preprocess
from src.captioning.features import features_of
from src.captioning.predict import Caption, load_writer
from src.checkpoints import read_checkpoint, write_checkpoint
from src.classification.module import Classifier
from src.classification.predict import prepare
from src.images import read_rgb, suffixes
from src.job import run_job
from src.predict_command import read_command
from src.seal import sealed
from src.trained import CheckpointError, open_checkpoint, rebuilt
from tests.command_line import NO_GPU, ROOT, plan
from tests.made_up_data import bright_squares

COLOURS = {"red": (220, 40, 30), "green": (40, 170, 60), "blue": (40, 60, 210)}
PLACES = ("left", "right")
CAPTIONERS = {
    "attention": ("attention=true", "encoder.name=efficientnet_lite0", "beam=3", "lr=0.002", "epochs=12"),
    "mean": ("attention=false", "encoder.name=efficientnet_lite0", "lr=0.01", "epochs=7"),
    "tiny": ("attention=true", "encoder.name=tiny", "lr=0.01", "epochs=7"),
}


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in Karpathy's layout: a coloured square on the left or on the right of noise."""
    root = tmp_path_factory.mktemp("captioned")
    (root / "images").mkdir()
    random = np.random.RandomState(0)
    entries = []
    for number in range(42):
        colour, place = [*COLOURS][number % 3], PLACES[number // 3 % 2]
        pixels = random.randint(90, 140, (64, 80, 3)).astype(np.uint8)
        left = 8 if place == "left" else 48
        pixels[20:44, left : left + 24] = COLOURS[colour]
        Image.fromarray(pixels).save(root / "images" / f"{number:02}.png")
        sentences = [f"a {colour} square on the {place}", f"there is a {colour} square"]
        entries.append(
            {
                "filename": f"{number:02}.png",
                "split": "train" if number < 30 else "val" if number < 34 else "test",
                "sentences": [{"tokens": words.split(), "raw": words} for words in sentences],
            }
        )
    (root / "dataset.json").write_text(json.dumps({"images": entries}))
    return root


@pytest.fixture(scope="module")
def captioners(captioned: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run folders of captioners that were trained on it, by the keys of CAPTIONERS."""
    output = tmp_path_factory.mktemp("captioner_runs")
    return {
        name: trained(
            "task=caption",
            "data=karpathy",
            f"data.root={captioned}",
            "encoder.size=64",
            f"encoder.cache={output / 'features'}",
            "dropout=0",
            "decoder.state=32",
            "compare_beam=null",
            "gallery=[34.png]",  # one picture of each kind, which takes time
            f"output_dir={output}",
            f"name={name}",
            *settings,
        )
        for name, settings in CAPTIONERS.items()
    }


@pytest.fixture(scope="module")
def classifier(on_idx: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a classifier that knows where the bright square is."""
    output = tmp_path_factory.mktemp("classifier_runs")
    return trained(*on_idx, "epochs=6", "lr=0.05", "data.val_size=60", f"output_dir={output}")


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    """A folder with images that the classifier has not seen, and their classes by file name."""
    folder = tmp_path_factory.mktemp("squares")
    images, labels = bright_squares(20, seed=3)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:02}.png")
    return folder, {f"{number:02}.png": int(label) for number, label in enumerate(labels)}


def trained(*overrides: str) -> Path:
    made = plan("accelerator=cpu", "threads=1", "progress=false", *overrides)
    results = run_job(made.cfg, made.run, lambda line: None, show_bar=False)
    assert results["status"] == "done", results["cause"]
    return made.run.folder


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The real command line, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "src.predict", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **NO_GPU},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def predict(*arguments: object) -> int:
    """The same in this process."""
    return door.predict([*map(str, arguments), "accelerator=cpu"])


def captions_in(path: Path) -> dict[str, str]:
    return {entry["image_id"]: entry["caption"] for entry in json.loads(path.read_text())}


@pytest.mark.parametrize("name", CAPTIONERS)
def test_captions_are_those_of_the_runs_own_test(
    name: str, captioned: Path, captioners: dict[str, Path], tmp_path: Path
) -> None:
    run = captioners[name]
    expected = captions_in(run / "captions.json")
    photos = [captioned / "images" / file for file in expected]
    status = predict(f"checkpoint={run / 'checkpoints' / 'last.ckpt'}", f"output={tmp_path}", *photos)
    assert status == 0
    assert captions_in(tmp_path / "captions.json") == expected
    assert len(expected) == 8
    assert len(set(expected.values())) > 1  # or equality would say little
    page = (tmp_path / "gallery.html").read_text()
    assert page.count("<article>") == 8
    words = sum(len(caption.split()) for caption in expected.values())
    assert page.count("<li>") == (0 if name == "mean" else words)  # a map a word


def test_frozen_encoder_sees_own_images_as_training_saw_its_own(
    captioned: Path, captioners: dict[str, Path], tmp_path: Path
) -> None:
    paths = sorted((captioned / "images").iterdir())[:5]
    stored = np.array(features_of(paths, build_encoder("efficientnet_lite0", 64), tmp_path, say=print))
    images = torch.stack([preprocess(read_rgb(path), 64) for path in paths])
    cpu = torch.device("cpu")
    attentive, mean = (
        load_writer(open_checkpoint(captioners[name] / "checkpoints" / "last.ckpt"), cpu)
        for name in ("attention", "mean")
    )
    assert torch.equal(attentive.look(images), torch.from_numpy(stored))
    assert np.array_equal(mean.look(images)[:, 0].numpy(), stored.mean(1, dtype=np.float32))


def test_real_command_captions_a_folder_and_names_the_broken_image(
    captioned: Path, captioners: dict[str, Path], tmp_path: Path
) -> None:
    photos = tmp_path / "photos"
    (photos / "deep").mkdir(parents=True)
    shutil.copy(captioned / "images" / "00.png", photos / "deep" / "[red]a=1.png")
    Image.new("L", (300, 20), 200).save(photos / "wide.tif")
    (photos / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    out = tmp_path / "out"
    ended = command(
        f"checkpoint={captioners['attention'].parent}", f"inputs=[{photos}/]", "beam=2", f"output={out}"
    )
    assert ended.returncode == 1, ended.stderr
    assert "the best of 1 runs" in ended.stderr
    assert "torn.jpg" in ended.stderr
    assert "1 of 3 images could not be read" in ended.stderr
    assert "Traceback" not in ended.stderr
    captions = captions_in(out / "captions.json")
    assert set(captions) == {"[red]a=1.png", "wide.tif"}
    for file, caption in captions.items():
        assert file in ended.stdout
        assert caption.split()[0] in ended.stdout
    assert "log-probability" in ended.stdout
    assert str(out / "captions.json") in ended.stderr.replace("\n", "")


def test_own_images_are_labelled(
    classifier: Path, squares: tuple[Path, dict[str, int]], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder, labels = squares
    assert predict(f"checkpoint={classifier}", f"inputs={folder}", f"output={tmp_path}") == 0
    with (tmp_path / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["file"]: int(row["label"]) for row in rows} == labels
    for row in rows:
        probabilities = [float(row[f"probability{place}"]) for place in ("", "_2", "_3")]
        assert probabilities == sorted(probabilities, reverse=True)
        assert 0.2 < sum(probabilities) <= 1.00001
        assert row["class"] == ""  # own data: nobody knows the classes' names
    assert (tmp_path / "gallery.html").read_text().count("<article>") == len(labels)
    assert "01.png" in capsys.readouterr().out


def test_fashion_mnist_classes_have_names_and_dark_on_light_is_inverted_only_when_asked(
    classifier: Path, squares: tuple[Path, dict[str, int]], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    run = tmp_path / "sweep" / "run"
    shutil.copytree(classifier, run)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("name: idx\n", "name: fashion_mnist\n"))
    dark = tmp_path / "dark.png"
    Image.open(squares[0] / "00.png").point(lambda value: 255 - value).resize((112, 112)).save(dark)
    found = {}
    for invert in ("false", "true"):
        out = tmp_path / invert
        assert predict(f"checkpoint={run}", f"inputs={dark}", f"invert={invert}", f"output={out}") == 0
        with (out / "labels.csv").open(newline="") as file:
            (found[invert],) = csv.DictReader(file)
        asked = "compare with invert=true" in capsys.readouterr().err
        assert asked == (invert == "false")
    assert int(found["true"]["label"]) == squares[1]["00.png"]
    assert found["true"]["class"] == door_names()[squares[1]["00.png"]]
    assert found["false"]["probability"] != found["true"]["probability"]


def door_names() -> tuple[str, ...]:
    from src.classification.data import FASHION_MNIST_CLASSES

    return FASHION_MNIST_CLASSES


def test_image_of_the_right_size_stays_and_another_is_centred_on_black() -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (28, 28)).astype(np.uint8)
    image = Image.fromarray(pixels)
    assert np.array_equal(prepare(image.convert("RGB"), (28, 28), False)[0], pixels)
    assert np.array_equal(prepare(image.convert("RGB"), (28, 28), True)[0], 255 - pixels)
    wide = prepare(Image.new("RGB", (200, 100), "white"), (28, 28), False)[0]
    assert (wide[7:21] == 255).all()
    assert (wide[:7] == 0).all()
    assert (wide[21:] == 0).all()


def test_many_images_in_small_batches_all_arrive_once_and_in_order(
    classifier: Path, squares: tuple[Path, dict[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "PAGE_IMAGES", 7)
    whole, small = tmp_path / "whole", tmp_path / "small"
    for out, batch in ((whole, 50), (small, 3)):
        command = f"checkpoint={classifier} inputs={squares[0]} output={out} batch_size={batch}"
        assert predict(*command.split()) == 0
    rows = [[*csv.reader((out / "labels.csv").read_text().splitlines())] for out in (whole, small)]
    files = [[row[:2] for row in found] for found in rows]
    assert files[0] == files[1]
    page = (small / "gallery.html").read_text()
    assert page.count("<article>") == 7
    assert "shows the first 7 of 20 images" in page


def test_images_of_one_name_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    paths = [tmp_path / "a" / "1.png", tmp_path / "b" / "1.png"]
    assert door.names_of(paths) == {path: str(path) for path in paths}
    assert door.names_of(paths[:1]) == {paths[0]: "1.png"}


def test_interrupted_command_writes_what_it_has(
    classifier: Path, squares: tuple[Path, dict[str, int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from src.classification import predict as labels

    calls = []

    def interrupted(image: torch.Tensor) -> bool:
        calls.append(image)
        if len(calls) > 8:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(labels, "_light_border", interrupted)
    command = f"checkpoint={classifier} inputs={squares[0]} output={tmp_path} batch_size=4"
    assert predict(*command.split()) == 130
    assert len((tmp_path / "labels.csv").read_text().splitlines()) == 1 + 8
    assert "Stopped after 8 of 20 images" in (tmp_path / "gallery.html").read_text()


def test_every_mistake_of_a_command_is_named_at_once(tmp_path: Path) -> None:
    ended = command(
        f"checkpoint={tmp_path / 'none.ckpt'}",
        f"inputs=[{tmp_path / 'none.png'}]",
        "beam=0",
        "length_penalty=nan",
        "batch_size=many",
        "accelerator=tpu",
        "output=",
        "beem=3",
        "--beam",
    )
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert "9 mistakes" in ended.stderr
    for part in (
        "none.ckpt: there is no such file",
        "none.png does not exist",
        "beam=0: must be at least 1",
        "length_penalty=nan: must be at least 0",
        "batch_size=many: must be a whole number",
        "accelerator=tpu: must be one of auto",
        "output=: must be given a value",
        "did you mean 'beam'",
        "--beam: there are no options",
    ):
        assert part in ended.stderr


def test_help_explains_every_setting() -> None:
    ended = command("--help")
    assert ended.returncode == 0
    for word in ("checkpoint", "inputs", "beam", "invert", "encoder_weights", "Exit status", "invert=true"):
        assert word in ended.stdout


@pytest.mark.parametrize(
    ("arguments", "inputs"),
    [
        (["inputs=a b.jpg"], ["a b.jpg"]),
        (
            ["inputs=[a.jpg,folder/,\"more, too/*.png\", 'd[1].jpg']"],
            ["a.jpg", "folder/", "more, too/*.png", "d[1].jpg"],
        ),
        (["a.jpg", "inputs=b#1.jpg", "c:\\d.jpg"], ["b#1.jpg", "a.jpg", "c:\\d.jpg"]),
        (["inputs=[a\\b.jpg]"], ["a\\b.jpg"]),
    ],
)
def test_inputs_are_read_as_they_are_written(arguments: list[str], inputs: list[str]) -> None:
    settings, _, mistakes = read_command([*arguments, "checkpoint=o/lr=0.1,d=${x}/best.ckpt", "beam=null"])
    assert mistakes == []
    assert sorted(settings.inputs) == sorted(inputs)
    assert settings.checkpoint == "o/lr=0.1,d=${x}/best.ckpt"
    assert settings.beam is None


def test_damaged_foreign_and_unfitting_checkpoints_are_refused_in_a_sentence(
    classifier: Path, squares: tuple[Path, dict[str, int]], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    whole = classifier / "checkpoints" / "best.ckpt"
    data = bytearray(whole.read_bytes())
    data[len(data) // 2] ^= 1
    content = read_checkpoint(whole)
    damaged, foreign, older = (tmp_path / f"{name}.ckpt" for name in ("damaged", "foreign", "older"))
    damaged.write_bytes(data)
    write_checkpoint(foreign, {**content, "hyper_parameters": {"words": 3}})
    write_checkpoint(older, {**content, "hyper_parameters": {**content["hyper_parameters"], "classes": 7}})
    for path, cause in (
        (damaged, "is damaged"),
        (foreign, "neither a captioner's nor a classifier's"),
        (older, "does not fit this version of the code"),
        (squares[0] / "00.png", "not one of this project"),
        (squares[0], "no checkpoint to choose"),
    ):
        out = tmp_path / "out"
        assert predict(f"checkpoint={path}", f"inputs={squares[0]}", f"output={out}") == 2
        error = capsys.readouterr().err
        assert cause in error
        assert "1 mistake." in error
        assert not out.exists()


LARGE: dict[str, Any] = {"image_size": (1, 10**6, 10**6)}  # a network of petabytes


@pytest.mark.parametrize(
    "changes",
    [
        LARGE,
        {"classes": 10**9},
        {"image_size": "x"},
        {"image_size": [[]]},
        {"classes": None},
        {"dropout": "\x1b[31m" * 1000},
        {"two\nlines": 1},
    ],
)
def test_settings_of_somebody_elses_make_no_network(
    classifier: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    content = read_checkpoint(classifier / "checkpoints" / "best.ckpt")
    path = tmp_path / "a.ckpt"
    write_checkpoint(path, {**content, "hyper_parameters": {**content["hyper_parameters"], **changes}})
    with pytest.raises(CheckpointError, match="does not fit this version of the code") as caught:
        rebuilt(open_checkpoint(path), Classifier)
    # Refused by the sizes, before the memory is asked for.
    assert ("its settings ask for" in str(caught.value)) == (changes in ({"classes": 10**9}, LARGE))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


def test_paths_that_cannot_be_are_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    long = "x" * 5000
    for given in ("~nobody_of_this_name/a", long, f"{tmp_path}/{long}"):
        assert predict(f"checkpoint={given}", f"inputs={given}", f"a={long}") == 2
        error = capsys.readouterr().err
        assert "3 mistakes" in error
        assert "Traceback" not in error


def test_settings_of_the_other_task_and_a_run_as_output_are_refused(
    classifier: Path, squares: tuple[Path, dict[str, int]], capsys: pytest.CaptureFixture
) -> None:
    assert predict(f"checkpoint={classifier}", f"inputs={squares[0]}", "beam=5", f"output={classifier}") == 2
    error = capsys.readouterr().err
    assert "beam: is a setting of captions" in error
    assert "a run's own folder" in error
    in_the_way = squares[0] / "00.png" / "deeper"
    assert predict(f"checkpoint={classifier}", f"inputs={squares[0]}", f"output={in_the_way}") == 2
    assert "a file is in the way" in capsys.readouterr().err


def test_no_readable_image_at_all_writes_nothing(
    classifier: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out = tmp_path / "out"
    for name, said in (
        ("photo.heic", "format cannot be read here: 1 .heic"),
        ("torn.png", "Skipped: "),
    ):
        (tmp_path / name).write_bytes(b"torn")
        assert predict(f"checkpoint={classifier}", f"inputs={tmp_path}", f"output={out}") == 1
        told = capsys.readouterr().err
        assert said in told
        assert "Nothing was written: no image can be read." in told
    assert not out.exists()


def test_every_readable_format_of_a_folder_is_taken_and_the_others_are_counted(
    classifier: Path, squares: tuple[Path, dict[str, int]], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    folder, out = tmp_path / "mixed", tmp_path / "out"
    folder.mkdir()
    image = Image.open(squares[0] / "00.png")
    readable = [f"a{suffix}" for suffix in (".jfif", ".jpe", ".png", ".avif", ".jp2") if suffix in suffixes()]
    for name in readable:
        image.save(folder / name)
    image.convert("RGB").save(folder / "a.mpo", "JPEG")
    for name in ("b.heic", "c.HEIC", "d.svg", "notes.txt"):
        (folder / name).write_bytes(b"of no use")
    assert predict(f"checkpoint={classifier}", f"inputs={folder}", f"output={out}") == 0
    told = capsys.readouterr().err
    assert told.count("Left out") == 1
    assert f"2 .heic, 1 .svg ({folder / 'b.heic'}, ...)" in told
    with (out / "labels.csv").open() as file:
        assert [row["file"] for row in csv.DictReader(file)] == sorted([*readable, "a.mpo"])


def test_deep_images_are_read_as_in_training_unless_told_otherwise(
    captioners: dict[str, Path], captioned: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    out, deep, run = tmp_path / "out", tmp_path / "deep.png", captioners["tiny"]
    grey = np.asarray(Image.open(captioned / "images" / "34.png").convert("L"))
    Image.fromarray(grey.astype(np.uint16) << 4).save(deep)
    Image.fromarray(grey).save(tmp_path / "flat.png")
    content = read_checkpoint(run / "checkpoints" / "last.ckpt")
    for setting in ("0,4095", "full", None):  # None: a checkpoint from before there was a setting
        encoder = dict(content["hyper_parameters"]["encoder"])
        assert encoder.pop("value_range") == "auto"
        encoder |= {"value_range": setting} if setting else {}
        parameters = {**content["hyper_parameters"], "encoder": encoder}
        write_checkpoint(tmp_path / f"{setting}.ckpt", {**content, "hyper_parameters": parameters})

    def said(checkpoint: Path, *settings: str) -> tuple[float, str]:
        writer_settings, _, mistakes = read_command([f"checkpoint={checkpoint}", "inputs=a", *settings])
        assert mistakes == []
        writer = load_writer(
            open_checkpoint(checkpoint), torch.device("cpu"), value_range=writer_settings.images.range
        )
        ((row,),) = writer.rows_of([deep], 1)
        ((flat,),) = writer.rows_of([tmp_path / "flat.png"], 1)
        assert isinstance(row, Caption)
        assert isinstance(flat, Caption)
        return abs(row.log_probability - flat.log_probability), "\n".join(writer.remarks([row]))

    assert predict(f"checkpoint={run}", deep, f"output={out}") == 0
    top = int(grey.max()) << 4
    assert f"deep.png: values up to {top:,} of 65,535: rescaled" in capsys.readouterr().err
    assert said(run / "checkpoints" / "last.ckpt")[0] < 1e-4
    assert said(tmp_path / "0,4095.ckpt")[0] < 1e-4
    for name in ("full", "None"):
        difference, told = said(tmp_path / f"{name}.ckpt")
        assert difference > 1e-3
        assert "nearly black: rescale to 8 bits by images.range=auto or images.range=0,4095" in told
        assert said(tmp_path / f"{name}.ckpt", "images.range=0,4095")[0] < 1e-4
    assert predict(f"checkpoint={run}", deep, f"output={out}", "images.range=9,1") == 2
    assert "images.range=9,1: must be auto, full, or MIN,MAX" in capsys.readouterr().err


def test_best_run_of_a_sweep_is_taken_and_unfinished_ones_are_named(
    classifier: Path, squares: tuple[Path, dict[str, int]], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    sweep = tmp_path / "sweep"
    for name, accuracy in (("low", 0.25), ("high", 0.75)):
        shutil.copytree(classifier, sweep / name)
        results = json.loads((classifier / "results.json").read_text())
        changed = sealed({**results, "run": name, "val_acc": accuracy})
        (sweep / name / "results.json").write_text(json.dumps(changed))
    out = f"output={tmp_path / 'out'}"
    assert predict(f"checkpoint={sweep}", f"inputs={squares[0]}", out) == 0
    assert f"Taking {sweep / 'high'} (validation accuracy 0.7500" in capsys.readouterr().err
    for name in ("low", "high"):
        (sweep / name / "results.json").unlink()
    assert predict(f"checkpoint={sweep}", f"inputs={squares[0]}", out) == 2
    assert "no run of this sweep is done; name one of high, low" in capsys.readouterr().err
    shutil.rmtree(sweep / "low" / "checkpoints")
    assert predict(f"checkpoint={sweep / 'low'}", f"inputs={squares[0]}", out) == 2
    assert "has no checkpoint yet" in capsys.readouterr().err


def test_captions_need_the_encoder_of_the_training(
    captioned: Path, captioners: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    inputs, out = f"inputs={captioned / 'images'}", f"output={tmp_path / 'out'}"
    content = read_checkpoint(captioners["mean"] / "checkpoints" / "last.ckpt")
    encoder = {**content["hyper_parameters"]["encoder"], "digest": "0123456789abcdef"}
    other = tmp_path / "other.ckpt"
    write_checkpoint(
        other, {**content, "hyper_parameters": {**content["hyper_parameters"], "encoder": encoder}}
    )
    assert predict(f"checkpoint={other}", inputs, out) == 2
    assert "was trained with 0123456789abcdef" in capsys.readouterr().err
    assert predict(f"checkpoint={captioners['mean']}", inputs, out, "encoder_weights=/none.pth") == 2
    assert "there is no weights file /none.pth" in capsys.readouterr().err
    assert predict(f"checkpoint={captioners['tiny']}", inputs, out, "encoder_weights=/none.pth") == 2
    assert "leave encoder_weights out" in capsys.readouterr().err
