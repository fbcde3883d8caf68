"""Where a run's numbers come from: code, commit, versions, processor."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

SOURCES = Path(__file__).parents[1]
NO_NUMBERS = ("bench", "filters", "report", "theory")  # packages that no run's numbers come from
PACKAGES = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "numpy")


@cache
def provenance() -> dict[str, Any]:
    """Digest of the code, git commit, `dirty` where the work tree differs, versions."""
    commit, dirty = _commit()
    versions = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    return {"code": source_digest(), "commit": commit, "dirty": dirty, "versions": versions}


@cache
def source_digest() -> str:
    """A short hash of `src/` besides NO_NUMBERS, and of torch's version."""
    digest = hashlib.sha256(version("torch").encode())
    for path in sorted(SOURCES.rglob("*.py")):
        if path.relative_to(SOURCES).parts[0] not in NO_NUMBERS:
            digest.update(path.relative_to(SOURCES).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _commit() -> tuple[str | None, bool]:
    git = ["git", "-C", str(SOURCES.parent)]
    options: dict[str, Any] = {"capture_output": True, "text": True, "timeout": 10}
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], check=True, **options).stdout.strip()
        changes = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"], check=True, **options
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return None, False
    return head, bool(changes.strip())


def processor() -> str:
    """The CPU's own name, for the record."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
