"""Parameter counts, self-attention's identities, and the command `python -m src.theory`."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from src.theory import __main__ as command
from src.theory import attention, parameters
from src.theory.attention import Head, apart, draw_change, draw_head
from src.theory.parameters import count, count_network, parameter_findings
from tests.command_line import Ended
from tests.made_up_runs import classifier_run

small = st.integers(1, 3)


@pytest.fixture
def theory(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["theory", *arguments])
        with pytest.raises(SystemExit) as ended:
            command.main()
        written = capsys.readouterr()
        return Ended(int(ended.value.code or 0), written.out, written.err)

    return run


def test_counts_of_the_report_and_of_the_project() -> None:
    found = parameter_findings()
    numbers = {c.what: (c.report, c.ours) for c in found.comparisons}
    assert numbers["parameters of the CNN"] == (10_298, 10_298)
    assert numbers["first dense layer of the dense network"] == (23_530, 235_300)
    assert numbers["parameters of the dense network"] == (24_540, 236_310)
    assert numbers["increase over the CNN, in %"] == (138.3, 2_194.7)
    assert [ours for _, ours in numbers.values()][-3:] == [769_930, 697_078, 1_298_467]
    assert all(statement.holds for statement in found.statements)
    cnn, *_, captioner = found.tables
    assert cnn.rows[0] == ("conv", "Conv2d", "8x24x24", "608", "608", "5.9 %")
    assert cnn.rows[1][2] == "8x11x11"
    assert cnn.note.startswith("355,280 multiply-adds")  # 24 x 24 x 8 x 75 + 968 x 10
    assert ("cell", f"{4 * 256 * (100 + 512 + 256 + 2):,}") in {(row[0], row[3]) for row in captioner.rows}


@st.composite
def layers(draw: st.DrawFn) -> tuple[nn.Module, tuple[int, ...]]:
    n, k, g, bias = draw(small), draw(small), draw(small), draw(st.booleans())
    options = [
        (nn.Linear(n, k, bias=bias), (2, n)),
        (nn.Conv1d(n * g, k * g, k, groups=g, bias=bias), (1, n * g, 9)),
        (nn.Conv2d(n * g, k * g, (k, n), stride=k, padding=1, groups=g, bias=bias), (1, n * g, 9, 8)),
        (nn.ConvTranspose2d(n * g, k * g, (k, n), groups=g, bias=bias), (1, n * g, 4, 5)),
        (nn.BatchNorm2d(n, affine=bias), (1, n, 2, 2)),
        (nn.GroupNorm(g, g * n, affine=bias), (1, g * n, 2)),
        (nn.LayerNorm((n, k), bias=bias), (1, n, k)),
        (nn.LSTM(n, k, g, bias=bias, bidirectional=bias), (4, 1, n)),
        (nn.GRU(n, k, g, bias=bias), (4, 1, n)),
        (nn.LSTMCell(n, k, bias=bias), (1, n)),
        (nn.GRUCell(n, k), (1, n)),
        (nn.TransformerEncoderLayer(2 * n, 2, k, bias=bias), (3, 1, 2 * n)),
        (nn.MaxPool2d(k), (1, n, 4, 4)),
    ]
    return draw(st.sampled_from(options))


@settings(deadline=None, max_examples=100)
@given(layers())
def test_formulas_agree_with_built_layers(drawn: tuple[nn.Module, tuple[int, ...]]) -> None:
    layer, shape = drawn
    found = count("drawn", layer, lambda: layer(torch.zeros(shape)))
    assert found.statement().holds, found.table()
    assert found.by_formula == sum(weight.numel() for weight in layer.parameters())
    assert all(one.formula is not None for one in found.layers)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(3))
        self.embedding = nn.Embedding(7, 3)
        self.output = nn.Linear(3, 7)
        self.output.weight = self.embedding.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.output(self.embedding(tokens.long()) * self.scale)


def test_shared_weights_count_once_and_unknown_layers_are_marked() -> None:
    found = count_network("tied", Tied(), (4,))
    assert found.parameters == found.by_formula == 3 + 7 * 3 + 7
    assert [row[3] for row in found.table().rows] == ["-", "21", "7", "31"]
    assert "(2 of 3 layers)" in found.statement().what
    assert found.statement().holds


class Odd(nn.Module):
    """Its weight is computed, its first layer lazy, an inner output a dictionary, and it looks at values."""

    def __init__(self) -> None:
        super().__init__()
        self.lazy, self.inner = nn.LazyConv2d(4, 3), Inner()
        self.output = nn.utils.parametrizations.weight_norm(nn.Linear(4, 2))

    def forward(self, images: Tensor) -> Tensor:
        images = images / 255 if images.max() > 1 else images
        return self.output(self.inner(self.lazy(images))["mean"])


class Inner(nn.Module):
    def forward(self, maps: Tensor) -> dict[str, Tensor]:
        return {"mean": maps.mean((2, 3))}


def test_the_command_counts_odd_networks(theory: Callable[..., Ended], tmp_path: Path) -> None:
    ended = theory("network._target_=tests.test_theory.Odd", "input=[3,8,8]", f"out={tmp_path}")
    assert (ended.status, ended.err) == (0, "")
    assert f"{4 * 3 * 9 + 4 + 2 * 4 + 2 + 2}" in ended.out


def test_recurrent_layers_multiply_on_a_cpu_too() -> None:
    lstm = nn.LSTM(5, 7)
    assert count("lstm", lstm, lambda: lstm(torch.zeros(3, 1, 5))).multiply_adds == 3 * 4 * 7 * (5 + 7)


def test_the_command_shows_and_writes(theory: Callable[..., Ended], tmp_path: Path) -> None:
    ended = theory("parameters", "attention", "cases=20", f"out={tmp_path}")
    assert (ended.status, ended.err) == (0, "")
    for text in ("10,298", "236,310", "2,194.7 %", "769,930", "697,078", "1,298,467", "a head and its twin"):
        assert text in ended.out
    assert (tmp_path / "self-attention.png").stat().st_size > 5000
    findings = json.loads((tmp_path / "findings.json").read_text())
    assert findings["self-attention"][0]["measured"] == "0 to 0"


def test_the_command_counts_any_network(theory: Callable[..., Ended], tmp_path: Path) -> None:
    out = f"out={tmp_path / 'out'}"
    ended = theory("network._target_=torchvision.models.resnet18", "network.num_classes=10", out)
    assert ended.status == 0
    assert "11,181,642" in ended.out
    assert "512x7x7" in ended.out
    ended = theory(
        "network=resnet_small", "network.width=16", "input=[1,28,28]", out
    )  # a group, as train has it
    assert (ended.status, ended.err) == (0, "")
    assert "ResNetSmall" in ended.out
    run = classifier_run(tmp_path / "sweep", data=tmp_path)
    ended = theory(f'run="{run}"', out)  # its name holds a =
    assert ended.status == 0
    assert "769,930" in ended.out


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["nothing"], 2, "only=[nothing]: must be one of parameters, attention, equivariance"),
        (["cases=0", "sed=1"], 2, "there is no setting 'sed'; did you mean 'seed'?"),
        (["network._target_=torch.nn.Conv9"], 2, "has no attribute 'Conv9'"),
        (["network.width=3"], 2, "network.width: there is no network to take it"),
        (["network._target_=torchvision.models.resnet18", "input=[1,8,8]"], 1, "input=[1, 8, 8]"),
        (["network=resnet_smal"], 2, "did you mean 'resnet_small'?"),
        (["run=missing"], 1, "there is no such file or folder"),
        (["run=missing", "attention"], 2, "run, network and topics: one of them in a command"),
        (["network=convnet", "input=[1,28]"], 2, "input=[1, 28]: must be channels, height and width"),
    ],
)
def test_errors_are_named(theory: Callable[..., Ended], arguments: list, status: int, message: str) -> None:
    ended = theory(*arguments)
    assert (ended.status, ended.out) == (status, "")
    assert message in ended.err
    assert "Traceback" not in ended.err


def test_what_does_not_hold_ends_with_1(
    theory: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    honest = parameters.parameter_formula
    monkeypatch.setattr(
        parameters, "parameter_formula", lambda one: (honest(one) or 0) + isinstance(one, nn.Conv2d)
    )
    ended = theory("parameters", f"out={tmp_path}")
    assert ended.status == 1
    assert "10,299 and 10,298; differ: conv" in ended.out
    monkeypatch.setattr(Head, "from_product", lambda head: head.from_weights() + 1e-8)
    failed = [s.what for s in attention.attention_findings(cases=20).statements if not s.holds]
    assert failed == ["P from W_Q, W_K and from A: difference"]


def test_probabilities_are_those_of_torch() -> None:
    generator = torch.Generator().manual_seed(1)
    head = draw_head(generator, 5, 7, 3, scaled=True)
    query, key = head.inputs @ head.query, head.inputs @ head.key
    values = torch.eye(5, dtype=torch.float64)
    expected = nn.functional.scaled_dot_product_attention(query[None], key[None], values[None])
    assert apart(head.from_weights(), expected[0]) < 1e-14
    assert apart(head.from_weights(), Head(head.inputs, head.query, head.key).from_weights()) > 1e-4
    assert torch.linalg.cond(draw_change(generator, 3, 100.0)).item() == pytest.approx(100)
