"""A checkpoint is whole, or its damage is noticed before anything is read from it."""

import hashlib
import io
import os
import pickle
import random
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from src import checkpoints, files
from src.checkpoints import DamagedCheckpoint, SafeCheckpointIO, read_checkpoint, write_checkpoint

CONTENT = {
    "state_dict": {"weight": torch.arange(600.0).reshape(20, 30), "bias": torch.zeros(3, dtype=torch.int64)},
    "epoch": 3,
    "rows": [{"loss": 0.25, "name": "a"}],
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    target = tmp_path / "deep" / "last.ckpt"
    write_checkpoint(target, CONTENT)
    return target


def assert_is_content(found: dict[str, Any]) -> None:
    assert {key: found[key] for key in ("epoch", "rows")} == {"epoch": 3, "rows": CONTENT["rows"]}
    for name, value in found["state_dict"].items():
        assert torch.equal(value, CONTENT["state_dict"][name])  # type: ignore[index]


def with_hash(body: bytes) -> bytes:
    """A file whose last bytes say that it is ours and whole."""
    comment = b"sha256=" + hashlib.sha256(body).hexdigest().encode()
    return body + len(comment).to_bytes(2, "little") + comment


def test_it_comes_back_and_plain_torch_reads_it(path: Path) -> None:
    assert_is_content(read_checkpoint(path))
    assert_is_content(torch.load(path, weights_only=True))
    assert_is_content(SafeCheckpointIO().load_checkpoint(path))
    assert path.read_bytes() == with_hash(path.read_bytes()[:-73])


def test_a_changed_byte_anywhere_is_noticed(path: Path) -> None:
    data = path.read_bytes()
    chosen = random.Random(1)
    last = range(len(data) - 80, len(data))  # the hash itself, its length and the archive's end
    for position in [*chosen.sample(range(len(data)), 300), *last]:
        changed = bytearray(data)
        changed[position] ^= chosen.randint(1, 255)
        path.write_bytes(changed)
        with pytest.raises(DamagedCheckpoint, match=r"last\.ckpt is "):
            read_checkpoint(path)


def test_a_cut_or_lengthened_file_is_noticed(path: Path) -> None:
    data = path.read_bytes()
    lengths = [0, 1, 6, 7, 72, 73, 74, *random.Random(2).sample(range(len(data)), 100), len(data) - 1]
    for changed in [*(data[:length] for length in lengths), data + b"\0", data + data, data[1:]]:
        path.write_bytes(changed)
        with pytest.raises(DamagedCheckpoint):
            read_checkpoint(path)


@pytest.mark.parametrize("content", [b"", b"garbage", os.urandom(5000), b"PK\x05\x06" + b"\0" * 18])
def test_garbage_is_noticed(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(DamagedCheckpoint, match="cut off or not one of this project"):
        read_checkpoint(path)


def test_a_checkpoint_of_plain_torch_is_none_of_ours(path: Path) -> None:
    torch.save(CONTENT, path)
    with pytest.raises(DamagedCheckpoint, match="no hash at its end"):
        read_checkpoint(path)


def test_a_missing_one_is_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint .*x\.ckpt"):
        read_checkpoint(tmp_path / "x.ckpt")


class RunsCode:
    """Unpickled carelessly, makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.folder),)


def zipped(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()[:-2]  # without the comment's length


def test_code_in_a_file_with_a_right_hash_is_not_run(path: Path, tmp_path: Path) -> None:
    trap = RunsCode(tmp_path / "ran")
    for body in (zipped({"epoch": trap}), pickle.dumps(trap), pickle.dumps({"a": 1}), b"", b"PK", b"x" * 99):
        path.write_bytes(with_hash(body))
        with pytest.raises(DamagedCheckpoint, match=r"last\.ckpt holds something other than") as caught:
            read_checkpoint(path)
        assert len(str(caught.value)) < 400
        assert not (tmp_path / "ran").exists()
    pickle.loads(pickle.dumps(trap))  # the trap would have worked
    assert (tmp_path / "ran").exists()


def test_something_other_than_a_dictionary_is_none_of_ours(path: Path) -> None:
    path.write_bytes(with_hash(zipped([1, 2])))
    with pytest.raises(DamagedCheckpoint, match="holds something other than"):
        read_checkpoint(path)


def test_a_small_file_that_unpacks_to_a_large_one_is_none_of_ours(path: Path) -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as old, zipfile.ZipFile(file, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + bytes(10**6), zipfile.ZIP_DEFLATED)
    path.write_bytes(with_hash(file.getvalue()[:-2]))
    with pytest.raises(DamagedCheckpoint, match="holds something other than"):
        read_checkpoint(path)


def test_the_old_one_stays_where_writing_fails(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_checkpoint(path, {"epoch": 4})
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]


def test_content_that_cannot_be_saved_leaves_the_old_one(path: Path) -> None:
    before = path.read_bytes()
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        write_checkpoint(path, {"function": lambda: None})
    assert path.read_bytes() == before


def test_a_torch_that_writes_another_format_is_noticed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()
    monkeypatch.setattr(checkpoints.torch, "save", lambda _content, buffer: buffer.write(b"x" * 100))
    with pytest.raises(RuntimeError, match="other than a zip archive"):
        write_checkpoint(path, CONTENT)
    assert path.read_bytes() == before


def test_removing_one_that_is_gone_is_no_error(path: Path) -> None:
    for _ in range(2):
        SafeCheckpointIO().remove_checkpoint(path)
    assert not path.exists()
