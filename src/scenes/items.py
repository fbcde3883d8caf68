"""How the items of each kind are painted, and the outlines and heights that throw their shadows.

What is the same for every item of a kind is a list of parts in objects.yaml; the rest is a function here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from src.scenes.canvas import Canvas, Colour, disc, shade
from src.scenes.scene import CAR_PITCH, OBJECTS, RECTANGLE, Group, Item, Point

_FRAME = (*RECTANGLE, RECTANGLE[0])  # a closed line


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


def paint_group(canvas: Canvas, group: Group) -> None:
    """Paint a group's items and cars."""
    _paint_items(canvas, group.kind, group.items)
    canvas.shadows(outlines("cars", group.cars))
    _paint_items(canvas, "cars", group.cars)


def _paint_items(canvas: Canvas, kind: str, items: Sequence[Item]) -> None:
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


def outlines(kind: str, items: Sequence[Item]) -> list[tuple[list[Point], float]]:
    """What throws the shadows of a kind's items: outlines and heights."""
    look = OBJECTS["groups"][kind]
    if "height" not in look:
        return []
    if "disc" in look:
        shapes = [disc(item.x, item.y, item.length / 2 * look["disc"]) for item in items]
    else:
        shapes = [item.place(part) for item in items for part in look.get("outlines", [RECTANGLE])]
    return [(shape, look["height"]) for shape in shapes]


def paint_ground_of(canvas: Canvas, group: Group, ground: Colour) -> None:
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
