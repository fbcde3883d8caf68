"""What a run's numbers depend on besides its settings: seeds, CPU threads, the device, the code."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import subprocess
from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig

if TYPE_CHECKING:
    import torch


def epoch_order(size: int, seed: int, epoch: int) -> torch.Tensor:
    """The shuffled indices (size,) of an epoch, the same on every device."""
    import torch

    return torch.randperm(size, generator=torch.Generator().manual_seed(epoch_seed(seed, epoch, "order")))


def epoch_seed(seed: int, epoch: int, purpose: str) -> int:
    """A seed for one purpose in one epoch; streams of different purposes do not meet."""
    entropy = [seed, epoch, *purpose.encode()]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))


def default_threads(cfg: DictConfig) -> int:
    """CPU threads of a run that has the machine to itself.

    The steps of a classifier at batches up to 16 and of a captioner's decoder are too short to be shared: a
    second thread gains up to a half on free cores, and costs a multiple where something else runs, too
    (docs/PERFORMANCE.md). A trained encoder's convolutions are long enough.
    """
    if cfg.task == "classify":
        return 1 if cfg.batch_size <= 16 else cores()
    return cores() if cfg.encoder.get("fine_tune") or cfg.encoder.get("name") == "tiny" else 1


def cores(cgroups: Path = Path("/sys/fs/cgroup")) -> int:
    """CPU cores that this process may use: the least of its affinity, its CPU quota and OMP_NUM_THREADS.

    Args:
        cgroups: where the control groups (version 2) are mounted; in a container it is the container's own group.
    """
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    with contextlib.suppress(OSError, ValueError):  # no quota: "max"
        quota, period = (cgroups / "cpu.max").read_text().split()
        limits.append(int(quota) // int(period))
    with contextlib.suppress(ValueError):
        limits.append(int(os.environ.get("OMP_NUM_THREADS", "")))
    return max(1, min(limits))


def device_of(accelerator: str) -> torch.device:
    """The device of a setting that `device_error` has let pass: the first GPU it allows, else the CPU."""
    import torch

    if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available():
        return torch.device("cuda", 0)
    if accelerator in ("auto", "gpu", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def gpu_count(accelerator: str) -> int:
    """How many runs can have a GPU of their own; 0 on the CPU."""
    import torch

    kind = device_of(accelerator).type
    return torch.cuda.device_count() if kind == "cuda" else int(kind == "mps")


def use_gpus(numbers: Sequence[int]) -> None:
    """Leave this process only these of the GPUs it sees; one that computes already keeps what it has."""
    import torch

    if torch.cuda.is_initialized():
        return
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")  # a scheduler may have given us some of them
    names = visible.split(",") if visible else list(map(str, range(max(numbers) + 1)))
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(names[number] for number in numbers)


def native_precision(accelerator: str) -> str:
    """bf16-mixed where the device computes in it, else 32-true: a CPU that emulates it takes several times as long."""
    import torch

    kind = device_of(accelerator).type
    if kind == "cuda":
        has_it = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        instructions = torch.cpu.get_capabilities().items()
        has_it = kind == "cpu" and any(given for name, given in instructions if name.endswith("bf16"))
    return "bf16-mixed" if has_it else "32-true"


def device_error(accelerator: str, precision: str = "32-true") -> str | None:
    """Why this machine cannot compute on `accelerator` in `precision`, or None."""
    device = device_of(accelerator)
    if accelerator not in ("auto", "cpu") and device.type == "cpu":
        hint = "accelerator=cpu works everywhere"
        return f"accelerator={accelerator}: torch finds none on this machine; {hint}"
    if precision == "16-mixed" and device.type != "cuda":  # Lightning would take bf16 in silence
        return f"precision={precision}: {device} cannot compute in it; take precision=bf16-mixed"
    return None


SOURCES = Path(__file__).parents[1]
NO_NUMBERS = ("bench", "demo", "filters", "report", "theory")  # packages that no run's numbers come from
PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "numpy")


@cache
def provenance() -> dict[str, Any]:
    """Digest of the code, git commit, `dirty` where the work tree differs, versions."""
    commit, dirty = _commit()
    versions = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    return {"code": source_digest(), "commit": commit, "dirty": dirty, "versions": versions}


@cache
def source_digest() -> str:
    """A short hash of the code and tables of `src/` besides NO_NUMBERS, and of torch's version."""
    digest = hashlib.sha256(version("torch").encode())
    for path in sorted([*SOURCES.rglob("*.py"), *SOURCES.rglob("*.yaml")]):
        if path.relative_to(SOURCES).parts[0] not in NO_NUMBERS:
            digest.update(path.relative_to(SOURCES).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _commit() -> tuple[str | None, bool]:
    def git(*words: str) -> str:
        command = ["git", "-C", str(SOURCES.parent), *words]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()

    try:
        changes = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD"), bool(changes)
    except (OSError, subprocess.SubprocessError):
        return None, False


def processor() -> str:
    """The CPU's own name, for the record."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
