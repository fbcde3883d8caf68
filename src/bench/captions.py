"""The captioner's encoding, training step and decoding, against the straightforward way.

Dimension letters: N captions, L regions, D region feature, A attention.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from PIL import Image
from torch import Tensor

from src.bench.rounds import Comparison, alternate, timed
from src.captioning.decoders import AttentionDecoder, Decoder, TransformerDecoder
from src.captioning.decoders.lstm import Memory, State
from src.captioning.encoder import build_encoder, preprocess
from src.captioning.engines import choose_engine
from src.captioning.features import features_of
from src.captioning.search import decode
from src.captioning.vocabulary import END
from src.images import read_rgb

VOCABULARY, WORDS = 190, 12  # words of a decoded caption
BATCH, STEPS = 32, 20  # of a training step
SIZES = ((49, 512), (49, 1280), (256, 1280))  # L and D of a training step
SPLIT, LENGTH, DIM = 210, 64, 1280  # images of UCM-Captions' test split, their L and D
FILES, SIZE, ENCODER = 64, 256, "efficientnet_lite0"  # of encoding: image files, their side in pixels
PLAIN, OURS, TRANSFORMER = "LSTM with attention, plain loop", "LSTM with attention, ours", "transformer, ours"


class PlainAttention(AttentionDecoder):
    """The decoder as one would write it first: everything in the time loop, each beam with its regions."""

    beams_share_memory = False
    forward = Decoder.forward

    def remember(self, regions: Tensor) -> Memory:
        """The regions, not projected."""
        return Memory(regions.float().mean(1), regions.float(), projected=regions)

    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State, Tensor]:
        """See `Decoder.step`."""
        regions = memory.regions  # (N, L, D)
        matched = F.relu(self.attend_region(regions) + self.attend_state(state[0]).unsqueeze(1))  # (N, L, A)
        alpha = F.softmax(self.attend_score(matched).squeeze(2), 1)  # (N, L)
        context = (alpha.unsqueeze(2) * regions).sum(1)  # (N, D)
        h, c = self.cell(torch.cat([self.embedding(tokens), context], 1), state)
        return self.output(self.dropout(h)), (h, c), alpha


def captioner(cfg: DictConfig) -> list[Comparison]:
    """Training steps and decoding."""
    torch.manual_seed(0)
    step, search = f"training step, batch {BATCH}, {STEPS} words", f"{SPLIT} captions of {WORDS} words"
    cases: dict[str, Any] = {f"{step}, {size[0]} x {size[1]} regions": training_ways(*size) for size in SIZES}
    cases |= {f"{search}, {LENGTH} x {DIM} regions, beam {beam}": decoding_ways(beam) for beam in (1, 5)}
    timed_cases = {what: {name: timed(work) for name, work in ways.items()} for what, ways in cases.items()}
    return [Comparison(what, alternate(ways, cfg.rounds)) for what, ways in timed_cases.items()]


def training_ways(length: int, dim: int, batch: int = BATCH) -> dict[str, Callable[[], float]]:
    """Forward, backward and Adam; each gives its loss, both LSTMs from the same weights."""
    networks = networks_of(dim, dropout=0.0)
    regions, tokens = torch.rand(batch, length, dim), torch.randint(4, VOCABULARY, (batch, STEPS + 1))

    def step_of(network: Decoder) -> Callable[[], float]:
        optimizer = torch.optim.Adam(network.parameters(), lr=4e-4, fused=True)

        def step() -> float:
            scores, _ = network(regions, tokens[:, :-1])
            loss = F.cross_entropy(scores.flatten(0, 1), tokens[:, 1:].flatten())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            return loss.item()

        return step

    return {name: step_of(network) for name, network in networks.items()}


def decoding_ways(beam: int, images: int = SPLIT) -> dict[str, Callable[[], list[list[int]]]]:
    """Captions of a test split: image after image in the plain loop, many at once in ours."""
    regions = torch.rand(images, LENGTH, DIM).half()  # as features are stored

    def search(name: str, network: Decoder) -> list[list[int]]:
        batch = 1 if name == PLAIN else 64
        return decode(network, regions, beam=beam, max_steps=WORDS, batch=batch).tokens

    return {name: partial(search, name, network) for name, network in networks_of(DIM).items()}


def networks_of(dim: int, **options: Any) -> dict[str, Any]:
    """The decoders by their way's name; no caption of theirs ends early."""
    kinds: dict[str, Any] = {PLAIN: PlainAttention, OURS: AttentionDecoder, TRANSFORMER: TransformerDecoder}
    networks = {name: kind(VOCABULARY, dim, **options) for name, kind in kinds.items()}
    for network in networks.values():
        network.output.bias.data[END] = -1e4
    networks[PLAIN].load_state_dict(networks[OURS].state_dict())
    return networks


def encoding(cfg: DictConfig) -> list[Comparison]:
    """Images a second of JPEG files of smoothed noise; a run takes a core an image, and stores."""
    encoder = build_encoder({"_target_": f"src.captioning.backbones.{ENCODER}"}, SIZE)
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / f"{number}.jpg" for number in range(FILES)]
        for path in paths:
            coarse = Image.fromarray(random.integers(0, 256, (SIZE // 8, SIZE // 8, 3), dtype=np.uint8))
            coarse.resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(path, quality=90)

        @torch.inference_mode()
        def one_by_one() -> None:
            for path in paths:
                encoder(preprocess(read_rgb(path), SIZE)[None]).half()

        def stored() -> None:
            with tempfile.TemporaryDirectory() as cache:  # nothing may be there already
                engine = choose_engine(torch.device("cpu"))
                features_of(paths, encoder, Path(cache), engine=engine)

        ways = {"one at a time": timed(one_by_one, FILES), "as a run does": timed(stored, FILES)}
        return [Comparison(f"{ENCODER}, {SIZE} x {SIZE}", alternate(ways, cfg.rounds), True)]
