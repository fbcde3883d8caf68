"""Find and open what a run learned, given a checkpoint, a run's folder or a sweep's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from src.paths import expanded, is_dir, is_file
from src.plain_yaml import read_settings
from src.words import plain

if TYPE_CHECKING:
    import torch

LISTED = 8  # runs that a message names
# A hyper-parameter that only this task's LightningModule has.
SIGNS = {"caption": "vocabulary", "classify": "classes"}


class CheckpointError(RuntimeError):
    """No checkpoint that can be used. The message is one sentence for the user."""


@dataclass(frozen=True, eq=False)
class Trained:
    """A checkpoint's content, as far as a prediction needs it, and where it lies."""

    path: Path
    task: str  # a key of `SIGNS`
    hyper_parameters: Mapping[str, Any]
    state_dict: Mapping[str, torch.Tensor]

    @property
    def run(self) -> Path | None:
        """The run's folder, or None for a checkpoint that lies elsewhere."""
        folder = self.path.absolute().parent.parent
        inside = self.path.absolute().parent.name == "checkpoints" and (folder / "config.yaml").is_file()
        return folder if inside else None

    @property
    def name(self) -> Path:
        """Sweep and run, or the checkpoint's own name: where its predictions go."""
        run = self.run
        return Path(self.path.stem) if run is None else Path(run.parent.name, run.name)

    @property
    def data(self) -> str | None:
        """The name of the data set, or None where no config.yaml tells it."""
        if self.run is None:
            return None
        try:
            found = read_settings(self.run / "config.yaml")["data"]["name"]
        except Exception:  # hand-edited YAML fails in a dozen ways, and the name is worth having only
            return None
        return found if isinstance(found, str) else None


def find_checkpoint(given: str) -> tuple[Path, str | None]:
    """The checkpoint that a file, a run's folder or a sweep's folder stands for; nothing is opened.

    Of a run it is best.ckpt, else last.ckpt; of a sweep that of the run with the best validation figure.

    Returns:
        Its path, and a sentence for the user where a run was chosen.

    Raises:
        CheckpointError: there is none.
    """
    path = expanded(given)
    if is_file(path):
        return path, None
    if not is_dir(path):
        raise CheckpointError(f"checkpoint={given}: there is no such file or folder")
    if found := _of_run(path):
        return found, None
    if (path / "config.yaml").is_file():
        raise CheckpointError(
            f"checkpoint={given}: this run has no checkpoint yet; its first epoch writes one"
        )
    return _of_sweep(path, given)


def _of_run(folder: Path) -> Path | None:
    places = [
        place / name for place in (folder / "checkpoints", folder) for name in ("best.ckpt", "last.ckpt")
    ]
    return next((place for place in places if place.is_file()), None)


def _of_sweep(folder: Path, given: str) -> tuple[Path, str]:
    from src.sweep.ranking import rank
    from src.sweep.runs import SweepError

    try:
        ranking = rank(folder)
    except SweepError as error:
        raise CheckpointError(
            f"checkpoint={given}: no checkpoint to choose: {str(error).rstrip('.')}"
        ) from error
    for row in ranking.rows:
        found = _of_run(folder / row.run.name)
        if row.rank is not None and found is not None:
            figure = row.run.numbers[ranking.task.validation]
            how = f"{ranking.task.label} {figure:.4f}, the best of {len(ranking.rows)} runs"
            return found, f"Taking {folder / row.run.name} ({how})."
    names = [row.run.name for row in ranking.rows if _of_run(folder / row.run.name)]
    if not names:
        raise CheckpointError(f"checkpoint={given}: none of its {len(ranking.rows)} runs has a checkpoint")
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    raise CheckpointError(
        f"checkpoint={given}: no run of this sweep is done; name one of {', '.join(names[:LISTED])}{more}"
    )


def open_checkpoint(path: Path) -> Trained:
    """Read a checkpoint of this project, its hash compared.

    Raises:
        CheckpointError: it is damaged, cannot be read, or is not a captioner's or classifier's.
    """
    from src.checkpoints import DamagedCheckpoint, read_checkpoint  # late: imports torch and Lightning

    try:
        content = read_checkpoint(path)
    except (FileNotFoundError, DamagedCheckpoint) as error:
        raise CheckpointError(str(error)) from error
    except OSError as error:
        raise CheckpointError(f"the checkpoint {path} cannot be read: {error.strerror or error}") from error
    parameters, state = content.get("hyper_parameters"), content.get("state_dict")
    if not isinstance(parameters, Mapping) or not isinstance(state, Mapping):
        raise CheckpointError(f"the checkpoint {path} holds no hyper-parameters and weights of a run")
    task = next((task for task, sign in SIGNS.items() if sign in parameters), None)
    if task is None:
        raise CheckpointError(f"the checkpoint {path} is neither a captioner's nor a classifier's")
    return Trained(path, task, dict(parameters), state)


def rebuilt(trained: Trained, module_class: type[torch.nn.Module]) -> Any:
    """The LightningModule of a checkpoint, with its weights, in eval mode.

    Raises:
        CheckpointError: settings or weights are not those of this code.
    """
    import torch

    try:
        # First without memory: the settings may promise a network that no machine can hold.
        with torch.device("meta"):
            shapes = {
                name: weight.shape
                for name, weight in module_class(**trained.hyper_parameters).state_dict().items()
            }
        _same_shapes(shapes, trained.state_dict)
        module = module_class(**trained.hyper_parameters)
        module.load_state_dict(trained.state_dict)
    except Exception as error:  # settings of somebody else's fail in a dozen ways
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"the checkpoint {trained.path} does not fit this version of the code: {plain(first)}"
        ) from error
    return module.eval()


def _same_shapes(shapes: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Raises ValueError where the weights are not those of the network that the settings describe."""
    for name, shape in shapes.items():
        there = getattr(state.get(name), "shape", None)
        if there != shape:
            size = "missing" if there is None else "x".join(map(str, there)) or "a number"
            raise ValueError(f"{name} is {size}, and its settings ask for {'x'.join(map(str, shape))}")
