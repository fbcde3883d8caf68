"""Tables of images and captions, as Kaggle has Flickr8k and Flickr30k, are read as they are."""

from collections import Counter
from pathlib import Path

import pytest

from src.captioning.captioned import CaptionDataError, with_every_split
from src.captioning.captions_csv import read_captions_csv

FLICKR8K = """image,caption
1.jpg,A child in a pink dress .
1.jpg,"A girl , going in ."
2.jpg,"A ""big"" dog"
"""
FLICKR30K = """image_name| comment_number| comment
1.jpg| 0| Two " Superman " shirts , and a hat .
1.jpg| 4| A dog runs
2.jpg| 0| A dog
"""


def captions(root: Path) -> dict[str, list[str]]:
    return {
        image.filename: [" ".join(words) for words in image.captions] for image in read_captions_csv(root)
    }


def test_kaggles_tables(tmp_path: Path) -> None:
    (tmp_path / "Images").mkdir()
    (tmp_path / "Images" / "1.jpg").touch()
    table = tmp_path / "captions.txt"
    table.write_text(FLICKR8K)
    wanted = {"1.jpg": ["a child in a pink dress", "a girl going in"], "2.jpg": ["a big dog"]}
    assert captions(tmp_path) == wanted
    assert [image.path for image in read_captions_csv(tmp_path)] == [
        tmp_path / "Images" / "1.jpg",
        tmp_path / "images" / "2.jpg",
    ]
    table.write_bytes(FLICKR8K.replace("\n", "\r\n").encode("utf-8-sig"))  # as a spreadsheet saves it
    assert captions(tmp_path) == wanted
    (tmp_path / "results.csv").write_text(FLICKR30K)
    table.unlink()
    assert captions(tmp_path) == {
        "1.jpg": ["two superman shirts and a hat", "a dog runs"],
        "2.jpg": ["a dog"],
    }


def test_splits_of_the_table_stay_and_others_are_drawn(tmp_path: Path) -> None:
    rows = [f"{number}.jpg;word {number}" for number in range(20)]
    (tmp_path / "captions.csv").write_text("\n".join(["filename;caption", *rows]))
    drawn = with_every_split(read_captions_csv(tmp_path), 42)
    assert Counter(image.split for image in drawn) == {"train": 17, "val": 1, "test": 2}
    (tmp_path / "own.tsv").write_text("image\tsplit\tcaption\na.jpg\ttrain\tone\nb.jpg\ttest\ttwo\n")
    images = read_captions_csv(tmp_path, "own.tsv")
    assert [image.split for image in images] == ["train", "test"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            "1.jpg,A child\n2.jpg,A dog\n",
            "row 2: no key 'image'; expected is a first line with the columns image",
        ),
        ("", "expected is a first line"),
        ("image,caption\n1.jpg\n", "row 2: 1 cells, the first line has 2"),
        (
            "image,caption\n1.jpg,A girl , going in\n",
            "row 2: 3 cells, the first line has 2: quote the caption",
        ),
        (
            "image,caption,split\n1.jpg,a,train\n1.jpg,b,test\n",
            "row 3: the split test, an earlier row of the image has another",
        ),
        ('image,caption\n1.jpg,"' + "a" * 200_000, "captions.txt: field larger"),
        ('image,caption\n1.jpg,"A sign\n2.jpg,A dog\n3.jpg,"A cat"\n', "row 2: a quote is left open"),
        ("image,caption\n1.jpg,\udcff\n", "expected is text in UTF-8"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "captions.txt").write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(CaptionDataError, match=said) as caught:
        read_captions_csv(tmp_path)
    assert str(caught.value).isprintable()
    with pytest.raises(CaptionDataError, match="there is no caption file"):
        read_captions_csv(tmp_path / "elsewhere")
