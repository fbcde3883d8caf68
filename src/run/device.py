"""The one choice of a device, and what it cannot compute."""

from __future__ import annotations

import torch


def device_of(accelerator: str) -> torch.device:
    """The device of a setting that `device_error` has let pass: the first GPU it allows, else the CPU."""
    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", 0)
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def gpu_count(accelerator: str) -> int:
    """How many runs can have a GPU of their own; 0 on the CPU."""
    device = device_of(accelerator)
    return torch.cuda.device_count() if device.type == "cuda" else int(device.type == "mps")


def device_name(device: torch.device) -> str:
    """As results.json has it."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def device_error(accelerator: str, precision: str = "32-true") -> str | None:
    """Why this machine cannot compute on `accelerator` in `precision`, or None."""
    device = device_of(accelerator)
    if accelerator not in ("auto", "cpu") and device.type == "cpu":
        return (
            f"accelerator={accelerator}: torch finds none on this machine; accelerator=cpu works everywhere"
        )
    instead = None
    if precision == "16-mixed" and device.type != "cuda":
        instead = "bf16-mixed"  # which Lightning would take in silence on a CPU
    elif (precision.startswith("bf16") and not _has_bf16(device)) or (
        precision == "64-true" and device.type == "mps"
    ):
        instead = "32-true"
    if instead is None:
        return None
    return f"precision={precision}: {device_name(device)} cannot compute in it; take precision={instead}"


def _has_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type != "mps" or torch.backends.mps.is_macos_or_newer(14, 0)
