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
# With the row of the real table whose bar is missing.
FLICKR30K = """image_name| comment_number| comment
1.jpg| 0| Two " Superman " shirts , and a hat .
1.jpg| 4   A dog runs
2.jpg| 0|"A dog
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
    # as a spreadsheet saves it; a caption with commas that nobody quoted
    spoilt = FLICKR8K.replace('"A girl , going in ."', "A girl , going in .").replace("\n", "\r\n")
    table.write_bytes(spoilt.encode("utf-8-sig"))
    assert captions(tmp_path) == wanted
    (tmp_path / "results.csv").write_text(FLICKR30K)
    with pytest.raises(
        CaptionDataError, match=r"holds captions\.txt, results\.csv: pick one with data\.capt"
    ):
        read_captions_csv(tmp_path)
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
        ("1.jpg,A child\n", "first line of .* must name a column image and a column caption, not '1.jpg,A"),
        ("", "first line of"),
        ("image,caption\n", "no row below its first line"),
        ("image,caption\n1.jpg\n", "line 2 has 1 cells, the first line 2"),
        ("image,caption\n../1.jpg,a\n", "leads out"),
        ("image,caption\n,a\n", "empty file name"),
        ("image,caption\n1.jpg,a\n2.jpg, .\n", "no caption with a word for '2"),
        ("image,caption,split\n1.jpg,a,dev\n", "line 2 has the unknown split 'dev'"),
        (
            "image,caption,split\n1.jpg,a,train\n1.jpg,b,test\n",
            "line 3 has the split test, an earlier row of the image another",
        ),
        ('image,caption\n1.jpg,"' + "a" * 200_000, "line 2, is not CSV: field larger"),
        ("image,caption\n1.jpg,\udcff\n", "not in UTF-8"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path: Path, content: str, said: str) -> None:
    (tmp_path / "captions.txt").write_text(content, encoding="utf-8", errors="surrogateescape")
    with pytest.raises(CaptionDataError, match=said) as caught:
        read_captions_csv(tmp_path)
    assert str(caught.value).isprintable()
    with pytest.raises(CaptionDataError, match="there is no caption file"):
        read_captions_csv(tmp_path / "elsewhere")
