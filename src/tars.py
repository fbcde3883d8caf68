"""Images inside tar files, on this machine or wherever fsspec opens files; nothing is unpacked to disk."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, ClassVar, NamedTuple

import fsspec  # type: ignore[import-untyped]
from fsspec.implementations.local import LocalFileSystem  # type: ignore[import-untyped]

from src.entry_point import UserError, printable

BLOCK = 512  # bytes; a tar ends with blocks of zeros


class BrokenTar(UserError):
    """A tar file that cannot be used, and the member that is to blame."""


class Member(NamedTuple):
    """A file inside a tar: its name, and where its bytes lie."""

    name: str
    offset: int
    size: int


class Tar:
    """An uncompressed tar file.

    Args:
        system: the file system of fsspec that it lies on.
        path: its path there.
    """

    holding: ClassVar[list[Tar]] = []  # one of them at most

    def __init__(self, system: Any, path: str) -> None:
        self.system, self.path = system, path
        self.content: bytes | None = None
        self.images: list[PackedImage] = []  # all of them, filled in by a reader

    def __str__(self) -> str:
        return str(self.system.unstrip_protocol(self.path)).removeprefix("file://")

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.path.rpartition("/")[2]

    def stamp(self) -> str:
        """A hash of its path, size and times, or of what else its file system knows of its state."""
        with self.reading():
            return str(self.system.ukey(self.path))

    def hold(self) -> None:
        """Keep a remote file's bytes in memory until `release`: it is fetched once, whatever is read of it."""
        if self.content is None and not isinstance(self.system, LocalFileSystem):
            for other in Tar.holding:
                other.release()
            with self.reading():
                self.content = self.system.cat_file(self.path)
            Tar.holding.append(self)

    def release(self) -> None:
        """Drop them."""
        self.content = None
        Tar.holding = [other for other in Tar.holding if other is not self]

    def read(self, member: Member) -> bytes:
        """The bytes of one member."""
        end = member.offset + member.size
        if self.content is not None:
            return self.content[member.offset : end]
        with self.reading(member.name):
            return bytes(self.system.cat_file(self.path, start=member.offset, end=end))

    def members(self) -> list[Member]:
        """All files in it, in order.

        Raises:
            BrokenTar: it is cut off, compressed or no tar; a member is no plain file, or its name leads elsewhere.
        """
        found: list[Member] = []
        with self.reading():
            file = self.system.open(self.path) if self.content is None else io.BytesIO(self.content)
        with file:
            try:
                with tarfile.open(fileobj=file, mode="r:") as tar:
                    for info in tar:
                        if not info.isdir():
                            self._check(info)
                            found.append(Member(info.name, info.offset_data, info.size))
                    file.seek(tar.offset)
                    if file.read(BLOCK) != bytes(BLOCK):
                        raise tarfile.ReadError("it ends without a tar's end: it is cut off")
            except (tarfile.TarError, OSError, EOFError) as error:
                last = f", after the member {printable(found[-1].name)}" if found else ""
                raise BrokenTar(
                    f"the shard {self} cannot be read{last}, as a tar without compression: {printable(error)}"
                ) from error
        return found

    def _check(self, info: tarfile.TarInfo) -> None:
        parts = {*PurePosixPath(info.name).parts, *PureWindowsPath(info.name).parts}
        if not info.isreg() or info.issparse():
            raise self.error(info.name, "it is a link, a device or a sparse file: pack plain files")
        if ".." in parts or info.name.startswith("/") or PureWindowsPath(info.name).anchor:
            raise self.error(info.name, "its name leads out of the tar")
        if not info.name.isprintable():
            raise self.error(info.name, "its name has control characters")

    def error(self, member: str, problem: object) -> BrokenTar:
        """The error to raise for a member."""
        return BrokenTar(f"the shard {self}, member {printable(member)}: {printable(problem)}")

    @contextmanager
    def reading(self, member: str = "") -> Iterator[None]:
        """Name the tar, and a member, in whatever a file system raises."""
        try:
            yield
        except Exception as error:
            where = f", member {printable(member)}" if member else ""
            raise BrokenTar(f"the shard {self}{where} cannot be read: {printable(error)}") from error


@dataclass(frozen=True, order=True)
class PackedImage:
    """An image inside a tar; what reads images takes it in the place of a path.

    Attributes:
        row: its place among the tar's images.
        digest: SHA-256 of its bytes.
    """

    shard: str
    row: int
    member: Member
    digest: str
    tar: Tar = field(compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.shard}, member {self.member.name}"

    @property
    def name(self) -> str:
        """The member's name."""
        return self.member.name

    def open(self) -> io.BytesIO:
        """Its bytes."""
        return io.BytesIO(self.tar.read(self.member))


def find_tars(root: str) -> list[Tar]:
    """The tar files of a folder, or those that a pattern names (`s3://bucket/train-*.tar`), sorted.

    Raises:
        UserError: there is none, or fsspec cannot open such an address.
    """
    try:
        system, path = fsspec.core.url_to_fs(root)
        is_pattern = any(sign in path for sign in "*?[")
        found = sorted(
            system.glob(path if is_pattern or path.endswith(".tar") else f"{path.rstrip('/')}/*.tar")
        )
    except Exception as error:  # a protocol without its package, no permission, no network
        raise UserError(f"data.root={root} cannot be opened: {printable(error)}") from error
    if not found:
        raise UserError(
            f"data.root={root} holds no .tar file (unpack .tar.gz): it names a folder of shards, or a pattern"
        )
    return [Tar(system, str(path)) for path in found]
