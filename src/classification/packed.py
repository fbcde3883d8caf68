"""Own data that come packed: a .gz must not unpack to more than its IDX header says."""

from __future__ import annotations

import gzip
import math
import os
import zlib
from pathlib import Path

from src.download import FILES, DataUnavailable

BLOCK = 2**20  # bytes
LARGEST = 2**36  # bytes where the machine does not tell its memory


def refuse_bombs(folder: Path) -> None:
    """Unpack every file of MNIST's layout once, a block at a time, before one is read as a whole.

    What is damaged in another way is left to the reader, which names it.

    Raises:
        DataUnavailable: a file is larger than its header says, or than the memory.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else LARGEST
    for name in FILES:
        path = folder / f"{name}.gz"
        if (folder / name).exists() or not path.is_file():
            continue
        try:
            with gzip.open(path) as stream:
                start = stream.read(4)
                sides = stream.read(4 * start[3]) if len(start) == 4 else b""
                shape = [int.from_bytes(sides[at : at + 4], "big") for at in range(0, len(sides), 4)]
                promised = math.prod(shape)
                if promised > memory:
                    raise DataUnavailable(
                        f"{path} says that it holds {promised:,} bytes: more than the memory"
                    )
                unpacked = 0
                while block := stream.read(BLOCK):
                    unpacked += len(block)
                    if unpacked > promised:
                        raise DataUnavailable(
                            f"{path} unpacks to more than the {promised:,} bytes it promises"
                        )
        except (OSError, EOFError, zlib.error):
            continue
