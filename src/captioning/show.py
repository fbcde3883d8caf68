"""What a finished run shows of its test captions: files, a page, pictures, TensorBoard."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lightning as L
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure

from src import page
from src.captioning.attention_maps import attention_figure
from src.captioning.data import CaptionData
from src.captioning.gallery import GalleryItem, gallery_figure, write_coco_results, write_gallery
from src.captioning.metrics import score_captions, sentence_bleu4
from src.captioning.module import Captioner
from src.entry_point import UserError
from src.figures import rendered
from src.files import write_atomically

PAGE_IMAGES = 60  # on gallery.html; captions.json holds all
PICTURE_IMAGES = 6  # on gallery.png
SYNTHETIC = "Synthetic data: these images and their references are drawn by a program."


def show_captions(
    module: Captioner, data: CaptionData, folder: Path, trainer: L.Trainer, gallery: Sequence[str]
) -> None:
    """Write captions.json, gallery.html, gallery.png and attention/ into `folder`; fill TensorBoard.

    The picture's images are those that the setting `gallery` names, or evenly spaced ones: none is chosen by
    its score.

    Raises:
        UserError: `gallery` names an image that the test split does not have.
    """
    images, predicted = data.splits["test"].images, module.predictions["test"]
    captions = [predicted.captions[row] for row in range(len(images))]
    rows, columns = module.hparams["encoder"]["grid"]
    items = [
        GalleryItem(
            filename=image.filename,
            image=image.path,
            caption=caption,
            references=image.captions,
            alphas=predicted.alphas[row].numpy() if row in predicted.alphas else None,
            grid=(rows, columns),
            score=sentence_bleu4(caption, image.captions),
            boxes=image.objects,
            value_range=module.hparams["encoder"]["value_range"],
        )
        for row, (image, caption) in enumerate(zip(images, captions, strict=True))
    ]
    entries: list[dict[str, int | str]] = [
        {"image_id": item.filename, "caption": item.text}
        if image.id is None
        else {"image_id": image.id, "caption": item.text, "file_name": item.filename}
        for image, item in zip(images, items, strict=True)
    ]
    write_coco_results(folder / "captions.json", entries)
    picked = picked_rows([item.filename for item in items], gallery)
    chosen = [items[row] for row in picked]
    others = [item for row, item in enumerate(items) if row not in picked]
    epoch, is_synthetic = trainer.current_epoch, any(image.objects for image in images)
    notes = [f"Run {folder.name}, epoch {epoch}, beam {module.hparams['beam']}, {len(images)} test images."]
    write_gallery(
        folder / "gallery.html",
        f"Captions of {folder.parent.name}",
        [*chosen, *others][:PAGE_IMAGES],
        [SYNTHETIC] * is_synthetic + notes,
        score_captions(captions, [image.captions for image in images]),
    )
    title = "Captions (bold) and references" + ", synthetic data" * is_synthetic
    _save(gallery_figure(chosen, title), folder / "gallery.png")
    boards = [one.experiment for one in trainer.loggers if isinstance(one, TensorBoardLogger)]
    for number, item in enumerate(chosen, start=1):
        lines = [f"**{page.markdown(item.text)}**", ""]
        lines += [f"- {page.markdown(' '.join(words))}" for words in item.references]
        for board in boards:
            board.add_text(f"captions/{item.filename}", "\n".join(lines), epoch)
            board.add_image(f"captions/{item.filename}", np.asarray(item.opened()), epoch, dataformats="HWC")
        if item.alphas is not None and item.caption:
            figure = attention_figure(item.opened(), item.caption, item.alphas, item.grid)
            _save(figure, folder / "attention" / f"{number}-{Path(item.filename).stem}.png")


def _save(figure: Figure, path: Path) -> None:
    # Level 1: photographs hardly shrink further, and higher levels would take most of the time.
    png = rendered(figure, "png", metadata={"Software": None}, pil_kwargs={"compress_level": 1})
    write_atomically(path, png)


def picked_rows(filenames: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Rows of the wanted file names, with or without their ending; evenly spaced ones where none is wanted.

    Raises:
        UserError: there is no image of a wanted name.
    """
    if not wanted:
        count = min(PICTURE_IMAGES, len(filenames))
        return np.linspace(0, len(filenames) - 1, count).round().astype(int).tolist()
    rows = {Path(name).stem: row for row, name in enumerate(filenames)}
    rows |= {name: row for row, name in enumerate(filenames)}
    if missing := [name for name in wanted if name not in rows]:
        raise UserError(
            f"gallery={','.join(missing)}: the test split has no such image; it has {filenames[0]} to "
            f"{filenames[-1]}"
        )
    return [rows[name] for name in wanted]
