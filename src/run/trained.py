"""Find and open what a run learned, given a checkpoint, a run's folder or a sweep's."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from src.build import refuse_untrusted
from src.entry_point import CONF, UserError, printable

if TYPE_CHECKING:
    import lightning as L

MODELS = CONF.parent / "models"
WEIGHTS = "model.safetensors"
logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Trained:
    """A LightningModule with a checkpoint's weights, in eval mode, and where they come from."""

    path: Path
    task: str  # classify or caption
    module: L.LightningModule
    about: dict[str, Any]  # what an exported file says of the model; of a checkpoint nothing

    @property
    def folder(self) -> Path:
        """The run's, where the checkpoint lies in one."""
        return self.path.absolute().parent.parent

    @property
    def name(self) -> Path:
        """Sweep and run, or the checkpoint's own name: where its predictions go."""
        run = self.path.absolute().parent.parent
        if self.path.absolute().parent.name == "checkpoints":
            return Path(run.parent.name, run.name)
        return Path(self.path.absolute().parent.name if self.path.name == WEIGHTS else self.path.stem)


def find_checkpoint(given: str) -> Path:
    """The checkpoint that a file, a run's folder or a sweep's folder stands for; nothing is opened.

    Of a run it is best.ckpt, else last.ckpt; of a sweep that of the run with the best validation metric. A name that
    is none of these may be that of a model in models/ (`make models`).

    Raises:
        UserError: there is none.
    """
    path = Path(given).expanduser()
    if not path.exists() and (MODELS / given).is_dir():
        path = MODELS / given
    if path.is_file():
        return path
    if not path.is_dir():
        ours = ", ".join(sorted(one.name for one in MODELS.glob("*/")))
        raise UserError(f"{given}: there is no such file or folder, nor a model of this name ({ours})")
    if found := _of_run(path):
        return found
    if (path / "config.yaml").is_file():
        raise UserError(f"{given}: this run has no checkpoint yet; its first epoch writes one")
    from src.sweep.ranking import rank

    ranking = rank(path)
    for place, run in ranking.rows:
        if place is not None and (found := _of_run(run.folder)):
            label = ranking.task.label
            logger.info("Taking %s, the best of %s runs by %s.", run.folder, len(ranking.rows), label)
            return found
    raise UserError(f"{given}: no run of this sweep is done")


def _of_run(folder: Path) -> Path | None:
    names = ("checkpoints/best.ckpt", "checkpoints/last.ckpt", "best.ckpt", "last.ckpt", WEIGHTS)
    return next((folder / name for name in names if (folder / name).is_file()), None)


def config_of_run(folder: Path, trust: Sequence[str] = ()) -> DictConfig:
    """A run's config.yaml, to read its data again.

    Raises:
        UserError: there is none, or its data ask for code that is not trusted.
    """
    file = folder / "config.yaml"
    if not file.is_file():
        raise UserError(f"{folder} is no run's folder (there is no config.yaml): its data are not known here")
    cfg = OmegaConf.load(file)
    assert isinstance(cfg, DictConfig)
    refuse_untrusted(OmegaConf.to_container(cfg.data), trust)
    return cfg


def load_trained(given: str, trust: Sequence[str] = ()) -> Trained:
    """The module of a checkpoint, or of a run's or a sweep's folder.

    Args:
        trust: packages whose classes the checkpoint may name, besides those that src/build.py names.

    Raises:
        UserError: there is none, it is damaged, none of this project, or asks for code that is not trusted.
    """
    import torch

    from src.captioning.module import Captioner
    from src.classification.module import Classifier
    from src.run.checkpoints import read_checkpoint
    from src.run.weights import read_safetensors

    path = find_checkpoint(given)
    try:
        if path.suffix == ".safetensors":
            settings, state, about = read_safetensors(path)
        else:
            content, about = read_checkpoint(path), {}
            settings, state = dict(content["hyper_parameters"]), dict(content["state_dict"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} holds no hyper-parameters and weights of a run") from error
    kinds: dict[str, Any] = {"caption": Captioner, "classify": Classifier}
    task = "caption" if "vocabulary" in settings else "classify"
    refuse_untrusted(settings, trust)
    try:
        with torch.device("meta"):  # first without memory: the settings may promise more than a machine holds
            kinds[task](**settings).load_state_dict(state, assign=True)
        module = kinds[task](**settings)
        module.load_state_dict(state)
    except UserError:
        raise
    except Exception as error:  # settings of somebody else's fail in a dozen ways
        cause = f"{type(error).__name__}: {printable(error)}"
        raise UserError(f"the checkpoint {path} does not fit this version of the code: {cause}") from error
    return Trained(path, task, module.eval(), about)
