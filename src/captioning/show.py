"""What a finished run shows of its test captions: files, a page, pictures, TensorBoard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import numpy as np
from lightning.pytorch.loggers import TensorBoardLogger

from src import page
from src.captioning.attention_maps import attention_figure
from src.captioning.captioned import CaptionedImage
from src.captioning.data import CaptionData
from src.captioning.gallery import GalleryItem, gallery_figure, write_coco_results, write_gallery
from src.captioning.metrics import score_captions, sentence_bleu4
from src.captioning.module import Captioner
from src.figures import save
from src.value_range import FULL

PAGE_IMAGES = 60  # on gallery.html; captions.json holds all
PICTURE_IMAGES = 6  # on gallery.png


def show_captions(
    module: Captioner, data: CaptionData, folder: Path, trainer: L.Trainer, gallery: Sequence[str]
) -> None:
    """Write captions.json, gallery.html, gallery.png and attention/ into `folder`; fill TensorBoard.

    The picture's images are those that the setting `gallery` names, or evenly spaced ones: none is chosen by
    its score.

    Raises:
        ValueError: `gallery` names an image that the test split does not have.
    """
    images = data.splits["test"].images
    predicted = module.predictions["test"]
    items = [_item(module, image, row) for row, image in enumerate(images)]
    files = [item.filename for item in items]
    ids = [image.id for image in images if image.id is not None]
    if len(ids) == len(items):  # a number an image, which COCO's tools ask for
        with_ids = [(number, item.text) for number, item in zip(ids, items, strict=True)]
        write_coco_results(folder / "captions.json", with_ids, files)
    else:
        write_coco_results(folder / "captions.json", [(item.filename, item.text) for item in items])
    picked = picked_rows(files, gallery)
    chosen = [items[row] for row in picked]
    others = [item for row, item in enumerate(items) if row not in picked]
    epoch, synthetic = trainer.current_epoch, any(image.objects for image in images)
    captions = [predicted.captions[row] for row in range(len(images))]
    scores = score_captions(captions, [image.captions for image in images])
    attention = bool(predicted.alphas)
    chosen_as = "asked for" if gallery else "evenly spaced"
    notes = [
        f"Run {folder.name}, weights of the last of {epoch} epochs, beam {module.hparams['beam']}, on the "
        f"{len(images)} images of the test split.",
        f"The first {len(chosen)} images are {chosen_as}; captions.json holds all captions.",
    ]
    write_gallery(
        folder / "gallery.html",
        f"{folder.parent.name}: captions {'with' if attention else 'without'} attention",
        [*chosen, *others][:PAGE_IMAGES],
        notes,
        scores,
        synthetic=synthetic,
    )
    save(gallery_figure(chosen, synthetic), folder / "gallery")
    boards = [one.experiment for one in trainer.loggers if isinstance(one, TensorBoardLogger)]
    names = map_names([item.filename for item in chosen])
    for item in chosen:
        # A caption's first word may be 1., and a checkpoint to go on from may hold any word.
        lines = [f"**{page.markdown(item.text)}**", ""]
        lines += [f"- {page.markdown(' '.join(words))}" for words in item.references]
        for board in boards:
            board.add_text(f"captions/{item.filename}", "\n".join(lines), epoch)
            board.add_image(f"captions/{item.filename}", np.asarray(item.opened()), epoch, dataformats="HWC")
        if item.alphas is not None and item.grid is not None and item.caption:
            figure = attention_figure(item.opened(), item.caption, item.alphas, item.grid)
            save(figure, folder / "attention" / names[item.filename])


def map_names(filenames: Sequence[str]) -> dict[str, str]:
    """File name -> name of its attention picture: without ending and folder, where only one is called so."""
    stems = Counter(Path(name).stem for name in filenames)
    return {
        name: Path(name).stem if stems[Path(name).stem] == 1 else name.replace("/", "-").replace(".", "-")
        for name in filenames
    }


def picked_rows(filenames: Sequence[str], wanted: Sequence[str], several: int = PICTURE_IMAGES) -> list[int]:
    """Rows of the wanted file names, with or without their ending; evenly spaced ones where none is wanted.

    Raises:
        ValueError: there is no image of a wanted name.
    """
    if not wanted:
        spaced = np.linspace(0, len(filenames) - 1, min(several, len(filenames)))
        return [round(float(row)) for row in spaced]
    rows = {name: row for row, name in reversed(list(enumerate(filenames)))}
    rows |= {Path(name).stem: row for name, row in reversed(rows.items()) if Path(name).stem not in rows}
    missing = [name for name in wanted if name not in rows]
    if missing:
        raise ValueError(
            f"gallery={','.join(missing)}: the test split has no such image; "
            f"it has {filenames[0]} to {filenames[-1]}"
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
        value_range=module.hparams["encoder"].get("value_range", FULL),
    )
