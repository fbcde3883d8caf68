"""`src.download` with small made-up files: no network, no real apt."""

import gzip
import hashlib
import multiprocessing
import os
import tracemalloc
from pathlib import Path

import pytest
from torchvision.datasets import FashionMNIST

from src import download
from src.download import DataUnavailable, fetch_fashion_mnist
from tests.command_line import run

REAL_FILES = dict(download.FILES)
CONTENT = {name: f"{name} ".encode() * 50 for name in REAL_FILES}
FIRST, *OTHERS = CONTENT
LABELS = list(download.SOURCES)


@pytest.fixture(autouse=True)
def small_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files, and no source but the folder itself."""
    table = {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in CONTENT.items()}
    monkeypatch.setattr(download, "FILES", table)
    for label in LABELS[1:]:
        monkeypatch.setitem(download.SOURCES, label, lambda raw, work: work)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    return folder


def write(folder: Path, files: dict[str, bytes], packed: bool = False) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / (f"{name}.gz" if packed else name)).write_bytes(
            gzip.compress(content) if packed else content
        )
    return folder


def held(raw: Path) -> dict[str, bytes]:
    """Everything in the folder but the .gz files."""
    return {path.name: path.read_bytes() for path in raw.iterdir() if path.suffix != ".gz"}


def test_the_table_names_torchvisions_files() -> None:
    assert [name.removesuffix(".gz") for name, _ in FashionMNIST.resources] == list(REAL_FILES)


def test_good_files_are_left_alone(raw: Path, tmp_path: Path, messages: list[str]) -> None:
    write(raw, CONTENT)
    before = {path: path.stat().st_mtime_ns for path in raw.iterdir()}
    assert fetch_fashion_mnist(tmp_path) == raw
    assert {path: path.stat().st_mtime_ns for path in raw.iterdir()} == before
    assert not messages


@pytest.mark.parametrize("label", LABELS)
def test_what_is_missing_or_damaged_comes_from_the_first_source_that_has_it(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[str], label: str
) -> None:
    write(raw, {OTHERS[0]: CONTENT[OTHERS[0]], FIRST: CONTENT[FIRST][:-1] + b"?"})
    source = write(raw if label == LABELS[0] else tmp_path / "source", CONTENT, packed=True)
    write(tmp_path / "bad", {name: content + b"more" for name, content in CONTENT.items()}, packed=True)
    asked = []

    def offer(name: str) -> None:
        def find(raw: Path, work: Path) -> Path:
            assert work.is_absolute()  # apt runs there
            asked.append(name)
            return source if name == label else tmp_path / "bad"

        monkeypatch.setitem(download.SOURCES, name, find)

    for name in LABELS[1:]:
        offer(name)
    monkeypatch.chdir(tmp_path)
    fetch_fashion_mnist(".")  # as `make data` names it: relative
    assert held(raw) == CONTENT
    assert asked == LABELS[1 : LABELS.index(label) + 1]
    assert messages == [f"{name}: taken from {label}" for name in CONTENT if name != OTHERS[0]]
    assert sorted(path.name for path in raw.parent.iterdir()) == ["raw"]


def test_a_gzip_bomb_is_refused_without_filling_the_memory(raw: Path, tmp_path: Path) -> None:
    (raw / f"{FIRST}.gz").write_bytes(gzip.compress(bytes(200_000_000)))
    tracemalloc.start()
    with pytest.raises(DataUnavailable, match=FIRST):
        fetch_fashion_mnist(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 20_000_000
    tracemalloc.stop()


def test_where_all_fails_the_message_names_every_source_and_the_way_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(raw: Path, work: Path) -> Path:
        raise OSError("out of reach")

    monkeypatch.setitem(download.SOURCES, LABELS[2], fail)
    ended = run("download", str(tmp_path))
    assert ended.status == 1
    assert f"{LABELS[2]}: out of reach" in ended.err
    assert all(text in ended.err for text in (*CONTENT, *LABELS, "by hand", str(tmp_path)))
    assert "Traceback" not in ended.err


def test_processes_at_once_fetch_once(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = multiprocessing.get_context("fork")
    asked = context.Value("i", 0)
    source = write(tmp_path / "source", CONTENT, packed=True)

    def count(raw: Path, work: Path) -> Path:
        with asked:
            asked.value += 1
        return source

    monkeypatch.setitem(download.SOURCES, LABELS[1], count)
    processes = [context.Process(target=fetch_fashion_mnist, args=(tmp_path,)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert asked.value == 1
    assert held(raw) == CONTENT


def test_apt_serves_without_root_and_names_what_it_lacks(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    tools = tmp_path / "bin"
    package = write(tmp_path / "package", {"file": b"content"}, packed=True)
    write(
        tools,
        {
            "apt-get": b'#!/bin/sh\ncase "$*" in *update) exit 100;; *download*) touch data.deb;; esac\n',
            "dpkg-deb": f"#!/bin/sh\nmkdir -p $3/{download.PACKAGE_FOLDER}\n"
            f"cp {package}/* $3/{download.PACKAGE_FOLDER}\n".encode(),
        },
    )
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    (tmp_path / "work").mkdir()
    folder = download.SOURCES[LABELS[3]](raw, tmp_path / "work")
    assert (folder / "file.gz").exists()
    (tools / "apt-get").write_text("#!/bin/sh\necho E: Unable to locate package >&2; exit 100\n")
    (tmp_path / "again").mkdir()
    with pytest.raises(RuntimeError, match="E: Unable to locate package"):
        download.SOURCES[LABELS[3]](raw, tmp_path / "again")


def test_the_command_says_where_the_files_are(raw: Path, tmp_path: Path) -> None:
    write(raw, CONTENT)
    ended = run("download", str(tmp_path))
    assert (ended.status, ended.out) == (0, f"{raw} holds all 4 files, checked\n")
