"""Captioned images in a table, a row a caption, as Kaggle has Flickr8k and Flickr30k.

    image,caption                                  image_name| comment_number| comment
    1000268201.jpg,"A child , climbing stairs ."   1000092795.jpg| 0| Two young guys with shaggy hair .

The first line names the columns; what parts them, one of | , ; and the tabulator, is taken from it.
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from pathlib import Path

from src.captioning.captioned import (
    CaptionedImage,
    checked,
    image_path,
    is_file,
    read_text,
    reading,
    shown,
    split_of,
)
from src.captioning.vocabulary import tokenize

FILES = ("captions.txt", "captions.csv", "results.csv")
LAYOUT = f"{', '.join(FILES[:-1])} or {FILES[-1]}, and the images"
FORMAT = "a first line with the columns image and caption, then a row a caption"
IMAGE_COLUMNS = ("image", "image_name", "filename", "file_name")
CAPTION_COLUMNS = ("caption", "comment")


def read_captions_csv(root: str | Path, captions: str | None = None) -> list[CaptionedImage]:
    """Read all images of a data set, in the table's order; the image files are not opened.

    A column `split` is heeded; without one every image is for training until splits are drawn
    (`captioned.with_every_split`). The images lie in `images/`, in the folder, or in another folder of it.

    Args:
        root: the data set's folder, with one of `FILES`; of several the first is read.
        captions: another file, relative to `root`.

    Raises:
        CaptionDataError: the file is missing or malformed, or a row cannot be used.
    """
    root = Path(root)
    found = [file for file in FILES if is_file(root / file)]
    source = root / (captions or [*found, FILES[0]][0])
    text = read_text(source, LAYOUT)
    separator = max("|,;\t", key=text.partition("\n")[0].count)
    with reading(str(source), FORMAT):
        if not text.strip():
            raise ValueError("it is empty")
        header, *rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        columns = [column.strip().lower() for column in header]
    image_column = next((name for name in IMAGE_COLUMNS if name in columns), IMAGE_COLUMNS[0])
    caption_column = next((name for name in CAPTION_COLUMNS if name in columns), CAPTION_COLUMNS[0])
    captions_of: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    splits: dict[str, str] = {}
    paths: dict[str, Path] = {}
    folders = ("images", "", *sorted(path.name for path in root.iterdir() if path.is_dir()))
    for number, row in enumerate(rows, 2):
        if not any(row):
            continue
        with reading(f"{source}, row {number}", FORMAT):
            if any(set("\r\n") & set(cell) for cell in row):  # a quote that swallows rows up to the next one
                raise ValueError(f"a quote is left open, or a cell has line breaks: {shown(row)[:100]}")
            if len(row) != len(columns):
                raise ValueError(f"{len(row)} cells, the first line has {len(columns)}: quote the caption")
            cells = dict(zip(columns, row, strict=True))
            filename = cells[image_column].strip()
            paths[filename] = image_path(root, folders, filename)
            words = tuple(tokenize(cells[caption_column]))
            captions_of[filename] += [words] if words else []
            split = split_of(cells.get("split", "train").strip())
            if splits.setdefault(filename, split) != split:
                raise ValueError(f"the split {split}, an earlier row of the image has another")
    images = [
        CaptionedImage(name, paths[name], splits[name], tuple(of_image))
        for name, of_image in captions_of.items()
    ]
    return checked(images, str(source))
