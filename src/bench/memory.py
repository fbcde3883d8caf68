"""The memory's part of `make bench`: train on features that are larger than the memory a process may have.

    python -m src.bench.memory IMAGES LIMIT_MB STEPS

stores IMAGES x 49 regions of 1,280 features in half precision through the real path, opens them, trains STEPS
steps with attention, and prints one JSON object. From before the first feature on, the process may allocate
no more than LIMIT_MB beyond what it holds then.

The limit is RLIMIT_DATA: the kernel counts heap and private writable mappings, i.e. what cannot be dropped
and read again. A file that is mapped read-only is not counted, and its pages go when memory is short.
RLIMIT_AS would count the mapping's addresses, too, and so forbid the very thing that saves memory.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from src.captioning.data import PairBatch

MB = 10**6
REGION_BYTES = 49 * 1280 * 2  # of an image


@dataclass
class Fitted:
    """How training under a limit went.

    Attributes:
        features: bytes of the file.
        limit: bytes that the process was allowed beyond what it held.
        used: bytes of private memory beyond that start, at the highest.
        refused: whether reading the file into memory failed under the same limit, as it should.
        losses: of each step.
    """

    images: int
    features: int
    limit: int
    used: int
    refused: bool
    losses: list[float]


def measure_memory(images: int, limit_mb: int, steps: int = 20, folder: Path | None = None) -> Fitted:
    """The command in a process of its own.

    Args:
        folder: where the features may lie for the time being; IMAGES x 125 KB.

    Raises:
        RuntimeError: it did not get through, with its last words.
    """
    command = [sys.executable, "-m", "src.bench.memory", str(images), str(limit_mb), str(steps)]
    if folder is not None:
        command.append(str(folder))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"training on {images:,} images under {limit_mb} MB failed:\n" + done.stderr[-2000:]
        )
    return Fitted(**json.loads(done.stdout.splitlines()[-1]))


def train_under_limit(root: Path, images: int, limit: int, steps: int) -> Fitted:
    """Write a set below `root`, then limit this process and train.

    Raises:
        MemoryError: the limit is too tight.
        OSError: this system has no such limit.
    """
    import torch
    import torch.nn.functional as F

    from src.bench.captioned import caption_data, write_captioned
    from src.captioning.decoders import AttentionDecoder
    from src.captioning.vocabulary import PAD

    torch.manual_seed(0)
    write_captioned(root / "set", images)
    _warm_up()
    start, soft = private_bytes(), resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (start + limit, soft[1]))
    highest = start
    with caption_data(root / "set", root / "features") as data:
        highest = max(highest, private_bytes())
        decoder = AttentionDecoder(len(data.vocabulary), 1280)
        optimizer = torch.optim.Adam(decoder.parameters(), lr=4e-4, fused=True)
        losses = []
        for batch in islice(_endless(data.train_dataloader), steps):
            scores, _ = decoder(batch.seen, batch.tokens[:, :-1])
            loss = F.cross_entropy(scores.flatten(0, 1), batch.tokens[:, 1:].flatten(), ignore_index=PAD)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
            highest = max(highest, private_bytes())
        (file,) = (root / "features").glob("*.npy")
        try:
            np.load(file)  # all of it at once: what the memory map avoids
            refused = False
        except MemoryError:
            refused = True
    return Fitted(images, file.stat().st_size, limit, highest - start, refused, losses)


def private_bytes() -> int:
    """What RLIMIT_DATA counts of this process, as the kernel has it (VmData)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData"))


def _warm_up() -> None:
    """Let torch make its threads and buffers, which no data set can make larger."""
    import torch

    from src.captioning.decoders import AttentionDecoder

    decoder = AttentionDecoder(50, 1280)
    decoder(torch.rand(32, 49, 1280), torch.ones(32, 12, dtype=torch.int64))[0].sum().backward()
    torch.optim.Adam(decoder.parameters(), fused=True).step()


def _endless(batches: Callable[[], Iterable[PairBatch]]) -> Iterator[PairBatch]:
    while True:
        yield from batches()


def memory_table(found: list[Fitted]) -> str:
    """Markdown: a row a measurement, and what it comes to for 100,000 images."""
    lines = [
        "| images x 49 regions | features, MB | private memory allowed, MB | used, MB | steps trained | "
        "the file at once |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        once = "refused" if one.refused else "fits"
        lines.append(
            f"| {one.images:,} | {one.features / MB:,.0f} | {one.limit / MB:,.0f} | {one.used / MB:,.0f} "
            f"| {len(one.losses)} | {once} |"
        )
    largest = found[-1]
    beyond = "more" if largest.features > largest.limit else "less"
    text = (
        f"{largest.features / MB:,.0f} MB of features were trained on with {largest.used / MB:,.0f} MB of "
        f"private memory, {beyond} features than the {largest.limit / MB:,.0f} MB allowed; "
        f"100,000 images would take {100_000 * REGION_BYTES / 1e9:.1f} GB of disk."
    )
    return "\n".join([*lines, "", text, ""])


def as_content(found: list[Fitted]) -> dict:
    """For a JSON file."""
    return {"measured": [asdict(one) for one in found]}


def main() -> None:
    """The command."""
    images, limit_mb, steps = (int(word) for word in sys.argv[1:4])
    place = sys.argv[4] if len(sys.argv) > 4 else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        print(json.dumps(asdict(train_under_limit(Path(folder), images, limit_mb * MB, steps))))


if __name__ == "__main__":
    main()
