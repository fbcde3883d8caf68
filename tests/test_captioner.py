"""The captioner on its command line and in process: learning, files, resuming, every recipe setting."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from src.captioning.data import PairBatch
from src.captioning.module import Captioner
from src.captioning.task import build_data, build_module
from src.sweep.plan import preflight
from tests.command_line import Command, plan, results_of, run, run_train, same_numbers, train_here
from tests.made_up_captions import write_captioned

TINY = ("encoder=tiny", "encoder.size=64")
EIGHT = ("epochs=8", "lr=0.008", "gallery=[32,33]")
LITE = ("encoder=efficientnet_lite0", "encoder.size=64")
GOLDEN = {  # the first two as they were before encoders came by configuration
    "lstm": [2.826307, 2.776455, 2.749466],
    "attention": [2.835638, 2.774223, 2.637192],
    "transformer": [7.768729, 6.880957, 5.841452],
}


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_captioned(tmp_path_factory.mktemp("squares"))


@pytest.fixture(scope="module")
def on_squares(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    cache = tmp_path_factory.mktemp("cache")
    return (
        *("task=caption", "data=karpathy", "accelerator=cpu", "threads=1", "name=squares", "compare_beam=3"),
        *(f"data.root={squares}", f"encoder.cache={cache}"),
    )


def test_a_sweep_learns_to_caption_and_leaves_everything_to_look_at(
    on_squares: tuple[str, ...], tmp_path: Path
) -> None:
    ended = run_train(*on_squares, *TINY, f"output_dir={tmp_path}", *EIGHT, "-m", "attention=false,true")
    assert ended.status == 0, ended.err
    sweep = tmp_path / "squares"
    assert (sweep / "ranking.csv").exists()
    for decoder in ("lstm", "attention"):
        (folder,) = sweep.glob(f"decoder={decoder},*")
        results = results_of(folder)
        assert results["status"] == "done"
        # three captions an image from three templates: a decoder that sees colour and side gets above 0.9
        assert results["test_bleu4"] > 0.6
        assert results["baselines"]["constant"]["bleu4"] < results["test_bleu4"]
        assert results["test_beam3_bleu4"] > 0.5
        assert (
            results["signatures"]["bleu4"]
            == "bleu4|agg:corpus|smooth:none|tok:lower,nopunct|refs:3|beam:1|v:1"
        )
        predictions = json.loads((folder / "captions.json").read_text())
        assert [entry["image_id"] for entry in predictions] == [f"{number}.png" for number in range(32, 40)]
        assert (folder / "gallery.html").read_text().count("<img") >= 8
        with Image.open(folder / "gallery.png") as picture:
            assert picture.width > 400
        maps = list((folder / "attention").glob("*.png"))
        assert len(maps) == (2 if decoder == "attention" else 0)
        assert ("pointing_game" in results) == (decoder == "attention")
    runs = sorted(sweep.glob("decoder=*"))
    last = [
        str(folder / "checkpoints" / "last.ckpt") for folder in runs
    ]  # whose captions captions.json holds
    beside = run("gallery", f"runs={last}", "images=3", f"output={tmp_path}")
    assert beside.status == 0, beside.err
    page = (tmp_path / "gallery.html").read_text()
    for folder in runs:
        written = json.loads((folder / "captions.json").read_text())
        for number in (0, 4, 7):  # evenly spaced among eight
            assert f"{written[number]['image_id']} · {folder.parent.name}/{folder.name}" in page
            assert f"<h2>{written[number]['caption']}</h2>" in page
    again = plan(*on_squares, *TINY, f"output_dir={tmp_path}", *EIGHT, "attention=true")
    assert again.is_done()
    assert not preflight([again])  # the seed draws the same encoder: the data are the same


@pytest.mark.parametrize(
    "encoder", [TINY, pytest.param(LITE, marks=pytest.mark.slow)], ids=["trained", "frozen"]
)
def test_a_killed_run_carries_on_with_the_very_numbers(
    encoder: tuple[str, ...], on_squares: tuple[str, ...], tmp_path: Path
) -> None:
    command = (
        *on_squares,
        *encoder,
        "attention=true",
        "epochs=4",
        "limit_test=1",
        "schedule=cosine",
        "sampling=0.3",
    )
    whole = plan(*command, f"output_dir={tmp_path / 'whole'}")
    train_here(whole)
    arguments = (*command, f"output_dir={tmp_path / 'killed'}")
    process = Command("train", *arguments)
    process.wait_for_rows(tmp_path / "killed" / "squares", 2)
    process.send(signal.SIGKILL, to_group=True)
    process.end()
    killed = plan(*arguments)
    assert not (killed.run.folder / "results.json").exists()
    train_here(killed)
    same_numbers(killed.run.folder, whole.run.folder)


@pytest.mark.parametrize(
    "settings",
    [
        (
            *TINY,
            "decoder=attention_deep",
            "attention_penalty=1.0",
            "label_smoothing=0.1",
            "precision=bf16-mixed",
        ),
        (*LITE, "encoder.fine_tune=true", "encoder.lr=1e-5", "decoder=transformer", "decoder.width=32"),
        (*LITE, "decoder.embedding=16", "decoder.state=24", "data.min_count=3", "beam=2"),
        ("encoder=timm", "encoder.model=resnet18", "encoder.pretrained=false", "encoder.size=64"),
        ("encoder=own", "encoder._target_=tests.test_encoder.Patches", "encoder.width=6", "encoder.size=64"),
    ],
)
def test_every_part_of_the_recipe_is_a_setting(
    settings: tuple[str, ...], on_squares: tuple[str, ...], tmp_path: Path
) -> None:
    train_here(
        plan(*on_squares, *settings, "epochs=1", f"output_dir={tmp_path}", "limit_train=4", "limit_test=2")
    )


def batch_and_module(*overrides: str) -> tuple[PairBatch, Captioner]:
    """Four pairs of the training split and a fresh module, outside any training."""
    cfg = plan(*overrides).cfg
    data = build_data(cfg)
    data.setup()
    torch.manual_seed(0)
    module = build_module(cfg, data)
    split = data.splits["train"]
    pairs = np.array([0, 4, 8, 11])  # captions of different lengths: some are padded

    class Trainer:
        """What `training_step` asks of a trainer."""

        max_epochs, current_epoch, global_step = 5, 0, 0

    module._trainer = Trainer()  # type: ignore[assignment]
    return PairBatch(split.inputs_of(split.owners[pairs]), split.captions(pairs)), module


def test_smoothing_and_penalty_join_the_loss_as_defined(on_squares: tuple[str, ...]) -> None:
    settings = ("attention=true", "dropout=0", "label_smoothing=0.2", "attention_penalty=0.5")
    batch, module = batch_and_module(*on_squares, *LITE, *settings)
    loss = module.training_step(batch, 0)["loss"]
    regions, tokens, _ = batch
    scores, alphas = module.decoder(regions, tokens[:, :-1])
    targets = tokens[:, 1:]
    words = targets != 0
    assert not words.all()
    # the same probability of 0.2 / V for all words, the rest for the right one (Szegedy et al. 2016)
    logs = scores.log_softmax(2)[words]
    right = logs[torch.arange(len(logs)), targets[words]]
    smoothed = -(0.8 * right + 0.2 * logs.mean(1)).mean()
    spent = torch.stack([alphas[row, words[row]].sum(0) for row in range(len(tokens))])  # (B, L)
    expected = smoothed + 0.5 * ((1 - spent) ** 2).sum(1).mean()
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)
    assert float(loss) != pytest.approx(float(F.cross_entropy(scores[words], targets[words])), rel=1e-3)


def test_sampling_rises_from_nothing_to_its_setting(
    on_squares: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch, module = batch_and_module(*on_squares, *LITE, "attention=true", "sampling=0.4")
    found: list[float] = []

    def forward(regions: Any, tokens: Any, sampling: float = 0.0) -> Any:
        found.append(sampling)
        return torch.zeros(*tokens.shape, len(module.vocabulary)), None

    monkeypatch.setattr(module.decoder, "forward", forward)
    for epoch in range(5):
        module.trainer.current_epoch = epoch  # type: ignore[misc]
        module.training_step(batch, 0)
    assert found == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def test_the_first_losses_are_the_golden_ones(
    on_squares: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that another initialisation, order or dropout is noticed."""
    losses: list[float] = []
    step = Captioner.training_step

    def recorded(self: Captioner, batch: PairBatch, index: int) -> Any:
        found = step(self, batch, index)
        losses.append(float(found["loss"].detach()))
        return found

    monkeypatch.setattr(Captioner, "training_step", recorded)
    for name, golden in GOLDEN.items():
        losses.clear()
        train_here(
            plan(
                *on_squares,
                *LITE,
                f"decoder={name}",
                "epochs=1",
                "limit_test=1",
                f"output_dir={tmp_path}/{name}",
            )
        )
        assert losses[:3] == pytest.approx(golden, abs=1e-4)


def test_a_trained_encoder_has_its_own_rate_and_is_in_the_checkpoint(on_squares: tuple[str, ...]) -> None:
    _, module = batch_and_module(*on_squares, *TINY, "lr=0.003", "encoder.lr=1e-4")
    module.trainer.precision_plugin = None  # type: ignore[misc, assignment]
    groups = module.configure_optimizers().param_groups
    assert [group["lr"] for group in groups] == [0.003, 1e-4]
    assert module.encoder is not None
    assert {id(weight) for weight in groups[1]["params"]} == set(map(id, module.encoder.parameters()))
    again = Captioner(**module.hparams)
    again.load_state_dict(module.state_dict())


def test_errors_are_named(on_squares: tuple[str, ...], squares: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(squares, broken)
    (broken / "images" / "3.png").write_bytes(b"no image")
    (broken / "images" / "5.png").write_bytes(b"")
    own = (part for part in on_squares if not part.startswith("data.root="))
    for command, status, messages in (
        (
            (*on_squares, "encoder=tiny", "encoder.widht=3"),
            2,
            ("encoder.widht: Tiny has no argument 'widht'",),
        ),
        (("task=caption", "data=karpathy", f"data.root={tmp_path}/none"), 2, ("there is no caption file",)),
        ((*own, *TINY, f"data.root={broken}"), 2, ("2 of 40 images", "3.png", "5.png")),
        ((*on_squares, *TINY, "gallery=[nobody]", "epochs=1"), 1, ("the test split has no such image",)),
    ):
        ended = run_train(*command, f"output_dir={tmp_path}/out")
        assert ended.status == status, ended.err
        assert all(message in ended.err for message in messages), ended.err
        assert "Traceback" not in ended.err
