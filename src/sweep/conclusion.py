"""The end of a sweep: ranking.csv, ranking.md and plots are written, then the table is printed."""

from __future__ import annotations

import sys
from pathlib import Path

from src.files import remove_leftovers, write_atomically
from src.sweep.plots import draw
from src.sweep.ranking import rank, show, to_csv, to_markdown


def report(folder: Path, plots: bool = True) -> list[Path]:
    """Write ranking.csv and ranking.md, draw the plots, then print the table; the files' paths.

    Raises:
        UserError: as `read_runs`.
    """
    ranking = rank(folder)
    for place in (folder, folder / "plots"):
        remove_leftovers(place)
    paths = [folder / "ranking.csv", folder / "ranking.md"]
    for path, content in zip(paths, (to_csv(ranking), to_markdown(ranking)), strict=True):
        write_atomically(path, content)
    paths += draw(folder / "plots", ranking) if plots else []
    show(ranking)
    sys.stdout.write("Files:\n" + "".join(f"  {path}\n" for path in paths))
    return paths
