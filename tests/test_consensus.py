"""Consensus decoding: predicted scores against the metrics and by hand, and the same captions in test and predict."""

import json
import math
from pathlib import Path

import pytest
import torch

from src.captioning.consensus import decode_by_consensus
from src.captioning.decoders import AttentionDecoder, LSTMDecoder
from src.captioning.metrics import cider_d, sentence_bleu4
from src.captioning.score_regression import RIDGE, ScoreRegression
from src.captioning.search import decode
from src.run.trained import load_trained
from src.run.weights import write_safetensors
from tests.command_line import plan, results_of, run, train_here
from tests.made_up_captions import write_captioned

A, B = (4, 5, 6, 7, 8), (9, 10, 11, 12, 13)
REFERENCES: list[list[tuple[int, ...]]] = [
    [A, (4, 5, 6, 7, 8, 5, 4)],
    [B],
    [(4, 5, 10, 11, 12), (4, 5, 4, 5, 4, 5), A],
]


def words(caption: tuple[int, ...]) -> list[str]:
    return list(map(str, caption))


def test_the_scores_are_those_of_the_metrics() -> None:
    """Of each training image by itself, words that occur twice and captions that no one wrote included."""
    regression = ScoreRegression(torch.eye(3), REFERENCES)
    further = [(4, 5, 4, 5, 4), (9, 9, 9, 10, 11, 12, 40), (40,)]
    captions = [*regression.distinct, *further]
    cider = regression.cider_d(torch.eye(3, dtype=torch.double), further)
    spelled = [[words(caption) for caption in several] for several in REFERENCES]
    for image, several in enumerate(spelled):
        for k, caption in enumerate(map(words, captions)):
            alone = cider_d([caption if row == image else [] for row in range(3)], spelled) * 3
            assert float(cider[image, k]) == pytest.approx(alone, abs=1e-9)
            if bleu := sentence_bleu4(caption, several):
                assert float(regression.bleu4(captions)[image, k]) == pytest.approx(bleu, abs=1e-6)
            else:
                assert float(regression.bleu4(captions)[image, k]) < 0.5  # an order without a match


def test_a_regression_by_hand() -> None:
    """Two images, standardised at the squared distance 2, of which the mean is 1: their kernel is exp(-2)."""
    regression = ScoreRegression(torch.tensor([[0.0], [2.0]]), [[A], [B]])
    k = math.exp(-2)
    determinant = (1 + RIDGE) ** 2 - k**2
    expected = [(1 + RIDGE - k**2) / determinant, RIDGE * k / determinant]
    weights = regression.weights(torch.tensor([[0.0]]))
    assert weights[0].tolist() == pytest.approx(expected)
    # A caption's cosine with itself is 1 in all four orders, with one of other words 0.
    assert regression.cider_d(weights)[0].tolist() == pytest.approx([10 * weight for weight in expected])


@pytest.mark.parametrize("decoder", [LSTMDecoder(20, 3), AttentionDecoder(20, 3)])
def test_what_is_chosen(decoder: LSTMDecoder | AttentionDecoder) -> None:
    regression = ScoreRegression(torch.tensor([[0.0, 0, 1], [2.0, 0, 1]]), [[A], [B]])
    regions = torch.tensor([[0.0, 0, 1], [2.0, 0, 1]])[:, None]
    agreed = decode_by_consensus(decoder, regression, regions, regions[:, 0], weight=0)
    assert agreed.tokens == [list(A), list(B)]
    assert [len(rows) for rows in agreed.alphas or []] == (
        [5, 5] if isinstance(decoder, AttentionDecoder) else []
    )
    short = decode_by_consensus(decoder, regression, regions, regions[:, 0], weight=0, max_steps=5)
    own = decode(decoder, regions, max_steps=5)
    assert short.tokens == own.tokens  # the training captions are too long with their ends
    probable = decode_by_consensus(decoder, regression, regions, regions[:, 0], weight=1e6)
    assert all(
        score >= other - 1e-4 for score, other in zip(probable.scores, agreed.scores, strict=True)
    )  # the decoder alone decides


def test_predict_writes_what_the_test_wrote(tmp_path: Path) -> None:
    made = write_captioned(tmp_path / "data")
    settings = (
        "task=caption",
        "data=karpathy",
        f"data.root={made}",
        "accelerator=cpu",
        "threads=1",
        "epochs=2",
    )
    encoder = (
        "encoder=efficientnet_lite0",
        "encoder.size=64",
        f"encoder.cache={tmp_path / 'cache'}",
        "lr=0.01",
    )
    asked = plan(
        *settings, *encoder, "decoder=attention", "beam=2", "consensus=0.01", f"output_dir={tmp_path}"
    )
    train_here(asked)
    folder = asked.run.folder
    results = results_of(folder)
    assert results["signatures"]["cider_d"].endswith("|beam:2|consensus:0.01|v:1")
    written = json.loads((folder / "captions.json").read_text())
    assert list((folder / "attention").glob("*.png"))  # of captions that the decoder has not written, too
    last = folder / "checkpoints" / "last.ckpt"
    trained = load_trained(str(last))
    (tmp_path / "exported").mkdir()
    write_safetensors(tmp_path / "exported" / "model.safetensors", trained.module, {})
    for checkpoint in (last, tmp_path / "exported" / "model.safetensors"):
        output = tmp_path / checkpoint.suffix[1:]
        inputs = [str(made / "images" / entry["image_id"]) for entry in written]
        ended = run(
            "predict", f'checkpoint="{checkpoint}"', f"inputs={inputs}", f"output={output}", "accelerator=cpu"
        )
        assert ended.status == 0, ended.err
        (found,) = output.rglob("captions.json")
        captions = [entry["caption"] for entry in json.loads(found.read_text())]
        assert captions == [entry["caption"] for entry in written]


def test_averaged_weights_leave_the_training_captions_alone(tmp_path: Path) -> None:
    made = write_captioned(tmp_path / "data")
    data = ("task=caption", "data=karpathy", f"data.root={made}", "accelerator=cpu", f"output_dir={tmp_path}")
    encoder = ("encoder=efficientnet_lite0", "encoder.size=64", f"encoder.cache={tmp_path / 'cache'}")
    ended = run("train", *data, *encoder, "consensus=0.01", "callbacks=ema")
    assert (ended.status, "needs callbacks.ema.use_buffers=false" in ended.err) == (2, True)
