"""Where a run's numbers come from: code, commit, versions, processor."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path

SOURCES = Path(__file__).parent
# What shows, explains or times results, and makes none of a run's numbers.
SHOWING = ("bench/*", "filters/*", "report/*", "theory/*", "**/*page*", "**/*plot*", "**/*figure*")


@cache
def code_version() -> str:
    """A digest of all code but what only shows results, and torch's version."""
    return f"{digest_of_code(SOURCES)} with torch {version('torch')}"


def digest_of_code(sources: Path) -> str:
    """Twelve hexadecimal digits that change with any Python file below `sources`, `SHOWING` apart."""
    left_out = {path for pattern in SHOWING for path in sources.glob(pattern)}
    digest = hashlib.sha256()
    for path in sorted(set(sources.rglob("*.py")) - left_out):
        digest.update(f"{path.relative_to(sources).as_posix()}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


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


def cores(root: Path = Path("/"), environment: Mapping[str, str] = os.environ) -> int:
    """CPU cores that this process may use, at least 1.

    The least of its affinity, its CPU quota (cgroup v1 and v2, rounded down) and OMP_NUM_THREADS.

    Args:
        root: the folder that holds `proc` and `sys`.
        environment: where OMP_NUM_THREADS is looked up.
    """
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    limits += [int(quota) for quota in _quotas(root)]
    asked = environment.get("OMP_NUM_THREADS", "").split(",")[0].strip()  # "4,2": of nested levels
    if asked.isdecimal() and int(asked) > 0:
        limits.append(int(asked))
    return max(1, min(limits))


def _quotas(root: Path) -> Iterator[float]:
    """The CPU quota, in cores, of each control group that this process is in, parents included."""
    mounted = root / "sys" / "fs" / "cgroup"
    for line in _words(root / "proc" / "self" / "cgroup", "\n"):
        _, controllers, group = line.split(":", 2)
        if not controllers:
            mounts = [mounted, mounted / "unified"]
        elif "cpu" in controllers.split(","):
            mounts = [mounted / controllers, mounted / "cpu"]
        else:
            continue
        place = Path(group.lstrip("/"))
        # In a container the path may be the host's, while the mount already is the container's own group.
        for folder in {mount / inner for mount in mounts for inner in (place, *place.parents)}:
            quota = _words(folder / "cpu.max") or [
                *_words(folder / "cpu.cfs_quota_us"),
                *_words(folder / "cpu.cfs_period_us"),
            ]
            if len(quota) == 2 and quota[0] not in ("max", "-1"):
                yield int(quota[0]) / int(quota[1])


def _words(path: Path, between: str | None = None) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").strip().split(between)
    except OSError:
        return []
