"""Where a run's numbers come from: code, commit, versions, processor."""

from __future__ import annotations

import ast
import hashlib
import os
import platform
import subprocess
from functools import cache
from importlib.metadata import version
from pathlib import Path

SOURCES = Path(__file__).parent
# The files that a run's numbers come from: a change in any of them makes another code version.
CODE_OF_TASK = {
    "classify": (
        "fit.py",
        "classification/augment.py",
        "classification/data.py",
        "classification/module.py",
        "classification/network.py",
        "classification/sgd.py",
        "seeds.py",
    ),
    "caption": (
        "fit.py",
        "seeds.py",
        "captioning/data.py",
        "captioning/decoder.py",
        "captioning/encoder.py",
        "captioning/features.py",
        "captioning/metrics.py",
        "captioning/module.py",
        "captioning/position.py",
        "captioning/recurrence.py",
        "captioning/search.py",
        "captioning/vocabulary.py",
    ),
}


@cache
def code_version(task: str) -> str:
    """A short hash of the code that a run's numbers come from, and torch's version.

    Comments, docstrings and layout do not count: the parsed code is hashed.
    """
    digest = hashlib.sha256()
    for name in CODE_OF_TASK[task]:
        tree = ast.parse((SOURCES / name).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node):
                node.body = node.body[1:] or [ast.Pass()]
        digest.update(ast.dump(tree).encode())
    return f"{digest.hexdigest()[:12]} with torch {version('torch')}"


@cache
def commit() -> str:
    """The git commit of the code, with `+changes` where the work tree differs; `unknown` without git."""
    git = ["git", "-C", str(SOURCES.parent)]
    try:
        head = subprocess.run(
            [*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True, timeout=10
        )
        changed = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no"],
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return head.stdout.strip() + ("+changes" if changed.stdout.strip() else "")


def versions() -> dict[str, str]:
    """Versions of what a run's numbers depend on."""
    packages = ("torch", "torchvision", "lightning", "torchmetrics", "hydra-core", "numpy")
    return {
        "python": platform.python_version(),
        **{name: version(name) for name in packages},
        "commit": commit(),
    }


def processor() -> str:
    """The CPU's own name, for the record."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def cores() -> int:
    """CPU cores that this process may use (a container's or a scheduler's share, not the machine's)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
