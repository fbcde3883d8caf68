"""What a finished run shows of its test captions: files, a page, pictures, TensorBoard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger
from matplotlib.figure import Figure

from src import page
from src.captioning.attention_maps import attention_figure
from src.captioning.captioned import CaptionedImage
from src.captioning.data import CaptionData
from src.captioning.gallery import GalleryItem, gallery_figure, write_coco_results, write_gallery
from src.captioning.metrics import score_captions, sentence_bleu4
from src.captioning.module import Captioner
from src.entry_point import UserError
from src.figures import rendered
from src.files import write_atomically

PAGE_IMAGES = 60  # on gallery.html; captions.json holds all
PICTURE_IMAGES = 6  # on gallery.png


def show_captions(
    module: Captioner, data: CaptionData, folder: Path, trainer: L.Trainer, gallery: Sequence[str]
) -> None:
    """Write captions.json, gallery.html, gallery.png and attention/ into `folder`; fill TensorBoard.

    The picture's images are those that the setting `gallery` names, or evenly spaced ones: none is chosen by
    its score.

    Raises:
        UserError: `gallery` names an image that the test split does not have.
    """
    images = data.splits["test"].images
    items = [_item(module, image, row) for row, image in enumerate(images)]
    files = [item.filename for item in items]
    has_ids = all(image.id is not None for image in images)  # numbers, which COCO's tools ask for
    named = [
        (image.id if has_ids else image.filename, item.text)
        for image, item in zip(images, items, strict=True)
    ]
    write_coco_results(folder / "captions.json", named, files if has_ids else None)  # type: ignore[arg-type]
    picked = picked_rows(files, gallery)
    chosen = [items[row] for row in picked]
    others = [item for row, item in enumerate(items) if row not in picked]
    epoch, synthetic = trainer.current_epoch, any(image.objects for image in images)
    write_gallery(
        folder / "gallery.html",
        f"Captions of {folder.parent.name}",
        [*chosen, *others][:PAGE_IMAGES],
        [f"Run {folder.name}, epoch {epoch}, beam {module.hparams['beam']}, {len(images)} test images."],
        score_captions([item.caption for item in items], [image.captions for image in images]),
        synthetic=synthetic,
    )
    _save(gallery_figure(chosen, synthetic), folder / "gallery.png")
    boards = [one.experiment for one in trainer.loggers if isinstance(one, TensorBoardLogger)]
    names = map_names([item.filename for item in chosen])
    for item in chosen:
        lines = [f"**{page.markdown(item.text)}**", ""]
        lines += [f"- {page.markdown(' '.join(words))}" for words in item.references]
        for board in boards:
            board.add_text(f"captions/{item.filename}", "\n".join(lines), epoch)
            board.add_image(f"captions/{item.filename}", np.asarray(item.opened()), epoch, dataformats="HWC")
        if item.alphas is not None and item.grid is not None and item.caption:
            figure = attention_figure(item.opened(), item.caption, item.alphas, item.grid)
            _save(figure, folder / "attention" / f"{names[item.filename]}.png")


def _save(figure: Figure, path: Path) -> None:
    write_atomically(path, rendered(figure, "png", metadata={"Software": None}))


def map_names(filenames: Sequence[str]) -> dict[str, str]:
    """File name -> name of its attention picture: without ending and folder, where only one is called so."""
    stems = Counter(Path(name).stem for name in filenames)
    return {
        name: Path(name).stem if stems[Path(name).stem] == 1 else name.replace("/", "-").replace(".", "-")
        for name in filenames
    }


def picked_rows(filenames: Sequence[str], wanted: Sequence[str]) -> list[int]:
    """Rows of the wanted file names, with or without their ending; evenly spaced ones where none is wanted.

    Raises:
        UserError: there is no image of a wanted name.
    """
    if not wanted:
        return (
            np.linspace(0, len(filenames) - 1, min(PICTURE_IMAGES, len(filenames)))
            .round()
            .astype(int)
            .tolist()
        )
    rows = {Path(name).stem: row for row, name in enumerate(filenames)}
    rows |= {name: row for row, name in enumerate(filenames)}
    if missing := [name for name in wanted if name not in rows]:
        raise UserError(
            f"gallery={','.join(missing)}: the test split has no such image; it has {filenames[0]} to "
            f"{filenames[-1]}"
        )
    return [rows[name] for name in wanted]


def _item(module: Captioner, image: CaptionedImage, row: int) -> GalleryItem:
    predicted = module.predictions["test"]
    caption = predicted.captions[row]
    alphas = predicted.alphas.get(row)
    rows, columns = module.hparams["encoder"]["grid"]
    return GalleryItem(
        filename=image.filename,
        image=image.path,
        caption=caption,
        references=image.captions,
        alphas=None if alphas is None else alphas.numpy(),
        grid=(rows, columns),
        score=sentence_bleu4(caption, image.captions),
        boxes=image.objects,
        value_range=module.hparams["encoder"]["value_range"],
    )
