"""The benchmarks' contenders do the same work, and the table is right; nothing here looks at a time."""

import sys

import pytest
import torch

from src.bench import captions
from src.bench.__main__ import main as bench
from src.bench.baselines import plain_net
from src.bench.rounds import Comparison, alternate, show
from src.classification.networks import ConvNet


def test_the_plain_network_gives_the_scores_of_ours() -> None:
    plain, ours = plain_net().eval(), ConvNet(0.3).eval()
    plain.load_state_dict(dict(zip(plain.state_dict(), ours.state_dict().values(), strict=True)))
    images = torch.rand(4, 1, 28, 28)
    torch.testing.assert_close(plain(images), ours(images).log_softmax(1))


def test_the_plain_decoder_trains_and_writes_as_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(captions, "LENGTH", 6)
    monkeypatch.setattr(captions, "DIM", 16)
    training = captions.training_ways(length=6, dim=16, batch=4)
    losses = {name: [step() for _ in range(3)] for name, step in training.items()}
    assert losses[captions.PLAIN] == pytest.approx(losses[captions.OURS], rel=1e-4)
    assert losses[captions.PLAIN][2] < losses[captions.PLAIN][0]
    for beam in (1, 3):
        found = {name: search() for name, search in captions.decoding_ways(beam, images=5).items()}
        assert found[captions.PLAIN] == found[captions.OURS]
        assert {len(words) for texts in found.values() for words in texts} == {captions.WORDS}


def test_turns_ratios_and_table(capsys: pytest.CaptureFixture[str]) -> None:
    order: list[str] = []
    found = alternate({way: lambda way=way: order.append(way) for way in "ab"}, rounds=2)  # type: ignore[misc]
    assert order == ["a", "b"] * 3
    assert [len(results) for results in found.values()] == [2, 2]  # without the round that warms up
    show("part", [Comparison("work", {"slow": [0.4, 0.9, 0.2], "fast": [0.2, 0.3, 0.2]}, True)], rounds=3)
    printed = capsys.readouterr().out
    assert "2.00 (1.00 to 3.00)" in printed
    assert "5 images/s" in printed
    assert f"torch {torch.__version__}" in " ".join(printed.split())


def test_an_unknown_part_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["command", "only=caption"])
    with pytest.raises(SystemExit) as ended:
        bench()
    assert ended.value.code == 2
