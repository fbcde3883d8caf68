"""The captioner on its real command line and in process: learning, files, resuming, every recipe setting."""

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.plugins import MixedPrecision
from PIL import Image
from torch.utils.data import DataLoader

from src.captioning.data import CaptionData, PairBatch
from src.captioning.module import Captioner
from src.captioning.task import build_module
from src.job import run_job
from tests.command_line import finish, plan, run_train, same_numbers, start_train, wait_for_rows
from tests.made_up_captions import write_captioned

TINY = (
    *("task=caption", "data=karpathy", "accelerator=cpu", "threads=1", "name=squares"),
    *("encoder.name=tiny", "encoder.size=64", "lr=0.003", "compare_beam=3"),
)


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_captioned(tmp_path_factory.mktemp("squares"))


@pytest.fixture(scope="module")
def on_squares(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    return (*TINY, f"data.root={squares}", f"encoder.cache={tmp_path_factory.mktemp('cache')}")


def train_here(*overrides: str) -> tuple[dict[str, Any], Path]:
    """Train in this process; the results and the run's folder."""
    asked = plan(*overrides)
    threads = torch.get_num_threads()
    try:
        results = run_job(asked.cfg, asked.run, print, show_bar=False)
    finally:
        torch.set_num_threads(threads)
    return results, asked.run.folder


def test_a_sweep_learns_to_caption_and_leaves_everything_to_look_at(
    on_squares: tuple[str, ...], tmp_path: Path
) -> None:
    ended = run_train(*on_squares, f"output_dir={tmp_path}", "epochs=14", "-m", "attention=false,true")
    assert ended.status == 0, ended.err
    assert "Ranked by validation BLEU-4 alone" in " ".join(ended.out.split())
    sweep = tmp_path / "squares"
    assert (sweep / "ranking.csv").exists()
    for attention in ("false", "true"):
        (folder,) = sweep.glob(f"attention={attention},*")
        results = json.loads((folder / "results.json").read_text())
        assert results["status"] == "done"
        # three captions an image from three templates: a decoder that sees colour and side gets above 0.9
        assert results["test_bleu4"] > 0.6
        assert results["baselines"]["constant"]["bleu4"] < results["test_bleu4"]
        assert results["test_beam3_bleu4"] > 0.5
        assert (
            results["signatures"]["bleu4"]
            == "bleu4|agg:corpus|smooth:none|tok:lower,nopunct|refs:3|beam:1|v:1"
        )
        written = json.loads((folder / "captions.json").read_text())
        assert [entry["image_id"] for entry in written] == [f"{number}.png" for number in range(32, 40)]
        assert (folder / "gallery.html").read_text().count("<img") >= 8
        with Image.open(folder / "gallery.png") as picture:
            assert picture.width > 400
        maps = list((folder / "attention").glob("*.png"))
        assert len(maps) == (6 if attention == "true" else 0)
        assert ("pointing_game" in results) == (attention == "true")


def test_a_killed_run_carries_on_with_the_very_numbers(on_squares: tuple[str, ...], tmp_path: Path) -> None:
    command = (
        *on_squares,
        *("attention=true", "epochs=6", "schedule=cosine", "sampling=0.3", "encoder.name=efficientnet_lite0"),
    )
    _, expected = train_here(*command, f"output_dir={tmp_path / 'whole'}")
    arguments = (*command, f"output_dir={tmp_path / 'killed'}")
    process = start_train(*arguments)
    wait_for_rows(process, tmp_path / "killed" / "squares", 2)
    os.killpg(process.pid, signal.SIGKILL)
    finish(process)
    folder = tmp_path / "killed" / "squares" / expected.name
    assert not (folder / "results.json").exists()
    results, _ = train_here(*arguments)
    assert results["status"] == "done"
    same_numbers(folder, expected)


@pytest.mark.parametrize(
    "settings",
    [
        (
            "attention=true",
            "decoder.gate=true",
            "decoder.deep_output=true",
            "attention_penalty=1.0",
            "label_smoothing=0.1",
        ),
        ("attention=true", "clip=null", "clip_norm=1.0", "optimizer=adamw", "weight_decay=0.01"),
        ("attention=false", "encoder.name=efficientnet_lite0", "encoder.fine_tune=true", "encoder.lr=1e-5"),
        ("attention=false", "decoder.embedding=16", "decoder.state=24", "data.min_count=3", "beam=2"),
    ],
)
def test_every_part_of_the_recipe_is_a_setting(
    settings: tuple[str, ...], on_squares: tuple[str, ...], tmp_path: Path
) -> None:
    results, _ = train_here(*on_squares, *settings, "epochs=1", f"output_dir={tmp_path}", "limit_train=4")
    assert (results["status"], results["cause"]) == ("done", None)


def batch_and_module(*overrides: str) -> tuple[Any, Captioner]:
    """The first four pairs of the training split and a fresh module, outside any training."""
    cfg = plan(*overrides).cfg
    data = CaptionData(cfg, print, False)
    data.setup()
    torch.manual_seed(0)
    module = build_module(cfg, data)
    split = data.splits["train"]
    pairs = np.array([0, 4, 8, 11])  # captions of different lengths: some are padded
    device = torch.device("cpu")
    return (split.look(split.owners[pairs], device), split.captions(pairs, device)), module


def test_the_loss_is_the_mean_over_the_words_without_padding(on_squares: tuple[str, ...]) -> None:
    (seen, tokens), module = batch_and_module(
        *on_squares, "encoder.name=efficientnet_lite0", "attention=true", "dropout=0", "data.min_count=1"
    )
    give_trainer(module)
    loss = module.training_step(PairBatch(seen, tokens), 0)
    words, total = 0, 0.0
    for row in range(len(tokens)):
        length = int((tokens[row] != 0).sum())
        caption = tokens[row, :length]
        scores, _ = module.decoder(seen[row : row + 1], caption[:-1].unsqueeze(0))
        log_probabilities = scores[0].log_softmax(1)
        total -= float(log_probabilities[torch.arange(length - 1), caption[1:]].sum())
        words += length - 1
    assert float(loss) == pytest.approx(total / words, rel=1e-5)


def test_smoothing_and_penalty_join_the_loss_as_defined(on_squares: tuple[str, ...]) -> None:
    (seen, tokens), module = batch_and_module(
        *on_squares,
        *("encoder.name=efficientnet_lite0", "attention=true", "dropout=0"),
        *("label_smoothing=0.2", "attention_penalty=0.5"),
    )
    give_trainer(module)
    loss = module.training_step(PairBatch(seen, tokens), 0)
    scores, alphas = module.decoder(seen, tokens[:, :-1])
    assert alphas is not None
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
    plain = F.cross_entropy(scores[words], targets[words])
    assert float(loss) != pytest.approx(float(plain), rel=1e-3)


def test_sampling_rises_from_nothing_to_its_setting(on_squares: tuple[str, ...]) -> None:
    _, module = batch_and_module(*on_squares, "attention=true", "sampling=0.4")
    give_trainer(module)
    trainer: Any = module.trainer
    trainer.max_epochs = 5
    found = []
    for trainer.current_epoch in range(5):
        found.append(module._sampling())
    assert found == pytest.approx([0.0, 0.1, 0.2, 0.3, 0.4])


def give_trainer(module: Captioner) -> None:
    """Give the module what `training_step` asks of a trainer."""

    class Trainer:
        max_epochs, current_epoch, global_step = 1, 0, 0

    module._trainer = Trainer()  # type: ignore[assignment]


def test_gradients_are_clamped_element_by_element(on_squares: tuple[str, ...]) -> None:
    _, module = batch_and_module(*on_squares, "attention=true", "clip=0.5")
    weights = list(module.decoder.parameters())
    for weight in weights:
        weight.grad = torch.full_like(weight, 3.0)
        weight.grad.view(-1)[0] = -0.25
    module.configure_gradient_clipping(torch.optim.SGD(weights, lr=1.0))
    assert all(weight.grad is not None and weight.grad.max() <= 0.5 for weight in weights)
    first = weights[0].grad
    assert first is not None
    assert float(first.view(-1)[0]) == -0.25


def test_clip_norm_scales_the_whole_gradient(on_squares: tuple[str, ...]) -> None:
    _, module = batch_and_module(*on_squares, "attention=true", "clip=null", "clip_norm=2.0")
    weights = list(module.decoder.parameters())
    for weight in weights:
        weight.grad = torch.full_like(weight, 3.0)
    module.configure_gradient_clipping(torch.optim.SGD(weights, lr=1.0))
    gradient = torch.cat([weight.grad.flatten() for weight in weights if weight.grad is not None])
    assert float(gradient.double().norm()) == pytest.approx(2.0, rel=2e-3)  # summed in float32 there
    assert float(gradient.max() - gradient.min()) < 1e-6  # scaled, not clamped: all were equal


class SlopeOfThree(Captioner):
    """Whose loss has the gradient 3 everywhere."""

    def training_step(self, *_: Any) -> torch.Tensor:
        return 3 * sum((weight.sum() for weight in self.decoder.parameters()), torch.zeros(()))

    def on_train_batch_end(self, *_: Any) -> None:
        pass

    def on_train_epoch_end(self) -> None:
        pass


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("limit", "step"), [("clip=5", 3.0), ("clip=2", 2.0)])
def test_what_is_clipped_of_fp16_is_the_true_gradient(
    limit: str, step: float, on_squares: tuple[str, ...]
) -> None:
    """Not the one that is scaled by 65,536, as a GPU's GradScaler begins with."""
    _, plain = batch_and_module(*on_squares, "attention=true", "optimizer=sgd", "lr=1.0", limit)
    module = SlopeOfThree(**plain.hparams)
    before = {name: weight.detach().clone() for name, weight in module.decoder.named_parameters()}
    scaler = torch.amp.GradScaler("cpu", init_scale=65536.0)
    seen: list[float] = []

    class Reads(L.Callback):
        def on_before_optimizer_step(self, *_: Any) -> None:
            seen.append(max(float(w.grad.max()) for w in module.parameters() if w.grad is not None))

    trainer = L.Trainer(
        accelerator="cpu",
        max_steps=1,
        logger=False,
        callbacks=[Reads()],
        plugins=[MixedPrecision("16-mixed", "cpu", scaler)],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    one_batch: Any = DataLoader([0])  # type: ignore[arg-type]
    trainer.fit(module, one_batch)
    assert seen == [3.0]
    for name, weight in module.decoder.named_parameters():
        torch.testing.assert_close(weight.detach(), before[name] - step, rtol=1e-6, atol=1e-5)


def test_a_trained_encoder_has_its_own_rate(on_squares: tuple[str, ...]) -> None:
    _, module = batch_and_module(*on_squares, "lr=0.01", "encoder.lr=1e-4")
    groups = module.configure_optimizers().param_groups
    assert [group["lr"] for group in groups] == [0.01, 1e-4]
    assert module.encoder is not None
    assert {id(weight) for weight in groups[1]["params"]} == {
        id(weight) for weight in module.encoder.parameters() if weight.requires_grad
    }


def test_settings_of_the_decoder_reach_it(on_squares: tuple[str, ...]) -> None:
    asked = ("decoder.gate=true", "decoder.deep_output=true", "decoder.state=24")
    _, module = batch_and_module(*on_squares, "attention=true", *asked)
    assert module.decoder.gate is not None
    assert module.decoder.deep is not None
    assert module.decoder.initial_h.out_features == 24
    _, without = batch_and_module(
        *on_squares, "attention=false", *asked
    )  # so that one -m can sweep attention
    assert without.decoder.gate is None
    assert without.decoder.deep is None


def test_mistakes_are_named(on_squares: tuple[str, ...], squares: Path, tmp_path: Path) -> None:
    ended = run_train("task=caption", "data=karpathy", f"data.root={tmp_path}/nowhere", "clip=-1")
    assert ended.status == 2
    assert "clip=-1: must be above 0" in ended.err
    ended = run_train("task=caption", "data=karpathy", f"data.root={tmp_path}/nowhere")
    assert ended.status == 2
    assert "there is no such folder" in ended.err
    broken = tmp_path / "broken"
    shutil.copytree(squares, broken)
    (broken / "images" / "3.png").write_bytes(b"no image")
    (broken / "images" / "5.png").unlink()
    ended = run_train(*on_squares, f"data.root={broken}", f"output_dir={tmp_path}/out")
    assert ended.status == 1
    assert "3.png" in ended.err
    assert "5.png" in ended.err
    assert "Traceback" not in ended.err
    ended = run_train(*on_squares, "gallery=[nobody]", f"output_dir={tmp_path}/out", "epochs=1")
    assert ended.status == 1
    assert "the test split has no such image" in ended.err
