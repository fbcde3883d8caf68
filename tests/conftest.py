"""What the tests share. They run in a process a core, each with one thread (set before torch is imported)."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.made_up_data import write_data_set

os.environ.setdefault("OMP_NUM_THREADS", "1")  # a process forked while OpenMP has threads may hang


@pytest.fixture(scope="session")
def idx_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small data set that can be learned: 700 training and 200 test images."""
    return write_data_set(tmp_path_factory.mktemp("idx"), train=700, test=200)


@pytest.fixture(scope="session")
def on_idx(idx_data: Path) -> tuple[str, ...]:
    """Settings that put a command on the small data set, on one CPU core."""
    return ("data=idx", f"data.root={idx_data}", "data.val_size=100", "accelerator=cpu")


@pytest.fixture
def one_thread() -> Iterator[None]:
    """One CPU thread, as runs at small batches have; the number as before afterwards."""
    import torch  # late: its number of threads is set above

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def messages() -> Iterator[list[str]]:
    """What the project logs meanwhile in this process."""
    found: list[str] = []

    class Keeps(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            found.append(record.getMessage())

    log, handler = logging.getLogger("src"), Keeps()
    level = log.level
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield found
    log.removeHandler(handler)
    log.setLevel(level)
