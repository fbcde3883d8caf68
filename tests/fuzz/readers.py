"""Targets: captions in Karpathy's JSON, image files, paths of images, checkpoints."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from src.captioning.captioned import CaptionDataError
from src.captioning.karpathy import read_karpathy
from src.captioning.preflight import preflight
from src.images import BrokenImage, NoImages, find_images, read_rgb
from src.trained import CheckpointError, open_checkpoint, rebuilt
from tests.fuzz import mutations
from tests.fuzz.guard import Fault, told
from tests.fuzz.target import Target, at, home_in

SIDE = 24  # pixels of the images that are spoilt
MAX_PIXELS = 1_000_000  # of a spoilt header's promise
_BOXES = [{"words": ["river", "rivers"], "box": [0.0, 0.25, 0.5, 1.0]}]
KARPATHY: dict[str, Any] = {
    "dataset": "mine",
    "images": [
        {
            "filename": f"{number}.png",
            "filepath": "deep" if number == 2 else None,
            "imgid": number,
            "split": split,
            "class": "river" if number else 3,
            "objects": _BOXES if number < 2 else None,
            "sentences": [
                {"tokens": ["a", "river"], "raw": "A river .", "imgid": number, "sentid": 0},
                {"tokens": [], "raw": "Two <b>trees</b>, one road.", "imgid": number, "sentid": 1},
            ],
        }
        for number, split in enumerate(("train", "restval", "val", "test"))
    ],
}


def make_karpathy(random: Random) -> bytes:
    return mutations.document(random, KARPATHY)


def put_karpathy(data: bytes, folder: Path) -> str:
    """Read, and look for the first images' files."""
    root = folder / "set"
    (root / "images").mkdir(parents=True, exist_ok=True)
    (root / "images" / "0.png").write_bytes(images()[0])
    (root / "dataset.json").write_bytes(data)
    try:
        found = read_karpathy(root)
    except CaptionDataError as error:
        return told(error)
    for image in found:
        if not Path(os.path.normpath(image.path)).is_relative_to(root) or not all(map(all, image.captions)):
            raise Fault(f"{image.path!r:.300} with {image.captions!r:.300}")
    try:
        preflight(found[:8], record=folder / "checked.json", workers=1)
    except CaptionDataError as error:
        return "read; " + told(error)
    return "read"


@cache
def images() -> tuple[bytes, ...]:
    """A file of every kind that is read, PNG of plain RGB first."""
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (SIDE, SIDE, 4), dtype=np.uint8)
    rgb, rgba = Image.fromarray(pixels[..., :3].copy()), Image.fromarray(pixels)
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    floats = Image.fromarray(pixels[..., 0].astype(np.float32))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a description"
    kinds: list[tuple[Image.Image, str, dict[str, Any]]] = [
        (rgb, "PNG", {}),
        (rgb.convert("P"), "PNG", {"transparency": 3, "exif": exif}),
        (rgba, "PNG", {"save_all": True, "append_images": [rgba, rgba]}),
        (rgba.convert("LA"), "PNG", {}),
        (deep, "PNG", {}),
        (rgb.convert("1"), "PNG", {}),
        (rgb, "JPEG", {"exif": exif}),
        (rgb, "JPEG", {"progressive": True, "icc_profile": bytes(300)}),
        (rgb.convert("CMYK"), "JPEG", {}),
        (rgb.convert("L"), "JPEG", {}),
        (rgb, "GIF", {"save_all": True, "append_images": [rgb.rotate(90), rgb], "transparency": 0}),
        (rgb, "BMP", {}),
        (rgb.convert("P"), "BMP", {}),
        (rgb, "WEBP", {"lossless": True, "exif": exif}),
        (rgba, "WEBP", {"save_all": True, "append_images": [rgba]}),
        (rgb, "PPM", {}),
        (rgb.convert("L"), "PPM", {}),
        (rgb.convert("1"), "PPM", {}),
        *(
            (rgb, "TIFF", {"compression": kind, "exif": exif})
            for kind in (None, "tiff_lzw", "packbits", "jpeg")
        ),
        (rgb.convert("1"), "TIFF", {"compression": "group4"}),
        (rgb.convert("CMYK"), "TIFF", {"compression": "tiff_deflate"}),
        (deep, "TIFF", {}),
        (floats, "TIFF", {"save_all": True, "append_images": [floats]}),
    ]
    files = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for image, kind, options in kinds:
            file = io.BytesIO()
            image.save(file, kind, **options)
            files.append(file.getvalue())
    plain = b"P3\n2 2 255\n" + b" 7" * 12 + b"\n"
    return (*files, plain, b"P1 3 1 1 0 1\n", b"P7\nWIDTH 1\n", b"Pf\n1 1\n-1.0\n\0\0\0\0")


def make_image(random: Random) -> bytes:
    files = images()
    return mutations.raw(random, random.choice(files), files)


def put_image(data: bytes, folder: Path) -> str:
    path = folder / "a.png"
    path.write_bytes(data)
    try:
        image = read_rgb(path, MAX_PIXELS)
    except BrokenImage as error:
        return told(error)
    if image.mode != "RGB" or image.width * image.height > MAX_PIXELS or image.getpixel((0, 0)) is None:
        raise Fault(f"{image}")
    return "read"


_PATHS = (
    "*",
    "**",
    "?",
    "[ab]*",
    "[",
    "{a,b}",
    "~",
    "~nobody",
    "a.png",
    "deep",
    "..",
    ".",
    "/",
    "",
    "loop",
    "pipe.png",
    "gone.png",
)


def make_paths(random: Random) -> bytes:
    parts = [
        "/".join(
            random.choice(_PATHS) if random.random() < 0.8 else mutations.text(random, "a.png")
            for _ in range(random.randrange(1, 5))
        )
        for _ in range(random.randrange(4))
    ]
    parts = [
        part.replace("\0", "").lstrip("/") for part in parts
    ]  # what no command line can hold; the whole disk
    return "\0".join(parts).encode("utf-8", "surrogatepass")


def put_paths(data: bytes, folder: Path) -> str:
    """Inputs as typed, in a folder with links in circles, a pipe and a link to nowhere."""
    home = home_in(folder)
    (home / "deep" / "er").mkdir(parents=True)
    for name in ("a.png", "deep/b.jpg", "deep/er/c.tif", "deep/.d.png"):
        (home / name).touch()
    for name, target in {"loop": ".", "deep/loop": "..", "deep/again": ".", "gone.png": "nowhere"}.items():
        (home / name).symlink_to(target)
    os.mkfifo(home / "pipe.png")
    with at(home):
        try:
            found = find_images(data.decode("utf-8", "surrogatepass").split("\0"))
        except NoImages as error:
            return told(error)
        for path in found:
            try:
                read_rgb(path)
            except BrokenImage as error:
                told(error)
    if len(found) > 1000:
        raise Fault(f"{len(found)} images of a handful")
    return f"{min(len(found), 5)} found"


@cache
def _contents() -> tuple[dict[str, Any], ...]:
    """What the checkpoints of two small models hold, as far as a reader looks."""
    import torch

    from src.captioning.module import Captioner
    from src.classification.module import Classifier

    torch.manual_seed(0)
    classifier = Classifier(dropout=0.5, lr=0.01, image_size=(1, 12, 12))
    recipe: dict[str, Any] = {
        "vocabulary": ["<pad>", "<start>", "<end>", "<unk>", "a", "river"],
        "encoder": {
            **{"name": "tiny", "size": 32, "weights": None, "digest": "0", "trained": False},
            **{"grid": [2, 2], "dim": 8, "position": True},
        },
        "decoder": {"attention": True, "embedding": 4, "state": 4, "dropout": 0.0},
        **{"optimizer": "adam", "lr": 1e-3, "encoder_lr": None, "schedule": "constant", "momentum": 0.0},
        **{"weight_decay": 0.0, "clip": None, "clip_norm": None, "label_smoothing": 0.0, "sampling": 0.0},
        **{"attention_penalty": 0.0, "seed": 0, "beam": 1, "compare_beam": None, "max_words": 5},
        "length_penalty": 0.0,
    }
    captioner = Captioner(**recipe)
    return tuple(
        {"epoch": 1, "hyper_parameters": dict(module.hparams), "state_dict": dict(module.state_dict())}
        for module in (classifier, captioner)
    )


@cache
def _saved() -> tuple[bytes, ...]:
    return tuple(_archive(content) for content in _contents())


def _archive(content: Any) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def signed(archive: bytes) -> bytes:
    """With the hash at its end, as anybody can make it."""
    body = archive[:-2]
    comment = b"sha256=" + hashlib.sha256(body).hexdigest().encode()
    return body + len(comment).to_bytes(2, "little") + comment


def make_checkpoint(random: Random) -> bytes:
    """Its bytes, records or content spoilt; the hash is right in two thirds, since anybody can sign."""
    which = random.randrange(2)
    saved = _saved()
    how = random.randrange(3)
    if how == 0:
        archive = mutations.raw(random, saved[which], saved)
    elif how == 1:
        archive = _with_record(random, saved[which])
    else:
        content = dict(_contents()[which])
        part = random.choice(("hyper_parameters", "hyper_parameters", "state_dict"))
        if part == "state_dict":
            content[part] = _other_weights(random, content[part])
        else:
            content[part] = mutations.tree(random, content[part], random.choice((1, 1, 3)))
        try:
            archive = _archive(content)
        except RecursionError:  # nested too deep even to be written
            archive = saved[which]
    return signed(archive) if random.random() < 0.67 else mutations.raw(random, signed(archive))


def _with_record(random: Random, archive: bytes) -> bytes:
    """An archive with one file in it spoilt, such as the pickle, and perhaps squeezed."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(file, "w") as new:
        spoilt = random.choice(old.namelist())
        for name in old.namelist():
            record = old.read(name)
            how = zipfile.ZIP_STORED
            if name == spoilt or (name.endswith("data.pkl") and random.random() < 0.5):
                record = mutations.raw(random, record)
                if random.random() < 0.2:
                    record, how = record + bytes(30 * 2**20), zipfile.ZIP_DEFLATED
            new.writestr(name, record, how)
    return file.getvalue()


def _other_weights(random: Random, state: dict[str, Any]) -> dict[str, Any]:
    import torch

    changed = dict(state)
    name = random.choice(list(changed))
    changed[name] = random.choice(
        (
            torch.zeros(3),
            torch.zeros(1).expand(10**9),  # a small file that promises gigabytes
            changed[name].double(),
            changed[name].to_sparse() if changed[name].is_floating_point() else torch.zeros(0),
            mutations.value(random),
            torch.empty(2**40, device="meta"),
        )
    )
    if random.random() < 0.3:
        changed[random.choice(mutations.TEXTS)] = changed.pop(name)
    return changed


def put_checkpoint(data: bytes, folder: Path) -> str:
    from src.captioning.module import Captioner
    from src.classification.module import Classifier

    path = folder / "last.ckpt"
    path.write_bytes(data)
    try:
        trained = open_checkpoint(path)
        rebuilt(trained, Captioner if trained.task == "caption" else Classifier)
    except CheckpointError as error:
        return told(error)
    return f"opened, {trained.task}"


TARGETS: Sequence[Target] = (
    Target("karpathy", make_karpathy, put_karpathy),
    Target("image", make_image, put_image),
    Target("paths", make_paths, put_paths),
    Target("checkpoint", make_checkpoint, put_checkpoint),
)
