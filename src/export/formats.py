"""Files of an exported model's graphs: ONNX, torch.export.

`about` is what each file says of its model (`about` in __main__.py), as JSON.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from src.export import caption_onnx
from src.export.caption_onnx import Model
from src.export.graphs import Graph

OPSET = 20
Write = Callable[[Path, Mapping[str, Graph], dict[str, Any]], None]


def write_onnx(folder: Path, graphs: Mapping[str, Graph], about: dict[str, Any]) -> None:
    """A file NAME.onnx for each graph, and caption_onnx.py, which uses them without torch."""
    for name, graph in graphs.items():
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
        program.save(folder / f"{name}.onnx", external_data=False)
    source = Path(caption_onnx.__file__)
    (folder / source.name).write_bytes(source.read_bytes())


def write_torch_export(folder: Path, graphs: Mapping[str, Graph], about: dict[str, Any]) -> None:
    """A file NAME.pt2 for each graph, with `model.json` inside; `inputs` and `outputs` are its tensors' names."""
    for name, graph in graphs.items():
        known = {**about, "inputs": list(graph.inputs), "outputs": graph.outputs}
        torch.export.save(
            graph.trace(), folder / f"{name}.pt2", extra_files={"model.json": json.dumps(known)}
        )


def load_torch_export(folder: Path) -> Model:
    """The model in a folder of .pt2 files, to be used as one of ONNX files is."""
    networks, known = {}, {}
    for path in folder.glob("*.pt2"):
        extra: dict[str, Any] = {"model.json": ""}
        networks[path.stem] = torch.export.load(path, extra_files=extra).module(check_guards=False)
        known[path.stem] = json.loads(extra["model.json"])

    def run(name: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        tensors = [torch.from_numpy(np.ascontiguousarray(inputs[key])) for key in known[name]["inputs"]]
        with torch.inference_mode():
            found = networks[name](*tensors)
        parts = [found] if isinstance(found, Tensor) else found
        return dict(zip(known[name]["outputs"], (part.numpy() for part in parts), strict=True))

    return Model(next(iter(known.values())), run)


def quietly(write: Write) -> Write:
    """Exporters report progress and deprecations of their own; errors alone matter."""

    def wrapped(folder: Path, graphs: Mapping[str, Graph], about: dict[str, Any]) -> None:
        loggers = [logging.getLogger(name) for name in ("torch", "torch.__trace", "onnxscript", "onnx_ir")]
        levels = [one.level for one in loggers]
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for one in loggers:
                    one.setLevel(logging.ERROR)
                write(folder, graphs, about)
        finally:
            for one, level in zip(loggers, levels, strict=True):
                one.setLevel(level)

    return wrapped
