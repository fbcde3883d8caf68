"""Captioned images in a table, a row a caption, as Kaggle has Flickr8k and Flickr30k.

    image,caption                                  image_name| comment_number| comment
    1000268201.jpg,"A child , climbing stairs ."   1000092795.jpg| 0| Two young guys with shaggy hair .

The first line names the columns; what parts them, one of | , ; and the tabulator, is taken from it.
"""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from pathlib import Path

from src.captioning.captioned import (
    CaptionDataError,
    CaptionedImage,
    checked,
    image_path,
    listed,
    named_source,
    read_text,
    shown,
    split_of,
)
from src.captioning.vocabulary import tokenize

LAYOUT = "captions.txt, captions.csv or results.csv, and the images"
FILES = ("captions.txt", "captions.csv", "results.csv")
IMAGE_COLUMNS = ("image", "image_name", "filename", "file_name", "file", "img")
CAPTION_COLUMNS = ("caption", "comment", "captions", "text", "sentence", "raw")


def read_captions_csv(root: str | Path, captions: str | None = None) -> list[CaptionedImage]:
    """Read all images of a data set, in the table's order. The image files are not opened: see `preflight`.

    A column `split` is heeded; without one every image is for training until splits are drawn
    (`captioned.with_every_split`). The images lie in `images/`, in the folder, or in another folder of it.

    Args:
        root: the data set's folder, with one of `FILES`.
        captions: another file, relative to `root` or to the working folder.

    Raises:
        CaptionDataError: the file is missing or malformed, or a row cannot be used.
    """
    root = Path(root)
    source = _source(root, captions)
    text = read_text(source, LAYOUT)
    header, _, _ = text.partition("\n")
    separator = max("|,;\t", key=header.count)
    # Flickr30k's table with bars does not quote: quotation marks there are the captions' own.
    unquoted = separator == "|"
    rows = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=separator,
        quoting=csv.QUOTE_NONE if unquoted else csv.QUOTE_MINIMAL,
    )
    columns = [column.strip().lower() for column in next(rows, [])]
    image_column, caption_column, split_column = (
        next((columns.index(name) for name in names if name in columns), None)
        for names in (IMAGE_COLUMNS, CAPTION_COLUMNS, ("split",))
    )
    if image_column is None or caption_column is None:
        raise CaptionDataError(
            f"the first line of {source} must name a column {IMAGE_COLUMNS[0]} and a column "
            f"{CAPTION_COLUMNS[0]}, not {shown(header.strip())}"
        )
    captions_of: dict[str, list[tuple[str, ...]]] = defaultdict(list)
    splits: dict[str, str] = {}
    try:
        for row in filter(any, rows):
            where = f"{source}, line {rows.line_num}"
            cells = _cells(row, len(columns), caption_column, separator, where)
            filename = cells[image_column].strip()
            words = tuple(tokenize(cells[caption_column]))
            captions_of[filename] += [words] if words else []
            split = "train" if split_column is None else split_of(cells[split_column].strip(), where)
            if splits.setdefault(filename, split) != split:
                raise CaptionDataError(f"{where} has the split {split}, an earlier row of the image another")
    except csv.Error as error:  # a quotation mark that opens and does not close
        raise CaptionDataError(f"{source}, line {rows.line_num}, is not CSV: {error}") from error
    if not captions_of:
        raise CaptionDataError(f"the caption file {source} has no row below its first line")
    folders = ("images", "", *sorted(path.name for path in root.iterdir() if path.is_dir()))
    images = [
        CaptionedImage(
            filename=filename,
            path=image_path(root, folders, filename, f"{source}, the image {shown(filename)}"),
            split=splits[filename],
            captions=tuple(of_image),
        )
        for filename, of_image in captions_of.items()
    ]
    return checked(images, str(source))


def _source(root: Path, captions: str | None) -> Path:
    if captions is not None:
        return named_source(root, captions)
    found = [root / file for file in FILES if (root / file).is_file()]
    if len(found) > 1:
        names = [file.name for file in found]
        raise CaptionDataError(f"{root} holds {listed(names)}: pick one with data.captions={names[0]}")
    return found[0] if found else root / FILES[0]


def _cells(row: list[str], width: int, caption: int, separator: str, where: str) -> list[str]:
    """A row's cells, as many as there are columns.

    A caption in the last column may hold the separator unquoted. In a row of Flickr30k the bar between a
    caption's number and the caption is missing.
    """
    if len(row) > width and caption == width - 1:
        return [*row[:caption], separator.join(row[caption:])]
    merged = re.fullmatch(r"\s*(\d+)\s+(\D.*)", row[-1])
    if len(row) == width - 1 and caption == width - 1 and merged:
        return [*row[:-1], *merged.groups()]
    if len(row) != width:
        raise CaptionDataError(f"{where} has {len(row)} cells, the first line {width}: quote the caption")
    return row
