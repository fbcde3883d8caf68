"""The real command line of the theory: what it prints, and its exit status."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from src.theory import attention, layers
from src.theory.__main__ import main
from tests.command_line import NO_GPU, ROOT, Ended

# Equivariance has tests of its own. STAND_IN's statement holds where HOLDS is set.
STAND_IN = """
import os, sys, types
from src.findings import Statement, Table
module = types.ModuleType("src.theory.equivariance")
def statements(images=None, seed=42):
    shape = "none" if images is None else f"{tuple(images.shape)} up to {images.max():.1f}"
    table = Table("stand-in", ("row", "images", "seed"), (("a", shape, str(seed)),))
    return (Statement("stand-in statement", "0.5", "at most 0.1", "HOLDS" in os.environ),), table
module.statements = statements
sys.modules["src.theory.equivariance"] = module
"""
START = "import sys; from src.theory.__main__ import main; sys.exit(main())"


def run(*command: str) -> Ended:
    """A process of its own."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, **NO_GPU, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def here(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ended]:
    """The same command in this process, which has imported torch already."""
    monkeypatch.setitem(sys.modules, "src.theory.equivariance", sys)  # put back at the end
    exec(STAND_IN, {})

    def start(*arguments: str) -> Ended:
        try:
            status = main(arguments)
        except SystemExit as error:  # argparse
            status = int(error.code or 0)
        said = capsys.readouterr()
        return Ended(status, said.out, said.err)

    return start


def test_all_pieces_hold_and_exit_0(
    here: Callable[..., Ended], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDS", "1")
    ended = here("--cases", "20", "--data", str(tmp_path))
    assert ended.err == ""
    assert ended.status == 0
    for text in (
        "10,298",
        "236,310",
        "769,930",
        "697,078",
        "1,298,467",
        "condition of B",
        "generated images",
    ):
        assert text in ended.out
    assert "slip" in ended.out
    assert ended.out.rstrip().endswith("statements hold.")


def test_a_statement_that_does_not_hold_exits_1_and_is_named(tmp_path: Path) -> None:
    ended = run("-c", STAND_IN + START, "equivariance", "--seed", "7", "--data", str(tmp_path))
    assert ended.status == 1
    assert ended.err == "Does not hold: stand-in statement: 0.5, expected at most 0.1.\n"
    assert " none " in ended.out
    assert " 7 " in ended.out


def test_a_wrong_count_exits_1(here: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    honest = layers._row

    def off(layer: layers.Layer, shape: layers.Shape, name: str, module: str) -> layers.Row:
        row = honest(layer, shape, name, module)
        return replace(row, parameters=row.parameters + (layer.kind == "conv"))

    monkeypatch.setattr(layers, "_row", off)
    ended = here("layers", "cnn")
    assert ended.status == 1
    assert "10,299 and 10,298; conv 8 5x5: 609 and 608, expected equal" in ended.err
    assert "All" not in ended.out


def test_a_wrong_identity_exits_1(here: Callable[..., Ended], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        attention.Head, "transformed", lambda head, change: replace(head, query=head.query @ change)
    )
    ended = here("attention", "--cases", "20")
    assert ended.status == 1
    assert ended.err.startswith("Does not hold: the head against its twin under an invertible B")
    assert ended.err.count("\n") == 1


def test_real_images_are_taken_where_they_are(here: Callable[..., Ended], tmp_path: Path) -> None:
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    for name, sizes in (("images-idx3", (70, 28, 28)), ("labels-idx1", (70,))):
        header = bytes([0, 0, 8, len(sizes)]) + b"".join(size.to_bytes(4, "big") for size in sizes)
        values = 70 if len(sizes) == 1 else 70 * 28 * 28
        (raw / f"t10k-{name}-ubyte").write_bytes(header + bytes([1, 255] * (values // 2)))
    ended = here("equivariance", "--data", str(tmp_path))
    assert "64 test images of Fashion-MNIST" in " ".join(ended.out.split())
    assert "(64, 1, 28, 28) up to 1.0" in ended.out


@pytest.mark.parametrize(
    "words", [["conv 8 5x5", "maxpool 4x4 stride 2"], ["conv", "8", "5", "maxpool", "4", "stride=2"]]
)
def test_a_list_of_layers(here: Callable[..., Ended], words: list[str]) -> None:
    ended = here("layers", "input=3x28x28", *words, "flatten", "linear", "10")
    assert (ended.status, ended.err) == (0, "")
    assert "8x11x11" in ended.out
    assert "10,298" in ended.out
    assert "All 3 statements hold." in ended.out


def test_a_yaml_file_and_a_name(here: Callable[..., Ended], tmp_path: Path) -> None:
    path = tmp_path / "net.yaml"
    path.write_text("input: 3x28x28\nlayers: [flatten, linear 100, linear 10]\n")
    assert "236,310" in here("layers", str(path)).out
    ended = here("layers", "captioner-attention")
    assert ended.status == 0
    assert "1,298,467" in ended.out
    assert "word" in ended.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["input=3x28x28", "conv 8 31x31"],
            "layer 1 (conv 8 31x31): the kernel 31x31 is larger than its input",
        ),
        (["input=3x28x28", "conv", "8", "-3x3"], "layer 1 (conv 8 -3x3): its kernel -3 is out of range"),
        (["input=3x28x28", "flatten", "conv 8 3"], "layer 2 (conv 8 3x3) needs an image"),
        (["classifer"], "'classifer' is no list of layers"),
        (["missing.yaml"], "missing.yaml cannot be read: No such file or directory."),
        (["missing.ckpt"], "there is no such file or folder"),
    ],
)
def test_a_mistake_is_one_sentence_and_exits_2(
    here: Callable[..., Ended], words: list[str], message: str
) -> None:
    ended = here("layers", *words)
    assert ended.status == 2
    assert ended.out == ""
    assert message in ended.err
    assert ended.err.count("\n") == 1


def test_the_command_itself() -> None:
    ended = run("-m", "src.theory", "--help")
    assert ended.status == 0
    for word in ("parameters", "attention", "equivariance", "layers", "Exit status"):
        assert word in ended.out
    wrong = run("-m", "src.theory", "layers", "input=3x28x28", "conv 8 31x31")
    assert (wrong.status, wrong.out, wrong.err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize("words", [["nothing"], ["attention", "--cases", "0"], ["layers"], ["--seed", "x"]])
def test_a_wrong_command_exits_2(here: Callable[..., Ended], words: list[str]) -> None:
    assert here(*words).status == 2


def test_help_of_layers_shows_the_syntax(here: Callable[..., Ended]) -> None:
    ended = here("layers", "--help")
    assert ended.status == 0
    assert "conv FILTERS KERNEL" in ended.out
