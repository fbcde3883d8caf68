"""What the report is made from: finished runs, the data, nothing else.

A section asks here for what it needs; what is not there is a `Missing` that names the command that makes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from src.classification.module import Classifier
    from src.sweep.runs import RunFiles


class Missing(RuntimeError):
    """A run or data that a section needs is not there. The message is a sentence for the user."""


@dataclass(frozen=True)
class Sources:
    """Where runs and data lie.

    Attributes:
        sweep: the sweep over dropout and learning rate.
        captions: sweeps of task=caption, those that are there or may be.
        data: Fashion-MNIST's root, `data/`.
        aerial: a caption data set of real aerial images in Karpathy's layout, or None.
        seed: of whatever is drawn at random.
    """

    sweep: Path = Path("outputs/fashion_mnist")
    captions: tuple[Path, ...] = (
        Path("outputs/scenes"),
        Path("outputs/captions_ucm"),
        Path("outputs/captions_sydney"),
    )
    data: Path = Path("data")
    aerial: Path | None = None
    seed: int = 42

    def best_run(self) -> RunFiles:
        """The sweep's run of the highest validation accuracy after its last epoch.

        Raises:
            Missing: no run of the sweep is done.
        """
        from src.sweep.ranking import rank
        from src.sweep.runs import SweepError

        try:
            rows = rank(self.sweep).rows
        except SweepError as error:
            raise Missing(f"{str(error).rstrip('.')}: make sweep") from error
        if rows[0].rank is None or rows[0].run.task != "classify":
            raise Missing(f"{self.sweep} holds no finished run of the classifier: make sweep")
        return rows[0].run

    def classifier(self, run: RunFiles | None = None) -> Classifier:
        """The classifier of a run, or of `best_run`, with the weights of its last epoch, in eval mode.

        Raises:
            Missing: no run, or its checkpoint is gone or damaged.
        """
        from src.classification.module import Classifier
        from src.trained import CheckpointError, open_checkpoint, rebuilt

        run = run or self.best_run()
        path = self.sweep / run.name / "checkpoints" / "last.ckpt"
        try:
            return rebuilt(open_checkpoint(path), Classifier)
        except CheckpointError as error:
            raise Missing(f"{error}; make sweep ARGS='force=true' trains it afresh") from error

    def fashion_mnist(self, split: str) -> tuple[Tensor, Tensor]:
        """Images (N, 1, 28, 28) uint8 and labels (N,) of the official files, `train` or `test`.

        Raises:
            Missing: they are not there.
        """
        import torch

        from src.classification.data import read_idx
        from src.download import DataUnavailable

        name = {"train": "train", "test": "t10k"}[split]
        raw = self.data / "FashionMNIST" / "raw"
        try:
            images, labels = (
                read_idx(raw / f"{name}-{what}-ubyte") for what in ("images-idx3", "labels-idx1")
            )
        except DataUnavailable as error:
            raise Missing(f"{error}: make data") from error
        return torch.from_numpy(images.copy()).unsqueeze(1), torch.from_numpy(labels.astype("int64"))
