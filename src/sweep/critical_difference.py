"""Which configurations of a sweep differ by more than the noise of their seeds: Demšar's picture of mean ranks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from matplotlib.figure import Figure

from src import figures
from src.sweep.comparison import by_settings
from src.sweep.ranking import Ranking

# Critical values of the two-tailed Nemenyi test at 5 %, for 2 to 10 configurations (Demšar 2006, table 5a).
NEMENYI = (1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164)


@dataclass(frozen=True)
class MeanRanks:
    """Mean ranks of configurations over seeds (Demšar 2006, https://jmlr.org/papers/v7/demsar06a.html).

    Attributes:
        names: of the configurations, the best mean rank first.
        ranks: their mean ranks over the seeds, 1 the best; ties share the mean of their ranks.
        seeds: number of seeds.
        critical_difference: mean ranks that differ by less are not told apart at 5 % (Nemenyi test).
        p_value: of Friedman's test that all configurations are alike.
    """

    names: tuple[str, ...]
    ranks: tuple[float, ...]
    seeds: int
    critical_difference: float
    p_value: float

    @property
    def cliques(self) -> list[tuple[int, int]]:
        """First and last place of each largest group that is not told apart."""
        found: list[tuple[int, int]] = []
        for first, rank in enumerate(self.ranks):
            last = max(i for i, other in enumerate(self.ranks) if other - rank < self.critical_difference)
            if last > first and (not found or last > found[-1][1]):
                found.append((first, last))
        return found


def mean_ranks(ranking: Ranking) -> MeanRanks | None:
    """The mean ranks by the validation metric; None where not 2 to 10 configurations have 2 seeds in common."""
    named = [
        key
        for key in ranking.named
        if key != "seed" and len({str(run.settings.get(key)) for _, run in ranking.rows}) > 1
    ]
    groups = by_settings(ranking, named)
    scores = [
        {run.settings.get("seed"): run.number(ranking.task.monitor) for run in runs}
        for runs in groups.values()
    ]
    seeds = list(set.intersection(*map(set, scores))) if scores else []
    k, n = len(scores), len(seeds)
    if not (2 <= k <= len(NEMENYI) + 1 and n >= 2):
        return None
    values = np.array(
        [[of_group[seed] for of_group in scores] for seed in seeds], float
    )  # (seeds, configurations)
    above = (values[:, None] > values[:, :, None]).sum(2)
    equal = (values[:, None] == values[:, :, None]).sum(2)
    means = (above + (equal + 1) / 2).mean(0)
    untied = 1 - (equal**2 - 1).sum() / (n * k * (k**2 - 1))  # 1 without ties, 0 where all are equal
    friedman = 12 * n / (k * (k + 1)) * ((means - (k + 1) / 2) ** 2).sum() / max(untied, 1e-12)
    half = torch.tensor([(k - 1) / 2, friedman / 2], dtype=torch.double)
    order = np.argsort(means, kind="stable")
    names = [", ".join(f"{key} {text}" for key, text in zip(named, group, strict=True)) for group in groups]
    return MeanRanks(
        names=tuple(names[i] for i in order),
        ranks=tuple(means[order].tolist()),
        seeds=n,
        critical_difference=NEMENYI[k - 2] * math.sqrt(k * (k + 1) / (6 * n)),
        p_value=float(torch.special.gammaincc(*half)),  # of chi squared with k - 1 degrees of freedom
    )


def critical_difference(found: MeanRanks, heading: str) -> Figure:
    """The mean ranks on a line, the configurations that are not told apart joined by bars.

    Args:
        heading: name of the metric.
    """
    k = len(found.ranks)
    with figures.look():
        figure, ((axes,),) = figures.subplots(height=1.4 + 0.26 * (k + len(found.cliques)))
        for place, (name, rank) in enumerate(zip(found.names, found.ranks, strict=True)):
            depth = place - k  # the best at the bottom, so that no lines cross
            axes.plot([rank, rank, k + 0.2], [0, depth, depth], color=figures.DARK, lw=0.8)
            axes.text(k + 0.3, depth, f"{name}  ({rank:.2f})", va="center", fontsize=9)
        for row, (first, last) in enumerate(found.cliques):
            ends = [found.ranks[first] - 0.06, found.ranks[last] + 0.06]
            axes.plot(ends, [1.2 + 0.5 * row] * 2, lw=4, color=figures.PALETTE[0], solid_capstyle="butt")
        top = 1.7 + 0.5 * len(found.cliques)
        axes.plot([1, 1 + found.critical_difference], [top, top], color=figures.PALETTE[1], marker="|")
        axes.text(1, top + 0.25, f"critical difference {found.critical_difference:.2f}", fontsize=8)
        axes.set(xlim=(0.5, 0.5 + 1.6 * k), ylim=(-k - 0.7, top + 1), xticks=range(1, k + 1), yticks=[])
        axes.grid(False)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.spines["top"].set(visible=True, position=("data", 0), bounds=(0.5, k + 0.5))
        axes.xaxis.tick_top()
        axes.xaxis.set_label_position("bottom")
        axes.set_xlabel(
            f"Mean rank over {found.seeds} seeds by {heading.lower()}; Friedman test: p = {found.p_value:.2g}"
        )
        figures.title(figure, "Mean ranks; bars join what the noise of the seeds does not tell apart")
    return figure
