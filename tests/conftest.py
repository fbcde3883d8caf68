"""What the tests share."""

from pathlib import Path

import pytest

from tests.made_up_data import write_data_set


@pytest.fixture(scope="session")
def idx_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small data set that can be learned: 700 training and 200 test images."""
    return write_data_set(tmp_path_factory.mktemp("idx"), train=700, test=200)


@pytest.fixture(scope="session")
def on_idx(idx_data: Path) -> tuple[str, ...]:
    """Settings that put a command on the small data set, on one CPU core."""
    return ("data=idx", f"data.root={idx_data}", "data.val_size=100", "accelerator=cpu")
