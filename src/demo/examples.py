"""Example images, drawn when they are asked for: garments by their outlines, scenes by the project's painter."""

from __future__ import annotations

import io
from functools import cache

from PIL import Image, ImageDraw

SIDE = 256  # pixels
SCENES = (9, 19, 29, 49)  # indices of seed 0's test split
# Corners in percent of the side, left half; the right one mirrors it. Light on black, as in Fashion-MNIST.
GARMENTS = {
    "T-shirt": ((40, 12), (22, 18), (6, 38), (18, 48), (28, 40), (28, 90), (50, 90), (50, 18)),
    "trousers": ((32, 6), (26, 94), (42, 94), (49, 34), (50, 6)),
    "dress": ((40, 6), (36, 22), (40, 46), (26, 94), (50, 94), (50, 14)),
    "bag": (
        (40, 32),
        (40, 18),
        (50, 18),
        (50, 12),
        (35, 12),
        (34, 32),
        (10, 32),
        (6, 84),
        (50, 84),
        (50, 32),
    ),
}
NAMES = (*GARMENTS, *(f"scene {number}" for number in range(1, len(SCENES) + 1)))


@cache
def example(number: int) -> bytes:
    """PNG of the example with this place in NAMES."""
    name = NAMES[number]
    if name in GARMENTS:
        image = Image.new("L", (SIDE, SIDE))
        left = [(x * SIDE / 100, y * SIDE / 100) for x, y in GARMENTS[name]]
        for outline in (left, [(SIDE - x, y) for x, y in left]):
            ImageDraw.Draw(image).polygon(outline, fill=205)
    else:
        from src.scenes.dataset import draw_scene

        image = Image.fromarray(draw_scene(0, SCENES[number - len(GARMENTS)], SIDE))
    file = io.BytesIO()
    image.save(file, "png")
    return file.getvalue()
