"""Caption images with a trained captioner.

Dimension letters: B batch, L regions, T words, D feature, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from src.captioning.encoder import EncoderError, build_encoder, preprocess
from src.captioning.features import BATCH as GPU_BATCH
from src.captioning.folding import fold
from src.captioning.gallery import GalleryItem, write_coco_results, write_gallery
from src.captioning.search import decode
from src.config.settings import AUTO
from src.entry_point import UserError
from src.predictions import Prediction
from src.run.environment import cores
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
        **search: Any,
    ) -> None:
        module: Any = trained.module.to(device)
        self.module, self.device, self.known = module, device, module.hparams["encoder"]
        self.grid: tuple[int, int] = (self.known["grid"][0], self.known["grid"][1])
        self.value_range = value_range or self.known.get("value_range", AUTO)
        given = {name: value for name, value in search.items() if value is not None}
        self.search = {name: module.hparams[name] for name in ("beam", "max_words", "length_penalty")} | given
        if module.encoder is None:
            self.encode: Any = frozen_encoder(trained, device, encoder_weights)
        elif encoder_weights:
            raise UserError(
                f"encoder_weights={encoder_weights}: this encoder was trained with the decoder, its weights "
                "are in the checkpoint; leave encoder_weights out"
            )
        else:
            self.encode = module.encoder

    def prepare(self, image: Image.Image) -> Tensor:
        """An RGB image as the encoder takes it, (3, S, S)."""
        return preprocess(image, self.known["size"])

    @torch.inference_mode()
    def regions(self, images: Tensor) -> Tensor:
        """What the decoder looks at, (B, L, D), of images (B, 3, S, S)."""
        placed: Tensor = self.module.placed(self.encode(images))
        return placed

    def captions(self, regions: Tensor, beam: int | None = None) -> list[Caption]:
        """The captions of regions (B, L, D), by `beam` beams; None: as the predictor's own."""
        found = decode(
            self.module.decoder,
            regions,
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
        return [f"Model: {encoder} at {self.known['size']} pixels, {decoder}, {search}."]

    def write(self, folder: Path, rows: Sequence[Prediction], notes: Sequence[str]) -> list[Path]:
        """Write captions.json, in COCO's results format, and gallery.html."""
        results, gallery = folder / "captions.json", folder / "gallery.html"
        write_coco_results(results, [row.record for row in rows])
        write_gallery(gallery, "Captions", [row.card for row in rows if row.card is not None], notes)
        return [results, gallery]


def frozen_encoder(trained: Trained, device: torch.device, weights: str | None) -> Callable[[Tensor], Tensor]:
    """The frozen encoder that a captioner was trained with: images (B, 3, S, S) to regions (B, L, D).

    It computes as `features_of` does, bit for bit: the decoder learned from that. A decoder that takes the
    regions' mean alone is given that, (B, 1, D).

    Args:
        weights: where its weights lie now; None: where they lay in training.

    Raises:
        UserError: they cannot be had, or are not those of the training.
    """
    module: Any = trained.module
    known, mean_only = module.hparams["encoder"], getattr(module.decoder, "mean_only", False)
    try:
        encoder = build_encoder(known["config"] | ({"weights": weights} if weights else {}), known["size"])
    except EncoderError as error:
        raise UserError(f"{error} (encoder_weights=FILE says where the weights lie)") from error
    if encoder.digest != known["digest"]:
        raise UserError(
            f"the encoder {encoder.name} has the weights {encoder.digest}, but {trained.path} was trained "
            f"with {known['digest']}: name the file with those weights as encoder_weights=FILE"
        )
    encoder.to(device)
    example = torch.zeros(1, 3, encoder.size, encoder.size, device=device)
    encoder.backbone = fold(encoder.backbone, example)
    on_cpu = device.type == "cpu"  # image by image, a thread each

    @torch.inference_mode()
    def regions_of(images: Tensor) -> Tensor:
        return encoder(images).half()

    def encode(images: Tensor) -> Tensor:
        with ThreadPoolExecutor(cores(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
            parts = images.split(1 if on_cpu else GPU_BATCH)
            regions = torch.cat(list((pool.map if on_cpu else map)(regions_of, parts)))  # (B, L, D)
        if not regions.isfinite().all():
            raise EncoderError(f"the encoder {encoder.name} gives values beyond float16 for these images")
        if not mean_only:
            return regions
        means = regions.cpu().numpy().mean(1, dtype=np.float32)  # (B, D), added up as in CaptionData
        return torch.from_numpy(means).to(device).unsqueeze(1)

    return encode
