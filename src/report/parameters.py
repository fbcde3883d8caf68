"""The report's first question: how many parameters two networks have, and ours."""

from __future__ import annotations

from typing import TYPE_CHECKING

from src.findings import Comparison, Picture, Section, Table
from src.theory.layers_plot import draw_shares, largest, shares_alt, shares_title
from src.theory.networks import REPORT_COUNT, SLIP_LAYER, SLIP_TOTAL, all_networks, increase, report_slip

if TYPE_CHECKING:
    from src.report.sources import Sources
    from src.theory.counted import Network


def section(sources: Sources) -> Section:
    """Counts by formula and from the built networks. Needs nothing but the code."""
    networks = all_networks()
    cnn, dense = (network.by_formula for network in networks[:2])
    first = networks[1].rows[1].parameters
    statements = tuple(statement for network in networks for statement in network.statements())
    agree = all(statement.holds for statement in statements)
    return Section(
        key="parameters",
        title="Counting parameters",
        asked="How many parameters has a small convolutional network on 28x28 colour images, how many a "
        "fully connected one with a hidden layer of 100, and by how much does the number grow?",
        answer=(
            f"The convolutional network has {cnn:,} parameters, the fully connected one {dense:,}: "
            f"{increase(cnn, dense):,.1f} % more. "
            + (
                "Every number comes from a formula and from the built network, and both agree."
                if agree
                else "Formula and built network do not agree everywhere; see the statements."
            ),
            _weight_sharing(networks[0], networks[1]),
            _ours(networks[2:]),
        ),
        comparisons=(
            Comparison("parameters of the CNN", REPORT_COUNT, cnn),
            Comparison(
                "first dense layer of the dense network", SLIP_LAYER, first, note="a slip in the report"
            ),
            Comparison("parameters of the dense network", SLIP_TOTAL, dense, note="follows from the slip"),
            Comparison(
                "increase over the CNN, in %",
                round(increase(REPORT_COUNT, SLIP_TOTAL), 1),
                round(increase(cnn, dense), 1),
                digits=1,
                note="follows from the slip",
            ),
            Comparison("parameters of the classifier", 769_930, networks[2].by_formula),
            Comparison("parameters of the captioner without attention", 697_078, networks[3].by_formula),
            Comparison("parameters of the captioner with attention", 1_298_467, networks[4].by_formula),
        ),
        statements=statements,
        tables=tuple(_titled(network) for network in networks),
        pictures=(
            Picture("parameter-shares", shares_title(networks), shares_alt(networks), draw_shares(networks)),
        ),
        slip=report_slip(cnn, dense),
        command="python -m src.theory parameters",
    )


def _titled(network: Network) -> Table:
    table = network.table()
    return Table(table.title[0].upper() + table.title[1:], table.columns, table.rows, table.note)


def _weight_sharing(cnn: Network, dense: Network) -> str:
    """Why a convolution is small, in numbers of this very pair."""
    convolution, hidden = cnn.rows[0], dense.rows[1]
    uses = convolution.multiply_adds / (convolution.parameters - convolution.output[0])
    return (
        f"The convolution's weights are shared: each of its "
        f"{convolution.parameters - convolution.output[0]:,} is used {uses:,.0f} times an image, those of a "
        f"dense layer once. So few parameters do not mean little work: {convolution.multiply_adds:,} "
        f"multiply-adds, beside {hidden.multiply_adds:,} of the dense network's first layer."
    )


def _ours(networks: tuple[Network, ...]) -> str:
    texts = []
    for network in networks:
        layer, share = largest(network)
        texts.append(f"{network.title} {network.by_formula:,}, {100 * share:.1f} % of them in {layer}")
    return f"The networks trained here: {'; '.join(texts)}."
