"""A model card in the Hub's format, filled from a run's files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard, ModelCardData
from omegaconf import OmegaConf

from src.files import file_digest
from src.run.trained import Trained
from src.sweep.comparison import mean_text
from src.sweep.runs import RunRecord, read_run

TEMPLATE = Path(__file__).parent / "templates" / "card.md.j2"
PIPELINES = {"classify": "image-classification", "caption": "image-to-text"}
UNKNOWN = "unknown: see where the data come from"
LICENCES = {  # of data sets, as their authors give them
    "fashion_mnist": "MIT",
    "kmnist": "CC BY-SA 4.0",
    "mnist": "CC BY-SA 3.0",
    "scenes": "MIT (drawn by this project)",
    "coco": "annotations CC BY 4.0; images under Flickr's terms of use",
}


def run_of(trained: Trained) -> RunRecord | None:
    """The run that a checkpoint stands in; None where its files are not there or not whole."""
    folder = trained.folder
    record = read_run(folder) if (folder / "config.yaml").is_file() else None
    return record if record is not None and record.status != "unreadable" else None


def describe(trained: Trained, record: RunRecord | None) -> dict[str, Any]:
    """What the exported files say of the model; of one that was exported before, what was said then."""
    if trained.about:
        return trained.about
    cfg = OmegaConf.load(record.folder / "config.yaml") if record else OmegaConf.create()
    data = str(OmegaConf.select(cfg, "data.name") or "unknown")
    known: Any = trained.module.hparams
    about: dict[str, Any] = {
        "name": str(trained.name).replace("/", " "),
        "task": trained.task,
        "data": data,
        "data_licence": LICENCES.get(data, UNKNOWN),
        "checkpoint": file_digest(trained.path),
        "weights": "best validation epoch" if trained.path.stem == "best" else "last epoch",
    }
    if trained.task == "classify":
        how = "grey, fitted on black into" if known["image_size"][0] == 1 else "RGB, resized to"
        about |= {"labels": known["class_names"], "image_size": known["image_size"]}
    else:
        how, encoder = "RGB, squeezed into", known["encoder"]
        about |= {key: known[key] for key in ("vocabulary", "beam", "max_words", "length_penalty")}
        about |= {
            "image_size": [3, encoder["size"], encoder["size"]],
            "encoder": str(
                encoder["config"].get("model") or encoder["config"]["_target_"].rpartition(".")[2]
            ),
            "encoder_digest": encoder["digest"],
            "decoder": type(trained.module.decoder).__name__,
        }
    return about | {"preprocessing": f"{how} image_size (bilinear), uint8; the rest is inside."}


def model_card(trained: Trained, record: RunRecord | None, about: dict[str, Any], files: list[str]) -> str:
    """The card's text: YAML for the Hub, then data, recipe, metrics with seeds, limits, licence.

    Args:
        record: of `run_of`; None leaves recipe and metrics out.
        about: what the exported files say of the model.
        files: names of the exported files.
    """
    metrics = _metrics(record, "_best_val" if trained.path.stem == "best" else "") if record else {}
    card_data = ModelCardData(
        license="mit",
        library_name="pytorch",
        pipeline_tag=PIPELINES[trained.task],
        tags=["pytorch-lightning", *(["onnx"] if any(name.endswith(".onnx") for name in files) else [])],
    )
    seeds = sorted(run.settings["seed"] for run in _replicas(record)) if record else []
    return str(
        ModelCard.from_template(
            card_data,
            template_path=str(TEMPLATE),
            about=about,
            parameters=sum(weight.numel() for weight in trained.module.parameters()),
            settings=dict(sorted(record.settings.items())) if record else {},
            metrics={name: mean_text(values) for name, values in metrics.items()},
            seeds=seeds,
            files=files,
            commit=record.results.get("commit") if record else None,
            holds_captions=getattr(trained.module, "training_captions", None) is not None,
            is_frozen=about["task"] == "caption" and trained.module.encoder is None,
        )
    )


def _metrics(record: RunRecord, suffix: str) -> dict[str, list[float]]:
    """Test metrics of a run, first, and of those that differ from it in the seed alone."""
    replicas = _replicas(record)
    names = [f"{name}{suffix}" for name in (record.task.test, *record.task.further)]
    found = {name: [run.number(name) for run in replicas] for name in names}
    return {name: values for name, values in found.items() if None not in values}  # type: ignore[misc]


def _replicas(record: RunRecord) -> list[RunRecord]:
    def besides_seed(run: RunRecord) -> dict[str, Any]:
        return {key: value for key, value in run.settings.items() if key != "seed"}

    siblings = [read_run(path.parent) for path in sorted(record.folder.parent.glob("[!.]*/config.yaml"))]
    others = [
        run
        for run in siblings
        if run.status == "done" and run.folder != record.folder and besides_seed(run) == besides_seed(record)
    ]
    return [record, *others]
