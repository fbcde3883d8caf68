"""Take a trained model away: `python -m src.export run=FOLDER to=onnx|torch_export|safetensors|hub_folder`."""

from __future__ import annotations

import importlib.util
import json
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from src.config.settings import setting
from src.entry_point import InvalidCommand, entry_point

if TYPE_CHECKING:
    from src.run.trained import Trained

WEIGHTS_ONLY = ("safetensors", "hub_folder")
FORMATS = ("onnx", "torch_export", *WEIGHTS_ONLY)
logger = logging.getLogger("src.export")  # __name__ may be __main__


@dataclass
class ExportSettings:
    """Settings of `python -m src.export`."""

    run: str = setting("a checkpoint, or a run's or a sweep's folder")
    to: str = setting("format of the files", choices=FORMATS)
    inputs: list[str] = setting(
        "image files and folders to compare the export with PyTorch on ([]: test images of the run's data)",
        default=[],
    )
    half: bool = setting("weights in float16, of safetensors and hub_folder", default=False)
    output: str | None = setting(
        "folder for the files (null: outputs/exports/SWEEP/RUN/FORMAT)", default=None
    )
    push_to_hub: str | None = setting("upload the folder to the Hugging Face Hub as USER/NAME", default=None)
    encoder_weights: str | None = setting(
        "file with a frozen encoder's weights (null: where they lay in training)", default=None
    )
    trust: list[str] = setting("packages whose classes the checkpoint may name", default=[])


@entry_point("export", ExportSettings, positional="inputs")
def main(cfg: DictConfig) -> None:
    """Export a trained model, compare it with PyTorch on real images, and write it with a model card.

    Nothing is written where the exported model gives another caption or label, or another score (beyond 1e-4);
    of weights alone, where one is another (with half=true, beyond float16's rounding).
    """
    if cfg.to == "onnx" and not all(map(importlib.util.find_spec, ("onnx", "onnxscript", "onnxruntime"))):
        raise InvalidCommand(["to=onnx: needs more packages: pip install -e '.[export]'"])
    if cfg.half and cfg.to not in WEIGHTS_ONLY:
        raise InvalidCommand([f"half=true: is for to={' and to='.join(WEIGHTS_ONLY)}"])
    from src.export import card, hub
    from src.files import SUMS, listed_files, write_atomically, write_sums
    from src.run.trained import load_trained

    trained = load_trained(cfg.run, cfg.trust)
    record = card.run_of(trained)
    about = card.describe(trained, record)
    folder = Path(cfg.output or Path("outputs", "exports", trained.name, cfg.to)).expanduser()
    if trained.path.parent.resolve() == folder.resolve():  # whose files would go
        raise InvalidCommand([f"output={folder}: holds the model that is exported; name another folder"])
    former = listed_files(folder)
    for name in ("README.md", SUMS):
        if (folder / name).exists() and "README.md" not in former:
            raise InvalidCommand([f"output={folder}: has a {name} that is no export's; name another folder"])
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as name:
        place = Path(name)
        write = write_weights if cfg.to in WEIGHTS_ONLY else write_model
        found = write(cfg, place, trained, about)
        files = sorted(path.name for path in place.iterdir())
        (place / "README.md").write_text(card.model_card(trained, record, about, files), encoding="utf-8")
        for path in place.iterdir():
            write_atomically(folder / path.name, path.read_bytes())
    for name in set(former) - {*files, "README.md"}:  # of another format or model
        if Path(name).name == name:  # a stranger's list leads nowhere else
            (folder / name).unlink(missing_ok=True)
    write_sums(folder, [*files, "README.md"])
    logger.info("%s: %s; %s", folder, ", ".join(files), found)
    if cfg.push_to_hub:
        logger.info("Uploaded: %s", hub.push(folder, cfg.push_to_hub))


def write_model(cfg: DictConfig, folder: Path, trained: Trained, about: dict[str, Any]) -> str:
    """Write a model's graphs, and compare what the files give; the greatest difference of scores."""
    from src.captioning.predict import frozen_encoder
    from src.export.formats import write_graphs
    from src.export.graphs import graphs_of
    from src.export.parity import check_parity, predictor_of, real_images

    module: Any = trained.module
    encoder = None
    if trained.task == "caption":
        encoder = module.encoder or frozen_encoder(trained, cfg.encoder_weights)
    predictor = predictor_of(trained, cfg.encoder_weights)
    images = real_images(trained, predictor, cfg.inputs, cfg.trust)
    model = write_graphs(cfg.to, folder, graphs_of(module, encoder), about)
    difference = check_parity(model, predictor, images)
    return f"scores differ from PyTorch's by {difference:.1e} at most"


def write_weights(cfg: DictConfig, folder: Path, trained: Trained, about: dict[str, Any]) -> str:
    """Write a module's weights, and compare what the file gives."""
    from src.export.parity import ExportDiffers
    from src.run.trained import WEIGHTS, load_trained
    from src.run.weights import write_safetensors

    write_safetensors(folder / WEIGHTS, trained.module, about, cfg.half)
    if cfg.to == "hub_folder":
        (folder / "config.json").write_text(json.dumps(about, indent=2), encoding="utf-8")
    again = load_trained(str(folder / WEIGHTS), cfg.trust).module.state_dict()
    allowed = 2**-11 if cfg.half else 0.0  # of a value, and of 2**-14, below which float16 is denser no more
    for name, value in trained.module.state_dict().items():
        if not ((again[name] - value).abs() <= allowed * value.abs().clamp(min=2**-14)).all():
            raise ExportDiffers(f"{WEIGHTS} has other weights than {trained.path}: nothing was written")
    return "weights rounded to float16" if cfg.half else "every weight the same to the last bit"


if __name__ == "__main__":
    main()
