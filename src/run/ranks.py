"""One run on several devices: a process a rank, of which rank 0 writes the run's files.

The ranks are started here, by torchrun or by srun; never by Lightning, which would run the whole command
again.
"""

from __future__ import annotations

import contextlib
import datetime
import multiprocessing
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any
from unittest import mock

from omegaconf import DictConfig, ListConfig

from src.run import signals

if TYPE_CHECKING:
    import torch

    from src.run.folder import Run

PATIENCE = datetime.timedelta(days=1)  # of ranks for each other; one that dies is noticed at once


def ranks_of(cfg: DictConfig) -> int:
    """How many processes share a run: `trainer.devices` times `trainer.num_nodes`."""
    devices = cfg.trainer.get("devices", 1)
    if isinstance(devices, ListConfig):
        devices = len(devices)
    return (int(devices) if str(devices).isdecimal() else 1) * int(cfg.trainer.get("num_nodes", 1))


def started_outside(cfg: DictConfig) -> bool:
    """Whether torchrun or srun has started this process as one of the run's ranks; its place is then in RANK, ..."""
    ranks = ranks_of(cfg)
    if ranks > 1 and os.environ.get("SLURM_NTASKS") == str(ranks) and "RANK" not in os.environ:
        from lightning.fabric.plugins.environments import SLURMEnvironment

        given = os.environ
        address = SLURMEnvironment.resolve_root_node_address(given["SLURM_NODELIST"])
        given.setdefault("MASTER_ADDR", address)
        given.setdefault("MASTER_PORT", str(10_000 + int(given["SLURM_JOB_ID"]) % 50_000))
        place = {"RANK": given["SLURM_PROCID"], "LOCAL_RANK": given["SLURM_LOCALID"]}
        given.update(place | {"WORLD_SIZE": str(ranks)})
    return ranks > 1 and os.environ.get("WORLD_SIZE") == str(ranks)


def rank() -> int:
    """This process's number; 0 writes."""
    import torch

    return torch.distributed.get_rank() if torch.distributed.is_initialized() else 0


def world() -> int:
    """How many ranks are connected."""
    import torch

    return torch.distributed.get_world_size() if torch.distributed.is_initialized() else 1


@contextlib.contextmanager
def others(cfg: DictConfig, run: Run) -> Iterator[None]:
    """The ranks besides this one, rank 0, started unless somebody has; ended with the block."""
    if ranks_of(cfg) == 1 or started_outside(cfg):
        yield
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(ranks_of(cfg)), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    own, *rest = (common | dict.fromkeys(("RANK", "LOCAL_RANK"), str(n)) for n in range(ranks_of(cfg)))
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_follow, args=(cfg, run, place)) for place in rest]
    with mock.patch.dict(os.environ, own):  # Lightning asks there; gone before the next run
        for process in processes:
            process.start()
        try:
            yield
            for process in processes:
                process.join(signals.GRACE_S)
        finally:
            for process in processes:
                process.kill()  # rank 0 writes, and has written
                process.join()


def _follow(cfg: DictConfig, run: Run, place: dict[str, str]) -> None:
    """Another rank, in a process of its own."""
    signals.obey_parent()
    os.environ.update(place)
    from src.config.settings import register

    register()
    follow(cfg, run)


def follow(cfg: DictConfig, run: Run) -> None:
    """Train and test with the other ranks, and write nothing."""
    from src.config.settings import TASKS
    from src.run.checkpoints import Recorder
    from src.run.fit import fit_and_test
    from src.run.folder import Diverged
    from src.run.job import quiet_lightning
    from src.run.pruning import Pruned

    quiet_lightning()
    with connected(cfg), contextlib.suppress(Diverged, Pruned):  # rank 0 records it
        fit_and_test(cfg, run, Recorder(run, TASKS[cfg.task], cfg.seed), show_bar=False)


@contextlib.contextmanager
def connected(cfg: DictConfig) -> Iterator[None]:
    """The ranks know each other inside the block."""
    import torch

    if ranks_of(cfg) == 1:
        yield
        return
    from src.run.environment import device_of

    backend = "nccl" if device_of(cfg.accelerator).type == "cuda" else "gloo"
    torch.distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield
    finally:
        torch.distributed.destroy_process_group()


def agreed(value: Any) -> Any:
    """Rank 0's value."""
    import torch

    values = [value]
    if world() > 1:
        torch.distributed.broadcast_object_list(values)
    return values[0]


def gathered(found: dict[Any, Any]) -> dict[Any, Any]:
    """The entries of all ranks' dictionaries."""
    import torch

    if world() == 1:
        return found
    every: list[Any] = [None] * world()
    torch.distributed.all_gather_object(every, found)
    return {key: value for one in every for key, value in one.items()}


def mean(values: torch.Tensor) -> torch.Tensor:
    """The ranks' mean of a tensor that each has."""
    import torch

    if world() > 1:
        torch.distributed.all_reduce(values)
        values /= world()
    return values


def share(count: int) -> float:
    """What a mean over `count` examples weighs among the ranks', times their number: 1 where all have as many.

    DDP averages the ranks' gradients; with this factor the average is the mean over all examples.
    """
    import torch

    return float(count / mean(torch.tensor(float(count)))) if world() > 1 else 1.0


def shard(indices: Any) -> Any:
    """This rank's part of a batch, or of a split, never empty."""
    mine = indices[rank() :: world()]
    return mine if len(mine) else indices[:1]
