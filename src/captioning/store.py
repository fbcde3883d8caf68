"""Arrays in files with checksums beside them, and digests of files, which are remembered.

A file's digest is remembered for as long as its size and times stay, so that opening 120,000 images and 15 GB of
features reads none of them. Arrays are plain .npy files, each with a `.sha256` in sha256sum's format.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from src.captioning.captioned import is_file, listed
from src.entry_point import UserError
from src.files import file_digest, replacing, write_atomically
from src.images import BrokenImage
from src.run.environment import cores
from src.tars import PackedImage

STAMP = np.dtype([("size", "<i8"), ("mtime", "<i8"), ("ctime", "<i8"), ("digest", "S64")])
RECENT_NS = 2_000_000_000  # a file changed so shortly ago may change again within one tick of its clock


class Rows:
    """Rows out of several arrays, as of one: NumPy's indexing by slices and by rows.

    Those of a memory-mapped file are read from it: out of 15 GB that is quicker than to map the pages, and they are
    not counted as this process's memory.

    Args:
        arrays: of one dtype, and of one shape but for their lengths; a memory map is that of a whole file.
        places: (N, 2), each row's array and its row there; None: those of one array.
        files: of memory-mapped arrays, if they are open.
    """

    def __init__(
        self, arrays: Sequence[np.ndarray], places: np.ndarray | None = None, files: Sequence[Any] = ()
    ) -> None:
        self.arrays = arrays
        self.places = np.indices((1, len(arrays[0]))).reshape(2, -1).T if places is None else places
        self.files = files or [
            Path(str(array.filename)).open("rb", buffering=0) if isinstance(array, np.memmap) else None  # noqa: SIM115
            for array in arrays
        ]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, rows: slice | np.ndarray) -> Any:
        if isinstance(rows, slice):
            return Rows(self.arrays, self.places[rows], self.files)
        found = np.empty((len(rows), *self.arrays[0].shape[1:]), self.arrays[0].dtype)
        for target, (number, row) in zip(found, self.places[rows].tolist(), strict=True):
            array, file = self.arrays[number], self.files[number]
            if file is None:
                target[...] = array[row]
            elif os.preadv(file.fileno(), [target], array.offset + row * target.nbytes) < target.nbytes:
                raise OSError(f"{array.filename} was cut off while it was used")
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[np.arange(len(self))], dtype)


Stored = np.ndarray | Rows


def write_array(
    target: Path,
    shape: tuple[int, ...],
    dtype: np.dtype,
    blocks: Iterable[np.ndarray],
    show_bar: bool = False,
) -> None:
    """Store an array, block by block, and its checksum."""
    with replacing(target) as file, tqdm(total=shape[0], disable=None if show_bar else True) as bar:
        # Written as a file, not through a memory map: on a full disk a map kills the process.
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for block in blocks:
            file.write(np.ascontiguousarray(block, dtype).data)
            bar.update(len(block))
    write_atomically(sum_of(target), f"{file_digest(target)}  {target.name}\n")


def digests_of(
    paths: Sequence[Path | PackedImage], memory: Path | None = None, *, settled: bool = False
) -> list[str]:
    """The SHA-256 of each file's bytes.

    Args:
        paths: the files; those in shards have been read.
        memory: a folder that remembers them from one command to the next: a file whose size, mtime and ctime are
            as they were is not read again, unless it had changed within RECENT_NS of being read.
        settled: nobody else writes the files, so that even those written just now are remembered.

    Raises:
        BrokenImage: naming the files that cannot be read.
    """
    packed, files = split_packed(paths)
    if packed:
        return [path.digest for path in packed]

    def digest(path: Path) -> str:
        if not is_file(path):  # reading a pipe would wait for ever
            raise BrokenImage(f"the image {path} does not exist or is no file")
        return file_digest(path)

    if memory is None:
        return each(files, digest)
    begun, stamps = time.time_ns(), np.zeros(len(files), STAMP)
    times, known = ["size", "mtime", "ctime"], np.zeros(len(files), bool)
    for name, values in zip(times, np.array([_times(path) for path in files], np.int64).T, strict=True):
        stamps[name] = values
    names = "\0".join([str(Path.cwd()), *map(str, files)])
    target = memory / f"digests-{hashlib.sha256(os.fsencode(names)).hexdigest()[:20]}"
    with suppress(OSError, ValueError):
        if sum_of(target).read_text()[:64] == file_digest(target):
            remembered = np.load(target)
            known = (remembered[times] == stamps[times]) & (remembered["digest"] != b"")
            stamps["digest"][known] = remembered["digest"][known]
    unknown = np.flatnonzero(~known).tolist()
    stamps["digest"][unknown] = each([files[row] for row in unknown], digest)
    lasting = stamps.copy()
    if not settled:
        lasting["digest"][np.maximum(stamps["mtime"], stamps["ctime"]) > begun - RECENT_NS] = b""
    if (lasting["digest"][unknown] != b"").any():
        with suppress(OSError):  # a folder that is only read, a full disk: they are computed again
            write_array(target, lasting.shape, STAMP, [lasting])
    return stamps["digest"].astype(str).tolist()


def _times(path: Path) -> tuple[int, int, int]:
    """Size, mtime and ctime of a file; zeros where they cannot be told."""
    try:
        status = os.stat(path)  # noqa: PTH116  half of pathlib's time
    except (OSError, ValueError):  # named when it is read
        return 0, 0, 0
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def split_packed(paths: Sequence[Path | PackedImage]) -> tuple[list[PackedImage], list[Path]]:
    """Images in shards, and files; a data set has one kind."""
    packed = [path for path in paths if isinstance(path, PackedImage)]
    return packed, [path for path in paths if not isinstance(path, PackedImage)]


def each(paths: Sequence[Any], function: Callable[[Any], Any]) -> list[Any]:
    """What a function gives for each file; the files that it refuses are named in one error."""

    def attempt(path: Any) -> Any:
        try:
            return function(path)
        except (OSError, UserError) as error:
            return error

    with ThreadPoolExecutor(cores()) as pool:
        results = list(pool.map(attempt, paths))
    if errors := [str(one) for one in results if isinstance(one, Exception)]:
        raise BrokenImage(f"{len(errors)} of {len(paths)} images cannot be used: {listed(errors, '; ')}")
    return results


def sum_of(target: Path) -> Path:
    """The file that holds a file's checksum."""
    return target.with_name(f"{target.name}.sha256")


def is_whole(target: Path, *, settled: bool = False) -> bool:
    """Whether a file's bytes are those that were written; `settled` as `digests_of` takes it."""
    try:
        return sum_of(target).read_text()[:64] == digests_of([target], target.parent, settled=settled)[0]
    except (OSError, ValueError, BrokenImage):
        return False
