"""A sweep's validation metric by dropout and learning rate, and what it says in words."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median, stdev, variance

from src.sweep.runs import RunFiles, Task
from src.sweep.tables import setting_text
from src.sweep.variants import Variant


@dataclass(frozen=True)
class Cell:
    """The runs that share a dropout and a learning rate, e.g. one a seed."""

    scores: tuple[float, ...] = ()  # of the runs that are done
    unfinished: tuple[str, ...] = ()  # statuses of the others

    @property
    def mean(self) -> float | None:
        return fmean(self.scores) if self.scores else None

    @property
    def text(self) -> str:
        """What the cell reads: the value (of several runs mean ± sample standard deviation, n) or a word."""
        words = sorted(set(self.unfinished))
        if not self.scores:
            return "\n".join(words) or "missing"
        lines = [f"{fmean(self.scores):.4f}"]
        if len(self.scores) > 1:
            lines += [f"± {stdev(self.scores):.4f}", f"n = {len(self.scores)}"]
        return "\n".join(lines + [f"{self.unfinished.count(word)} {word}" for word in words])


@dataclass(frozen=True)
class Grid:
    """Every combination of the dropouts and learning rates that occur, both ascending."""

    dropouts: tuple[float, ...]
    lrs: tuple[float, ...]
    cells: dict[tuple[float, float], Cell]  # by (dropout, lr)

    @property
    def best(self) -> tuple[tuple[float, float], ...]:
        """The cells with the highest mean, several when tied, none while no run is done."""
        means = {place: cell.mean for place, cell in self.cells.items() if cell.mean is not None}
        return tuple(place for place, mean in means.items() if mean == max(means.values()))


def grid_of(task: Task, runs: Sequence[RunFiles], among: Sequence[RunFiles] = ()) -> Grid:
    """The grid of `runs`; those whose dropout or lr cannot be read are left out.

    `among` adds the dropouts and learning rates of other runs, so that several grids span the same.
    """
    placed: dict[tuple[float, float], list[RunFiles]] = {}
    for run in (*runs, *among):
        if run.dropout is not None and run.lr is not None:
            # As they read: 0.1 + 0.2 and 0.3 are one row.
            placed.setdefault((float(setting_text(run.dropout)), float(setting_text(run.lr))), [])
    for run in runs:
        if run.dropout is not None and run.lr is not None:
            placed[float(setting_text(run.dropout)), float(setting_text(run.lr))].append(run)
    dropouts = tuple(sorted({dropout for dropout, _ in placed}))
    lrs = tuple(sorted({lr for _, lr in placed}))
    cells = {}
    for dropout in dropouts:
        for lr in lrs:
            here = placed.get((dropout, lr), [])
            cells[dropout, lr] = Cell(
                tuple(sorted(run.numbers[task.validation] for run in here if run.status == "done")),
                tuple(sorted(run.status for run in here if run.status != "done")),
            )
    return Grid(dropouts, lrs, cells)


def grid_title(task: Task, grid: Grid) -> str:
    """Which learning rate is ahead, if one is, and the best cell."""
    if not grid.best:
        return f"{task.heading} by dropout and learning rate: no run is done yet"
    ahead = _ahead(grid)
    dropout, lr = grid.best[0]
    cell = grid.cells[dropout, lr]
    best = "best mean" if len(cell.scores) > 1 else "best"
    where = f"dropout {setting_text(dropout)}"
    if ahead is None or len(grid.best) > 1 or len(grid.lrs) == 1:
        where += f", lr {setting_text(lr)}"
    if len(grid.best) > 1:
        where += f" and {len(grid.best) - 1} more"
    found = f"{best} {cell.text.split(chr(10))[0]} at {where}"
    so_far = any("running" in cell.unfinished for cell in grid.cells.values())
    if ahead is not None:
        return f"{'So far, ' if so_far else ''}{ahead}; {found}"
    return f"{task.heading}{' so far' if so_far else ''}: {found}"


def panels_title(task: Task, panels: Sequence[tuple[str, Grid]]) -> str:
    """The best cell of each panel (its label and its grid), the best panel first."""
    found = [(grid.cells[grid.best[0]], label, grid.best[0]) for label, grid in panels if grid.best]
    if not found:
        return f"{task.heading} by dropout and learning rate: no run is done yet"
    found.sort(key=lambda entry: -(entry[0].mean or 0.0))
    averaged = any(len(cell.scores) > 1 for cell, _, _ in found)
    cells = [cell for _, grid in panels for cell in grid.cells.values()]
    texts = [
        f"{cell.mean:.4f} {label} (dropout {setting_text(dropout)}, lr {setting_text(lr)})"
        for cell, label, (dropout, lr) in found[:3]
    ]
    return (
        f"Best {'mean ' if averaged else ''}{task.label}"
        f"{' so far' if any('running' in cell.unfinished for cell in cells) else ''}: {'; '.join(texts)}"
    )


def _ahead(grid: Grid) -> str | None:
    """Says that one learning rate beats the others at every dropout that has several; None if none does."""
    leaders = set()
    compared = 0
    for dropout in grid.dropouts:
        means = {lr: mean for lr in grid.lrs if (mean := grid.cells[dropout, lr].mean) is not None}
        if len(means) > 1:
            compared += 1
            leaders |= {lr for lr, mean in means.items() if mean == max(means.values())}
    if len(leaders) != 1:
        return None
    (leader,) = leaders
    # The best cell of all may lie where there was nothing to compare.
    if grid.best[0][1] != leader:
        return None
    name = f"lr {setting_text(leader)} is ahead"
    if len(grid.dropouts) == 1:
        return name
    if compared == len(grid.dropouts):
        return f"{name} at every dropout"
    return f"{name} at all {compared} dropouts with several lr done" if compared > 1 else None


def curves_title(task: Task, runs: Sequence[RunFiles], variants: Sequence[Variant] = ()) -> str:
    """Which learning rate, or which of several `variants`, ends highest, by the median over its runs that
    are done.
    """
    so_far = "So far, " if any(run.status == "running" for run in runs) else ""
    by_label = {variant.label: _scores(task, variant.runs) for variant in variants}
    by_label = {label: scores for label, scores in by_label.items() if scores}
    if len(by_label) > 1:
        return _highest(task, by_label, so_far) or f"Training loss and {task.label} by setting"
    by_lr: dict[float, list[float]] = {}
    for run in runs:
        if run.status == "done" and run.lr is not None:
            by_lr.setdefault(run.lr, []).append(run.numbers[task.validation])
    if not by_lr:
        return "Training loss and " + task.label + " by learning rate: no run is done yet"
    if len(by_lr) == 1:
        ((lr, scores),) = by_lr.items()
        if len(scores) == 1:
            return f"The one run done, at lr {setting_text(lr)}, ends at {task.label} {scores[0]:.4f}"
        return (
            f"{len(scores)} runs done, all at lr {setting_text(lr)}, end at {task.label} "
            f"{min(scores):.4f} to {max(scores):.4f}"
        )
    by_label = {f"lr {setting_text(lr)}": by_lr[lr] for lr in sorted(by_lr, reverse=True)}
    return _highest(task, by_label, so_far) or f"Training loss and {task.label} by learning rate"


def _highest(task: Task, by_label: dict[str, list[float]], so_far: str) -> str:
    """Which of several groups of scores has the highest median; empty where two share it."""
    medians = sorted(((median(scores), label) for label, scores in by_label.items()), key=lambda m: -m[0])
    if medians[0][0] == medians[1][0]:
        return ""
    (top, leader), *rest = medians
    what = "" if all(len(scores) == 1 for scores in by_label.values()) else "median "
    than = "against" if len(rest) <= 3 else "then"
    if leader.startswith("lr "):
        others = ", ".join(f"{value:.4f} at {label}" for value, label in rest[:3])
        return f"{so_far}{leader} ends highest: {what}{task.label} {top:.4f}, {than} {others}"
    others = "; ".join(f"{value:.4f} {label}" for value, label in rest[:3])
    highest = "Highest so far" if so_far else "Highest at the end"
    return f"{highest}: {what}{task.label} {top:.4f} {leader}, {than} {others}"


def scores_title(task: Task, variants: Sequence[Variant]) -> str:
    """The mean of each variant, best first, and how two of them differ, in terms of the seeds' spread."""
    found = [(variant.label, _scores(task, variant.runs)) for variant in variants]
    found = sorted((pair for pair in found if pair[1]), key=lambda pair: -fmean(pair[1]))
    so_far = " so far" if any(run.status == "running" for v in variants for run in v.runs) else ""
    if not found:
        return f"{task.heading}: no run is done yet"
    averaged = any(len(scores) > 1 for _, scores in found)
    texts = "; ".join(f"{fmean(scores):.4f} {label}".strip() for label, scores in found[:3])
    title = f"{'Mean ' + task.label if averaged else task.heading}{so_far}: {texts}"
    if len(found) == 2 and all(len(scores) > 1 for _, scores in found):
        (_, first), (_, second) = found
        spread = fmean((variance(first), variance(second))) ** 0.5  # pooled over both
        if spread > 0:
            title += f"; {(fmean(first) - fmean(second)) / spread:.1f} seed standard deviations apart"
    return title


def _scores(task: Task, runs: Sequence[RunFiles]) -> list[float]:
    return [run.numbers[task.validation] for run in runs if run.status == "done"]
