"""Caption images with a trained captioner.

Dimension letters: B batch, L regions, T words, D feature, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from src.captioning.encoder import Encoder, EncoderError, build_encoder, preprocess
from src.captioning.engines import TORCH, choose_engine, computed_by, encode_all, network_of
from src.captioning.gallery import GalleryItem, write_coco_results, write_gallery
from src.config.image_range import AUTO
from src.entry_point import UserError
from src.predictions import Prediction
from src.run.trained import Trained


class Caption(NamedTuple):
    """What a decoder wrote for one image."""

    words: list[str]
    score: float  # log-probability, the end token's included
    alphas: np.ndarray | None  # (T, L); None: a decoder without attention


class CaptionPredictor:
    """A captioner with its encoder, ready to caption images.

    Args:
        trained: a checkpoint's `Captioner`.
        device: where to compute.
        value_range: of deep images, see `src.images.read_image`; None: as in training.
        encoder_weights: where a frozen encoder's weights lie now; None: where they lay in training.
        fast: let onnxruntime compute a frozen encoder on a CPU, where it is installed.
        search: `beam`, `max_words`, `length_penalty`; None: as in training.

    Raises:
        UserError: the encoder's weights cannot be had, or are not those of the training.
    """

    columns: tuple[str, ...] = ("file", "caption", "log-probability")

    def __init__(
        self,
        trained: Trained,
        device: torch.device,
        value_range: str | None = None,
        encoder_weights: str | None = None,
        fast: bool = True,
        **search: Any,
    ) -> None:
        module: Any = trained.module.to(device)
        self.module, self.device, self.known = module, device, module.hparams["encoder"]
        self.grid: tuple[int, int] = (self.known["grid"][0], self.known["grid"][1])
        self.encode: Any = module.encoder
        self.engine = TORCH
        self.value_range = value_range or self.known.get("value_range", AUTO)
        given = {name: value for name, value in search.items() if value is not None}
        self.search = {name: module.hparams[name] for name in ("beam", "max_words", "length_penalty")} | given
        if module.encoder is None:
            encoder = frozen_encoder(trained, encoder_weights)
            mean_only = getattr(module.decoder, "mean_only", False)
            self.encode, self.engine = computed_by(
                choose_engine(device, fast), lambda engine: encode_with(encoder, device, engine, mean_only)
            )
        elif encoder_weights:
            raise UserError(
                f"encoder_weights={encoder_weights}: this encoder was trained with the decoder, its weights "
                "are in the checkpoint; leave encoder_weights out"
            )

    def prepare(self, image: Image.Image) -> Tensor:
        """An RGB image as the encoder takes it, (3, S, S)."""
        return preprocess(image, self.known["size"])

    @torch.inference_mode()
    def regions(self, images: Tensor) -> Tensor:
        """What the decoder looks at, (B, L, D), of images (B, 3, S, S)."""
        placed: Tensor = self.module.placed(self.encode(images))
        return placed

    def captions(self, regions: Tensor, beam: int | None = None) -> list[Caption]:
        """The captions of regions (B, L, D) as in the test; given a number of beams, those of a plain beam search."""
        found = self.module.search(
            regions,
            consensus=beam is None,
            beam=beam or self.search["beam"],
            max_steps=self.search["max_words"],
            length_penalty=self.search["length_penalty"],
        )
        alphas = (
            [None] * len(regions) if found.alphas is None else [rows.cpu().numpy() for rows in found.alphas]
        )
        words = map(self.module.vocabulary.decode, found.tokens)
        return [Caption(*caption) for caption in zip(words, found.scores, alphas, strict=True)]

    def predict(
        self, names: Sequence[str], images: Tensor, thumbnails: Sequence[Image.Image | None]
    ) -> list[Prediction]:
        """Captions of images (B, 3, S, S), with their log-probabilities and attention (T, L)."""
        rows = []
        captions = self.captions(self.regions(images))
        for name, thumbnail, (words, score, alphas) in zip(names, thumbnails, captions, strict=True):
            card = None
            if thumbnail is not None:
                card = GalleryItem(name, thumbnail, words, alphas=alphas, grid=self.grid)
            text = " ".join(words)
            cells = (name, text or "(no words)", f"{score:.2f}")
            rows.append(Prediction(cells, {"image_id": name, "caption": text}, card))
        return rows

    def notes(self) -> list[str]:
        """How the captions are made."""
        encoder = self.known["config"]["_target_"].rpartition(".")[2]
        search = ", ".join(f"{name}={value:g}" for name, value in self.search.items())
        decoder = type(self.module.decoder).__name__
        consensus = self.module.hparams["consensus"]
        search += "" if consensus is None else f", consensus={consensus['weight']:g}"
        return [f"Model: {encoder} by {self.engine} at {self.known['size']} pixels, {decoder}, {search}."]

    def write(self, folder: Path, rows: Sequence[Prediction], notes: Sequence[str]) -> list[Path]:
        """Write captions.json, in COCO's results format, and gallery.html."""
        results, gallery = folder / "captions.json", folder / "gallery.html"
        write_coco_results(results, [row.record for row in rows])
        write_gallery(gallery, "Captions", [row.card for row in rows if row.card is not None], notes)
        return [results, gallery]


def frozen_encoder(trained: Trained, weights: str | None) -> Encoder:
    """The frozen encoder that a captioner was trained with.

    Args:
        weights: where its weights lie now; None: where they lay in training.

    Raises:
        UserError: they cannot be had, or are not those of the training.
    """
    known = trained.module.hparams["encoder"]
    try:
        encoder = build_encoder(known["config"] | ({"weights": weights} if weights else {}), known["size"])
    except EncoderError as error:
        raise UserError(f"{error} (encoder_weights=FILE says where the weights lie)") from error
    if encoder.digest != known["digest"]:
        raise UserError(
            f"the encoder {encoder.name} has the weights {encoder.digest}, but {trained.path} was trained "
            f"with {known['digest']}: name the file with those weights as encoder_weights=FILE"
        )
    return encoder


def encode_with(
    encoder: Encoder, device: torch.device, engine: str, mean_only: bool
) -> Callable[[Tensor], Tensor]:
    """Images (B, 3, S, S) to regions (B, L, D) as `features_of` computes them, or to their mean (B, 1, D)."""
    network = network_of(encoder, device, engine)

    def encode(images: Tensor) -> Tensor:
        parts = encode_all(network, images.cpu(), lambda image: image, device)  # type: ignore[arg-type]
        regions = torch.from_numpy(np.concatenate(list(parts)))  # (B, L, D)
        if mean_only:  # added up as in CaptionData
            regions = torch.from_numpy(regions.numpy().mean(1, dtype=np.float32)).unsqueeze(1)
        return regions.to(device)

    return encode
