"""What is taken away gives what PyTorch gives: files of ONNX and torch.export, weights, the Hub."""

from __future__ import annotations

import json
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from src.captioning.encoder import build_encoder
from src.captioning.module import Captioner
from src.captioning.predict import CaptionPredictor
from src.classification.module import Classifier
from src.export import caption_onnx, formats
from src.export.graphs import graphs_of
from src.export.hub import from_pretrained
from src.export.parity import ExportDiffers, check_parity, real_images
from src.files import modified_files
from src.predictions import predict_all
from src.run.checkpoints import write_checkpoint
from src.run.trained import Trained, load_trained
from tests.command_line import run
from tests.extras import needs_onnxruntime
from tests.hub_server import hub

pytestmark = needs_onnxruntime
TINY = {"_target_": "src.captioning.backbones.Tiny"}
SIZE, WORDS = 48, ["<pad>", "<start>", "<end>", "<unk>", *"abcdefghijkl"]
DECODERS = {"lstm": "LSTMDecoder", "attention": "AttentionDecoder", "transformer": "TransformerDecoder"}
EACH = ["attention", *(pytest.param(name, marks=pytest.mark.slow) for name in ("lstm", "transformer"))]
ADAM = {"_target_": "torch.optim.Adam"}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number, mode in enumerate(("RGB", "RGBA", "L", "RGB", "RGB")):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 5, 4), np.uint8), "RGBA").convert(mode)
        coarse.resize((60, 50), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


def captioner(folder: Path, name: str) -> Path:
    """A checkpoint of a captioner with a frozen encoder, whose random weights write different captions."""
    encoder = build_encoder(TINY, SIZE)
    known: Any = {"config": TINY, "size": SIZE, "dim": encoder.dim, "grid": list(encoder.grid), "lr": None}
    known |= {"digest": encoder.digest, "trained": False, "train_norms": False, "position": name != "lstm"}
    decoder: Any = {"_target_": f"src.captioning.decoders.{DECODERS[name]}"}
    decoder |= {"layers": 1} if name == "transformer" else {}  # tracing takes a second a layer
    torch.manual_seed(1)
    search = {"beam": 2, "max_words": 7, "length_penalty": 0.5}
    module = Captioner(vocabulary=WORDS, encoder=known, decoder=decoder, optimizer=ADAM, **search)  # type: ignore[arg-type]
    with torch.no_grad():
        for key, weight in module.named_parameters():
            if "norm" not in key:
                weight.mul_({"lstm": 6, "attention": 3, "transformer": 1}[name])
            if key.startswith(("decoder.initial", "decoder.attend_region")):
                weight.mul_(100)
    return saved(module, folder / f"{name}.ckpt")


def classifier(folder: Path) -> Path:
    network = {"_target_": "src.classification.networks.ConvNet", "dropout": 0.3, "image_size": [1, 12, 12]}
    module = Classifier(
        network={**network, "classes": 4}, optimizer=ADAM, image_size=[1, 12, 12], class_names=list("wxyz")
    )
    return saved(module, folder / "classifier.ckpt")


def saved(module: Any, path: Path) -> Path:
    write_checkpoint(path, {"hyper_parameters": dict(module.hparams), "state_dict": module.state_dict()})
    return path


def expected_captions(trained: Trained, photos: Path) -> dict[str, tuple[str, float]]:
    predictor = CaptionPredictor(trained, torch.device("cpu"), fast=False)
    rows = predict_all(predictor, sorted(photos.iterdir()), 16, False).rows
    return {row.cells[0]: (row.record["caption"], float(row.cells[2])) for row in rows}


@pytest.fixture(scope="module")
def without_torch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment's Python with onnxruntime, numpy, Pillow and what they need."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=False, symlinks=True)
    here = Path(sysconfig.get_path("purelib"))
    there = folder / Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
    for part in ("onnxruntime", "numpy", "numpy.libs", "PIL", "pillow.libs", "flatbuffers", "packaging"):
        if (here / part).exists():
            (there / part).symlink_to(here / part)
    (there / "google").symlink_to(here / "google")  # protobuf
    return folder / "bin" / "python"


@pytest.mark.parametrize("name", EACH)
def test_captioner_as_onnx_needs_no_torch(
    name: str, photos: Path, without_torch: Path, tmp_path: Path
) -> None:
    checkpoint = captioner(tmp_path, name)
    out = tmp_path / "out"
    ended = run("export.__main__", f"run={checkpoint}", "to=onnx", f"inputs=[{photos}]", f"output={out}")
    assert ended.status == 0, ended.err
    assert "differs from PyTorch by" in ended.err
    files = {"encoder.onnx", "start.onnx", "step.onnx", "caption_onnx.py", "README.md", "SHA256SUMS"}
    assert {path.name for path in out.iterdir()} == files
    assert modified_files(out) == []
    expected = expected_captions(load_trained(str(checkpoint)), photos)
    assert (
        name == "transformer" or len({caption for caption, _ in expected.values()}) > 2
    )  # or equality would say little
    assert (
        subprocess.run([without_torch, "-c", "import torch"], capture_output=True, check=False).returncode
        == 1
    )
    command = [without_torch, out / "caption_onnx.py", *sorted(photos.iterdir())]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in printed.splitlines():
        path, caption, score = line.split("\t")
        assert caption == expected[Path(path).name][0]
        assert float(score) == pytest.approx(
            expected[Path(path).name][1], abs=0.006
        )  # two decimals are shown
    about = caption_onnx.load(out).about
    assert about["vocabulary"] == WORDS
    assert about["data_licence"].startswith("unknown")


@pytest.mark.parametrize("name", EACH)
def test_torch_export_gives_the_same_at_every_batch_and_beam(name: str, photos: Path, tmp_path: Path) -> None:
    trained = load_trained(str(captioner(tmp_path, name)))
    graphs = graphs_of(trained.module, build_encoder(TINY, SIZE))
    about: Any = {key: trained.module.hparams[key] for key in ("vocabulary", "max_words", "length_penalty")}
    formats.quietly(formats.write_torch_export)(tmp_path, graphs, about)
    model, encode = formats.load_torch_export(tmp_path), graphs["encoder"].network
    images = real_images(trained, [str(photos)])
    assert check_parity(model, trained.module, encode, images) < 1e-4
    module: Any = trained.module
    with torch.no_grad():
        module.decoder.output.bias.add_(torch.linspace(0, 0.1, len(WORDS)))
    with pytest.raises(ExportDiffers, match="nothing was written"):
        check_parity(model, module, encode, images)


def test_classifier_in_every_format(photos: Path, without_torch: Path, tmp_path: Path) -> None:
    checkpoint = classifier(tmp_path)
    module = load_trained(str(checkpoint)).module
    for to in ("onnx", "torch_export", "safetensors"):
        arguments = (f"run={checkpoint}", f"to={to}", f"inputs=[{photos}]", f"output={tmp_path / to}")
        ended = run("export.__main__", *arguments)
        assert ended.status == 0, ended.err
    command = [without_torch, tmp_path / "onnx" / "caption_onnx.py", photos / "0.png"]
    label, probability = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[
        1:3
    ]
    with torch.no_grad():
        scores = module(real_images(load_trained(str(checkpoint)), [str(photos / "0.png")])[:1]).softmax(1)
    assert label == "wxyz"[int(scores.argmax())]
    assert float(probability.strip("%")) == pytest.approx(100 * float(scores.max()), abs=0.06)
    again = from_pretrained(tmp_path / "safetensors").module.state_dict()
    assert all(torch.equal(again[name], value) for name, value in module.state_dict().items())


def test_nothing_is_written_where_results_differ(photos: Path, tmp_path: Path) -> None:
    def spoil() -> None:
        right = caption_onnx.Model.labels
        caption_onnx.Model.labels = lambda *some, **more: right(*some, **more)[::-1]  # type: ignore[method-assign]

    out = tmp_path / "out"
    arguments = (f"run={classifier(tmp_path)}", "to=torch_export", f"inputs=[{photos}]", f"output={out}")
    ended = run("export.__main__", *arguments, prepare=spoil)
    assert ended.status == 1
    assert "nothing was written" in ended.err
    assert list(out.iterdir()) == []


def test_to_the_hub_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, out = captioner(tmp_path, "transformer"), tmp_path / "out"
    with hub() as (address, held):
        variables = {"HF_TOKEN": "hf_none", "HF_HUB_DISABLE_TELEMETRY": "1"}

        def prepare() -> None:
            monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)

        command = (f"run={checkpoint}", "to=hub_folder", f"output={out}", "push_to_hub=me/squares")
        ended = run("export.__main__", *command, "private=true", prepare=prepare, **variables)
        assert ended.status == 0, ended.err
        assert "Uploaded: https://huggingface.co/me/squares/commit/1" in ended.err
        files = held.repositories["me/squares"]
        assert files == {path.name: path.read_bytes() for path in out.iterdir()}
        assert held.requests[0]["visibility"] == "private"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(
            "huggingface_hub.file_download.HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False
        )
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        ours, theirs = load_trained(str(checkpoint)).module, from_pretrained("me/squares").module
    assert dict(ours.hparams) == dict(theirs.hparams)
    for name, value in ours.state_dict().items():
        assert torch.equal(theirs.state_dict()[name], value)
    card = files["README.md"].decode()
    assert "pipeline_tag: image-to-text" in card
    assert "frozen encoder's weights (Tiny" in card
    assert json.loads(files["config.json"])["task"] == "caption"


def test_a_strangers_weights_run_no_code(tmp_path: Path) -> None:
    module = load_trained(str(classifier(tmp_path))).module
    module.hparams["network"] = {"_target_": "os.system", "command": "true"}
    from src.run.weights import write_safetensors

    write_safetensors(tmp_path / "model.safetensors", module, {})
    with pytest.raises(Exception, match=r"os\.system"):
        from_pretrained(tmp_path / "model.safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(Exception, match="is damaged, or no export"):
        from_pretrained(tmp_path / "model.safetensors")
