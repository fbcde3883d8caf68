"""Parameters, shapes and multiply-adds by formula are those of the built networks; wrong lists are named."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from src.captioning.decoders import AttentionDecoder, LSTMDecoder
from src.classification.network import ConvNet
from src.report.parameters import section
from src.report.sources import Sources
from src.theory.counted import build, of_layer_list
from src.theory.encoders import encoder
from src.theory.layer_list import parse, read_yaml
from src.theory.layers import Layer, LayerError, LayerList
from src.theory.networks import all_networks, captioner, classifier, report_cnn, report_dense
from tests.test_sweep_runs import laughs


def test_numbers_of_the_report_and_of_the_project() -> None:
    assert [network.by_formula for network in all_networks()] == [
        10_298,
        236_310,
        769_930,
        697_078,
        1_298_467,
    ]
    assert [row.parameters for row in report_cnn().rows] == [608, 0, 0, 9_690]
    assert [row.output for row in report_cnn().rows] == [(8, 24, 24), (8, 11, 11), (968,), (10,)]
    assert [row.parameters for row in report_dense().rows] == [0, 235_300, 1_010]
    # 24 x 24 places x 8 filters x 75 weights; every weight of a dense layer once
    assert [row.multiply_adds for row in report_cnn().rows] == [345_600, 0, 0, 9_680]


def test_rows_of_the_captioner() -> None:
    counts = {row.layer: row.parameters for row in captioner(attention=True).rows}
    assert counts["LSTM cell"] == 4 * 256 * (100 + 512 + 256) + 2 * 4 * 256
    assert counts["attend_region"] + counts["attend_state"] + counts["attend_score"] == 77_101
    per = {row.layer: row.per for row in captioner(attention=True).rows}
    assert {name for name, of in per.items() if of == "image"} == {"initial_h", "initial_c", "attend_region"}


@st.composite
def layer_lists(draw: st.DrawFn) -> LayerList:
    """Lists that make a network: an image part, then perhaps a vector part."""
    small, sizes = st.integers(1, 3), st.integers(1, 9)
    shape: tuple[int, ...] = (draw(small), draw(sizes), draw(sizes))
    start, layers = shape, []
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["conv", "maxpool", "avgpool", "relu", "dropout"]))
        layer = Layer(kind, probability=0.25) if kind == "dropout" else Layer(kind)
        if kind not in ("relu", "dropout"):
            kernel = draw(st.integers(1, shape[1])), draw(st.integers(1, shape[2]))
            most = [3, 3] if kind == "conv" else [side // 2 for side in kernel]
            padding = draw(st.integers(0, most[0])), draw(st.integers(0, most[1]))
            units = draw(st.integers(1, 4)) if kind == "conv" else 0
            layer = Layer(kind, units, kernel, (draw(small), draw(small)), padding)
        layers.append(layer)
        shape = LayerList(start, tuple(layers)).rows()[-1].output
    if draw(st.booleans()) or not layers:
        layers += [
            Layer("flatten"),
            Layer("linear", draw(sizes)),
            Layer("relu"),
            Layer("linear", draw(sizes)),
        ]
    return LayerList(start, tuple(layers))


@settings(deadline=None, max_examples=60)
@given(layer_lists())
def test_formula_and_built_network_agree(layers: LayerList) -> None:
    assert [s for s in of_layer_list(layers, "drawn").statements() if not s.holds] == []
    network, x = build(layers), torch.rand(1, *layers.input)
    for part, row in zip(network, layers.rows(), strict=True):
        x = part(x)
        assert (*x.shape[1:], sum(w.numel() for w in part.parameters())) == (*row.output, row.parameters)


@settings(deadline=None, max_examples=60)
@given(layer_lists())
def test_a_list_is_read_as_it_is_written(layers: LayerList) -> None:
    words = [f"input={'x'.join(map(str, layers.input))}", *map(str, layers.layers)]
    assert parse(words) == parse(" ".join(words).split()) == layers


@settings(deadline=None, max_examples=15)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 12), st.integers(1, 9)),
    st.booleans(),
    st.booleans(),
    st.booleans(),
)
def test_decoders_of_any_size_agree(
    size: tuple[int, int, int], attention: bool, gate: bool, deep: bool
) -> None:
    words, features, regions = size
    decoder: AttentionDecoder | LSTMDecoder = LSTMDecoder(words, features, embedding=5, state=7)
    if attention:
        decoder = AttentionDecoder(
            *(words, features), embedding=5, state=7, attention_size=3, gate=gate, deep_output=deep
        )
    assert [s for s in captioner(decoder, regions=regions).statements() if not s.holds] == []


@pytest.mark.parametrize("size", [(3, 40, 24), (1, 8, 31)])
def test_classifiers_of_other_sizes_agree(size: tuple[int, int, int]) -> None:
    network = classifier(ConvNet(0.1, size, classes=7))
    assert network.statements()[0].holds
    assert network.by_formula == sum(weight.numel() for weight in ConvNet(0.1, size, 7).parameters())


@pytest.mark.parametrize(
    ("name", "parameters"), [("tiny", 185_824), ("resnet18", 11_176_512), ("efficientnet_lite0", 3_371_008)]
)
def test_encoders_agree(name: str, parameters: int) -> None:
    network = encoder(name)
    assert network.by_formula == network.parameters == parameters
    assert all(statement.holds for statement in network.statements())


def test_resnet_of_the_protocol_makes_16x16_regions_of_512() -> None:
    assert encoder("resnet18", 500).rows[-1].output == (512, 16, 16)


def test_a_formula_that_is_wrong_does_not_hold() -> None:
    network = report_cnn()
    for wrong in ({"parameters": 600}, {"output": (8, 25, 24)}, {"multiply_adds": 1}):
        rows = (replace(network.rows[0], **wrong), *network.rows[1:])
        failed = [s for s in replace(network, rows=rows).statements() if not s.holds]
        assert len(failed) == 1
        assert "conv 8 5x5" in failed[0].measured


def test_large_networks_are_counted_without_their_values() -> None:
    network = of_layer_list(parse(["input=1000000", "linear 900000"]), "large")
    assert network.shapes_only
    assert network.parameters == 900_000 * 1_000_001
    assert all(statement.holds for statement in network.statements())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "input=3x28x28 conv 8 31x31",
            r"layer 1 \(conv 8 31x31\): the kernel 31x31 .* input of 28x28.* at most",
        ),
        ("input=1x4x4 relu maxpool 5", r"layer 2 \(maxpool 5x5\): .* at most 4x4"),
        (
            "input=3x28x28 conv 0 3",
            r"layer 1 \(conv 0 3\): its number of filters 0 is out of range: give 1 to",
        ),
        ("input=3x28x28 conv 8 -3x3", r"its kernel -3 is out of range: give 1"),
        ("input=3x28x28 conv 8 3 stride 0", r"its stride 0 is out of range"),
        ("input=3x28x28 conv 8 3 padding -1", r"its padding -1 is out of range: give 0"),
        ("input=3x28x28 conv eight 3", r"number of filters 'eight' is not a whole number"),
        ("input=3x28x28 conv 8 2.5", r"kernel '2.5' is not a whole number"),
        (
            "input=3x28x28 flatten conv 8 3",
            r"layer 2 .* needs an image, but .* vector of 2,352 numbers: put it",
        ),
        (
            "input=3x28x28 linear 10",
            r"layer 1 .* needs a vector, but .* image of 3x28x28: put flatten before",
        ),
        ("input=3x28x28 maxpool 2 padding 2", r"padding 2 is more than half .* at most 1"),
        ("input=3x28x28 cnov 8 3", r"no layer 'cnov'; did you mean conv\?"),
        ("input=3x28x28 flatten dense 10", r"no layer 'dense'; did you mean linear\?"),
        ("input=3x28x28 dropout 2", r"probability '2' is not a number from 0 to 1"),
        ("input=3x28 flatten", r"'3x28' is not a shape"),
        ("input=0x28x28 flatten", r"size 0 is out of range"),
        ("input=9 linear 999999999999999999999", r"out of range: give 1 to 1,000,000"),
        ("input=1000000 linear 1000000", r"1,000,001,000,000 parameters, more than the limit"),
        ("conv 8 3", r"must begin with the input's shape"),
        ("", r"the list is empty"),
        ("input=3x28x28", r"no layer: add one"),
    ],
)
def test_wrong_lists_are_named(words: str, message: str) -> None:
    with pytest.raises(LayerError, match=message):
        parse(words.split()).rows()


WORDS = (
    *("input", "conv", "linear", "maxpool", "relu", "flatten", "stride", "padding"),
    *("3x9x9", "5", "0", "-1", "2x2", "x", "=", "conv 3 3 stride 2"),
)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.sampled_from(WORDS)))
def test_any_words_make_a_list_or_a_sentence(words: list[str]) -> None:
    said = "a list"
    try:
        parse(["input=2x9x9", *words]).rows()
    except LayerError as error:
        said = str(error)
    assert said[0].islower()
    assert "\n" not in said


def test_yaml_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    path.write_text(
        "input: [3, 28, 28]\nlayers:\n- conv 8 5x5\n- maxpool: 4x4 stride 2\n- flatten\n- linear: 10\n"
    )
    assert read_yaml(path).rows() == report_cnn().rows


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("input: 3x28x28\nlayers: conv", "is not a list of layers"),
        ("[1, 2", "is not YAML"),
        ("input: 3x28x28\nlayers: [7]", "7 is not a layer"),
        ("input: 3x28x28\nlayers: [linear: -2]", r"layer 1 \(linear -2\): its number of units -2"),
        ("layers: [flatten]", "is not a list of layers"),
        ("\x00", "is not YAML"),
    ],
)
def test_wrong_yaml_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "network.yaml"
    path.write_text(text)
    with pytest.raises(LayerError, match=message):
        read_yaml(path)


def test_section_names_the_slip_and_both_numbers() -> None:
    found = section(Sources())
    numbers = {c.what: (c.report, c.ours) for c in found.comparisons}
    assert numbers["first dense layer of the dense network"] == (23_530, 235_300)
    assert numbers["parameters of the dense network"] == (24_540, 236_310)
    assert numbers["increase over the CNN, in %"] == (138.3, 2_194.7)
    assert "100 x 2,352 + 100 = 235,300" in found.slip
    assert all(statement.holds for statement in found.statements)
    assert found.missing == ()
    assert [len(table.columns) for table in found.tables] == [len(table.rows[0]) for table in found.tables]


def test_yaml_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    path.write_text(laughs() + "input: 3x28x28\nlayers: [*j]\n")
    with pytest.raises(LayerError, match="it holds an alias"):
        read_yaml(path)
    path.write_text("input: 3x28x28\nlayers:\n- " + "[" * 3000)
    with pytest.raises(LayerError, match="is not YAML"):
        read_yaml(path)
    path.write_text(f"input: 3x28x28\nlayers: [[{', '.join(['x'] * 5000)}]]\n")
    with pytest.raises(LayerError, match="is not a layer") as caught:
        read_yaml(path)
    assert len(str(caught.value)) < 500
