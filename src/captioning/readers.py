"""The built-in scenes as captioned images."""

from __future__ import annotations

import dataclasses
from functools import partial
from pathlib import Path

from src.captioning.captioned import CaptionedImage
from src.captioning.karpathy import read_karpathy
from src.scenes.dataset import make_scenes
from src.scenes.truth import is_true_of


def read_scenes(root: str, scenes: int, scene_size: int, scene_seed: int) -> list[CaptionedImage]:
    """Synthetic scenes with captions, drawn where they are not there; arguments as `make_scenes` has them.

    Raises:
        UserError: the folder holds scenes of other settings.
    """
    make_scenes(Path(root), scenes, scene_size, scene_seed)
    images = enumerate(read_karpathy(root))
    return [dataclasses.replace(image, is_true=partial(is_true_of, scene_seed, row)) for row, image in images]
