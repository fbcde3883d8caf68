"""Paint a scene: ground, water and roads first, then shadows, then what stands on the ground."""

from __future__ import annotations

import numpy as np

from src.scenes.canvas import Canvas, Colour, Surface, shade
from src.scenes.items import outlines, paint_ground_of, paint_group
from src.scenes.scene import OBJECTS, Item, Point, Rng, Scene, Shore, Strip

_ASPHALT: Colour = (84, 85, 90)
_PAINT: Colour = (232, 232, 226)


def paint(scene: Scene, size: int, rng: Rng) -> np.ndarray:
    """The picture of a scene (size, size, 3) uint8; `rng` decides on textures and shades only."""
    canvas = Canvas(size, scene.sun, rng)
    ground = OBJECTS["grounds"][scene.ground]
    canvas.cover(ground)
    _fields(canvas, ground, slabs=scene.ground == "concrete")
    if scene.shore:
        _shore(canvas, scene.shore)
    for strip in scene.strips:
        _strip(canvas, strip)
    if len(scene.strips) == 2:
        _junction(canvas, *scene.strips)
    for group in scene.groups:
        paint_ground_of(canvas, group, ground[0])
    canvas.shadows([shape for group in scene.groups for shape in outlines(group.kind, group.items)])
    for group in scene.groups:
        paint_group(canvas, group)
    return canvas.finish()


def _fields(canvas: Canvas, ground: Surface, slabs: bool) -> None:
    """Keep open land from looking painted: a field of another tone, wheel tracks, scrub."""
    rng = canvas.rng
    colour, patches, grain = ground
    turn = rng.uniform(-25, 25)
    if rng.random() < 0.7:
        tone = shade(colour, rng.choice([0.87, 1.11]))
        x, y = rng.uniform(0, 1, 2)
        field = Item(x, y, rng.uniform(0.5, 1.2), rng.uniform(0.3, 0.8), turn)
        canvas.cover((tone, patches, grain), field.place())
    if slabs:
        for k in range(1, 8):  # joints between its slabs
            canvas.line([(k / 8, 0), (k / 8, 1)], 0.002, shade(colour, 0.9))
            canvas.line([(0, k / 8), (1, k / 8)], 0.002, shade(colour, 0.9))
        return
    track = Item(rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.9), 3.0, 0.022, turn + rng.choice([0, 90]))
    for side in (-1, 1):
        canvas.line(track.place([(-1, side), (1, side)]), 0.004, shade(colour, 1.07))
    low = shade(colour, 0.72)
    for x, y, spread in rng.random((70, 3)).tolist():
        canvas.disc(x, y, 0.002 + 0.004 * spread, (low[0], low[1] + 4, low[2]))


def _water(canvas: Canvas) -> Surface:
    waters = OBJECTS["waters"]
    return waters[int(canvas.rng.integers(len(waters)))], 6, 4


def _shore(canvas: Canvas, shore: Shore) -> None:
    far = shore.inland(-1.2)
    outside = [far[-1], far[0]]
    water = _water(canvas)
    land = OBJECTS["shores"][shore.kind]
    canvas.cover(land["surface"], [*shore.inland(land["width"]), *outside])
    canvas.cover(water, [*shore.edge, *outside])
    if shore.kind == "sea":
        for step, width in ((-0.004, 0.008), (-0.026, 0.004)):  # breaking waves
            canvas.line(shore.inland(step), width, (214, 224, 222))
        return
    canvas.line(shore.edge, 0.005, (120, 118, 112))
    canvas.shadows([(pier.place(), 0.01) for pier in shore.piers])
    for pier in shore.piers:
        canvas.fill(pier, (176, 160, 136))
        for k in range(1, 18):
            u = -1 + 2 * k / 18
            canvas.line(pier.place([(u, -1), (u, 1)]), 0.002, (146, 130, 108))


def _strip(canvas: Canvas, strip: Strip) -> None:
    def ribbon(share: float) -> list[Point]:
        return [*_parallel(strip, -share), *reversed(_parallel(strip, share))]

    look = OBJECTS["strips"][strip.kind]
    for surface, share in look["surfaces"]:
        canvas.cover(surface, ribbon(share))
    if strip.kind == "river":
        canvas.cover(_water(canvas), ribbon(1.0))
        return
    edge, width, dash, dash_width = look["markings"]
    for v in (-edge, edge):
        canvas.line(_parallel(strip, v), width, _PAINT)
    points = np.array(strip.path)
    travelled = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    for start in np.arange(0, travelled[-1], 2 * dash):
        xs, ys = (np.interp([start, start + dash], travelled, points[:, axis]).tolist() for axis in (0, 1))
        canvas.line(list(zip(xs, ys, strict=True)), dash_width, _PAINT)
    for v in (-0.62, -0.42, -0.22, 0.22, 0.42, 0.62) if strip.kind == "runway" else ():  # a threshold's bars
        line = _parallel(strip, v)
        canvas.line([line[3], line[5]], 0.009, _PAINT)


def _parallel(strip: Strip, v: float) -> list[Point]:
    """A line along a strip: its left edge at v = -1, its right one at 1."""
    points = np.array(strip.path)  # (points, 2)
    along = np.gradient(points, axis=0)
    along /= np.hypot(along[:, :1], along[:, 1:])
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    return [(float(x), float(y)) for x, y in points + normal * (v * strip.width / 2)]


def _junction(canvas: Canvas, upright: Strip, level: Strip) -> None:
    x = sum(point[0] for point in upright.path) / len(upright.path)
    y = sum(point[1] for point in level.path) / len(level.path)
    canvas.cover((_ASPHALT, 4, 4), Item(x, y, upright.width * 0.78, level.width * 0.78).place())
    for angle, reach in ((0.0, upright.width), (90.0, level.width)):
        for sign in (-1, 1):  # zebra crossings
            for k in range(-2, 3):
                away, across = sign * reach * 0.62, k * 0.013
                at = (x + across, y + away) if angle else (x + away, y + across)
                canvas.fill(Item(*at, 0.018, 0.006, angle), _PAINT)
