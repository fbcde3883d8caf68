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

SWEEP = "make sweep"


@dataclass(frozen=True)
class Sources:
    """Where runs lie; each is read once. What is not there is a UserError.

    Args:
        sweep: folder of the sweep over dropout and learning rate.
        captions: folders of caption sweeps.
        trust: packages whose classes the runs may name.
    """

    sweep: Path
    captions: tuple[Path, ...] = ()
    trust: tuple[str, ...] = ()

    @cached_property
    def ranking(self) -> Ranking:
        """The sweep's runs, the best by validation accuracy first."""
        return ranking_of(self.sweep, "classify", self.command)

    @property
    def command(self) -> str:
        """What trains the sweep."""
        usual = self.sweep == Path("outputs/fashion_mnist")
        place = f"output_dir={self.sweep.parent} name={self.sweep.name}"
        return SWEEP if usual else f"python -m src.train -m experiment=table2 {place}"

    @property
    def best(self) -> RunRecord:
        return self.ranking.rows[0][1]

    @cached_property
    def classifier(self) -> Classifier:
        """The best run's classifier, weights of its last epoch, in eval mode."""
        from src.run.trained import load_trained

        path = self.best.folder / "checkpoints" / "last.ckpt"
        return load_trained(str(path), self.trust).module  # type: ignore[return-value]

    @cached_property
    def data(self) -> ImageData:
        """The images that the best run was trained on."""
        from src.classification.task import data_of_run

        return data_of_run(self.best.folder, self.trust)

    def images(self, split: str) -> tuple[Tensor, Tensor]:
        """Images (N, C, H, W) in uint8 and labels (N,) of `train` or `test`, as many as the run used."""
        images, labels, indices = self.data.splits[split]
        return images[indices], labels[indices]


def ranking_of(folder: Path, task: str, command: str) -> Ranking:
    """The runs of a sweep, of which one at least is done.

    Raises:
        UserError: none is, or they are of another task; the message ends with the command.
    """
    from src.sweep.ranking import rank

    try:
        found = rank(folder)
    except UserError as error:
        raise UserError(f"{error}: {command}") from error
    if found.task.name != task or found.rows[0][0] is None:
        raise UserError(f"{folder} holds no finished run of the task {task}: {command}")
    return found


def unfinished(ranking: Ranking, command: str) -> tuple[str, ...]:
    """A sentence on the runs that are not done, if there are any."""
    runs = [f"{run.name} ({run.status})" for place, run in ranking.rows if place is None]
    shown = ", ".join(runs[:3]) + (f" and {len(runs) - 3} more" if len(runs) > 3 else "")
    return (f"{ranking.folder}: not done are {shown}: {command}",) if runs else ()
