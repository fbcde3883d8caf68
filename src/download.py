"""Put Fashion-MNIST's four files where `torchvision.datasets.FashionMNIST(root, download=False)` looks.

torchvision downloads them; where it cannot, Debian's package does (installed, or fetched by apt without root). What
arrived is compared with the SHA-256 of the published files, uncompressed.

    python -m src.download data
"""

from __future__ import annotations

import gzip
import logging
import os
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from src.config.settings import setting
from src.entry_point import UserError, entry_point
from src.files import file_digest, write_atomically
from src.locks import lock_at

FILES = {  # SHA-256, uncompressed
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
PACKAGE = "dataset-fashion-mnist"
PACKAGE_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # where the package puts the files, as .gz
STALL_S = 10.0  # a mirror that neither connects nor sends anything for so long is given up
APT_LIMIT_S = 300.0  # one command
logger = logging.getLogger("src.download")  # also where the module is run


def fetch_fashion_mnist(root: Path | str) -> Path:
    """Make sure that `<root>/FashionMNIST/raw` holds the four uncompressed files, and return that folder.

    Good files are left alone. Many processes may call this at once: one fetches, the others wait.

    Raises:
        UserError: naming what each source lacked.
    """
    raw = Path(root).absolute() / "FashionMNIST" / "raw"
    if not missing(raw):  # no lock, so a read-only folder will do
        return raw
    raw.mkdir(parents=True, exist_ok=True)
    causes = []
    with lock_at(raw.parents[1] / ".fashion-mnist.lock"):
        for source, fetch in SOURCES.items():
            if not missing(raw):
                break
            logger.info("Fashion-MNIST: asking %s", source)
            for name in missing(raw):
                (raw / name).unlink(missing_ok=True)  # torchvision takes what is there for good
            try:
                fetch(raw)
                causes.append(f"{source}: what it has is not what was published")
            except Exception as error:  # whatever a network, apt or a damaged archive raises
                causes.append(f"{source}: {type(error).__name__}: {error}")
    if names := missing(raw):
        raise UserError(
            f"Fashion-MNIST is not available: {', '.join(names)} cannot be had.\n"
            + "".join(f"  - {cause}\n" for cause in causes)
            + f"To place the files by hand, put {', '.join(FILES)} into {raw} and start again."
        )
    return raw


def missing(raw: Path) -> list[str]:
    """The files that are not there, or are not what was published."""
    return [
        name
        for name, sha256 in FILES.items()
        if not (raw / name).is_file() or file_digest(raw / name) != sha256
    ]


def from_torchvision(raw: Path) -> None:
    """Download from torchvision's mirrors, or unpack the .gz files that are there already."""
    from torchvision.datasets import FashionMNIST

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_S)
    try:
        FashionMNIST(raw.parents[1], download=True)
    finally:
        socket.setdefaulttimeout(before)


def from_debian(raw: Path) -> None:
    """Unpack the files of Debian's package, fetched by apt unless it is installed; apt's own folders are left alone."""
    with tempfile.TemporaryDirectory(dir=raw.parent) as work:
        folder = PACKAGE_FOLDER
        if not folder.is_dir():
            for name in ("lists/partial", "cache/archives/partial"):
                (Path(work) / name).mkdir(parents=True)
            places = {"State": work, "State::Lists": f"{work}/lists", "Cache": f"{work}/cache"}
            options = [f"-oDir::{key}={place}" for key, place in places.items()]
            apt = ["apt-get", "-oAPT::Sandbox::User=root", *options]
            # The update may fail in part and still serve: the download decides.
            _run([*apt, "update"], work, check=False)
            _run([*apt, "download", PACKAGE], work)
            _run(["dpkg-deb", "-x", *map(str, Path(work).glob("*.deb")), "unpacked"], work)
            folder = Path(work) / "unpacked" / PACKAGE_FOLDER.relative_to("/")
        for name in missing(raw):
            write_atomically(raw / name, gzip.decompress((folder / f"{name}.gz").read_bytes()))


def _run(command: list[str], work: str, check: bool = True) -> None:
    variables = os.environ | {"LC_ALL": "C"}
    done = subprocess.run(
        command, cwd=work, env=variables, timeout=APT_LIMIT_S, text=True, capture_output=True, check=False
    )
    if check and done.returncode:
        raise RuntimeError(f"{command[0]}: {(done.stderr.strip() or done.stdout.strip()).splitlines()[0]}")


SOURCES = {"torchvision's mirrors": from_torchvision, f"Debian's package {PACKAGE}": from_debian}


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
