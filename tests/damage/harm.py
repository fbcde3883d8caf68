"""Three ways in which a file is damaged, each at a random place."""

from __future__ import annotations

import random
from pathlib import Path


def truncated(data: bytes, rng: random.Random) -> bytes:
    """The beginning; in a tenth of the cases nothing at all, or all but the last byte."""
    keep = rng.choice([0, len(data) - 1]) if rng.random() < 0.1 else rng.randrange(len(data))
    return data[:keep]


def flipped(data: bytes, rng: random.Random) -> bytes:
    """One byte is another one: in half of the cases a digit for a digit, where there are any."""
    place = rng.randrange(len(data))
    digits = [index for index, byte in enumerate(data) if 48 <= byte < 58] if len(data) < 100_000 else []
    if digits and rng.random() < 0.5:  # the damage that is hardest to see
        place = rng.choice(digits)
        byte = 48 + (data[place] - 48 + rng.randrange(1, 10)) % 10
    else:
        byte = data[place] ^ (1 << rng.randrange(8) if rng.random() < 0.5 else rng.randrange(1, 256))
    return data[:place] + bytes([byte]) + data[place + 1 :]


def garbage(data: bytes, rng: random.Random) -> bytes:
    """Random bytes instead of a stretch, or of everything."""
    first = 0 if rng.random() < 0.3 else rng.randrange(len(data))
    last = len(data) if rng.random() < 0.3 else min(len(data), first + 1 + rng.randrange(512))
    changed = data[:first] + rng.randbytes(last - first) + data[last:]
    return changed if changed != data else flipped(data, rng)


KINDS = {"truncated": truncated, "a byte flipped": flipped, "garbage": garbage}


def damage(path: Path, kind: str, rng: random.Random) -> None:
    """Damage a file in place."""
    path.write_bytes(KINDS[kind](path.read_bytes(), rng))
