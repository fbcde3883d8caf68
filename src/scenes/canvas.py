"""A picture drawn at twice its size, in fractions of its side: shapes, textures, soft shadows."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from src.scenes.scene import RECTANGLE, Item, Point, Rng

Colour = tuple[int, int, int]
Surface = tuple[Colour, float, float]  # colour, gray levels of its patches and of its grain
Area = tuple[int, int, int, int]  # pixels of the enlarged drawing: left, upper, right, lower
_SHADOW: Colour = (14, 18, 30)
_ZOOM = 2


def shade(colour: Colour, factor: float) -> Colour:
    """The colour, lighter or darker."""
    red, green, blue = (min(255, max(0, round(channel * factor))) for channel in colour)
    return red, green, blue


def disc(x: float, y: float, radius: float, corners: int = 20) -> list[Point]:
    """The outline of a disc."""
    angles = [2 * math.pi * k / corners for k in range(corners)]
    return [(x + radius * math.cos(angle), y + radius * math.sin(angle)) for angle in angles]


class Canvas:
    """Draws on an RGB image of (2 * size)^2 pixels; `finish` gives the image of size^2."""

    def __init__(self, size: int, sun: float, rng: Rng) -> None:
        self.size, self.side, self.rng = size, size * _ZOOM, rng
        self.camera = rng.spawn(1)[0]  # its own stream: light and noise do not depend on what is drawn
        self.fall = (math.cos(math.radians(sun)), math.sin(math.radians(sun)))  # where shadows fall to
        self.image = Image.new("RGB", (self.side, self.side))
        self.pen = ImageDraw.Draw(self.image)
        # Textures of different grain, drawn once and shared by all surfaces of the picture.
        self.grain = self._noise(size, size // 3)
        self.patches = self._noise(5, 11, 24)

    def cover(self, surface: Surface, *shapes: Sequence[Point]) -> None:
        """Paint a surface into polygons, or everywhere."""
        area = self._area(shapes) if shapes else (0, 0, self.side, self.side)
        mask = self._mask(shapes, area, 255) if shapes else None
        self.image.paste(self._texture(surface, area), area[:2], mask)

    def fill(self, item: Item, colour: Colour, points: Sequence[Point] = RECTANGLE) -> None:
        """Paint a polygon in the item's own frame."""
        self.pen.polygon(self._pixels(item.place(points)), fill=colour)

    def disc(self, x: float, y: float, radius: float, colour: Colour) -> None:
        edges = self._pixels([(x - radius, y - radius), (x + radius, y + radius)])
        self.pen.ellipse((*edges[0], *edges[1]), fill=colour)

    def line(self, points: Sequence[Point], width: float, colour: Colour) -> None:
        width = max(1, round(width * self.side))
        self.pen.line(self._pixels(points), fill=colour, width=width, joint="curve")

    def shadows(self, shapes: Sequence[tuple[Sequence[Point], float]]) -> None:
        """Darken what lies in the shadow of outlines of these heights, before they are painted."""
        moved = []
        for points, height in shapes:
            steps = max(2, round(height * self.side / 4))
            for step in range(1, steps + 1):
                dx, dy = (height * step / steps * part for part in self.fall)
                moved.append([(x + dx, y + dy) for x, y in points])
        if moved:
            area = self._area(moved)
            self.image.paste(_SHADOW, area, self._mask(moved, area, 128).filter(ImageFilter.BoxBlur(1)))

    def lit(self, angle: float) -> float:
        """How a slope that faces this direction looks: 1 in full light, less in shade."""
        facing = math.cos(math.radians(angle)) * self.fall[0] + math.sin(math.radians(angle)) * self.fall[1]
        return 1.0 - 0.2 * facing

    def finish(self) -> np.ndarray:
        """The picture (size, size, 3) uint8, as a camera in the air gives it: haze, tint, vignette, noise."""
        rng = self.camera
        pixels = np.asarray(self.image.reduce(_ZOOM), np.float32)
        gain = rng.uniform(0.9, 1.08) * rng.uniform(0.96, 1.04, 3)
        haze = rng.uniform(0, 14)
        ramp = np.linspace(-1, 1, self.size, dtype=np.float32)
        light = 1 + rng.uniform(-0.05, 0.05) * ramp[:, None] + rng.uniform(-0.05, 0.05) * ramp[None, :]
        pixels = pixels * (light[..., None] * gain).astype(np.float32) + np.float32(haze)
        pixels += (self.grain * np.float32(2.0) + self.patches * np.float32(2.5))[..., None]
        pixels += rng.standard_normal((self.size, self.size, 1), np.float32) * np.float32(rng.uniform(1, 3))
        return np.clip(pixels, 0, 255).astype(np.uint8)

    def _noise(self, *cells: int) -> np.ndarray:
        """Smooth noise (size, size) float32 of about unit variance: random grids of these sizes, enlarged."""
        total = np.zeros((self.size, self.size), np.float32)
        for number in cells:
            grid = Image.fromarray(self.rng.standard_normal((number, number), np.float32))
            total += np.asarray(grid.resize((self.size, self.size), Image.Resampling.BICUBIC))
        return total / np.float32(math.sqrt(len(cells)) * 0.75)

    def _texture(self, surface: Surface, area: Area) -> Image.Image:
        colour, patches, grain = surface
        x0, y0, x1, y1 = (edge // _ZOOM for edge in area)
        rough = self.patches[y0:y1, x0:x1] * np.float32(patches)
        fine = self.grain[y0:y1, x0:x1] * np.float32(grain)
        pixels = (rough + fine)[..., None] + np.asarray(colour, np.float32)  # (h, w, 1) -> (h, w, 3)
        image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
        return image.resize((area[2] - area[0], area[3] - area[1]), Image.Resampling.NEAREST)

    def _mask(self, shapes: Sequence[Sequence[Point]], area: Area, value: int) -> Image.Image:
        mask = Image.new("L", (area[2] - area[0], area[3] - area[1]))
        pen = ImageDraw.Draw(mask)
        for points in shapes:
            pen.polygon([(x - area[0], y - area[1]) for x, y in self._pixels(points)], fill=value)
        return mask

    def _area(self, shapes: Sequence[Sequence[Point]]) -> Area:
        """The pixels around the shapes, from even to even."""
        xs, ys = zip(*(point for points in shapes for point in points), strict=True)
        x0, y0 = (max(0, int(min(v) * self.size) - 2) * _ZOOM for v in (xs, ys))
        x1, y1 = (min(self.size, int(max(v) * self.size) + 3) * _ZOOM for v in (xs, ys))
        return x0, y0, x1, y1

    def _pixels(self, points: Sequence[Point]) -> list[Point]:
        return [(x * self.side, y * self.side) for x, y in points]
