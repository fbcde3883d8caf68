"""Caption own images with a trained captioner.

Dimension letters: B batch, L regions, T words, D feature, S side in pixels.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from src.captioning.decoders import Decoder
from src.captioning.encoder import Encoder, EncoderError, build_encoder, preprocess
from src.captioning.features import BATCH as GPU_BATCH
from src.captioning.folding import fold
from src.captioning.gallery import GalleryItem, write_coco_results, write_gallery
from src.captioning.module import Captioner
from src.captioning.search import decode
from src.captioning.vocabulary import Vocabulary
from src.pixels import Remark, sentences
from src.reading import Skipped, read_batches
from src.trained import CheckpointError, Trained, rebuilt
from src.value_range import AUTO, FULL


@dataclass(frozen=True, eq=False)
class Caption:
    """What was written for one image."""

    path: Path
    words: tuple[str, ...]  # T of them
    log_probability: float  # of the words and the end together
    alphas: np.ndarray | None  # (T, L), with attention only


@dataclass(frozen=True, eq=False)
class Writer:
    """A captioner that is ready to write, and how it searches."""

    decoder: Decoder
    look: Callable[[Tensor], Tensor]  # images (B, 3, S, S) uint8 to regions (B, L, D)
    vocabulary: Vocabulary
    encoder: str
    size: int  # S
    grid: tuple[int, int]
    beam: int
    max_words: int
    length_penalty: float
    device: torch.device
    synthetic: bool  # trained on scenes that a program drew
    value_range: str = AUTO  # of deep images, see `read_image`
    noticed: list[tuple[Path, Remark]] = field(default_factory=list)  # on the images so far

    columns = ("caption", "log-probability")

    def rows_of(self, paths: Sequence[Path], batch_size: int) -> Iterator[list[Caption | Skipped]]:
        """A caption for every image that can be read, batch by batch and in order, a batch's skipped last.

        Args:
            paths: image files.
            batch_size: images in memory at once (and as many more being read).

        Raises:
            EncoderError: an image's features are not finite.
        """
        preparation = functools.partial(preprocess, size=self.size)
        for batch in read_batches(paths, preparation, batch_size, self.value_range):
            self.noticed.extend(batch.remarks)
            written = self._written(batch.paths, batch.images) if batch.paths else []
            yield [*written, *batch.skipped]

    @torch.inference_mode()
    def _written(self, paths: list[Path], images: Tensor) -> list[Caption]:
        regions = self.look(images.to(self.device))
        found = decode(
            self.decoder,
            regions,
            beam=self.beam,
            max_steps=self.max_words,
            length_penalty=self.length_penalty,
        )
        return [
            Caption(
                path,
                tuple(self.vocabulary.decode(found.tokens[row])),
                found.scores[row],
                None if found.alphas is None else found.alphas[row].cpu().numpy(),
            )
            for row, path in enumerate(paths)
        ]

    def cells(self, row: Caption) -> tuple[str, ...]:
        """The caption and its log-probability, for a table."""
        return " ".join(row.words) or "(no words)", f"{row.log_probability:.2f}"

    def slim(self, row: Caption) -> Caption:
        """The row without its attention."""
        return dataclasses.replace(row, alphas=None)

    def remarks(self, rows: Sequence[Caption]) -> list[str]:
        """How the captions were made, and what may be expected of them."""
        attention = "without attention" if getattr(self.decoder, "mean_only", False) else "with attention"
        search = "greedy search" if self.beam == 1 else f"{self.beam} beams"
        found = [f"Model: {self.encoder} at {self.size} pixels, a decoder {attention}, {search}."]
        if self.synthetic:
            found.append("It was trained on synthetic scenes only; photographs are strange to it.")
        return [*found, *sentences(self.noticed)]

    def write(
        self,
        folder: Path,
        rows: Sequence[Caption],
        shown: int,
        names: dict[Path, str],
        notes: Sequence[str],
    ) -> list[Path]:
        """Write captions.json, in COCO's results format, and gallery.html.

        Args:
            folder: made if missing.
            rows: all of them go to captions.json.
            shown: so many of the first ones go to the page.
            names: what an image is called: its `image_id`.
            notes: sentences at the page's head.

        Returns:
            The paths of both files.

        Raises:
            OSError: a file cannot be written.
            BrokenImage: a shown image's file is no longer what it was.
        """
        results, gallery = folder / "captions.json", folder / "gallery.html"
        write_coco_results(results, [(names[row.path], " ".join(row.words)) for row in rows])
        items = [
            GalleryItem(
                names[row.path],
                row.path,
                row.words,
                alphas=row.alphas,
                grid=self.grid,
                value_range=self.value_range,
            )
            for row in rows[:shown]
        ]
        write_gallery(gallery, "Captions", items, notes)
        return [results, gallery]


def load_writer(
    trained: Trained,
    device: torch.device,
    *,
    beam: int | None = None,
    max_words: int | None = None,
    length_penalty: float | None = None,
    encoder_weights: Path | None = None,
    value_range: str | None = None,
) -> Writer:
    """The captioner of a checkpoint, searching as its test did wherever a setting is None.

    Args:
        trained: its checkpoint.
        device: where to compute.
        beam, max_words, length_penalty: see `decode`.
        encoder_weights: where a frozen encoder's weights lie now; None for where they lay in training.
        value_range: of deep images, see `read_image`.

    Raises:
        CheckpointError: it does not fit this code, or the encoder's weights are not those of the training.
        EncoderError: the encoder's weights are not to be had.
    """
    module: Captioner = rebuilt(trained, Captioner)
    known = module.hparams["encoder"]
    if module.encoder is not None:
        if encoder_weights is not None:
            raise CheckpointError(
                f"encoder_weights={encoder_weights}: this encoder was trained with the decoder, and its "
                "weights are in the checkpoint; leave encoder_weights out"
            )
        see: Callable[[Tensor], Tensor] = module.to(device).encoder  # type: ignore[assignment]
    else:
        encoder = _frozen(known, encoder_weights, trained.path)
        see = _Frozen(encoder, device, mean_only=getattr(module.decoder, "mean_only", False))

    def chosen(name: str, value: Any) -> Any:
        return module.hparams[name] if value is None else value

    return Writer(
        decoder=module.decoder.to(device),
        look=lambda images: module.placed(see(images)),
        vocabulary=module.vocabulary,
        encoder=known["name"],
        size=known["size"],
        grid=(known["grid"][0], known["grid"][1]),
        beam=chosen("beam", beam),
        max_words=chosen("max_words", max_words),
        length_penalty=chosen("length_penalty", length_penalty),
        device=device,
        synthetic=trained.data == "scenes",
        # Those who know no range were trained when there was only one.
        value_range=value_range or known.get("value_range", FULL),
    )


def _frozen(known: dict[str, Any], given: Path | None, checkpoint: Path) -> Encoder:
    """The encoder that a checkpoint's decoder learned from."""
    weights = given or (Path(known["weights"]) if known["weights"] else None)
    try:
        encoder = build_encoder(known["name"], known["size"], weights)
    except EncoderError as error:
        if given is not None:
            raise
        raise EncoderError(f"{error} (encoder_weights=FILE says where the weights lie)") from error
    if encoder.digest != known["digest"]:
        source = f"the file {weights}" if weights else "its package or the hub"
        raise CheckpointError(
            f"the encoder {known['name']} from {source} has the weights {encoder.digest}, but {checkpoint} "
            f"was trained with {known['digest']}: its captions would mean nothing; name the file with the "
            "weights of the training as encoder_weights=FILE"
        )
    return encoder


class _Frozen:
    """A frozen encoder that sees as `features_of` does, bit for bit: the decoder learned from that.

    Args:
        encoder: moved to `device` and changed.
        device: where to compute.
        mean_only: whether the decoder takes the regions' mean alone.
    """

    def __init__(self, encoder: Encoder, device: torch.device, mean_only: bool) -> None:
        self.encoder, self.mean_only = encoder.to(device), mean_only
        with _one_thread():
            example = torch.zeros(1, 3, encoder.size, encoder.size, device=device)
            encoder.backbone = fold(encoder.backbone, example)

    def __call__(self, images: Tensor) -> Tensor:
        """Regions (B, L, D), or their mean (B, 1, D), of images (B, 3, S, S) on the device.

        Raises:
            EncoderError: they are not finite.
        """
        if images.device.type == "cpu":  # image by image, a thread each
            with (
                _one_thread() as threads,
                ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
            ):
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


@contextlib.contextmanager
def _one_thread() -> Iterator[int]:
    """torch computes with one thread inside this block; gives the number outside it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield threads
    finally:
        torch.set_num_threads(threads)
