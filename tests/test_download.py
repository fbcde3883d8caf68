"""`src.download` with small made-up files: no network, no real apt."""

import errno
import gzip
import hashlib
import multiprocessing
import os
import tempfile
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from filelock import FileLock

from src import download
from src.download import DataUnavailable, fetch_fashion_mnist
from tests.command_line import run

REAL_FILES, REAL_MIRRORS = dict(download.FILES), download._mirrors
CONTENT = {name: f"{name} ".encode() * 50 for name in REAL_FILES}
FIRST, *OTHERS = CONTENT
Mend = Callable[[dict[str, bytes]], None]


class Mirror:
    """A web server for this machine alone; `packed` maps a file's name to the bytes it sends."""

    def __init__(self) -> None:
        self.packed = {f"{name}.gz": gzip.compress(content) for name, content in CONTENT.items()}
        self.asked: list[str] = []
        self.delay_s = 0.0
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                name = self.path.removeprefix("/")
                mirror.asked.append(name)
                time.sleep(mirror.delay_s)
                if name not in mirror.packed:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.end_headers()
                self.wfile.write(mirror.packed[name])

            def log_message(self, format: str, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture(autouse=True)
def small_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files; no installed package, no mirror, no apt; temporary files where they can be counted."""
    table = {name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in CONTENT.items()}
    monkeypatch.setattr(download, "FILES", table)
    monkeypatch.setattr(download, "SYSTEM_ROOT", tmp_path / "system")
    monkeypatch.setattr(download, "_mirrors", dict)
    for folder in ("bin", "temp"):
        (tmp_path / folder).mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temp"))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    return tmp_path / "data" / "FashionMNIST" / "raw"


@pytest.fixture
def lines(messages: list[str]) -> list[str]:
    return messages


@pytest.fixture
def fetch(tmp_path: Path, lines: list[str]) -> Callable[[], Path]:
    return lambda: fetch_fashion_mnist(tmp_path / "data")


@pytest.fixture
def mirrors(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Mirror]]:
    """Two mirrors, in the order in which they are asked."""
    started = [Mirror(), Mirror()]
    table = {mirror.url: {name: f"{mirror.url}{name}.gz" for name in CONTENT} for mirror in started}
    monkeypatch.setattr(download, "_mirrors", lambda: table)
    yield started
    for mirror in started:
        mirror.stop()


def write(folder: Path, files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def packed(contents: dict[str, bytes] = CONTENT) -> dict[str, bytes]:
    return {f"{name}.gz": gzip.compress(content) for name, content in contents.items()}


def install_package(tmp_path: Path) -> None:
    write(tmp_path / "system" / download.PACKAGE_FOLDER, packed())


def held(raw: Path) -> dict[str, bytes]:
    """Everything in the folder but the .gz files, hidden files included."""
    return {path.name: path.read_bytes() for path in raw.iterdir() if path.suffix != ".gz"}


def test_the_table_names_torchvisions_files() -> None:
    assert REAL_MIRRORS()
    for urls in REAL_MIRRORS().values():
        assert set(urls) == set(REAL_FILES)
        assert all(url.endswith(f"/{name}.gz") for name, url in urls.items())
    assert [size for size, _ in REAL_FILES.values()] == [47_040_016, 60_008, 7_840_016, 10_008]


def test_good_files_are_left_alone_in_silence(
    raw: Path, fetch: Callable[[], Path], lines: list[str], tmp_path: Path
) -> None:
    write(raw, CONTENT)
    before = {path: path.stat().st_mtime_ns for path in raw.iterdir()}
    assert fetch() == raw
    assert {path: path.stat().st_mtime_ns for path in raw.iterdir()} == before
    assert lines == []
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["FashionMNIST"]  # no lock either


def test_packed_files_beside_are_unpacked_and_kept(
    raw: Path, fetch: Callable[[], Path], lines: list[str]
) -> None:
    write(raw, packed())
    fetch()
    assert held(raw) == CONTENT
    assert len(list(raw.glob("*.gz"))) == len(CONTENT)
    assert lines == [f"{name}: taken from the .gz files in {raw}" for name in CONTENT]


def test_installed_package_comes_before_the_mirrors(
    raw: Path, fetch: Callable[[], Path], tmp_path: Path, mirrors: list[Mirror]
) -> None:
    install_package(tmp_path)
    fetch()
    assert held(raw) == CONTENT
    assert mirrors[0].asked == []


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (CONTENT[FIRST][:-1], "shorter than"),
        (b"", "shorter than"),
        (CONTENT[FIRST] + b"\0", "longer than"),
        (bytes([CONTENT[FIRST][0] ^ 1]) + CONTENT[FIRST][1:], "SHA-256"),
    ],
    ids=["truncated", "empty", "too long", "bit flipped"],
)
def test_damaged_file_is_named_and_fetched_again(
    *, damage: bytes, fault: str, raw: Path, fetch: Callable[[], Path], lines: list[str], tmp_path: Path
) -> None:
    write(raw, CONTENT | {FIRST: damage})
    untouched = {name: (raw / name).stat().st_mtime_ns for name in OTHERS}
    install_package(tmp_path)
    fetch()
    assert held(raw) == CONTENT
    assert {name: (raw / name).stat().st_mtime_ns for name in OTHERS} == untouched
    assert len(lines) == 2
    assert str(raw / FIRST) in lines[0]
    assert "damaged" in lines[0]
    assert fault in lines[0]
    assert "taken from" in lines[1]


@pytest.mark.parametrize(
    ("sent", "fault"),
    [
        (packed()[f"{FIRST}.gz"][:-9], "ended before"),
        (b"<html>Please log in</html>", "Not a gzipped file"),
        (gzip.compress(CONTENT[FIRST].swapcase()), "SHA-256"),
        (gzip.compress(b""), "shorter than"),
        (os.urandom(200_000), "compressed bytes"),
        (None, "404"),
    ],
    ids=["truncated", "log-in page", "other content", "nothing", "endless", "no such file"],
)
def test_bad_copy_at_a_mirror_moves_on_to_the_next(
    *,
    sent: bytes | None,
    fault: str,
    raw: Path,
    fetch: Callable[[], Path],
    lines: list[str],
    mirrors: list[Mirror],
) -> None:
    if sent is None:
        del mirrors[0].packed[f"{FIRST}.gz"]
    else:
        mirrors[0].packed[f"{FIRST}.gz"] = sent
    fetch()
    assert held(raw) == CONTENT
    assert mirrors[1].asked == [f"{FIRST}.gz"]  # the others are the first one's
    assert [line for line in lines if fault in line and FIRST in line and mirrors[0].url in line]


def test_silent_mirror_is_given_up_once_for_all_files(
    raw: Path, fetch: Callable[[], Path], mirrors: list[Mirror], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "STALL_S", 0.5)
    mirrors[0].delay_s = 1.5
    fetch()
    assert held(raw) == CONTENT
    assert mirrors[0].asked == [f"{FIRST}.gz"]
    assert len(mirrors[1].asked) == len(CONTENT)


def test_gzip_bomb_is_refused_without_filling_the_memory(
    raw: Path, fetch: Callable[[], Path], lines: list[str], tmp_path: Path
) -> None:
    write(raw, {f"{FIRST}.gz": gzip.compress(bytes(20_000_000), 1)})
    install_package(tmp_path)
    tracemalloc.start()
    fetch()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
    assert held(raw) == CONTENT
    assert "longer than" in lines[0]


def test_where_all_fails_the_message_names_every_source_and_the_way_by_hand(
    raw: Path, fetch: Callable[[], Path], mirrors: list[Mirror], tmp_path: Path
) -> None:
    write(raw, {OTHERS[0]: CONTENT[OTHERS[0]], f"{FIRST}.gz": b"garbage"})
    mirrors[0].packed.clear()
    mirrors[1].stop()
    with pytest.raises(DataUnavailable) as caught:
        fetch()
    message = str(caught.value)
    assert OTHERS[0] not in message.splitlines()[0]  # that one is there
    causes = [line for line in message.splitlines() if line.startswith("  - ")]
    for source, cause in [
        (f"{raw}: ", "Not a gzipped file"),
        (f"{raw}: ", "not there"),
        (str(tmp_path / "system"), "not there"),
        (mirrors[0].url, "404"),
        (mirrors[1].url, "refused"),
        ("apt's Debian package", "apt-get is not installed"),
    ]:
        assert [line for line in causes if source in line and cause in line], (source, cause)
    assert len(causes) == 6
    by_hand = message.splitlines()[-1]
    assert all(name in by_hand for name in CONTENT)
    assert ".gz" in by_hand
    assert str(raw) in by_hand
    mirrors[1].server.server_close()  # `stop` may be called twice


def test_failure_in_mid_write_leaves_nothing_and_is_told(
    raw: Path, fetch: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(raw, {FIRST: b"old"})
    install_package(tmp_path)

    def full(_: int) -> None:
        assert (raw / FIRST).read_bytes() == b"old"  # until the new one is complete
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataUnavailable, match=r"cannot be stored .*No space left"):
        fetch()
    assert held(raw) == {FIRST: b"old"}


def test_what_a_killed_process_left_does_no_harm(
    raw: Path, fetch: Callable[[], Path], tmp_path: Path
) -> None:
    write(raw, {".0123456789abcdef.tmp": b"x" * 10_000})
    install_package(tmp_path)
    fetch()
    assert held(raw) == CONTENT


def test_folder_that_cannot_be_made_is_told(fetch: Callable[[], Path], tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(DataUnavailable, match="cannot be stored in"):
        fetch()


def test_processes_at_once_fetch_once(raw: Path, mirrors: list[Mirror], tmp_path: Path) -> None:
    mirrors[0].delay_s = 0.05
    context = multiprocessing.get_context("fork")  # the small world goes along
    barrier = context.Barrier(4)

    def child() -> None:
        barrier.wait()
        fetch_fashion_mnist(tmp_path / "data")

    children = [context.Process(target=child, daemon=True) for _ in range(4)]
    for process in children:
        process.start()
    for process in children:
        process.join(30)
    assert [process.exitcode for process in children] == [0] * 4
    assert sorted(mirrors[0].asked) == sorted(packed())
    assert held(raw) == CONTENT


def test_waiting_is_told_and_what_the_other_fetched_is_taken(
    raw: Path, tmp_path: Path, lines: list[str]
) -> None:
    (tmp_path / "data").mkdir()
    with FileLock(tmp_path / "data" / ".fashion-mnist.lock"):
        thread = threading.Thread(target=fetch_fashion_mnist, args=(tmp_path / "data",))
        thread.start()
        until = time.monotonic() + 5
        while not lines and time.monotonic() < until:
            time.sleep(0.01)
        write(raw, CONTENT)
    thread.join(5)
    assert not thread.is_alive()
    assert lines == ["waiting for another process that is fetching Fashion-MNIST"]


def script(tmp_path: Path, name: str, body: str) -> None:
    path = tmp_path / "bin" / name
    path.write_text(f'#!/bin/sh\nPATH=/usr/bin:/bin\necho "{name} $*" >> {tmp_path}/calls\n{body}\n')
    path.chmod(0o755)


APT = """for word in "$@"; do case "$word" in
    -oDir::State::Lists=*) [ -d "${word#*=}/partial" ] || exit 9 ;;
    -oDir::Cache=*) [ -d "${word#*=}/archives/partial" ] || exit 9 ;;
esac; done
case "$*" in *download*) echo package > dataset_1_all.deb ;; esac"""


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    """Fake apt-get and dpkg-deb on the PATH; returns the folder with the package's files."""
    package = tmp_path / "package"
    write(package, packed())
    folder = f'"$3"/{download.PACKAGE_FOLDER}'
    script(tmp_path, "apt-get", APT)
    script(tmp_path, "dpkg-deb", f"cat $2 && mkdir -p {folder} && cp {package}/* {folder}")
    return package


@pytest.mark.parametrize("user", [0, 1000])
def test_apt_serves_without_touching_its_own_folders(
    *,
    user: int,
    apt: Path,
    raw: Path,
    fetch: Callable[[], Path],
    lines: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    fetch()
    assert held(raw) == CONTENT
    assert lines[-1] == f"{list(CONTENT)[-1]}: taken from apt's Debian package dataset-fashion-mnist"
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["apt-get", "apt-get", "dpkg-deb"]  # once for all files
    for call in calls[:2]:
        for key in ("Dir::State", "Dir::State::Lists", "Dir::Cache"):
            assert f"-o{key}={tmp_path}/temp/" in call
        assert ("APT::Sandbox::User=root" in call) == (user == 0)
    assert list((tmp_path / "temp").iterdir()) == []


def test_bad_file_in_apts_package_is_refused(
    apt: Path, raw: Path, fetch: Callable[[], Path], tmp_path: Path
) -> None:
    write(apt, {f"{FIRST}.gz": b"garbage"})
    with pytest.raises(DataUnavailable, match=f"Debian package {download.PACKAGE}: Not a gzipped file"):
        fetch()
    assert held(raw) == {name: CONTENT[name] for name in OTHERS}
    assert list((tmp_path / "temp").iterdir()) == []


@pytest.mark.parametrize(
    ("tool", "body", "cause"),
    [
        ("apt-get", None, "apt-get is not installed"),
        ("dpkg-deb", None, "dpkg-deb is not installed"),
        ("apt-get", "exit 100", "apt-get: exit status 100"),
        (
            "apt-get",
            'case "$*" in *update*) echo "W: Failed to fetch the list"; exit 0 ;; esac\n'
            'echo "Reading"; echo "W: old"; echo "E: Unable to locate package" >&2; exit 100',
            "W: Failed to fetch the list; E: Unable to locate package",
        ),
        ("dpkg-deb", 'echo "dpkg-deb: error: not an archive" >&2; exit 2', "dpkg-deb: error: not an archive"),
        ("apt-get", "sleep 4", "apt-get was not done after 0.2 s"),
        ("apt-get", "exit 0", "dpkg-deb: "),
    ],
    ids=["no apt-get", "no dpkg-deb", "status", "complaints", "bad package", "too slow", "no package"],
)
def test_what_apt_lacks_is_told(
    *,
    tool: str,
    body: str | None,
    cause: str,
    apt: Path,
    fetch: Callable[[], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if body is None:
        (tmp_path / "bin" / tool).unlink()
    else:
        script(tmp_path, tool, body)
    if body == "sleep 4":
        monkeypatch.setattr(download, "APT_LIMIT_S", 0.2)
    started = time.monotonic()
    with pytest.raises(DataUnavailable) as caught:
        fetch()
    assert time.monotonic() - started < 4  # nor waits for the sleeping grandchild
    assert f"  - apt's Debian package {download.PACKAGE}: {cause}" in str(caught.value)
    assert list((tmp_path / "temp").iterdir()) == []


def test_the_command_tells_each_step_and_the_end_or_the_cause(raw: Path, tmp_path: Path) -> None:
    failed = run("download", str(tmp_path / "data"))
    assert (failed.status, failed.out) == (1, "")
    assert "Fashion-MNIST is not available" in failed.err
    assert "Traceback" not in failed.err
    install_package(tmp_path)
    ended = run("download", str(tmp_path / "data"))
    assert ended.status == 0
    assert ended.err.count("taken from") == len(CONTENT)
    assert str(raw) in ended.out
