"""A stranger's study, from docs/EXTENDING.md and the README as they stand: nothing in `src/` knows of it."""

import json
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image

from src.run.trained import load_trained
from tests.command_line import ROOT, Command, results_of, rows_of, run, run_train
from tests.made_up_captions import write_captioned

SWEEP = (
    "network._target_=my_study.Net",
    "network.width=8,16",
    "data._target_=my_study.load",
    "data.val_size=50",
)
QUICK = ("batch_size=16", "lr=0.1", "name=colours", "workers=1")


def python_blocks(page: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The study's module, on Python's path."""
    folder = tmp_path_factory.mktemp("package")
    (study,) = python_blocks("docs/EXTENDING.md")
    assert len(study.splitlines()) <= 60
    (folder / "my_study.py").write_text(study)
    sys.path.insert(0, str(folder))
    yield folder
    sys.path.remove(str(folder))


def test_the_study_is_swept_killed_resumed_ranked_and_predicts(package: Path, tmp_path: Path) -> None:
    alone = run_train("-m", *SWEEP, *QUICK, "epochs=4", f"output_dir={tmp_path / 'alone'}")
    assert alone.status == 0, alone.err
    assert "2 runs: 2 done" in alone.out
    killed = Command("train", "-m", *SWEEP, *QUICK, "epochs=4", f"output_dir={tmp_path / 'killed'}")
    killed.wait_for_rows(tmp_path / "killed" / "colours", 1)
    killed.send(signal.SIGKILL, to_group=True)
    killed.end()
    again = run_train("-m", *SWEEP, *QUICK, "epochs=4", f"output_dir={tmp_path / 'killed'}")
    assert again.status == 0, again.err
    folders = sorted(path.parent for path in (tmp_path / "alone").glob("*/*/results.json"))
    assert len(folders) == 2
    for folder in folders:
        other = tmp_path / "killed" / "colours" / folder.name
        assert rows_of(folder) == rows_of(other)
        assert results_of(folder)["val_acc"] == results_of(other)["val_acc"] > 0.9
    ranked = run("rank", str(tmp_path / "alone" / "colours"), "plots=false")
    assert (ranked.status, "network.width" in ranked.out) == (0, True)

    image = tmp_path / "green.png"
    Image.new("RGB", (16, 16), (0, 200, 0)).save(image)
    asked = (
        f"checkpoint={tmp_path / 'alone' / 'colours'}",
        f"inputs=[{image}]",
        f"output={tmp_path / 'labels'}",
    )
    refused = run("predict", *asked)
    assert refused.status in (1, 2)
    assert "trust=[my_study]" in refused.err or "trust=my_study" in refused.err
    trusted = run("predict", *asked, "trust=[my_study]")
    assert (trusted.status, "green" in trusted.out) == (0, True), trusted.err
    module = load_trained(str(tmp_path / "alone" / "colours"), trust=["my_study"]).module
    assert module(torch.zeros(2, 3, 16, 16, dtype=torch.uint8)).shape == (2, 3)
    runs, out = tmp_path / "alone" / "colours", tmp_path / "files"
    for name, *words in (
        ("filters.__main__", runs, f"out={out}"),
        ("theory.__main__", f"run={runs}", f"out={out}"),
        ("doubted", runs, f"output={out}"),
        ("export.__main__", f"run={runs}", "to=torch_export", f"output={out / 'export'}"),
    ):
        opened = run(name, *map(str, words), "trust=[my_study]")
        assert opened.status == 0, (name, opened.err)


def test_a_strangers_captions_are_read(package: Path, tmp_path: Path) -> None:
    squares = write_captioned(tmp_path / "squares")
    (package / "my_captions.py").write_text(
        "from src.captioning.karpathy import read_karpathy\nread = read_karpathy\n"
    )
    (package / "my_reader.py").write_text(
        "import my_captions\ndef read(root): return my_captions.read(root)\n"
    )
    ended = run_train(
        *(
            "task=caption",
            "data._target_=my_reader.read",
            f"data.root={squares}",
            "encoder=tiny",
            "encoder.size=32",
        ),
        *(
            "epochs=1",
            "attention=true",
            "threads=1",
            f"encoder.cache={tmp_path / 'c'}",
            f"output_dir={tmp_path}",
        ),
    )
    assert ended.status == 0, ended.err


def test_a_strangers_decoder_captions(package: Path, tmp_path: Path) -> None:
    ended = run_train(
        *(
            "task=caption",
            "decoder._target_=my_study.GRUDecoder",
            "decoder.state=16",
            "encoder=tiny",
            "encoder.size=32",
        ),
        *(
            "data.scenes=20",
            f"data.root={tmp_path / 'scenes'}",
            "data.scene_size=128",
            f"encoder.cache={tmp_path / 'c'}",
        ),
        *("epochs=1", "name=gru", "limit_train=20", f"output_dir={tmp_path / 'out'}"),
    )
    assert ended.status == 0, ended.err
    (captions,) = (tmp_path / "out").glob("*/*/captions.json")
    assert json.loads(captions.read_text())


def test_everything_else_of_the_contract_in_one_run(package: Path, tmp_path: Path) -> None:
    """Optimizer, schedule, callback, logger and Trainer options by configuration, the callback by one's own YAML."""
    (package / "my_callback.py").write_text(
        "from lightning.pytorch.callbacks import Callback\n"
        "class Counts(Callback):\n"
        "    def __init__(self, path): self.path = path\n"
        "    def on_train_end(self, trainer, module): open(self.path, 'w').write(str(trainer.global_step))\n"
    )
    (tmp_path / "conf" / "callbacks").mkdir(parents=True)
    (tmp_path / "conf" / "callbacks" / "counts.yaml").write_text(
        f"counts:\n  _target_: my_callback.Counts\n  path: {tmp_path / 'steps'}\n"
    )
    ended = run_train(
        *("network._target_=my_study.Net", "data._target_=my_study.load", "data.val_size=50", "epochs=2"),
        *("optimizer._target_=torch.optim.RMSprop", "optimizer.alpha=0.9", "schedule=cosine", "lr=0.01"),
        *(
            "--config-dir",
            str(tmp_path / "conf"),
            "callbacks=[counts,early_stopping]",
            "logger=[csv,tensorboard]",
        ),
        *("trainer.accumulate_grad_batches=2", "batch_size=10", f"output_dir={tmp_path / 'out'}"),
    )
    assert ended.status == 0, ended.err
    assert (tmp_path / "steps").read_text() == "10"  # 100 images, 10 a batch, two batches a step, 2 epochs
    (folder,) = (path.parent for path in (tmp_path / "out").glob("*/*/results.json"))
    assert list(folder.glob("csv/*/metrics.csv"))
    assert "callbacks=counts+early_stopping" in folder.name


ORDINARY = """
import numpy as np, torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from src.classification.data import ImageArrays

class Net(nn.Module):  # `view`, a lazy layer, a mask of -inf
    def __init__(self, classes):
        super().__init__()
        self.conv, self.out = nn.Conv2d(3, 4, 3, padding=1), nn.LazyLinear(classes)
        self.register_buffer("mask", torch.full((4, 4), float("-inf")).triu(1))
    def forward(self, x):
        return self.out(self.conv(x).relu().view(-1, 4 * 8 * 8))

class Best(Callback):  # a scalar of NumPy
    best = np.float64(9)
    def state_dict(self): return {"best": self.best}
    def load_state_dict(self, state): self.best = np.minimum(self.best, state["best"])

def load():  # negative strides, names of NumPy
    labels = np.arange(60) % 2
    images = (labels[:, None, None, None] * np.full((1, 8, 8, 3), 200)).astype(np.uint8)[..., ::-1]
    return ImageArrays(images, labels, images, labels, np.unique(["dark", "light"]))
"""


def test_what_is_ordinary_elsewhere_trains_goes_on_and_predicts(package: Path, tmp_path: Path) -> None:
    (package / "ordinary.py").write_text(ORDINARY)
    ours = ("network._target_=ordinary.Net", "data._target_=ordinary.load", "data.val_size=20", "epochs=2")
    asked = (*ours, "callbacks.best._target_=ordinary.Best", "trainer.max_time={hours: 1}", "lr=0.1")
    first = run_train(*asked, "stop_after=1", f"output_dir={tmp_path}")
    assert (first.status, "after epoch 1 of 2" in first.out + first.err) == (0, True), first.err
    ended = run_train(*asked, f"output_dir={tmp_path}")
    assert (ended.status, "going on without" in ended.err) == (0, False), ended.err
    (run_folder,) = (path.parent for path in tmp_path.glob("*/*/results.json"))
    Image.new("RGB", (8, 8), "white").save(tmp_path / "white.png")
    labelled = run("predict", f"checkpoint={run_folder}", str(tmp_path / "white.png"), "trust=[ordinary]")
    assert "light" in labelled.out, labelled.err


def test_the_readmes_snippets_work(tmp_path: Path) -> None:
    network, _ = python_blocks("README.md")
    names: dict[str, object] = {}
    exec(f"import math\nfrom torch import nn\n{network}", names)
    net = names["Net"](classes=10, image_size=(1, 28, 28))  # type: ignore[operator]
    assert net(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
