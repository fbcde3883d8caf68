"""What the report is made from: finished runs and the data that they were trained on."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from src.entry_point import UserError

if TYPE_CHECKING:
    from torch import Tensor

    from src.classification.data import ImageData
    from src.classification.module import Classifier
    from src.sweep.ranking import Ranking
    from src.sweep.runs import RunRecord


class Missing(UserError):
    """Runs or data that a section needs are not there; the message names the command that makes them."""


@dataclass(frozen=True)
class Sources:
    """Where runs lie; each is read once.

    Args:
        sweep: folder of the sweep over dropout and learning rate.
        captions: folders of caption sweeps.
    """

    sweep: Path
    captions: tuple[Path, ...] = ()

    @cached_property
    def ranking(self) -> Ranking:
        """The sweep's runs, the best by validation accuracy first.

        Raises:
            Missing: no run of a classifier is done.
        """
        found = ranking_of(self.sweep, "make sweep")
        if found.task.name != "classify":
            raise Missing(f"{self.sweep} holds no runs of the classifier: make sweep")
        return found

    @property
    def best(self) -> RunRecord:
        return self.ranking.rows[0][1]

    @cached_property
    def classifier(self) -> Classifier:
        """The best run's classifier, weights of its last epoch, in eval mode.

        Raises:
            Missing: there is none, or its checkpoint is gone or damaged.
        """
        from src.run.trained import load_trained

        path = self.best.folder / "checkpoints" / "last.ckpt"
        try:
            return load_trained(str(path)).module  # type: ignore[return-value]
        except UserError as error:
            raise Missing(f"{error}: make sweep ARGS='force=true' trains it afresh") from error

    @cached_property
    def data(self) -> ImageData:
        """The images that the best run was trained on.

        Raises:
            Missing: they cannot be had.
        """
        from src.classification.task import data_of_run

        try:
            return data_of_run(self.best.folder)
        except UserError as error:
            raise Missing(f"{error}: make data fetches Fashion-MNIST") from error

    def images(self, split: str) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) in uint8 and labels (N,) of `train` or `test`, as many as the run used."""
        images, labels, indices = self.data.splits[split]
        return images[indices], labels[indices]


def ranking_of(folder: Path, command: str) -> Ranking:
    """The runs of a sweep, of which one at least is done.

    Raises:
        Missing: none is; the message ends with the command.
    """
    from src.sweep.ranking import rank

    try:
        found = rank(folder)
    except UserError as error:
        raise Missing(f"{error}: {command}") from error
    if found.rows[0][0] is None:
        raise Missing(f"{folder} holds no finished run: {command}")
    return found


def unfinished(ranking: Ranking, command: str) -> tuple[str, ...]:
    """A sentence on the runs that are not done, if there are any."""
    runs = [f"{run.name} ({run.status})" for place, run in ranking.rows if place is None]
    shown = ", ".join(runs[:3]) + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")
    return (f"{ranking.folder}: {len(runs)} runs are not done, {shown}: {command}",) if runs else ()
