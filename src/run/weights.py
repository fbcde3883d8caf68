"""Weights and hyper-parameters of a module in one file of safetensors: what `src.export` writes for others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from src.entry_point import UserError


def write_safetensors(path: Path, module: Any, about: dict[str, Any], half: bool = False) -> None:
    """A module's weights with its hyper-parameters, enough for `load_trained`.

    Args:
        half: round float32 to float16, where that holds the values; `load_trained` gives float32 again.
    """
    # Cloned: tied weights share memory, which the format does not have.
    state = {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}
    if half:
        rounded = {name: value.half() for name, value in state.items() if value.dtype == torch.float32}
        state |= {name: value for name, value in rounded.items() if value.isfinite().all()}
    hyper_parameters = json.dumps(dict(module.hparams))
    save_file(state, path, {"hyper_parameters": hyper_parameters, "model": json.dumps(about)})


def read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Any]]:
    """The hyper-parameters, the weights and what is said of the model, as `write_safetensors` wrote.

    Raises:
        UserError: it is damaged, or no such file.
    """
    try:
        with safe_open(path, "pt") as file:
            settings, about = (json.loads(file.metadata()[key]) for key in ("hyper_parameters", "model"))
            return settings, {name: file.get_tensor(name) for name in file.keys()}, about  # noqa: SIM118
    except Exception as error:  # of a stranger's file
        raise UserError(f"{path} is damaged, or no export of this project: {error}") from error
