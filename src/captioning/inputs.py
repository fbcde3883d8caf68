"""What a captioner's numbers come from besides its settings, to tell when it has changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from src.captioning.captioned import CaptionedImage
from src.captioning.encoder import Encoder


@dataclass(frozen=True)
class Inputs:
    """Checksums of all that a run's numbers come from and its settings do not hold.

    Attributes:
        captions: of file names, splits, captions and things.
        images: (N,) int64, the first 8 bytes of each file's SHA-256.
        encoder: of its weights as they were read.
        paths: of the images.
    """

    captions: str
    images: Tensor
    encoder: str
    paths: tuple[Path, ...]

    @classmethod
    def of(cls, images: Sequence[CaptionedImage], digests: Sequence[str], encoder: Encoder) -> Inputs:
        said = [
            [one.filename, one.split, one.captions, [(t.words, t.box) for t in one.things]] for one in images
        ]
        return cls(
            hashlib.sha256(json.dumps(said).encode()).hexdigest(),
            torch.tensor([int(digest[:16], 16) - 2**63 for digest in digests]),
            encoder.digest,
            tuple(one.path for one in images),
        )

    def change_since(self, state: Mapping[str, Any]) -> str:
        """What differs from a checkpoint's `state` ("the image a.jpg has changed"), or ""."""
        if state.get("captions", self.captions) != self.captions:
            return "the captions have changed"
        if state.get("encoder", self.encoder) != self.encoder:
            return "the encoder's weights have changed"
        images = state.get("images", self.images)
        if len(images) != len(self.images):
            return "the number of images has changed"
        (rows,) = (images != self.images).nonzero(as_tuple=True)
        if not len(rows):
            return ""
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        return f"the image {self.paths[int(rows[0])]}{more} {'have' if more else 'has'} changed"
