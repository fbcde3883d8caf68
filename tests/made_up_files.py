"""Image files byte by byte, of layouts that Pillow reads and does not write."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np


def tiff(
    values: np.ndarray,
    photometric: int,
    *,
    order: Literal["<", ">"] = "<",
    extra: Sequence[int] = (),
    apart: bool = False,
    signed: bool = False,
    packed: bool = False,
) -> bytes:
    """A TIFF of one strip, or one a band.

    Args:
        values: (H, W) or (H, W, C) of any type.
        photometric: 0 white is zero, 1 black is zero, 2 RGB, 5 CMYK.
        order: "<" or ">", of the bytes.
        extra: ExtraSamples: 0 unspecified, 1 associated alpha, 2 alpha.
        apart: a plane a band.
        signed: the values have signs.
        packed: with deflate.
    """
    height, width = values.shape[:2]
    bands = 1 if values.ndim == 2 else values.shape[2]
    stored = values.astype(values.dtype.newbyteorder(order))
    parts = [stored[..., band].tobytes() for band in range(bands)] if apart else [stored.tobytes()]
    parts = [zlib.compress(part) for part in parts] if packed else parts
    starts = [8 + sum(map(len, parts[:number])) for number in range(len(parts))]
    kind = 3 if values.dtype.kind == "f" else 2 if signed else 1
    short, long = "H", "I"
    tags: dict[int, tuple[str, Sequence[int]]] = {
        256: (long, [width]),
        257: (long, [height]),
        258: (short, [values.dtype.itemsize * 8] * bands),
        259: (short, [8 if packed else 1]),
        262: (short, [photometric]),
        273: (long, starts),
        277: (short, [bands]),
        278: (long, [height]),
        279: (long, [len(part) for part in parts]),
        284: (short, [2 if apart else 1]),
        338: (short, extra),
        339: (short, [kind] * bands),
    }
    tags = {tag: entry for tag, entry in tags.items() if len(entry[1])}
    pixels = b"".join(parts)
    pixels += b"\0" * (len(pixels) % 2)
    directory, behind = struct.pack(f"{order}H", len(tags)), b""
    rest = 8 + len(pixels) + 2 + 12 * len(tags) + 4
    for tag, (letter, numbers) in tags.items():
        raw = struct.pack(f"{order}{len(numbers)}{letter}", *numbers)
        if len(raw) > 4:
            raw, behind = struct.pack(f"{order}I", rest + len(behind)), behind + raw
        directory += struct.pack(f"{order}HHI", tag, {"H": 3, "I": 4}[letter], len(numbers)) + raw.ljust(
            4, b"\0"
        )
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(pixels))
    return head + pixels + directory + b"\0" * 4 + behind


def png(values: np.ndarray, kind: int, depth: int, transparent: Sequence[int] = ()) -> bytes:
    """A PNG with `depth` bits a value.

    Args:
        values: (H, W) or (H, W, C).
        kind: 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA.
        transparent: the colour of its tRNS chunk.
    """

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content)
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", check)

    height, width = values.shape[:2]
    if depth < 8:
        bits = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., 8 - depth :]
        rows = [row.tobytes() for row in np.packbits(bits.reshape(height, -1), axis=1)]
    else:
        rows = [row.astype(f">u{depth // 8}").tobytes() for row in values]
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    hole = struct.pack(f">{len(transparent)}H", *map(int, transparent))
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            chunk(b"IHDR", header),
            chunk(b"tRNS", hole) if hole else b"",
            chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))),
            chunk(b"IEND", b""),
        ]
    )
