"""The one choice of a device."""

from __future__ import annotations

import torch


def device_of(accelerator: str) -> torch.device:
    """The device that `accelerator` (auto, cpu, gpu, cuda, mps) means on this machine."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda")
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def device_error(accelerator: str, precision: str) -> str | None:
    """Why this machine cannot compute so, or None."""
    device = device_of(accelerator).type
    if accelerator not in ("auto", "cpu") and (
        device == "cpu" or (accelerator != "gpu" and accelerator != device)
    ):
        return (
            f"accelerator={accelerator}: torch finds none on this machine; accelerator=cpu works everywhere"
        )
    if precision == "16-mixed" and device == "cpu":
        return "precision=16-mixed: a CPU has no fp16 training; precision=bf16-mixed works there"
    if precision == "64-true" and device == "mps":
        return "precision=64-true: mps has no 64-bit floats; precision=32-true works there"
    if precision.startswith("bf16") and device == "cuda" and not torch.cuda.is_bf16_supported():
        return f"precision={precision}: this GPU has no bf16; precision=16-mixed works there"
    return None
