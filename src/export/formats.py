"""Files of an exported model: ONNX, torch.export, safetensors.

`about` is what each file says of its model (`describe` in card.py), as JSON.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from src.export import caption_onnx
from src.export.caption_onnx import Model
from src.export.graphs import Graph

OPSET = 20


def write_graphs(to: str, folder: Path, graphs: Mapping[str, Graph], about: dict[str, Any]) -> Model:
    """Write each graph, NAME.onnx (with caption_onnx.py) or NAME.pt2, and load the model from the files."""
    logging.disable(logging.WARNING)  # exporters report progress and deprecations of their own
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, graph in graphs.items():
                if to == "onnx":
                    _write_onnx(folder / f"{name}.onnx", graph, about)
                else:
                    extra = {"model.json": json.dumps(about)}
                    torch.export.save(graph.trace(), folder / f"{name}.pt2", extra_files=extra)
    finally:
        logging.disable(logging.NOTSET)
    if to != "onnx":
        return _load_torch_export(folder, graphs, about)
    source = Path(caption_onnx.__file__)
    (folder / source.name).write_bytes(source.read_bytes())
    return caption_onnx.load(folder)


def _write_onnx(path: Path, graph: Graph, about: dict[str, Any]) -> None:
    program = torch.onnx.export(
        graph.trace(),
        dynamo=True,
        opset_version=OPSET,
        input_names=list(graph.inputs),
        output_names=graph.outputs,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props["model"] = json.dumps(about)
    program.save(path, external_data=False)


def _load_torch_export(folder: Path, graphs: Mapping[str, Graph], about: dict[str, Any]) -> Model:
    networks = {name: torch.export.load(folder / f"{name}.pt2").module(check_guards=False) for name in graphs}

    def run(name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        graph = graphs[name]
        with torch.inference_mode():
            found = networks[name](*(torch.from_numpy(inputs[key].copy()) for key in graph.inputs))
        return dict(zip(graph.outputs, (part.numpy() for part in found), strict=True))

    return Model(about, run)
