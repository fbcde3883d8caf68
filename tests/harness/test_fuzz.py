"""Made-up input: each reader answers or raises a UserError, and writes nothing outside of its folder."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from src.captioning.captions_csv import read_captions_csv
from src.captioning.coco import read_coco
from src.captioning.karpathy import read_karpathy
from src.classification.datasets import IDX_NAMES, find_idx, read_idx
from src.entry_point import UserError
from src.images import read_rgb
from src.run.checkpoints import DamagedCheckpoint, read_checkpoint
from src.sweep.runs import read_run

EXAMPLES = [60, pytest.param(5000, marks=pytest.mark.slow)]
_allowed: list[str] = []
_written: list[str] = []


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Notes files that are opened to write outside of the allowed folder."""
    if not _allowed or event != "open" or not isinstance(arguments[0], str | bytes):
        return
    path, flags = str(Path(os.fsdecode(arguments[0])).absolute()), arguments[2] or 0
    if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and not path.startswith((_allowed[0], "/dev/")):
        _written.append(path)


sys.addaudithook(_watch)


@contextmanager
def folder() -> Iterator[Path]:
    """A folder outside of which nothing may be written meanwhile."""
    with tempfile.TemporaryDirectory() as name:
        _written.clear()
        _allowed.append(name)
        try:
            yield Path(name)
        finally:
            _allowed.clear()
        assert _written == []


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**40) | st.floats() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["a.png", "../b.png", "/etc/passwd", "C:\\c.png", "d/e.jpg", ""]) | st.text(
    max_size=6
)
sentences = st.fixed_dictionaries({}, optional={"tokens": json_values, "raw": json_values})
entries = st.fixed_dictionaries(
    {},
    optional={
        "filename": names | json_values,
        "file_name": names,
        "id": json_values,
        "split": st.sampled_from(["train", "val", "test", "restval"]) | json_values,
        "sentences": st.lists(sentences | json_values, max_size=3) | json_values,
        "objects": json_values,
        "filepath": names,
    },
)
documents = st.fixed_dictionaries(
    {"images": st.lists(entries | json_values, max_size=3) | json_values},
    optional={
        "annotations": st.lists(st.fixed_dictionaries({"image_id": json_values, "caption": json_values}))
    },
)


def fuzz(examples: int, strategy: st.SearchStrategy[Any], check: Any) -> None:
    run = settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck))
    run(given(strategy)(check))()


@pytest.mark.parametrize("examples", EXAMPLES)
def test_caption_files(examples: int) -> None:
    def check(document: Any) -> None:
        with folder() as root:
            (root / "dataset.json").write_text(json.dumps(document))
            for read in (read_karpathy, read_coco):
                try:
                    images = read(root)
                except UserError as error:
                    assert str(error)  # noqa: PT017
                else:
                    assert all(root in Path(str(image.path)).parents and image.captions for image in images)

    fuzz(examples, documents | json_values, check)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_bytes_as_any_file(examples: int) -> None:
    from PIL import Image

    with tempfile.TemporaryDirectory() as made:
        Image.new("I;16", (6, 5)).save(f"{made}/a.tif")
        Image.new("RGB", (6, 5)).save(f"{made}/a.png")
        seeds = [b"", b"\0\0\x08\x01\0\0\0\x02ab", b"PK\x03\x04", b"image,caption\na.png,a b\n"]
        seeds += [Path(made, name).read_bytes() for name in ("a.tif", "a.png")]
    changes = st.lists(st.tuples(st.integers(0, 400), st.binary(max_size=4)), max_size=3)

    def check(drawn: tuple[bytes, Any]) -> None:
        data = bytearray(drawn[0])
        for place, piece in drawn[1]:
            data[place : place + len(piece)] = piece
        with folder() as root:
            for name in (
                "train-images-idx3-ubyte",
                "captions.txt",
                "x.ckpt",
                "config.yaml",
                "metrics.csv",
                "a.tif",
            ):
                (root / name).write_bytes(data)
            for read in (
                lambda: read_idx(find_idx(root, None, IDX_NAMES[0])),
                lambda: read_captions_csv(root),
                lambda: read_checkpoint(root / "x.ckpt"),
                lambda: read_rgb(root / "a.tif"),
            ):
                try:
                    read()
                except (UserError, DamagedCheckpoint) as error:
                    assert str(error)  # noqa: PT017
            assert read_run(root).status in ("unreadable", "running")

    fuzz(examples, st.tuples(st.sampled_from(seeds) | st.binary(max_size=60), changes), check)
