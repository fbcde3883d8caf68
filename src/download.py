"""Put Fashion-MNIST's four files where `torchvision.datasets.FashionMNIST(root, download=False)` looks.

Each is taken from the first source with a good copy, by the SHA-256 of its uncompressed bytes: the folder itself, an
installed Debian package, torchvision's mirrors, the Debian package fetched by apt (no root needed).

    python -m src.download data
"""

from __future__ import annotations

import gzip
import hashlib
import io
import logging
import os
import socket
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from filelock import FileLock
from omegaconf import DictConfig

from src.config.settings import setting
from src.entry_point import UserError, entry_point
from src.files import write_atomically

FILES = {  # uncompressed: size in bytes, SHA-256
    "train-images-idx3-ubyte": (47040016, "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"),
    "train-labels-idx1-ubyte": (60008, "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"),
    "t10k-images-idx3-ubyte": (7840016, "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"),
    "t10k-labels-idx1-ubyte": (10008, "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"),
}
PACKAGE = "dataset-fashion-mnist"
PACKAGE_FOLDER = Path(
    "usr/share/datasets/fashion-mnist"
)  # below the root folder it is installed or unpacked in
STALL_S = 10.0  # a mirror that neither connects nor sends anything for so long is given up
APT_LIMIT_S = 300.0  # one command
logger = logging.getLogger("src.download")  # also where the module is run


class DataUnavailable(UserError):
    """No source had a good copy. The message is meant for the user."""


def fetch_fashion_mnist(root: Path | str) -> Path:
    """Make sure that `<root>/FashionMNIST/raw` holds the four uncompressed files, and return that folder.

    Good files are left alone. Many processes may call this at once: one fetches, the others wait.

    Raises:
        DataUnavailable: naming what each source lacked.
    """
    raw = Path(root) / "FashionMNIST" / "raw"
    if not missing(raw):  # no lock, so a read-only folder will do
        return raw
    raw.mkdir(parents=True, exist_ok=True)
    causes = []
    with FileLock(Path(root) / ".fashion-mnist.lock"):
        for label, source in SOURCES.items():
            if not missing(raw):
                break
            with tempfile.TemporaryDirectory(dir=raw.parent.absolute()) as work:
                try:
                    _take(source(raw, Path(work)), raw, label)
                    causes.append(f"{label}: no good copy of {', '.join(missing(raw))}")
                except (OSError, EOFError, RuntimeError, zlib.error, subprocess.SubprocessError) as error:
                    causes.append(f"{label}: {error}")
    if names := missing(raw):
        raise DataUnavailable(
            f"Fashion-MNIST is not available: no source has a good copy of {', '.join(names)}.\n"
            + "".join(f"  - {cause}\n" for cause in causes)
            + f"To place the files by hand, put {', '.join(FILES)}, each as it is or as .gz, "
            f"into {raw.absolute()} and start again."
        )
    return raw


def missing(raw: Path) -> list[str]:
    """The files that are not there, or are not what was published."""
    found = []
    for name, (size, sha256) in FILES.items():
        try:
            status = (raw / name).stat()
        except OSError:
            found.append(name)
            continue
        if status.st_size != size or _digest(raw / name, status.st_mtime_ns) != sha256:
            found.append(name)
    return found


@cache
def _digest(path: Path, changed_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _take(folder: Path, raw: Path, label: str) -> None:
    """Unpack the good copies in `folder` of what is missing."""
    for name in missing(raw):
        size, sha256 = FILES[name]
        for path, reader in ((folder / name, open), (folder / f"{name}.gz", gzip.open)):
            if path.is_file():
                with reader(path, "rb") as file:
                    content = file.read(
                        size + 1
                    )  # a byte too many tells; a gzip bomb must not fill the memory
                if hashlib.sha256(content).hexdigest() == sha256:
                    write_atomically(raw / name, content)
                    logger.info("%s: taken from %s", name, label)
                    break


def _installed(raw: Path, work: Path) -> Path:
    return Path("/") / PACKAGE_FOLDER


def _from_mirrors(raw: Path, work: Path) -> Path:
    """Let torchvision download and check by its own checksums."""
    from torchvision.datasets import FashionMNIST

    logger.info("asking torchvision's mirrors for Fashion-MNIST")
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_S)
    try:
        with redirect_stdout(io.StringIO()):  # what it prints of each mirror
            FashionMNIST(work, download=True)
    finally:
        socket.setdefaulttimeout(before)
    return work / "FashionMNIST" / "raw"


def _from_apt(raw: Path, work: Path) -> Path:
    """Download and unpack the Debian package, with apt's own folders left alone."""
    logger.info("asking apt for the Debian package %s", PACKAGE)
    (work / "lists" / "partial").mkdir(parents=True)
    (work / "cache" / "archives" / "partial").mkdir(parents=True)
    places = {"State": work, "State::Lists": work / "lists", "Cache": work / "cache"}
    apt = [
        "apt-get",
        "-oAPT::Sandbox::User=root",
        *(f"-oDir::{key}={place}" for key, place in places.items()),
    ]
    _run([*apt, "update"], work, check=False)  # may fail in part and still serve: the download decides
    _run([*apt, "download", PACKAGE], work)
    _run(["dpkg-deb", "-x", *map(str, work.glob("*.deb")), "unpacked"], work)
    return work / "unpacked" / PACKAGE_FOLDER


def _run(command: list[str], work: Path, check: bool = True) -> None:
    options = {"cwd": work, "env": os.environ | {"LC_ALL": "C"}, "timeout": APT_LIMIT_S, "text": True}
    done = subprocess.run(command, **options, capture_output=True, stdin=subprocess.DEVNULL, check=False)  # type: ignore[call-overload]
    if check and done.returncode:
        raise RuntimeError(f"{command[0]}: {(done.stderr.strip() or done.stdout.strip()).splitlines()[0]}")


SOURCES: dict[str, Callable[[Path, Path], Path]] = {  # each gives a folder, given ours and one for its work
    "the folder itself": lambda raw, work: raw,
    f"the installed Debian package {PACKAGE}": _installed,
    "torchvision's mirrors": _from_mirrors,
    f"apt's Debian package {PACKAGE}": _from_apt,
}


@dataclass
class DownloadSettings:
    """Settings of `python -m src.download`."""

    root: str = setting("folder for data", default="data")


@entry_point("download", DownloadSettings, positional="root")
def main(cfg: DictConfig) -> None:
    """Fetch Fashion-MNIST into `root` and check it."""
    raw = fetch_fashion_mnist(Path(cfg.root).expanduser())
    sys.stdout.write(f"{raw} holds all {len(FILES)} files, checked\n")


if __name__ == "__main__":
    main()
