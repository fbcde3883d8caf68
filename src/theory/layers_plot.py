"""Where the parameters of networks sit: one bar a network, one part a layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from matplotlib.colors import to_rgba
from matplotlib.patches import Patch

from src import figures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from src.theory.counted import Network

COLOURS = {
    "conv": ("convolution", figures.PALETTE[5]),
    "linear": ("dense", figures.PALETTE[0]),
    "dense": ("dense", figures.PALETTE[0]),
    "embedding": ("embedding", figures.PALETTE[4]),
    "attention": ("attention", figures.PALETTE[3]),
    "recurrent": ("LSTM", figures.PALETTE[1]),
    "output": ("output", figures.PALETTE[2]),
}
READABLE = 0.05  # of the bar: narrower parts carry no label


def largest(network: Network) -> tuple[str, float]:
    """The layer with most parameters, and its share of them."""
    row = max(network.rows, key=lambda row: row.parameters)
    return row.layer, row.parameters / network.by_formula


def shares_title(networks: Sequence[Network]) -> str:
    """What the picture says."""
    shares = sorted(largest(network)[1] for network in networks)
    return (
        f"One layer holds {_percent(shares[0])} to {_percent(shares[-1])} of each network's parameters; "
        f"convolutions hold at most {_percent(max(map(_convolutions, networks)))}"
    )


def _convolutions(network: Network) -> float:
    """The share of convolutions."""
    return sum(row.parameters for row in network.rows if row.kind == "conv") / network.by_formula


def shares_alt(networks: Sequence[Network]) -> str:
    """The picture in words."""
    texts = []
    for network in networks:
        name, share = largest(network)
        texts.append(f"{network.title}, {network.by_formula:,}: {100 * share:.1f} % in {name}")
    return f"Stacked horizontal bars of parameters by layer. {'; '.join(texts)}."


def draw_shares(networks: Sequence[Network]) -> Figure:
    """Shares of parameters by layer, coloured by the kind of layer."""
    with figures.look():
        figure, ((axes,),) = figures.subplots(height=1.4 + 0.62 * len(networks))
        seen: dict[str, str] = {}
        for y, network in enumerate(networks):
            left = 0.0
            for row in network.rows:
                share = row.parameters / network.by_formula
                if not share:
                    continue
                kind, colour = COLOURS[row.kind]
                seen[kind] = colour
                axes.barh(y, share, left=left, height=0.62, color=colour, edgecolor="white", linewidth=0.8)
                if share >= READABLE:
                    axes.text(
                        *(left + share / 2, y, _label(row.layer, share)),
                        ha="center",
                        va="center",
                        fontsize=8,
                        linespacing=1.1,
                        color=figures.ink_on(to_rgba(colour)),
                    )
                left += share
        axes.set_yticks(
            range(len(networks)),
            [f"{figures.wrapped(network.title, 22)}\n{network.by_formula:,}" for network in networks],
        )
        axes.set_ylim(len(networks) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0", "20", "40", "60", "80", "100"])
        axes.set_xlabel("Share of the network's parameters (%)")
        axes.tick_params(axis="y", length=0)
        axes.grid(False, axis="y")
        axes.set_axisbelow(True)
        handles = [Patch(color=colour, label=kind) for kind, colour in seen.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
        figures.title(figure, shares_title(networks))
    return figure


def _label(layer: str, share: float) -> str:
    """Name and share, in as many lines as the part is wide enough for."""
    percent, name = _percent(share), layer.replace("_", " ")
    letters = int(share * 95)  # of 8 points
    if len(name) + len(percent) + 2 <= letters:
        return f"{name}: {percent}"
    if len(name) <= letters:
        return f"{name}\n{percent}"
    words = name.split()
    return "\n".join([*words, percent]) if len(words) == 2 and max(map(len, words)) <= letters else percent


def _percent(share: float) -> str:
    """Without decimals, unless it would round to all or nothing."""
    return f"{100 * share:.{0 if 0.005 <= share < 0.995 else 1}f} %"
