"""Paint a scene: ground, water and roads first, then shadows, then what stands on the ground.

What is the same for every item of a kind is a list of parts in objects.yaml; the rest is a function here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from src.scenes.canvas import Canvas, Colour, Surface, disc, shade
from src.scenes.scene import CAR_PITCH, OBJECTS, RECTANGLE, Group, Item, Point, Rng, Scene, Shore, Strip

_ASPHALT: Colour = (84, 85, 90)
_PAINT: Colour = (232, 232, 226)
_FRAME = (*RECTANGLE, RECTANGLE[0])  # a closed line


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
        _ground_of(canvas, group, ground[0])
    canvas.shadows([shape for group in scene.groups for shape in _outlines(group.kind, group.items)])
    for group in scene.groups:
        _items(canvas, group.kind, group.items)
        canvas.shadows(_outlines("cars", group.cars))
        _items(canvas, "cars", group.cars)
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


def _ground_of(canvas: Canvas, group: Group, ground: Colour) -> None:
    """Paint what lies under a group: an apron, yards, gardens."""
    x0, y0, x1, y1 = (edge + pad for edge, pad in zip(group.box, (-0.008, -0.008, 0.008, 0.008), strict=True))
    if surface := OBJECTS["groups"][group.kind].get("ground"):
        canvas.cover(surface, ((x0, y0), (x1, y0), (x1, y1), (x0, y1)))
    if group.kind == "planes":
        for k in range(1, 6):
            x = group.box[0] + (group.box[2] - group.box[0]) * k / 6
            canvas.line([(x, y0), (x, y1)], 0.002, (136, 136, 134))
    elif group.kind == "houses":
        tone = shade(ground, 0.84)
        yards = [replace(one, length=one.length + 0.026, width=one.width + 0.026) for one in group.items]
        canvas.cover(((tone[0] - 8, tone[1] + 6, tone[2] - 10), 8, 8), *(yard.place() for yard in yards))
    elif group.kind == "trees" and len(group.items) > 12:
        canvas.cover(((66, 80, 48), 6, 8), *(disc(one.x, one.y, one.length / 2, 10) for one in group.items))


def _outlines(kind: str, items: Sequence[Item]) -> list[tuple[list[Point], float]]:
    """What throws the shadows of a kind's items: outlines and heights."""
    look = OBJECTS["groups"][kind]
    if "height" not in look:
        return []
    if "disc" in look:
        shapes = [disc(item.x, item.y, item.length / 2 * look["disc"]) for item in items]
    else:
        shapes = [item.place(part) for item in items for part in look.get("outlines", [RECTANGLE])]
    return [(shape, look["height"]) for shape in shapes]


def _house(canvas: Canvas, house: Item, roof: Colour) -> None:
    ends = 0.0 if canvas.rng.random() < 0.5 else 0.45  # a gable or a hipped roof
    ridge = ((-1 + ends, 0.0), (1 - ends, 0.0))
    for sign, turn in ((-1, -90), (1, 90)):
        slope = ((-1, sign), (1, sign), ridge[1], ridge[0])
        canvas.fill(house, shade(roof, canvas.lit(house.angle + turn)), slope)
    for sign, turn in ((-1, 180), (1, 0)) if ends else ():
        end = ((sign, -1), (sign, 1), ridge[(sign + 1) // 2])
        canvas.fill(house, shade(roof, canvas.lit(house.angle + turn)), end)
    canvas.line(house.place(ridge), 0.004, shade(roof, 1.25))
    canvas.fill(Item(*house.place([(0.4, 0.4)])[0], 0.01, 0.01, house.angle), (92, 70, 62))  # a chimney


def _building(canvas: Canvas, hall: Item, roof: Colour) -> None:
    canvas.fill(hall, shade(roof, 0.8))
    inner = replace(hall, length=hall.length - 0.008, width=hall.width - 0.008)
    canvas.fill(inner, roof)
    ribs = int(canvas.rng.integers(5, 9))
    for k in range(1, ribs):
        u = -1 + 2 * k / ribs
        canvas.line(inner.place([(u, -1), (u, 1)]), 0.003, shade(roof, 0.9))
    canvas.line(inner.place([(-1, 0), (1, 0)]), 0.004, shade(roof, 1.12))
    for _ in range(int(canvas.rng.integers(2, 6))):
        x, y = inner.place([(canvas.rng.uniform(-0.8, 0.8), canvas.rng.uniform(-0.7, 0.7))])[0]
        vent = Item(x, y, 0.014, 0.01, hall.angle)
        shadow = replace(vent, x=x + 0.004 * canvas.fall[0], y=y + 0.004 * canvas.fall[1])
        canvas.fill(shadow, shade(roof, 0.55))
        canvas.fill(vent, (196, 198, 200))


def _tank(canvas: Canvas, tank: Item, colour: Colour) -> None:
    radius = tank.length / 2
    canvas.disc(tank.x, tank.y, radius, shade(colour, 0.72))
    for k in range(6):  # a dome: lighter towards the sun
        toward = -0.03 * k * radius
        x, y = tank.x + canvas.fall[0] * toward, tank.y + canvas.fall[1] * toward
        canvas.disc(x, y, radius * (0.93 - 0.13 * k), shade(colour, 0.9 + 0.028 * k))
    canvas.disc(tank.x, tank.y, radius * 0.09, shade(colour, 0.6))
    canvas.line([(tank.x, tank.y), (tank.x + radius * 0.9, tank.y)], 0.003, shade(colour, 0.68))


def _tree(canvas: Canvas, tree: Item, leaf: Colour) -> None:
    radius = tree.length / 2
    turns = canvas.rng.uniform(-1, 1, (9, 3)).tolist()
    layers = (
        (9, 0.42, 0.0, 0.58, 0.72, 0.0),
        (9, 0.42, 0.14, 0.34, 1.08, 0.16),
        (5, 0.5, 0.3, 0.15, 1.35, 0.12),
    )
    for number, spread, toward_sun, size, light, change in layers:
        for dx, dy, turn in turns[:number]:
            x = tree.x + (dx * spread - canvas.fall[0] * toward_sun) * radius
            y = tree.y + (dy * spread - canvas.fall[1] * toward_sun) * radius
            canvas.disc(x, y, radius * size, shade(leaf, light + change * turn))


def _lawn(canvas: Canvas, lawn: Item, _colour: Colour) -> None:
    canvas.cover(((96, 158, 62), 5, 6), lawn.place())
    number = max(4, round(lawn.length / 0.035))
    edges = [(-1 + 2 * k / number, -1 + 2 * (k + 1) / number) for k in range(0, number, 2)]
    bands = [((left, -1), (right, -1), (right, 1), (left, 1)) for left, right in edges]
    canvas.cover(((82, 144, 54), 5, 6), *map(lawn.place, bands))
    canvas.line(lawn.place(_FRAME), 0.006, (196, 186, 160))


def _parking(canvas: Canvas, lot: Item, _colour: Colour) -> None:
    canvas.cover(((92, 93, 97), 5, 5), lot.place())
    canvas.line(lot.place(_FRAME), 0.006, (184, 182, 176))
    number = int((lot.length - 0.02) / CAR_PITCH)
    for row in (-1, 1):
        for k in range(number + 1):
            x, y = lot.x + (k - number / 2) * CAR_PITCH, lot.y + row * lot.width / 2
            canvas.line([(x, y), (x, y - row * 0.07)], 0.004, (222, 222, 218))


_PAINTERS: dict[str, Callable[[Canvas, Item, Colour], None]] = {
    **{"houses": _house, "buildings": _building, "tanks": _tank},
    **{"trees": _tree, "lawn": _lawn, "parking": _parking},
}


def _items(canvas: Canvas, kind: str, items: Sequence[Item]) -> None:
    look = OBJECTS["groups"][kind]
    for item in items:
        colour = look.get("colours", {}).get(item.colour) or look.get("colour", (0, 0, 0))
        if "vary" in look:
            colour = shade(colour, canvas.rng.uniform(*look["vary"]))
        if kind in _PAINTERS:
            _PAINTERS[kind](canvas, item, colour)
        for part in look.get("parts", ()):
            along, across = part.get("scale", (1, 1))
            frame = replace(item, length=item.length * along, width=item.width * across)
            tone = shade(part.get("colour", colour), part.get("light", 1.0))
            for points in part.get("fill", ()):
                canvas.fill(frame, tone, points)
            for points in part.get("lines", ()):
                canvas.line(frame.place(points), part["width"], tone)
