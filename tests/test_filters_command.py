"""`python -m src.filters`, and the report's section, on a run of the real command."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from src.classification.module import Classifier
from src.filters.__main__ import draw
from src.filters.classifier import untrained
from src.filters.command import chosen_filters, read_command
from src.job import run_job
from src.report.filters import section
from src.report.sources import Sources
from src.trained import open_checkpoint, rebuilt
from tests.command_line import NO_GPU, ROOT, plan


@pytest.fixture(scope="module")
def sweep(idx_data: Path, on_idx: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep with one run that hardly learned (lr 1e-9)."""
    output = tmp_path_factory.mktemp("runs")
    found = plan(
        *on_idx, "epochs=1", "lr=1e-9", "limit_train=64", "seed=5", "name=it", f"output_dir={output}"
    )
    assert run_job(found.cfg, found.run, lambda line: None, show_bar=False)["status"] == "done"
    return output / "it"


@pytest.fixture(scope="module")
def data(idx_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same data in Fashion-MNIST's place."""
    root = tmp_path_factory.mktemp("data")
    (root / "FashionMNIST").mkdir()
    (root / "FashionMNIST" / "raw").symlink_to(idx_data)
    return root


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "src.filters", *arguments],
        cwd=ROOT,
        env={**os.environ, **NO_GPU, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_command_draws_everything(sweep: Path, data: Path, tmp_path: Path) -> None:
    Image.new("RGB", (50, 30), (250, 10, 90)).save(tmp_path / "own $1.png")
    ended = run(
        f"checkpoint={sweep}",
        f"image={tmp_path / 'own $1.png'}",
        f"data={data}",
        f"out={tmp_path / 'out'}",
        "filters=3,30",
        "top=2",
    )
    assert ended.returncode == 0, ended.stderr
    names = {path.name for path in (tmp_path / "out").iterdir()}
    stems = ("kernels-conv1", "kernels-conv2", "kernels-conv2-all", "activations", "exciting-conv2")
    assert names == {f"{stem}{suffix}" for stem in stems for suffix in (".png", ".svg")}


def test_mistakes_are_named_in_a_sentence_each(
    sweep: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = f"out={tmp_path / 'out'}"
    (tmp_path / "text.png").write_text("no image")
    (tmp_path / "file").touch()
    for arguments, sentence in (
        (["top=0", "filters=40", out], "filters=40: there is no filter 40; the layer's are 0 to 31"),
        ([f"data={tmp_path}", out], f"data={tmp_path}: the data file"),
        ([f"image={tmp_path / 'text.png'}", out], "is not an image that can be read"),
        (["top=0", f"out={tmp_path / 'file' / 'x'}"], "cannot be written: "),
    ):
        assert draw([f"checkpoint={sweep}", *arguments]) == 2
        said = capfd.readouterr()
        assert sentence in said.out + said.err
    assert draw([f"checkpoint={tmp_path / 'none'}"]) == 2
    assert not (tmp_path / "out").exists()


def test_command_line_is_checked_before_anything_is_opened() -> None:
    _, mistakes = read_command(["layer=conv9", "tpo=3", "top=1e3", "invert=maybe", "--out", "filters=1;2"])
    assert mistakes == [
        "layer=conv9: must be one of conv1, conv2",
        "tpo=3: there is no setting 'tpo'; did you mean 'top'?",
        "top=1e3: must be a whole number",
        "invert=maybe: must be true or false",
        "--out: cannot be read; settings are given as key=value",
        "checkpoint: must be given (checkpoint=outputs/fashion_mnist)",
        "filters=1;2: must be whole numbers from 0 with commas between them, as 3,17",
    ]
    assert read_command(["checkpoint=a", "filters=3, 1,3", "top=21"])[1] == [
        "top=21: must be at least 0 and at most 20"
    ]
    assert chosen_filters("3, 1,3", 4) == [3, 1]


def test_untrained_gives_the_weights_that_a_run_began_with(sweep: Path) -> None:
    (folder,) = [path.parent for path in sweep.glob("*/results.json")]
    trained = rebuilt(open_checkpoint(folder / "checkpoints" / "last.ckpt"), Classifier)
    for ours, theirs in zip(untrained(trained).parameters(), trained.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_section_of_a_run_that_hardly_learned(sweep: Path, data: Path) -> None:
    found = section(Sources(sweep=sweep, data=data))
    assert found.missing == ()
    names = [picture.name for picture in found.pictures]
    assert names[:4] == ["kernels-conv1", "kernels-conv2-channel-0", "kernels-conv2-all", "activations-0"]
    assert names[-1] == "exciting-conv2"
    assert len({picture.title for picture in found.pictures}) == len(names)
    text = " ".join(found.answer)
    assert "kernels are those that training began with" in text
    assert "no more than the" in text  # as peaked as before training
    kinds, _, peaked = found.tables
    assert [row[1] for row in kinds.rows] == [row[2] for row in kinds.rows]
    assert peaked.rows[0][1:] == peaked.rows[1][1:]


def test_section_says_what_is_missing(sweep: Path, tmp_path: Path) -> None:
    nothing = section(Sources(sweep=tmp_path / "none", data=tmp_path))
    assert nothing.pictures == ()
    assert "make sweep" in nothing.missing[0]
    kernels = section(Sources(sweep=sweep, data=tmp_path))
    assert [picture.name for picture in kernels.pictures] == [
        "kernels-conv1",
        "kernels-conv2-channel-0",
        "kernels-conv2-all",
    ]
    assert "make data" in kernels.missing[0]
