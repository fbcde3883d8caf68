"""CPU threads: how many a process may use, and how many suit a run."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from omegaconf import DictConfig

SMALL_BATCH = 16


def default_threads(cfg: DictConfig) -> int:
    """CPU threads of a run that has the machine to itself.

    The steps of a classifier at small batches and of a captioner's decoder are too short to be shared: a
    second thread gains up to a half on free cores, and costs a multiple where something else runs, too
    (docs/PERFORMANCE.md). A trained encoder's convolutions are long enough.
    """
    if cfg.task == "classify":
        return 1 if cfg.batch_size <= SMALL_BATCH else cores()
    return cores() if cfg.encoder.get("fine_tune") or cfg.encoder.get("name") == "tiny" else 1


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
