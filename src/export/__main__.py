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
    from src.captioning.encoder import Encoder
    from src.export.graphs import Graph
    from src.run.trained import Trained
    from src.sweep.runs import RunRecord

FORMATS = ("onnx", "torch_export", "safetensors", "hub_folder")
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
    output: str | None = setting(
        "folder for the files (null: outputs/exports/SWEEP/RUN/FORMAT)", default=None
    )
    push_to_hub: str | None = setting("upload the folder to the Hugging Face Hub as USER/NAME", default=None)
    private: bool = setting("make a repository on the Hub that others do not see", default=False)
    data_licence: str | None = setting("licence of the data (null: of known data sets)", default=None)
    encoder_weights: str | None = setting(
        "file with a frozen encoder's weights (null: where they lay in training)", default=None
    )
    trust: list[str] = setting("packages whose classes the checkpoint may name", default=[])


@entry_point("export", ExportSettings, positional="inputs")
def main(cfg: DictConfig) -> None:
    """Export a trained model, compare it with PyTorch on real images, and write it with a model card.

    Nothing is written where the exported model gives another caption or label, or another score (beyond 1e-4).
    """
    if cfg.to == "onnx" and not all(map(importlib.util.find_spec, ("onnx", "onnxscript", "onnxruntime"))):
        raise InvalidCommand(["to=onnx: needs more packages: pip install -e '.[export]'"])
    from src.captioning.predict import frozen_encoder
    from src.export import hub
    from src.export.card import model_card, run_of
    from src.files import write_atomically, write_sums
    from src.run.trained import load_trained

    trained = load_trained(cfg.run, cfg.trust)
    module: Any = trained.module
    encoder = None
    if trained.task == "caption" and cfg.to in ("onnx", "torch_export"):
        encoder = module.encoder or frozen_encoder(trained, cfg.encoder_weights)
    record = run_of(trained)
    about = describe(trained, record, cfg.data_licence)
    folder = Path(cfg.output or Path("outputs", "exports", trained.name, cfg.to)).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as name:
        place = Path(name)
        difference = write(cfg, place, trained, encoder, about)
        files = sorted(path.name for path in place.iterdir())
        card = model_card(trained, record, about, files)
        (place / "README.md").write_text(card, encoding="utf-8")
        for path in place.iterdir():
            write_atomically(folder / path.name, path.read_bytes())
    write_sums(folder, [*files, "README.md"])
    logger.info("%s: %s; differs from PyTorch by %.1e at most", folder, ", ".join(files), difference)
    if cfg.push_to_hub:
        logger.info("Uploaded: %s", hub.push(folder, cfg.push_to_hub, cfg.private))


def describe(trained: Trained, record: RunRecord | None, data_licence: str | None) -> dict[str, Any]:
    """What the exported files say of the model."""
    from src.export.card import data_of
    from src.files import file_digest

    data, licence = data_of(record)
    known: Any = trained.module.hparams
    results = record.results if record else {}
    about = {
        "name": str(trained.name).replace("/", " "),
        "task": trained.task,
        "data": data,
        "data_licence": data_licence or licence,
        "checkpoint": file_digest(trained.path),
        "commit": results.get("commit"),
    }
    if trained.task == "classify":
        grey = known["image_size"][0] == 1
        fitted = "fitted on black into" if grey else "resized to"
        return about | {
            "labels": known["class_names"],
            "image_size": known["image_size"],
            "preprocessing": f"{'grey' if grey else 'RGB'}, {fitted} image_size (bilinear), uint8; the rest is inside.",
        }
    encoder = known["encoder"]
    return about | {
        **{key: known[key] for key in ("vocabulary", "beam", "max_words", "length_penalty")},
        "image_size": [3, encoder["size"], encoder["size"]],
        "encoder": str(encoder["config"].get("model") or encoder["config"]["_target_"].rpartition(".")[2]),
        "encoder_digest": encoder["digest"],
        "frozen": not encoder["trained"],
        "grid": encoder["grid"],
        "decoder": type(trained.module.decoder).__name__,
        "preprocessing": "RGB, squeezed into image_size (bilinear, antialiased), uint8; the rest is inside.",
    }


def write(
    cfg: DictConfig, folder: Path, trained: Trained, encoder: Encoder | None, about: dict[str, Any]
) -> float:
    """Write the files of a format, read them again and compare; the greatest difference of scores.

    Raises:
        UserError: they give something else than PyTorch.
    """
    import torch

    from src.export import caption_onnx, formats
    from src.export.graphs import graphs_of
    from src.export.parity import ExportDiffers, check_parity, real_images
    from src.run import weights
    from src.run.trained import load_trained

    module: Any = trained.module
    to = cfg.to
    if to in ("onnx", "torch_export"):
        graphs: dict[str, Graph] = graphs_of(module, encoder)
        formats.quietly(formats.write_onnx if to == "onnx" else formats.write_torch_export)(
            folder, graphs, about
        )
        model = caption_onnx.load(folder) if to == "onnx" else formats.load_torch_export(folder)
        encode = graphs["encoder"].network if encoder is not None else None
        return check_parity(model, module, encode, real_images(trained, list(cfg.inputs)))
    weights.write_safetensors(folder / weights.WEIGHTS, module, about)
    if to == "hub_folder":
        (folder / "config.json").write_text(json.dumps(about, indent=2, ensure_ascii=False), encoding="utf-8")
    again = load_trained(str(folder / weights.WEIGHTS), cfg.trust).module.state_dict()
    for name, value in module.state_dict().items():
        if not torch.equal(again[name], value):
            raise ExportDiffers(
                f"{name} in {weights.WEIGHTS} is not as in {trained.path}: nothing was written"
            )
    return 0.0


if __name__ == "__main__":
    main()
