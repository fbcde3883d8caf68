"""The networks of the report and of this project: their layers by formula, beside the built module.

Dimension letters: L regions, V vocabulary, D feature, E embedding, U decoder state, A attention.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from src.theory.counted import Network, count, of_layer_list
from src.theory.layer_list import parse
from src.theory.layers import Layer, LayerList, Row

if TYPE_CHECKING:
    from src.captioning.decoders import Decoder
    from src.classification.network import ConvNet

# The report's exercise (protocol, section 1): both on 28x28 images with three channels.
REPORT_CNN = ("input=3x28x28", "conv 8 5x5", "maxpool 4x4 stride 2", "flatten", "linear 10")
REPORT_DENSE = ("input=3x28x28", "flatten", "linear 100", "linear 10")
REPORT_COUNT, SLIP_LAYER, SLIP_TOTAL = 10_298, 23_530, 24_540  # as the report prints them
# The report's captioner (protocol, section 6)
VOCABULARY, FEATURES, REGIONS = 190, 512, 256


def report_cnn() -> Network:
    """The report's convolutional network: 10,298 parameters."""
    return of_layer_list(parse(REPORT_CNN), "the report's CNN")


def report_dense() -> Network:
    """The report's fully connected network: 236,310 parameters."""
    return of_layer_list(parse(REPORT_DENSE), "the report's dense network")


def classifier(network: ConvNet | None = None) -> Network:
    """The classifier (or one of other sizes): 769,930 parameters at 1x28x28 and ten classes."""
    from src.classification.network import ConvNet

    network = ConvNet(dropout=0.3) if network is None else network
    convolution, last = network.conv1, network.dense3
    size = _image_size(network)
    pool = Layer("maxpool", kernel=(2, 2), stride=(2, 2))
    first = Layer("conv", 16, (3, 3), padding=(1, 1))
    second = Layer("conv", 32, (3, 3))
    dense = [Layer("linear", units) for units in (600, 120, last.out_features)]
    layers = LayerList(
        (convolution.in_channels, *size), (first, pool, second, pool, Layer("flatten"), *dense)
    )
    modules = ("conv1", None, "conv2", None, None, "dense1", "dense2", "dense3")
    rows = tuple(
        Row(row.layer, row.output, row.kernel, row.parameters, row.multiply_adds, row.kind, module)
        for row, module in zip(layers.rows(), modules, strict=True)
    )
    counted, products = count(network, lambda: network(torch.zeros(1, *layers.input)))
    return Network(
        "the classifier",
        rows,
        counted,
        sum(weight.numel() for weight in network.parameters()),
        {"image": products},
        "ReLU and dropout, which hold nothing and keep shapes, are left out. Multiply-adds for one image; "
        "biases, activations and pooling do not count.",
    )


def _image_size(network: ConvNet) -> tuple[int, int]:
    """A size of image that the first dense layer fits: the smallest of its area, a square where it can be."""
    places = network.dense1.in_features // 32
    height = next(side for side in range(int(places**0.5), 0, -1) if places % side == 0)
    return 4 * height + 4, 4 * (places // height) + 4


def captioner(given: Decoder | None = None, *, attention: bool = False, regions: int = REGIONS) -> Network:
    """The decoder without or with attention; 697,078 and 1,298,467 parameters at V = 190 and D = 512.

    Args:
        given: another one to look at; `attention` is then its own.
        regions: L of an image.
    """
    from src.captioning.decoders import AttentionDecoder, LSTMDecoder

    kind = AttentionDecoder if attention else LSTMDecoder
    decoder: Any = (given or kind(VOCABULARY, FEATURES)).eval()
    attention = isinstance(decoder, AttentionDecoder)
    vocabulary, features = decoder.embedding.num_embeddings, decoder.initial_h.in_features
    rows = _decoder_rows(
        vocabulary,
        features,
        regions,
        embedding=decoder.embedding.embedding_dim,
        state=decoder.initial_h.out_features,
        attention=decoder.attend_state.out_features if attention else 0,
        gate=attention and decoder.gate is not None,
        deep_output=attention and decoder.deep is not None,
    )
    memory = None

    def image() -> None:
        nonlocal memory
        memory = decoder.remember(torch.zeros(1, regions, features))
        decoder.start(memory)

    def word() -> None:
        assert memory is not None
        decoder.step(torch.zeros(1, dtype=torch.long), decoder.start(memory), memory)

    counted, per_image = count(decoder, image)
    starts = _products_of(counted, ("initial_h", "initial_c"))
    again, with_start = count(decoder, word)
    for name, of in again.items():
        if counted[name].output is None:
            counted[name] = of
    name = f"the captioner {'with' if attention else 'without'} attention"
    return Network(
        name,
        rows,
        counted,
        sum(weight.numel() for weight in decoder.parameters()),
        {"image": per_image, "word": with_start - starts},
        f"V = {vocabulary:,}, D = {features:,}"
        + (f", {regions:,} regions an image" if attention else "")
        + ". Multiply-adds for each image or for each written word (the last column; greedy); biases and "
        "activations do not count, nor does the encoder.",
    )


def _products_of(counted: dict, names: tuple[str, ...]) -> int:
    return sum(counted[name].multiply_adds for name in names)


def _decoder_rows(
    vocabulary: int,
    features: int,
    regions: int,
    *,
    embedding: int,
    state: int,
    attention: int,
    gate: bool,
    deep_output: bool,
) -> tuple[Row, ...]:
    """The decoder's layers by formula, in the order in which they work.

        linear: N' (N + 1);  embedding: V E;  LSTM cell on N inputs: 4 U (N + U) and two biases of 4 U

    The embedding only looks a row up: no multiply-adds.
    """
    linear: Callable[..., Row] = _linear
    rows = [
        linear("initial_h", features, state, "dense", per="image"),
        linear("initial_c", features, state, "dense", per="image"),
        Row("embedding", (embedding,), None, vocabulary * embedding, 0, "embedding", "embedding", "word"),
    ]
    inputs = embedding
    if attention:
        inputs += features
        rows[2:2] = [linear("attend_region", features, attention, "attention", per="image", times=regions)]
        rows += [
            linear("attend_state", state, attention, "attention"),
            Row(
                *("attend_score", (regions,), None, attention + 1, regions * attention),
                *("attention", "attend_score", "word"),
            ),
            Row("context", (features,), None, 0, regions * features, "attention", None, "word"),
        ]
        rows += [linear("gate", state, features, "attention")] if gate else []
    rows.append(
        Row(
            *("LSTM cell", (state,), None, 4 * state * (inputs + state) + 8 * state),
            *(4 * state * (inputs + state), "recurrent", "cell" if attention else "lstm", "word"),
        )
    )
    read = embedding if deep_output else state
    rows += [linear("deep", state + features, embedding, "output")] if deep_output else []
    return (*rows, linear("output", read, vocabulary, "output"))


def _linear(name: str, inputs: int, outputs: int, kind: str, *, per: str = "word", times: int = 1) -> Row:
    """A linear layer that is used `times` times."""
    shape = (outputs,) if times == 1 else (times, outputs)
    return Row(name, shape, None, outputs * (inputs + 1), times * inputs * outputs, kind, name, per)


def all_networks() -> tuple[Network, ...]:
    """The report's two, the classifier, the captioner without and with attention."""
    return (report_cnn(), report_dense(), classifier(), captioner(), captioner(attention=True))


def named(name: str) -> Network:
    """The network that a name of the command line stands for.

    Raises:
        LayerError: an encoder whose package is not installed.
    """
    from src.theory.encoders import encoder

    makers: dict[str, Callable[[], Network]] = {
        "cnn": report_cnn,
        "dense": report_dense,
        "classifier": classifier,
        "captioner": captioner,
        "captioner-attention": lambda: captioner(attention=True),
    }
    return makers[name]() if name in makers else encoder(name)


def of_run(given: str) -> tuple[Network, ...]:
    """The networks of a run, a sweep's best run or a checkpoint: a classifier, or a decoder and its encoder.

    Raises:
        CheckpointError: no checkpoint, or one that cannot be used.
        LayerError: an encoder whose package is not installed.
    """
    from src.captioning.module import Captioner
    from src.classification.module import Classifier
    from src.theory.encoders import encoder
    from src.trained import find_checkpoint, open_checkpoint, rebuilt

    trained = open_checkpoint(find_checkpoint(given)[0])
    if trained.task == "classify":
        return (classifier(rebuilt(trained, Classifier).network),)
    module = rebuilt(trained, Captioner)
    settings = trained.hyper_parameters["encoder"]
    rows, columns = settings["grid"]
    return (captioner(module.decoder, regions=rows * columns), encoder(settings["name"], settings["size"]))


def report_slip(cnn: int, dense: int) -> str:
    """What the report prints for the dense network, and the right arithmetic, of the counts found here."""
    first = 100 * 28 * 28 * 3 + 100
    return (
        f"The report prints {SLIP_LAYER:,} parameters for the first dense layer and so {SLIP_TOTAL:,} in "
        f"total, an increase of {increase(REPORT_COUNT, SLIP_TOTAL):.1f} % over the CNN. That is a slip of a "
        f"factor of ten: 100 x 2,352 + 100 = {first:,}, with {first:,} + {dense - first:,} = {dense:,} in "
        f"total; the increase is ({dense:,} - {cnn:,}) / {cnn:,} = {increase(cnn, dense):,.1f} %."
    )


def increase(of: int, to: int) -> float:
    """In per cent."""
    return 100 * (to - of) / of
