"""`python -m src.predict` on own images: captions, labels, and every mistake a user can make."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from src.captioning.encoder import build_encoder, preprocess
from src.captioning.features import features_of
from src.captioning.predict import CaptionPredictor
from src.classification.module import Classifier
from src.classification.predict import LabelPredictor, prepare
from src.images import read_rgb
from src.run.checkpoints import read_checkpoint, write_checkpoint
from src.run.trained import load_trained
from tests.command_line import Ended, plan, run, train_here
from tests.made_up_captions import write_captioned
from tests.made_up_data import bright_squares

CAPTIONERS = {  # an encoder that is trained, and a frozen one
    "attention": ("decoder=attention", "encoder=tiny", "beam=3", "lr=0.01", "epochs=4"),
    "mean": ("decoder=lstm", "encoder=efficientnet_lite0", "lr=0.01", "epochs=2"),
}


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_captioned(tmp_path_factory.mktemp("captioned"))


@pytest.fixture(scope="module")
def captioners(captioned: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run folders of captioners, by the keys of CAPTIONERS."""
    output = tmp_path_factory.mktemp("captioners")
    data = ("task=caption", "data=karpathy", f"data.root={captioned}")
    encoder = ("encoder.size=64", f"encoder.cache={output / 'features'}")
    common = (*data, *encoder, "dropout=0", "compare_beam=null", "gallery=[34.png]")
    return {
        name: trained(f"output_dir={output}", f"name={name}", *common, *settings)
        for name, settings in CAPTIONERS.items()
    }


@pytest.fixture(scope="module")
def classifier(on_idx: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of a classifier that knows where the bright square is."""
    return trained(*on_idx, "epochs=3", "lr=0.05", f"output_dir={tmp_path_factory.mktemp('classifier')}")


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A folder with images that the classifier has not seen, and their classes by file name."""
    folder = tmp_path_factory.mktemp("squares")
    images, labels = bright_squares(20, seed=3)
    for number, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{number:02}.png")
    return folder, {f"{number:02}.png": str(label) for number, label in enumerate(labels)}


def trained(*overrides: str) -> Path:
    made = plan("accelerator=cpu", "threads=1", "progress=false", *overrides)
    train_here(made)
    return made.run.folder


def predict(checkpoint: object, *arguments: object, **options: Any) -> Ended:
    ended = run("predict", f'checkpoint="{checkpoint}"', *map(str, arguments), "accelerator=cpu", **options)
    assert "Traceback" not in ended.err
    return ended


def captions_in(path: Path) -> dict[str, str]:
    return {entry["image_id"]: entry["caption"] for entry in json.loads(path.read_text())}


def rows_in(folder: Path) -> list[dict[str, str]]:
    with (folder / "predictions.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def encoder_of(run_folder: Path) -> dict[str, Any]:
    return read_checkpoint(run_folder / "checkpoints" / "last.ckpt")["hyper_parameters"]["encoder"]


def changed_checkpoint(run_folder: Path, path: Path, **changes: Any) -> Path:
    content = read_checkpoint(run_folder / "checkpoints" / "last.ckpt")
    write_checkpoint(path, {**content, "hyper_parameters": {**content["hyper_parameters"], **changes}})
    return path


@pytest.mark.parametrize("name", CAPTIONERS)
def test_captions_are_those_of_the_runs_own_test(
    name: str, captioned: Path, captioners: dict[str, Path], tmp_path: Path
) -> None:
    written = captions_in(captioners[name] / "captions.json")
    expected = {Path(image).name: text for image, text in written.items()}
    photos = [captioned / "images" / file for file in expected]
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 torn")
    last = captioners[name] / "checkpoints" / "last.ckpt"
    ended = predict(last, f"output={tmp_path / 'out'}", *photos, tmp_path / "torn.jpg", "batch_size=3")
    assert ended.status == 1
    assert captions_in(tmp_path / "out" / "captions.json") == expected
    assert len(set(expected.values())) > 1  # or equality would say little
    page = (tmp_path / "out" / "gallery.html").read_text()
    assert page.count("<article>") == len(expected) == 8
    words = sum(len(caption.split()) for caption in expected.values())
    assert page.count("<li>") == (0 if name == "mean" else words)  # a map a word
    assert f"beam={3 if name == 'attention' else 1}, max_words=22" in ended.err
    assert "torn.jpg cannot be read: Truncated" in ended.err
    assert "1 of 9 images could not be read." in ended.err
    assert f"File: {tmp_path / 'out' / 'captions.json'}" in ended.err
    assert all(file in ended.out and caption in ended.out for file, caption in expected.items())


def test_frozen_encoder_gives_what_the_decoder_learned_from(
    captioned: Path, captioners: dict[str, Path], tmp_path: Path
) -> None:
    paths = sorted((captioned / "images").iterdir())[:5]
    predictor: Any = CaptionPredictor(load_trained(str(captioners["mean"])), torch.device("cpu"))
    images = torch.stack([preprocess(read_rgb(path), 64) for path in paths])
    encoded, known = predictor.encode(images)[:, 0], predictor.known
    encoder = build_encoder(known["config"], known["size"])
    stored = np.array(features_of(paths, encoder, tmp_path, engine=predictor.engine))
    assert np.array_equal(encoded.numpy(), stored.mean(1, dtype=np.float32))


def test_folder_is_labelled_in_small_batches(
    classifier: Path, squares: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    folder, labels = squares
    ended = predict(classifier.parent, f"inputs={folder}", f"output={tmp_path}", "batch_size=3")
    assert ended.status == 0
    assert "the best of 1 runs" in ended.err
    rows = rows_in(tmp_path)
    assert [row["file"] for row in rows] == sorted(labels)
    assert all(row["label"] == row["class"] == labels[row["file"]] for row in rows)
    for row in rows:
        found = [float(row[f"probability{place}"]) for place in ("", "_2", "_3")]
        assert found == sorted(found, reverse=True)
    assert (tmp_path / "gallery.html").read_text().count("<article>") == len(labels)


def test_namesakes_are_told_by_their_folders_and_no_image_at_all_is_an_error(
    classifier: Path, squares: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    (tmp_path / "00.png").write_bytes((squares[0] / "00.png").read_bytes())
    paths = [tmp_path / "00.png", squares[0] / "00.png"]
    assert predict(classifier, *paths, f"output={tmp_path / 'out'}").status == 0
    assert [row["file"] for row in rows_in(tmp_path / "out")] == list(map(str, paths))
    (tmp_path / "none.png").touch()
    ended = predict(classifier, tmp_path / "none.png", f"output={tmp_path / 'out'}")
    assert (ended.status, "Nothing was written: no image was read." in ended.err) == (1, True)


def test_colour_classifier_of_another_size_and_of_untrusted_code(
    captioned: Path, classifier: Path, tmp_path: Path
) -> None:
    network = {"_target_": "src.classification.networks.ConvNet", "dropout": 0.0, "classes": 2}
    settings: dict[str, Any] = {
        "network": {**network, "image_size": [3, 20, 16]},
        "optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1},
        "image_size": [3, 20, 16],
        "class_names": ["left", "right"],
    }
    weights = Classifier(**settings).state_dict()
    path = tmp_path / "colour.ckpt"
    write_checkpoint(path, {"hyper_parameters": settings, "state_dict": weights})
    ended = predict(path, captioned / "images", f"output={tmp_path / 'out'}")
    assert ended.status == 0
    assert "in colour, resized to 20x16 pixels" in ended.err
    assert {row["class"] for row in rows_in(tmp_path / "out")} <= {"left", "right"}
    settings["network"] = {**network, "_target_": "theirs.Net"}
    write_checkpoint(path, {"hyper_parameters": settings, "state_dict": weights})
    ended = predict(path, captioned / "images")
    assert ended.status == 1
    assert "trust=[theirs] allows it" in ended.err


def test_image_of_the_right_size_stays_and_another_is_centred_on_black() -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (28, 28)).astype(np.uint8)
    image = Image.fromarray(pixels).convert("RGB")
    assert np.array_equal(prepare(image, (1, 28, 28), False)[0], pixels)
    assert np.array_equal(prepare(image, (1, 28, 28), True)[0], 255 - pixels)
    wide = prepare(Image.new("RGB", (200, 100), "white"), (1, 28, 28), False)[0]
    assert (wide[7:21] == 255).all()
    assert (wide[:7] == 0).all()
    assert (wide[21:] == 0).all()
    for size in ((5000, 1), (1, 400), (2000, 10)):
        assert prepare(Image.new("RGB", size, "white"), (1, 28, 28), False).max() == 255
    assert prepare(Image.new("RGB", (200, 100), (1, 2, 3)), (3, 8, 6), False)[:, 7, 5].tolist() == [1, 2, 3]


def test_interrupted_command_writes_what_it_has(
    classifier: Path, squares: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    def interrupt_third_batch() -> None:
        usual, batches = LabelPredictor.predict, iter(range(9))

        def predict(self: Any, *arguments: Any) -> Any:
            if next(batches) == 2:
                raise KeyboardInterrupt
            return usual(self, *arguments)

        LabelPredictor.predict = predict  # type: ignore[method-assign, assignment]

    asked = (squares[0], f"output={tmp_path}", "batch_size=4")
    ended = predict(classifier, *asked, prepare=interrupt_third_batch)
    assert ended.status == 130
    assert len(rows_in(tmp_path)) == 8
    assert "Stopped after 8 of 20 images" in (tmp_path / "gallery.html").read_text()


def test_out_of_memory_names_a_batch_size(
    classifier: Path, squares: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    def fill_memory() -> None:
        def predict(*_: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")

        LabelPredictor.predict = predict  # type: ignore[method-assign, assignment]

    ended = predict(classifier, squares[0], f"output={tmp_path}", prepare=fill_memory)
    assert ended.status == 1
    assert "batch_size=16: memory ran out; try batch_size=8" in ended.err


def test_deep_images_are_read_as_in_training_unless_told_otherwise(
    captioners: dict[str, Path], captioned: Path, tmp_path: Path
) -> None:
    grey = np.asarray(Image.open(captioned / "images" / "34.png").convert("L"))
    Image.fromarray(grey.astype(np.uint16) << 4).save(tmp_path / "deep.png")
    Image.fromarray(grey).save(tmp_path / "flat.png")
    run_folder, images = captioners["attention"], (tmp_path / "deep.png", tmp_path / "flat.png")
    known = encoder_of(run_folder)
    full = changed_checkpoint(run_folder, tmp_path / "full.ckpt", encoder={**known, "value_range": "full"})

    def probabilities(checkpoint: Path, *settings: str) -> tuple[set[str], str]:
        ended = predict(checkpoint, *images, f"output={tmp_path}", *settings)
        return {line.split()[-1] for line in ended.out.splitlines() if ".png" in line}, ended.err

    found, said = probabilities(run_folder / "checkpoints" / "last.ckpt")
    assert len(found) == 1
    assert "deep.png: 12-bit values in 16 bits, rescaled to 8 bits" in said
    found, said = probabilities(full)
    assert len(found) == 2
    assert "nearly black: images.range=auto or images.range=0,4095 rescales them" in said
    assert len(probabilities(full, "images.range=0,4095")[0]) == 1


def test_all_errors_of_a_command_are_named_at_once(tmp_path: Path) -> None:
    wrong = ("beam=0", "length_penalty=nan", "batch_size=many", "beem=3", "images.range=9,1")
    ended = predict(tmp_path / "none.ckpt", f"inputs=[{tmp_path / 'none.png'}]", *wrong)
    said = ("beam=0: must be at least 1", "length_penalty=", "batch_size=many: must be a whole number")
    for part in (*said, "did you mean 'beam'", "images.range=9,1: must be auto, full, or MIN,MAX"):
        assert part in ended.err
    assert ended.status == 2
    ended = predict(tmp_path / "none.ckpt", tmp_path / "none.png")
    assert ended.status == 2
    assert "none.ckpt: there is no such file" in ended.err
    assert "none.png cannot be opened: No such file" in ended.err
    for inputs, words in (
        (("", "x.png"), "an input is empty"),
        (("inputs=[a.png]", "x.png"), "x.png is its value, too"),
    ):
        ended = run("predict", "checkpoint=best", *inputs)
        assert (ended.status, words in ended.err) == (2, True), ended.err


def test_checkpoints_and_settings_that_do_not_fit(
    classifier: Path, captioners: dict[str, Path], squares: tuple[Path, dict[str, str]], tmp_path: Path
) -> None:
    data = bytearray((classifier / "checkpoints" / "best.ckpt").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "damaged.ckpt").write_bytes(data)
    mean = captioners["mean"]
    encoder = {**encoder_of(mean), "digest": "0123456789abcdef"}
    other = changed_checkpoint(mean, tmp_path / "other.ckpt", encoder=encoder)
    network = {"_target_": "src.classification.networks.ConvNet", "image_size": [1, 10**6, 10**6]}
    huge = changed_checkpoint(classifier, tmp_path / "huge.ckpt", network={**network, "dropout": 0.0})
    cases: list[tuple[Path, tuple[str, ...], str]] = [
        (tmp_path / "damaged.ckpt", (), "is damaged"),
        (squares[0] / "00.png", (), "no checkpoint"),
        (huge, (), "does not fit this version"),
        (other, (), "was trained with 0123456789abcdef"),
        (mean, ("encoder_weights=/none.pth",), "/none.pth"),
        (captioners["attention"], ("encoder_weights=/none.pth",), "leave encoder_weights out"),
        (classifier, ("beam=5",), "beam: "),
        (mean, ("invert=true",), "invert: "),
        (classifier, (f'output="{classifier}"',), "a run's own folder"),
        (classifier, (f"output={squares[0] / '00.png' / 'deeper'}",), "00.png"),
    ]
    for checkpoint, settings, cause in cases:
        output = () if any("output" in one for one in settings) else (f"output={tmp_path / 'out'}",)
        ended = predict(checkpoint, squares[0], *settings, *output)
        assert ended.status in (1, 2), cause
        assert cause in ended.err
        assert not (tmp_path / "out").exists()
