"""Targets: the command lines of every door, and lists of layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import yaml  # type: ignore[import-untyped]

from src import predict_command
from src.config import SCHEMAS, fields_of
from src.filters import command as filters_command
from src.images import NoImages, find_images
from src.report import command as report_command
from src.sweep.runs import plain
from src.theory.layer_list import parse, read_yaml
from src.theory.layers import LayerError
from src.trained import CheckpointError, find_checkpoint
from tests.fuzz import mutations
from tests.fuzz.guard import told
from tests.fuzz.target import Make, Put, Target, at, home_in

TRAIN = (
    ("dropout=0.5", "lr=0.01", "seed=0"),
    ("-m", "dropout=0.1,0.2,0.3", "lr=range(0.001,0.1,0.01)", "workers=2"),
    ("-m", "experiment=table2_seeds", "seed=range(0,5)", "epochs=1"),
    ("task=caption", "data=karpathy", "data.root='a, b'", "attention=true", "gallery=[1.png,2.png]"),
    ("-m", "task=caption", "attention=false,true", "lr=choice(1e-3,4e-4)", "name=a"),
    (
        "optimizer=adam",
        "augment=flip_crop",
        "precision=bf16-mixed",
        "accelerator=cpu",
        "hydra/launcher=basic",
    ),
    (
        "-cd",
        "conf",
        "experiment=captions",
        "seed=shuffle(range(0,3))",
        "dropout=sort(0.2,0.1)",
        "lr=${dropout}",
    ),
)
PREDICT = (
    ("checkpoint=outputs/scenes", "inputs=photo.jpg", "beam=5"),
    (
        "checkpoint=run/checkpoints/last.ckpt",
        'inputs=[a.jpg,folder/,"more/*.png"]',
        "output=out",
        "max_words=7",
    ),
    (
        "checkpoint=run",
        "photo.jpg",
        "*.png",
        "invert=true",
        "length_penalty=0.5",
        "batch_size=7",
        "progress=false",
    ),
)
REPORT = (
    ("sweep=outputs/fashion_mnist", "captions=outputs/scenes,outputs/captions_ucm", "data=data", "seed=1"),
    ("only=parameters,mistakes", "out=outputs/report", 'captions=[a, "b,c"]'),
)
REPRODUCE = (("epochs=1", "ucm=folder"), ("epochs=15", "ucm=folder", "sydney=folder"))
FILTERS = (
    ("checkpoint=outputs/fashion_mnist", "image=SHOE.png", "out=FOLDER", "top=3"),
    ("checkpoint=run", "layer=conv2", "filters=3,17", "top=12", "invert=true"),
)
LAYERS = (
    ("input=3x28x28", "conv 8 5x5", "maxpool 4x4 stride 2", "flatten", "linear 10"),
    ("input=2352", "linear", "10", "relu", "dropout 0.5"),
    ("input=1x28x28", "conv 8 3 stride 2 padding 1", "avgpool 2x2", "flatten"),
)
LAYER_FILE = {"input": [3, 28, 28], "layers": ["conv 8 5x5", {"linear": 10}, "flatten", "linear 10"]}


def _mistakes(mistakes: Sequence[str]) -> str:
    """The kinds of the mistakes, shown as the doors show them."""
    return told(plain(mistakes[0], 2000)) if mistakes else "taken"


def put_train(words: list[str]) -> str:
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from src.command import read_command
    from tests.command_line import plan

    command = read_command(words)
    for mistake in command.mistakes:
        told(plain(mistake, 2000))
    if command.mistakes or command.asks_only or command.multirun or any(word[:1] == "-" for word in words):
        return _mistakes(command.mistakes)
    try:
        return _mistakes(plan(*words).mistakes())
    except (HydraException, OmegaConfBaseException) as error:
        return type(error).__name__  # in Hydra's own words


def put_predict(words: list[str]) -> str:
    settings, _, mistakes = predict_command.read_command(words)
    try:
        if settings.checkpoint:
            find_checkpoint(settings.checkpoint)
    except CheckpointError as error:
        mistakes.append(str(error))
    try:
        if settings.inputs:
            find_images(settings.inputs)
    except NoImages as error:
        mistakes.append(str(error))
    return _mistakes(mistakes)


def put_report(words: list[str]) -> str:
    settings, mistakes = report_command.read_command(words)
    if not mistakes:
        assert settings.sources
    return _mistakes(mistakes)


def put_reproduce(words: list[str]) -> str:
    from src import reproduce

    settings, mistakes = reproduce.read_command(words)
    if not mistakes:
        assert [reproduce.shown(stage.command) for stage in reproduce.stages(settings)]
    return _mistakes(mistakes)


def put_filters(words: list[str]) -> str:
    return _mistakes(filters_command.read_command(words)[1])


def put_layers(words: list[str]) -> str:
    """As typed, counted by formula."""
    try:
        return f"{len(parse(words).rows())} layers"
    except LayerError as error:
        return told(plain(str(error), 2000))


def put_layer_file(data: bytes, folder: Path) -> str:
    path = folder / "network.yaml"
    path.write_bytes(data)
    try:
        return f"{len(read_yaml(path).rows())} layers"
    except LayerError as error:
        return told(plain(str(error), 2000))


def _in_folder(put: Callable[[list[str]], str]) -> Put:
    """Words behind NULs, put to a command in a folder of its own."""

    def run(data: bytes, folder: Path) -> str:
        with at(home_in(folder)):
            return put(data.decode("utf-8", "surrogateescape").split("\0") if data else [])

    return run


def _made(valid: Sequence[Sequence[str]], keys: Sequence[str]) -> Make:
    def make(random: Random) -> bytes:
        return "\0".join(mutations.words(random, valid, keys)).encode("utf-8", "surrogateescape")

    return make


def make_layer_file(random: Random) -> bytes:
    def dump(content: object) -> str:
        return str(yaml.safe_dump(content, allow_unicode=True))

    return mutations.document(random, LAYER_FILE, dump)


def _command(
    name: str,
    valid: Sequence[Sequence[str]],
    keys: Sequence[str],
    put: Callable[[list[str]], str],
    every: int = 1,
) -> Target:
    return Target(name, _made(valid, keys), _in_folder(put), every)


TARGETS: Sequence[Target] = (
    _command(
        "train",
        TRAIN,
        sorted({"task", "data"}.union(*map(fields_of, SCHEMAS.values()))),  # a set's order changes
        put_train,
        every=3,
    ),
    _command("predict", PREDICT, list(fields_of(predict_command.PredictSettings)), put_predict),
    _command("report", REPORT, list(fields_of(report_command.ReportSettings)), put_report),
    _command("reproduce", REPRODUCE, ("epochs", "ucm", "sydney"), put_reproduce),
    _command("filters", FILTERS, list(filters_command.KNOWN), put_filters),
    _command("layers", LAYERS, ("input", "conv", "linear", "maxpool", "stride"), put_layers),
    Target("layer file", make_layer_file, put_layer_file),
)
