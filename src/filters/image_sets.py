"""Images with known kinds, half of them to choose filters on and the others to judge them on.

Dimension letters: N images, K kinds, S an image's side in pixels.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from src.captioning.captioned import CaptionedImage, NamedThing
from src.captioning.encoder import preprocess
from src.captioning.karpathy import read_karpathy
from src.images import read_rgb
from src.scenes import make_scenes

SIDE = 192
CHOOSING, JUDGING = 6, 4  # images a class
SCENES = 64


@dataclass(frozen=True, eq=False)
class ImageSet:
    """N images.

    Attributes:
        name: what they are, for people.
        pixels: each (3, S, S) uint8.
        kinds: K names.
        member: (N, K) bool, which kinds an image is of, or shows.
        judging: (N,) bool; filters are chosen on the others.
        things: what each image shows and where; empty where that is not known.
    """

    name: str
    pixels: list[Tensor]
    kinds: tuple[str, ...]
    member: Tensor
    judging: Tensor
    things: tuple[tuple[NamedThing, ...], ...]


def aerial_set(root: Path) -> ImageSet | None:
    """The first images of each class of a caption data set; None where its images have no classes.

    Filters are chosen on images of its training split and judged on those of its test split.

    Raises:
        CaptionDataError, BrokenImage: it cannot be read.
    """
    images = read_karpathy(root)
    kinds = tuple(sorted({image.group for image in images if image.group}))
    if len(kinds) < 2:
        return None
    taken: list[CaptionedImage] = []
    for split, count in (("train", CHOOSING), ("test", JUDGING)):
        for kind in kinds:
            taken += [image for image in images if image.split == split and image.group == kind][:count]
    member = torch.tensor([[image.group == kind for kind in kinds] for image in taken])
    judging = torch.tensor([image.split == "test" for image in taken])
    return ImageSet(f"real aerial images of {len(kinds)} classes", _read(taken), kinds, member, judging, ())


def scenes_set(data: Path) -> ImageSet:
    """The first synthetic scenes, from the folder `scenes` of the data, or drawn for the purpose.

    Raises:
        CaptionDataError, BrokenImage: the folder's set cannot be read.
    """
    for source in sorted(data.glob("scenes/*/dataset.json")):
        images = [image for image in read_karpathy(source.parent) if image.things][:SCENES]
        if len(images) == SCENES:
            return _scenes(images, "synthetic scenes")
    with tempfile.TemporaryDirectory() as folder:
        make_scenes(Path(folder) / "scenes", SCENES, seed=0)
        images = read_karpathy(Path(folder) / "scenes")
        return _scenes(images, "synthetic scenes, drawn for this purpose")


def _scenes(images: Sequence[CaptionedImage], name: str) -> ImageSet:
    kinds = tuple(sorted({thing.name for image in images for thing in image.things}))
    shown = [{thing.name for thing in image.things} for image in images]
    member = torch.tensor([[kind in names for kind in kinds] for names in shown])
    judging = torch.arange(len(images)) % 2 == 1
    things = tuple(image.things for image in images)
    return ImageSet(name, _read(images), kinds, member, judging, things)


def _read(images: Sequence[CaptionedImage]) -> list[Tensor]:
    return [preprocess(read_rgb(image.path), SIDE) for image in images]
