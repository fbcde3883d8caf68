"""Caption images with a trained captioner.

Dimension letters: B batch, L regions, T words, D feature, S side in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from src.captioning.encoder import Encoder, EncoderError, build_encoder, preprocess
from src.captioning.features import BATCH as GPU_BATCH
from src.captioning.folding import fold
from src.captioning.gallery import GalleryItem, write_coco_results, write_gallery
from src.captioning.search import decode
from src.config.settings import AUTO
from src.entry_point import UserError
from src.predictions import PAGE_IMAGES, Prediction
from src.run.environment import cores
from src.run.trained import Trained


class CaptionPredictor:
    """A captioner that is ready to caption images.

    Args:
        module: a `Captioner`.
        device: where to compute.
        frozen: its encoder where that is not trained with the decoder.
        search: `beam`, `max_words`, `length_penalty`; None: as in training.
        value_range: of deep images, see `src.images.read_image`; None: as in training.
    """

    columns: tuple[str, ...] = ("caption", "log-probability")

    def __init__(
        self,
        module: Any,
        device: torch.device,
        frozen: Encoder | None = None,
        search: dict[str, Any] | None = None,
        value_range: str | None = None,
    ) -> None:
        self.module, self.device = module.to(device), device
        self.known: dict[str, Any] = module.hparams["encoder"]
        self.value_range = value_range or self.known.get("value_range", AUTO)
        mean_only = getattr(module.decoder, "mean_only", False)
        self.encode = FrozenEncoder(frozen, device, mean_only) if frozen is not None else module.encoder
        given = {name: value for name, value in (search or {}).items() if value is not None}
        self.search = {name: module.hparams[name] for name in ("beam", "max_words", "length_penalty")} | given

    def prepare(self, image: Image.Image) -> Tensor:
        """An RGB image as the encoder takes it, (3, S, S)."""
        return preprocess(image, self.known["size"])

    @torch.inference_mode()
    def predict(self, paths: Sequence[Path], images: Tensor) -> list[Prediction]:
        """Captions of images (B, 3, S, S), with their log-probabilities and attention (T, L)."""
        regions = self.module.placed(self.encode(images.to(self.device)))
        found = decode(
            self.module.decoder,
            regions,
            beam=self.search["beam"],
            max_steps=self.search["max_words"],
            length_penalty=self.search["length_penalty"],
        )
        rows = []
        for place, path in enumerate(paths):
            words = tuple(self.module.vocabulary.decode(found.tokens[place]))
            cells = (" ".join(words) or "(no words)", f"{found.scores[place]:.2f}")
            alphas = None if found.alphas is None else found.alphas[place].cpu().numpy()
            rows.append(Prediction(path, cells, words, alphas))
        return rows

    def notes(self) -> list[str]:
        """How the captions are made."""
        encoder = self.known["config"]["_target_"].rpartition(".")[2]
        decoder = type(self.module.decoder).__name__
        search = ", ".join(f"{name}={value:g}" for name, value in self.search.items())
        return [f"Model: {encoder} at {self.known['size']} pixels, {decoder}, {search}."]

    def write(
        self, folder: Path, rows: Sequence[Prediction], names: dict[Path, str], notes: Sequence[str]
    ) -> list[Path]:
        """Write captions.json, in COCO's results format, and gallery.html.

        Raises:
            BrokenImage: a shown image's file is no longer what it was.
        """
        results, gallery = folder / "captions.json", folder / "gallery.html"
        write_coco_results(results, [(names[row.path], " ".join(row.values)) for row in rows])
        grid = (self.known["grid"][0], self.known["grid"][1])
        items = [
            GalleryItem(
                names[row.path], row.path, row.values, (), row.detail, grid, value_range=self.value_range
            )
            for row in rows[:PAGE_IMAGES]
        ]
        write_gallery(gallery, "Captions", items, notes)
        return [results, gallery]


def load_predictor(
    trained: Trained,
    device: torch.device,
    *,
    value_range: str | None = None,
    encoder_weights: str | None = None,
    **search: Any,
) -> CaptionPredictor:
    """The captioner of a checkpoint, with its encoder.

    Args:
        encoder_weights: where a frozen encoder's weights lie now; None: where they lay in training.
        search: see `CaptionPredictor`.

    Raises:
        UserError: the encoder's weights cannot be had, or are not those of the training.
    """
    module: Any = trained.module
    known = module.hparams["encoder"]
    frozen = None
    if module.encoder is None:
        weights = {"weights": encoder_weights} if encoder_weights else {}
        try:
            frozen = build_encoder(known["config"] | weights, known["size"])
        except EncoderError as error:
            raise UserError(f"{error} (encoder_weights=FILE says where the weights lie)") from error
        if frozen.digest != known["digest"]:
            raise UserError(
                f"the encoder {frozen.name} has the weights {frozen.digest}, but {trained.path} was trained "
                f"with {known['digest']}: name the file with those weights as encoder_weights=FILE"
            )
    elif encoder_weights:
        raise UserError(
            f"encoder_weights={encoder_weights}: this encoder was trained with the decoder, its weights are "
            "in the checkpoint; leave encoder_weights out"
        )
    return CaptionPredictor(module, device, frozen, search, value_range)


class FrozenEncoder:
    """A frozen encoder that computes as `features_of` does, bit for bit: the decoder learned from that.

    Args:
        encoder: moved to `device` and changed.
        device: where to compute.
        mean_only: whether the decoder takes the regions' mean alone.
    """

    def __init__(self, encoder: Encoder, device: torch.device, mean_only: bool) -> None:
        self.encoder, self.mean_only = encoder.to(device), mean_only
        example = torch.zeros(1, 3, encoder.size, encoder.size, device=device)
        encoder.backbone = fold(encoder.backbone, example)

    def __call__(self, images: Tensor) -> Tensor:
        """Regions (B, L, D), or their mean (B, 1, D), of images (B, 3, S, S) on the device.

        Raises:
            EncoderError: they are not finite.
        """
        if images.device.type == "cpu":  # image by image, a thread each
            with ThreadPoolExecutor(cores(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
                regions = torch.cat(list(pool.map(self._regions, images.split(1))))  # (B, L, D)
        else:
            regions = torch.cat([self._regions(some) for some in images.split(GPU_BATCH)])
        if not regions.isfinite().all():
            raise EncoderError(
                f"the encoder {self.encoder.name} gives values beyond float16 for these images"
            )
        if not self.mean_only:
            return regions
        means = regions.cpu().numpy().mean(1, dtype=np.float32)  # (B, D), added up as in CaptionData
        return torch.from_numpy(means).to(images.device).unsqueeze(1)

    @torch.inference_mode()
    def _regions(self, images: Tensor) -> Tensor:
        return self.encoder(images).half()
