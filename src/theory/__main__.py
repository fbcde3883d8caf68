"""Every piece of theory as tables in the terminal: `python -m src.theory --help`.

The exit status is 1 where a statement does not hold, 2 for a mistake in the command.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from src.findings import Statement
from src.paths import exists
from src.streams import guard_streams
from src.sweep.ranking import console_for
from src.sweep.runs import plain
from src.theory.terminal import show_statements, show_table

if TYPE_CHECKING:
    from rich.console import Console

    from src.theory.counted import Network

PIECES = ("parameters", "attention", "equivariance")
NETWORKS = (
    *("cnn", "dense", "classifier", "captioner", "captioner-attention"),
    *("tiny", "resnet18", "resnet50", "efficientnet_lite0"),
)
REAL_IMAGES = 64
CASES = 200

_DESCRIPTION = """\
The report's theory, computed and put to the test; without a piece, all three.

  parameters    layers, shapes, parameters and multiply-adds of the report's and the project's networks
  attention     self-attention: rank of A, both forms of the probabilities, twins under an invertible B
  equivariance  f(g(x)) against g(f(x)) for shifts, turns and zooms of images
  layers        the same table for a network of your own, of the project, or of a run
"""
_LAYERS = """\
A table of layers: output shape, kernel, parameters by formula and counted from the built network, share,
multiply-adds. The network is one of

  a list        input=3x28x28 'conv 8 5x5' 'maxpool 4x4 stride 2' flatten 'linear 10'
                conv FILTERS KERNEL, maxpool KERNEL, avgpool KERNEL, each with [stride S] [padding P];
                linear UNITS; relu; dropout [PROBABILITY]; flatten. Kernels, strides and paddings are
                5x5 or, for a square, 5. input=2352 is a vector. Quotes may be left out.
  a YAML file   network.yaml with `input: 3x28x28` and `layers:`, a list of the same
  a name        {names}
  a run         a run's folder, a sweep's (its best run), or a checkpoint
"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    raw = argparse.RawDescriptionHelpFormatter
    shared = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS)
    shared.add_argument("--seed", type=int, help="of whatever is drawn at random (42)")
    shared.add_argument("--data", type=Path, help="Fashion-MNIST's root (data)")
    shared.add_argument("--cases", type=_positive, help=f"random sizes for attention ({CASES})")
    top = argparse.ArgumentParser(
        prog="python -m src.theory",
        description=_DESCRIPTION,
        epilog="Exit status: 0 all statements hold, 1 one does not, 2 a mistake in the command.",
        formatter_class=raw,
        parents=[shared],
    )
    top.set_defaults(seed=42, data=Path("data"), cases=CASES)
    pieces = top.add_subparsers(dest="piece", metavar="PIECE", title="pieces")
    for name in PIECES:
        pieces.add_parser(name, parents=[shared], help=f"this piece alone: python -m src.theory {name}")
    layers = pieces.add_parser(
        "layers",
        help="a table for a network of your own: python -m src.theory layers --help",
        description=_LAYERS.format(names=", ".join(NETWORKS)),
        formatter_class=raw,
    )
    layers.add_argument("words", nargs="+", metavar="NETWORK", help="a list, a YAML file, a name or a run")
    return top


def _positive(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of cases: give 1 to 100,000")
    return int(text)


def parameters(console: Console) -> list[Statement]:
    """The report's networks and the project's, with the report's slip."""
    from src.theory.networks import all_networks, report_slip

    networks = all_networks()
    statements = _networks(networks, console)
    console.print(report_slip(networks[0].by_formula, networks[1].by_formula), markup=False)
    console.print()
    return statements


def attention(console: Console, seed: int, cases: int) -> list[Statement]:
    """The identities of self-attention and their counter-examples."""
    from src.theory.attention_check import check

    checked = check(seed, cases)
    show_table(checked.table(), console)
    return _say(checked.statements(), console)


def equivariance(console: Console, seed: int, data: Path) -> list[Statement]:
    """Shifts, turns and zooms, on test images of Fashion-MNIST where they are there."""
    from src.report.sources import Missing, Sources
    from src.theory.equivariance import statements

    try:
        images = Sources(data=data).fashion_mnist("test")[0][:REAL_IMAGES].float() / 255
        source = f"{len(images)} test images of Fashion-MNIST in {data}"
    except Missing as error:
        images, source = None, f"generated images ({str(error).rstrip('.')} fetches real ones)"
    found, table = statements(images, seed)
    show_table(table, console)
    console.print(f"Images: {plain(source)}.", markup=False)
    return _say(found, console)


def layers(console: Console, words: Sequence[str]) -> list[Statement]:
    """One network's table.

    Raises:
        LayerError: the list, file or name makes no network.
        CheckpointError: the run's checkpoint cannot be opened.
    """
    return _networks(_network(words), console)


def _network(words: Sequence[str]) -> tuple[Network, ...]:
    """What the words after `layers` stand for."""
    from src.theory.layer_list import parse, read_yaml
    from src.theory.layers import LayerError

    first = words[0]
    if len(words) == 1 and first in NETWORKS:
        from src.theory.networks import named

        return (named(first),)
    if len(words) == 1 and Path(first).suffix in (".yaml", ".yml"):
        from src.theory.counted import of_layer_list

        return (of_layer_list(read_yaml(Path(first)), first),)
    if len(words) == 1 and (exists(Path(first)) or Path(first).suffix == ".ckpt"):
        from src.theory.networks import of_run

        return of_run(first)
    if len(words) == 1 and not set(first) & set(" ="):
        raise LayerError(
            f"{first!r} is no list of layers, no YAML file, no folder that is there and none of "
            f"{', '.join(NETWORKS)}: see python -m src.theory layers --help"
        )
    layer_list = parse(words)
    layer_list.rows()  # every mistake is found before torch is imported
    from src.theory.counted import of_layer_list

    return (
        of_layer_list(
            layer_list, f"{len(layer_list.layers)} layers on {'x'.join(map(str, layer_list.input))}"
        ),
    )


def _networks(networks: Sequence[Network], console: Console) -> list[Statement]:
    statements = []
    for network in networks:
        show_table(network.table(), console)
        statements += _say(network.statements(), console)
    return statements


def _say(statements: Sequence[Statement], console: Console) -> list[Statement]:
    show_statements(statements, console)
    console.print()
    return list(statements)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status (see `--help`)."""
    given = sys.argv[1:] if arguments is None else arguments
    # argparse would take "-3x3" for an option; the layer's own message says what is wrong with it
    options = parser().parse_args(
        [f" {word}" if word[:1] == "-" and word[1:2].isdigit() else word for word in given]
    )
    console = console_for(sys.stdout)
    from src.theory.layers import LayerError
    from src.trained import CheckpointError

    if options.piece == "layers":
        try:
            statements = layers(console, options.words)
        except (LayerError, CheckpointError) as error:
            print(f"{plain(str(error).rstrip('.'), 2000)}.", file=sys.stderr)
            return 2
    else:
        statements = []
        for piece in [options.piece] if options.piece else PIECES:
            if piece == "parameters":
                statements += parameters(console)
            elif piece == "attention":
                statements += attention(console, options.seed, options.cases)
            else:
                statements += equivariance(console, options.seed, options.data)
    wrong = [statement for statement in statements if not statement.holds]
    for statement in wrong:
        print(
            f"Does not hold: {plain(statement.what, 500)}: {plain(statement.measured, 500)}, "
            f"expected {plain(statement.expected, 500)}.",
            file=sys.stderr,
        )
    if not wrong:
        console.print(
            f"All {len(statements)} statements hold." if len(statements) > 1 else "The statement holds."
        )
    return 1 if wrong else 0


if __name__ == "__main__":
    guard_streams()
    sys.exit(main())
