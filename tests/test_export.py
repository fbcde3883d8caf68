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
from src.classification.predict import prepare
from src.export import caption_onnx
from src.export.hub import from_pretrained
from src.export.parity import ExportDiffers, check_parity, predictor_of, real_images
from src.files import modified_files
from src.images import read_rgb
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


def export(checkpoint: Path, to: str, photos: Path, out: Path) -> Path:
    ended = run("export.__main__", f"run={checkpoint}", f"to={to}", f"inputs=[{photos}]", f"output={out}")
    assert ended.status == 0, ended.err
    assert "scores differ from PyTorch's by" in ended.err or "the same to the last bit" in ended.err
    return out


@pytest.fixture(scope="module")
def exported(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    """A captioner with attention as ONNX, and the one that it was made of."""
    folder = tmp_path_factory.mktemp("exported")
    checkpoint = captioner(folder, "attention")
    return export(checkpoint, "onnx", photos, folder / "out"), load_trained(str(checkpoint))


def test_captioner_as_onnx_needs_no_torch(
    exported: tuple[Path, Trained], photos: Path, without_torch: Path
) -> None:
    out, trained = exported
    files = {"encoder.onnx", "start.onnx", "step.onnx", "caption_onnx.py", "README.md", "SHA256SUMS"}
    assert {path.name for path in out.iterdir()} == files
    assert modified_files(out) == []
    expected = expected_captions(trained, photos)
    assert len({caption for caption, _ in expected.values()}) > 2  # or equality would say little
    no_torch = subprocess.run([without_torch, "-c", "import torch"], capture_output=True, check=False)
    assert no_torch.returncode == 1
    command = [without_torch, out / "caption_onnx.py", *sorted(photos.iterdir())]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for line in printed.splitlines():
        path, caption, score = line.split("\t")
        needed, its_score = expected[Path(path).name]
        assert caption == needed
        assert float(score) == pytest.approx(its_score, abs=0.006)  # two decimals are shown
    about = caption_onnx.load(out).about
    assert about["vocabulary"] == WORDS
    assert about["data_licence"].startswith("unknown")


def test_parity_finds_a_bias(exported: tuple[Path, Trained], photos: Path) -> None:
    model, trained = caption_onnx.load(exported[0]), exported[1]
    predictor = predictor_of(trained)
    images = real_images(trained, predictor, [str(photos)])
    assert check_parity(model, predictor, images) < 1e-4
    with torch.no_grad():
        bias: Any = predictor.module.decoder.output.bias
        shift = torch.linspace(0, 0.1, len(WORDS))
        bias.add_(shift)
        try:
            with pytest.raises(ExportDiffers, match="nothing was written"):
                check_parity(model, predictor, images)
        finally:
            bias.sub_(shift)


@pytest.mark.slow
@pytest.mark.parametrize("to", ["onnx", "torch_export"])
@pytest.mark.parametrize("name", DECODERS)
def test_every_decoder_in_both_graph_formats(name: str, to: str, photos: Path, tmp_path: Path) -> None:
    export(captioner(tmp_path, name), to, photos, tmp_path / "out")


def test_classifier_as_onnx_and_weights(photos: Path, without_torch: Path, tmp_path: Path) -> None:
    checkpoint = classifier(tmp_path)
    module = load_trained(str(checkpoint)).module
    for to in ("onnx", "safetensors"):  # torch_export: below
        export(checkpoint, to, photos, tmp_path / to)
    command = [without_torch, tmp_path / "onnx" / "caption_onnx.py", photos / "0.png"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    _, label, probability, *_ = printed.split()
    with torch.no_grad():
        images = torch.tensor(caption_onnx.load(tmp_path / "onnx").pixels(photos / "0.png"))[None]
        scores = module(images).softmax(1)
    assert label == "wxyz"[int(scores.argmax())]
    assert float(probability.strip("%")) == pytest.approx(100 * float(scores.max()), abs=0.06)
    again = from_pretrained(tmp_path / "safetensors").module.state_dict()
    assert all(torch.equal(again[name], value) for name, value in module.state_dict().items())
    sizes = [(tmp_path / "safetensors" / "model.safetensors").stat().st_size]
    out = tmp_path / "half"
    ended = run("export.__main__", f"run={checkpoint}", "to=safetensors", "half=true", f"output={out}")
    assert ended.status == 0, ended.err
    sizes.append((out / "model.safetensors").stat().st_size)
    assert sizes[1] < 0.6 * sizes[0]
    rounded = from_pretrained(out).module.state_dict()
    assert all(torch.equal(rounded[name], value.half().to(value.dtype)) for name, value in again.items())
    ended = run("export.__main__", f"run={checkpoint}", "to=onnx", "half=true", f"output={out}")
    assert (ended.status, "half=true: is for to=safetensors" in ended.err) == (2, True)


def test_a_folder_holds_one_export_and_nobody_elses_files(photos: Path, tmp_path: Path) -> None:
    out, checkpoint = tmp_path / "out", classifier(tmp_path)
    export(checkpoint, "onnx", photos, out)
    export(checkpoint, "safetensors", photos, out)
    assert {path.name for path in out.iterdir()} == {"model.safetensors", "README.md", "SHA256SUMS"}
    again = run("export.__main__", f"run={out}", "to=safetensors", f"output={tmp_path / 'again'}")
    assert again.status == 0, again.err
    cards = [(folder / "README.md").read_text() for folder in (out, tmp_path / "again")]
    assert cards[0] == cards[1]
    assert "Weights of the last epoch." in cards[0]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "README.md").write_text("mine")
    ended = run("export.__main__", f"run={checkpoint}", "to=safetensors", f"output={tmp_path / 'mine'}")
    assert (ended.status, "has a README.md that is no export's" in ended.err) == (2, True)
    assert (tmp_path / "mine" / "README.md").read_text() == "mine"
    itself = run("export.__main__", f"run={out}", "to=onnx", f"output={out}")
    assert (itself.status, (out / "model.safetensors").is_file()) == (2, True), itself.err
    unknown = run("export.__main__", f"run={out}", "to=torch_export", f"output={tmp_path / 'graph'}")
    assert (unknown.status, "its data are not known here" in unknown.err) == (1, True)


def test_the_program_beside_the_graphs_reads_what_src_predict_reads(photos: Path, tmp_path: Path) -> None:
    model = caption_onnx.Model({"image_size": [1, 12, 12]}, lambda name, inputs: {})
    for path in photos.iterdir():
        assert (model.pixels(path) == prepare(read_rgb(path), (1, 12, 12), invert=False).numpy()).all()
    Image.new("L", (1, 300), 200).save(tmp_path / "thin.png")
    assert model.pixels(tmp_path / "thin.png").shape == (1, 12, 12)
    Image.fromarray(np.full((5, 5), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(ValueError, match="deeper than 8 bits"):
        model.pixels(tmp_path / "deep.png")


def test_classifier_by_torch_export_writes_nothing_where_results_differ(photos: Path, tmp_path: Path) -> None:
    def spoil() -> None:
        right = caption_onnx.Model.labels
        caption_onnx.Model.labels = lambda *some, **more: right(*some, **more)[::-1]  # type: ignore[method-assign]

    out = tmp_path / "out"
    checkpoint = classifier(tmp_path)
    arguments = (f"run={checkpoint}", "to=torch_export", f"inputs=[{photos}]", f"output={out}")
    ended = run("export.__main__", *arguments, prepare=spoil)
    assert ended.status == 1
    assert "nothing was written" in ended.err
    assert list(out.iterdir()) == []
    assert (export(checkpoint, "torch_export", photos, out) / "classifier.pt2").is_file()


def test_to_the_hub_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, out = captioner(tmp_path, "transformer"), tmp_path / "out"
    with hub() as (address, held):
        variables = {"HF_TOKEN": "hf_none", "HF_HUB_DISABLE_TELEMETRY": "1"}

        def prepare() -> None:
            monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)

        command = (f"run={checkpoint}", "to=hub_folder", f"output={out}", "push_to_hub=me/squares")
        ended = run("export.__main__", *command, prepare=prepare, **variables)
        assert ended.status == 0, ended.err
        assert "Uploaded: https://huggingface.co/me/squares/commit/1" in ended.err
        files = held.repositories["me/squares"]
        assert files == {path.name: path.read_bytes() for path in out.iterdir()}
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
