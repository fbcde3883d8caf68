"""`make profile`: trace, flame graph and the heaviest operators of every hot path.

    python -m src.bench.profiles [--paths classifier-step ...] [--quick] [--output outputs/profile]

A path is profiled twice: without stacks for the table, since following Python costs time, and with them for
the trace (PATH.trace.json, for chrome://tracing or Perfetto) and the flame graph, whose shares of Python are
therefore somewhat too large.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

import src  # noqa: F401  first: lets torchvision load beside a CPU-only torch
from src import figures
from src.bench import captions
from src.bench.flame import flame_graph, frames_of, top_table, trunk_removed
from src.bench.rounds import heading, photographs
from src.captioning.decoders import AttentionDecoder
from src.captioning.encoder import build_encoder, preprocess
from src.captioning.folding import fold
from src.captioning.search import decode
from src.classification.networks import ConvNet
from src.classification.sgd import sgd_steps
from src.files import write_atomically
from src.images import read_rgb
from src.run.threads import cores

MARK = "hot_path"  # the function in the trace under which the path begins
TOP = 12  # operators in a table


@dataclass(frozen=True)
class Profiled:
    """The files of a path."""

    name: str
    trace: Path
    flame: list[Path]
    table: str


def classifier_step(quick: bool) -> Callable[[], object]:
    """A chunk of training steps at batch 8, as a run takes them on a CPU."""
    network = ConvNet(0.3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randint(0, 256, (8 * (4 if quick else 64), 1, 28, 28), dtype=torch.uint8)
    labels = torch.randint(0, 10, (len(images),))

    def chunk() -> None:
        sgd_steps(network, images.float().div_(256), labels, 8, lr=0.01)

    return chunk


def captioner_step(quick: bool) -> Callable[[], object]:
    """A training step with attention: batch 32, 20 words, 49 regions of 1,280 features."""
    batch, steps = (4, 5) if quick else (captions.BATCH, captions.STEPS)
    decoder = AttentionDecoder(captions.VOCABULARY, 1280)
    optimizer = torch.optim.Adam(decoder.parameters(), lr=4e-4, fused=True)
    regions = torch.rand(batch, 49, 1280)
    tokens, targets = torch.randint(captions.VOCABULARY, (2, batch, steps))

    def step() -> None:
        scores, _ = decoder(regions, tokens)
        loss = F.cross_entropy(scores.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def decoding(quick: bool) -> Callable[[], object]:
    """A batch of images, beam 5, captions of 12 words."""
    images = 4 if quick else 64
    decoder = captions.PacedDecoder(captions.VOCABULARY, 1280).eval()
    regions = torch.rand(images, *captions.SPLIT_SIZE)
    regions[:, :, 0] = 1.2
    regions = regions.half()
    return lambda: decode(decoder, regions, beam=5)


def encoding(quick: bool) -> Callable[[], object]:
    """Image files to regions on one thread, as each of `features_of`'s threads works."""
    size = 64 if quick else 256
    encoder = build_encoder("efficientnet_lite0", size, pretrained=False)
    encoder.backbone = fold(encoder.backbone, torch.zeros(1, 3, size, size))

    folder = tempfile.TemporaryDirectory()
    paths = photographs(Path(folder.name), 2 if quick else 16, size)

    @torch.inference_mode()
    def look() -> None:
        assert folder  # holds the files as long as this function lives
        for path in paths:
            encoder(preprocess(read_rgb(path), size)[None]).half()

    return look


PATHS: dict[str, tuple[str, int, Callable[[bool], Callable[[], object]]]] = {
    # words, threads (0: all), what makes it
    "classifier-step": ("the classifier's training step at batch 8", 1, classifier_step),
    "captioner-step": ("the captioner's training step", 0, captioner_step),
    "decoding": ("decoding with 5 beams", 0, decoding),
    "encoding": ("encoding image files", 1, encoding),
}


def profile_path(name: str, folder: Path, *, quick: bool = False, threads: int | None = None) -> Profiled:
    """Profile one path and write its files; torch's threads as before afterwards.

    Raises:
        KeyError: no path has that name.
    """
    what, own_threads, make = PATHS[name]
    before = torch.get_num_threads()
    torch.set_num_threads(threads or own_threads or cores())

    def hot_path() -> None:
        work()

    try:
        torch.manual_seed(0)
        work = make(quick)
        for _ in range(1 if quick else 3):
            work()
        with profile(activities=[ProfilerActivity.CPU]) as plain:
            work()
        with profile(activities=[ProfilerActivity.CPU], with_stack=True) as stacks:
            hot_path()
    finally:
        torch.set_num_threads(before)
    folder.mkdir(parents=True, exist_ok=True)
    trace = folder / f"{name}.trace.json"
    stacks.export_chrome_trace(str(trace))
    events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    flame = figures.save(flame_graph(trunk_removed(frames_of(events), MARK), what), folder / f"{name}.flame")
    averages = sorted(plain.key_averages(), key=lambda entry: -entry.self_cpu_time_total)
    whole = sum(entry.self_cpu_time_total for entry in averages)
    rows = [(entry.key, entry.self_cpu_time_total, entry.count) for entry in averages[:TOP]]
    return Profiled(name, trace, flame, f"## {what.capitalize()}\n\n{top_table(rows, whole)}")


def main() -> None:
    """The command: profile, print and write the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m src.bench.profiles", description=__doc__.split("\n\n", 1)[0]
    )
    parser.add_argument("--paths", nargs="+", choices=tuple(PATHS), default=list(PATHS))
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    parser.add_argument("--output", type=Path, default=Path("outputs/profile"))
    options = parser.parse_args()
    found = [profile_path(name, options.output, quick=options.quick) for name in options.paths]
    text = "\n".join(["# Where the time goes", "", heading("").replace("make bench", "make profile"), ""])
    text += "\n" + "\n".join(one.table for one in found)
    write_atomically(options.output / "operators.md", text)
    print(text)
    files = [options.output / "operators.md", *(path for one in found for path in (one.trace, *one.flame))]
    print("Files:", *files, sep="\n  ")


if __name__ == "__main__":
    main()
