"""Put Fashion-MNIST's four files where `torchvision.datasets.FashionMNIST(root, download=False)` looks.

Each is taken from the first source with a good copy (by the SHA-256 of its uncompressed bytes): the folder, an
installed Debian package, torchvision's mirrors, the Debian package fetched by apt (no root needed).

    python -m src.download data
"""

import gzip
import hashlib
import http.client
import io
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import BinaryIO

from filelock import FileLock, Timeout
from omegaconf import DictConfig

from src.config import setting
from src.entry_point import UserError, entry_point
from src.files import write_atomically

FILES = {  # uncompressed: size in bytes, SHA-256
    "train-images-idx3-ubyte": (47040016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    "train-labels-idx1-ubyte": (60008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "t10k-images-idx3-ubyte": (7840016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    "t10k-labels-idx1-ubyte": (10008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}
PACKAGE = "dataset-fashion-mnist"
PACKAGE_FOLDER = "usr/share/datasets/fashion-mnist"  # below the root folder it is installed or unpacked in
SYSTEM_ROOT = Path("/")
STALL_S = 5.0  # a mirror that neither connects nor sends anything for this many seconds is given up
MIRROR_LIMIT_S = 900.0  # one file from a mirror; a trickle never stalls
APT_LIMIT_S = 300.0  # one apt-get or dpkg-deb command
NOT_THERE = "not there"

logger = logging.getLogger(__name__)
Read = Callable[[str], bytes]  # file name -> uncompressed bytes, at most one more than expected


class DataUnavailable(UserError):
    """No source had a good copy, or the folder cannot be written. The message is meant for the user."""


class _Refused(Exception):
    """The source has no good copy of this file; the message is the cause."""


class _SourceDown(Exception):
    """The source has none of the files; the message is the cause."""


def fetch_fashion_mnist(root: Path | str) -> Path:
    """Make sure that `<root>/FashionMNIST/raw` holds the four uncompressed files, and return that folder.

    Good files are left alone; otherwise one line is logged for each step. Many processes may call this at
    once: one fetches, the others wait. Raises `DataUnavailable`.
    """
    root = Path(root)
    raw = root / "FashionMNIST" / "raw"
    if not _faults(raw):  # the way of nearly every run: no lock, so a read-only folder will do
        return raw
    try:
        raw.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / ".fashion-mnist.lock")
        try:
            held = lock.acquire(timeout=0)
        except Timeout:
            logger.info("waiting for another process that is fetching Fashion-MNIST")
            held = lock.acquire()
        with held:
            _mend(raw)
    except OSError as error:  # those of the sources are caught there: this one is about our own folder
        raise DataUnavailable(f"Fashion-MNIST cannot be stored in {raw}: {error}") from error
    return raw


def _mend(raw: Path) -> None:
    """Fetch what is missing or damaged. Call it under the lock."""
    faults = _faults(raw)  # once more: another process may have fetched them while this one waited
    for name, fault in faults.items():
        if fault != NOT_THERE:
            logger.info(f"{raw / name} is damaged ({fault}): fetching it again")
    missing, causes = list(faults), []
    with closing(_sources(raw)) as sources:
        while missing and (source := next(sources, None)):
            label, read = source
            refused: dict[str, list[str]] = {}
            asked = list(missing)
            for name in asked:
                try:
                    content = _good_copy(read, name)
                except _Refused as error:
                    refused.setdefault(str(error), []).append(name)
                except _SourceDown as error:
                    refused[str(error)] = list(missing)
                    break
                else:
                    _write(raw / name, content)
                    missing.remove(name)
                    logger.info(f"{name}: taken from {label}")
            for cause, names in refused.items():
                causes.append(f"{label}: {cause}" + ("" if names == asked else f" ({', '.join(names)})"))
                if cause != NOT_THERE:
                    logger.info(causes[-1])
    if missing:
        raise DataUnavailable(
            f"Fashion-MNIST is not available: no source has a good copy of {', '.join(missing)}.\n"
            + "".join(f"  - {cause}\n" for cause in causes)
            + f"To place the files by hand, put {', '.join(FILES)}, each as it is or as .gz, "
            f"into {raw.absolute()} and start again."
        )


def _good_copy(read: Read, name: str) -> bytes:
    try:
        content = read(name)
    except FileNotFoundError as error:
        raise _Refused(NOT_THERE) from error
    except (OSError, EOFError, zlib.error, http.client.HTTPException) as error:
        raise _Refused(str(error) or type(error).__name__) from error
    if fault := _fault(io.BytesIO(content), name):
        raise _Refused(fault)
    return content


def _faults(raw: Path) -> dict[str, str]:
    """The files that have to be fetched, each with what is wrong with it."""
    faults = {}
    for name in FILES:
        try:
            with (raw / name).open("rb") as stream:
                fault = _known_fault(stream, name)
        except FileNotFoundError:
            fault = NOT_THERE
        except OSError as error:
            fault = error.strerror or str(error)
        if fault:
            faults[name] = fault
    return faults


_known: dict[tuple[str, int, int, int, int, int], str] = {}


def _known_fault(stream: io.BufferedReader, name: str) -> str:
    """`_fault` of a file, from memory where this process has checked the same file before."""
    status = os.fstat(stream.fileno())
    state = (name, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    if state not in _known:
        _known[state] = _fault(stream, name)
    return _known[state]


def _fault(stream: io.BufferedIOBase, name: str) -> str:
    expected, sha256 = FILES[name]
    size = stream.seek(0, os.SEEK_END)
    if size != expected:
        return f"{'longer' if size > expected else 'shorter'} than {expected:,} bytes"
    stream.seek(0)
    good = hashlib.file_digest(stream, "sha256").hexdigest() == sha256  # by blocks: no 47 MB in memory
    return "" if good else "its SHA-256 is not the published one"


def _write(target: Path, content: bytes) -> None:
    for left in target.parent.glob(".*.tmp"):  # by a killed process: under the lock there is one writer
        left.unlink(missing_ok=True)
    write_atomically(target, content)


def _sources(raw: Path) -> Generator[tuple[str, Read], None, None]:
    """Each source's name and reader, in order. A later one costs nothing unless it is asked for."""
    for folder in (raw, SYSTEM_ROOT / PACKAGE_FOLDER):
        yield f"the .gz files in {folder}", partial(_from_folder, folder)
    for mirror, urls in _mirrors().items():
        logger.info(f"asking the mirror {mirror}")
        yield f"the mirror {mirror}", partial(_from_mirror, urls)
    logger.info(f"asking apt for the Debian package {PACKAGE}")
    with ExitStack() as stack:
        unpacked = cache(partial(_unpack_package, stack))
        yield f"apt's Debian package {PACKAGE}", lambda name: _from_folder(unpacked(), name)


def _from_folder(folder: Path, name: str) -> bytes:
    packed = folder / f"{name}.gz"
    if packed.exists() and not packed.is_file():  # a pipe, on which reading would wait for ever
        raise OSError(f"{packed.name} is not a file")
    return _gunzip(packed, name)


def _gunzip(source: Path | BinaryIO, name: str) -> bytes:
    with gzip.open(source) as stream:
        return stream.read(FILES[name][0] + 1)  # a byte too many tells; a gzip bomb must not fill the memory


def _mirrors() -> dict[str, dict[str, str]]:
    """Torchvision's mirrors, with the address of each file."""
    from torchvision.datasets import FashionMNIST

    packed_names = [packed for packed, _ in FashionMNIST.resources]
    return {
        mirror: {Path(packed).stem: mirror + packed for packed in packed_names}
        for mirror in FashionMNIST.mirrors
    }


def _from_mirror(urls: Mapping[str, str], name: str) -> bytes:
    from tqdm import tqdm

    limit = FILES[name][0] + 65_536  # gzip hardly grows what it cannot compress
    deadline = time.monotonic() + MIRROR_LIMIT_S
    packed = io.BytesIO()
    try:
        with urllib.request.urlopen(urls[name], timeout=STALL_S) as response:
            total = response.length
            with tqdm(desc=name, total=total, unit="B", unit_scale=True, leave=False, disable=None) as bar:
                while chunk := response.read1(65_536):
                    bar.update(packed.write(chunk))
                    if packed.tell() > limit:
                        raise EOFError(f"more than {limit:,} compressed bytes")
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"not done after {MIRROR_LIMIT_S:g} s")
    except urllib.error.HTTPError:
        raise  # it was quick to answer: ask it for the next file, too
    except OSError as error:  # do not wait for it once per file
        raise _SourceDown(f"out of reach: {getattr(error, 'reason', error)}") from error
    packed.seek(0)
    return _gunzip(packed, name)


def _unpack_package(stack: ExitStack) -> Path:
    """Download and unpack the Debian package into a temporary folder, with apt's own folders left alone."""
    for tool in ("apt-get", "dpkg-deb"):
        if shutil.which(tool) is None:
            raise _SourceDown(f"{tool} is not installed")
    try:
        temporary = tempfile.TemporaryDirectory(prefix="fashion-mnist-", ignore_cleanup_errors=True)
        work = Path(stack.enter_context(temporary))
        (work / "lists" / "partial").mkdir(parents=True)
        (work / "cache" / "archives" / "partial").mkdir(parents=True)
        places = {"State": work, "State::Lists": work / "lists", "Cache": work / "cache"}
        apt = ["apt-get", *(f"-oDir::{key}={place}" for key, place in places.items())]
        if os.geteuid() == 0:
            apt.append("-oAPT::Sandbox::User=root")  # the user `_apt` may not enter our folder
        _, updating = _run([*apt, "update"], work)  # may fail in part and still serve: the download decides
        good, downloading = _run([*apt, "download", PACKAGE], work)
        if not good:
            raise _SourceDown("; ".join(filter(None, (updating, downloading))))
        good, unpacking = _run(["dpkg-deb", "-x", *map(str, work.glob("*.deb")), "unpacked"], work)
        if not good:
            raise _SourceDown(unpacking)
    except OSError as error:
        raise _SourceDown(str(error)) from error
    return work / "unpacked" / PACKAGE_FOLDER


def _run(command: list[str], work: Path) -> tuple[bool, str]:
    """Run a command in `work`. Returns whether it succeeded, and its worst complaint or ""."""
    # Into a file, not a pipe: a grandchild that outlives the time-out would hold a pipe open.
    with (work / "log").open("w+", errors="replace") as log:
        try:
            status = subprocess.run(
                command, cwd=work, env=os.environ | {"LC_ALL": "C"}, timeout=APT_LIMIT_S, check=False,
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
            ).returncode  # fmt: skip
        except subprocess.TimeoutExpired:
            return False, f"{command[0]} was not done after {APT_LIMIT_S:g} s"
        log.seek(0)
        lines = [line.strip() for line in log if line.startswith(("E:", "W:", "dpkg-deb: error:"))]
    # "E: ..." sorts before "W: ..."; the first of them tells more than the summary at the end
    return status == 0, min(lines, default=f"{command[0]}: exit status {status}" if status else "")


@dataclass
class DownloadSettings:
    """Settings of `python -m src.download`."""

    root: str = setting("folder for data", default="data", path=True)


@entry_point("download", DownloadSettings, positional="root")
def main(cfg: DictConfig) -> None:
    """Fetch Fashion-MNIST into `root` and check it."""
    raw = fetch_fashion_mnist(Path(cfg.root).expanduser())
    sys.stdout.write(f"{raw} holds all {len(FILES)} files, checked\n")


if __name__ == "__main__":
    main()
