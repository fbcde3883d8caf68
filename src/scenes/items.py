"""How the items of each kind are painted, and the outlines and heights that throw their shadows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from src.scenes.canvas import Canvas, Colour, disc, shade
from src.scenes.scene import CAR_PITCH, RECTANGLE, Group, Item, Point

Outline = tuple[Point, ...]
PALETTES: dict[str, dict[str, Colour]] = {
    "houses": {"red": (178, 66, 50), "blue": (62, 98, 172), "gray": (128, 130, 134), "brown": (102, 66, 42)},
    "buildings": {"white": (236, 236, 232), "gray": (132, 135, 140), "blue": (70, 116, 186)},
    "tanks": {"white": (238, 238, 234), "gray": (124, 128, 132), "brown": (132, 78, 48)},
    "courts": {"green": (52, 128, 84), "blue": (48, 98, 168), "red": (182, 82, 62)},
    "planes": {
        "white": (244, 244, 246),
        "gray": (118, 122, 130),
        "blue": (52, 92, 190),
        "red": (204, 44, 40),
    },
    "boats": {
        "white": (242, 242, 240),
        "red": (206, 44, 40),
        "blue": (58, 112, 222),
        "yellow": (240, 200, 48),
    },
}
_CARS: dict[str, Colour] = {
    **{"white": (238, 238, 240), "gray": (150, 153, 158), "black": (34, 36, 40)},
    **{"red": (184, 38, 38), "blue": (46, 78, 158)},
}
_HEIGHTS = {
    **{"houses": 0.02, "buildings": 0.032, "tanks": 0.028, "trees": 0.024, "planes": 0.012, "boats": 0.008}
}


def _symmetric(*half: Point) -> Outline:
    """A closed outline from the half of it with v >= 0."""
    return (*half, *((u, -v) for u, v in reversed(half) if v))


def _box(u0: float, v0: float, u1: float, v1: float) -> Outline:
    return (u0, v0), (u1, v0), (u1, v1), (u0, v1)


_FUSELAGE = _symmetric((1.0, 0.0), (0.93, 0.06), (0.8, 0.095), (-0.5, 0.095), (-0.96, 0.03))
_WINGS = _symmetric((0.34, 0.0), (0.26, 0.1), (-0.2, 0.97), (-0.36, 0.97), (-0.16, 0.1))
_TAIL = _symmetric((-0.62, 0.0), (-0.68, 0.06), (-0.9, 0.38), (-1.0, 0.38), (-0.92, 0.0))
_HULL: Outline = ((-1, -0.8), (0.35, -1), (0.75, -0.6), (1, 0), (0.75, 0.6), (0.35, 1), (-1, 0.8))
_CAR: Outline = ((-1, -0.8), (-0.85, -1), (0.8, -1), (1, -0.7), (1, 0.7), (0.8, 1), (-0.85, 1), (-1, 0.8))


def _house(canvas: Canvas, house: Item, colour: Colour) -> None:
    roof = shade(colour, canvas.rng.uniform(0.88, 1.1))
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


def _building(canvas: Canvas, hall: Item, colour: Colour) -> None:
    roof = shade(colour, canvas.rng.uniform(0.95, 1.04))
    canvas.fill(hall, shade(roof, 0.8))
    inner = Item(hall.x, hall.y, hall.length - 0.008, hall.width - 0.008, hall.angle)
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


def _court(canvas: Canvas, court: Item, colour: Colour) -> None:
    white: Colour = (236, 238, 236)
    paint = shade(colour, canvas.rng.uniform(0.94, 1.06))
    canvas.fill(court, shade(paint, 0.72))
    field = Item(court.x, court.y, court.length * 0.78, court.width * 0.7, court.angle)
    canvas.fill(field, paint)
    canvas.line(field.place([*RECTANGLE, RECTANGLE[0]]), 0.0035, white)
    for u0, v0, u1, v1 in (
        *((-1, -0.75, 1, -0.75), (-1, 0.75, 1, 0.75), (-0.55, -0.75, -0.55, 0.75)),
        *((0.55, -0.75, 0.55, 0.75), (-0.55, 0, 0.55, 0)),
    ):
        canvas.line(field.place([(u0, v0), (u1, v1)]), 0.003, white)
    canvas.line(field.place([(0, -1.2), (0, 1.2)]), 0.004, (48, 52, 52))


def _tree(canvas: Canvas, tree: Item, _colour: Colour) -> None:
    radius = tree.length / 2
    leaf = shade((58, 88, 46), canvas.rng.uniform(0.82, 1.15))
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
    bands = [_box(-1 + 2 * k / number, -1, -1 + 2 * (k + 1) / number, 1) for k in range(0, number, 2)]
    canvas.cover(((82, 144, 54), 5, 6), *map(lawn.place, bands))
    canvas.line(lawn.place([*RECTANGLE, RECTANGLE[0]]), 0.006, (196, 186, 160))


def _parking(canvas: Canvas, lot: Item, _colour: Colour) -> None:
    canvas.cover(((92, 93, 97), 5, 5), lot.place())
    canvas.line(lot.place([*RECTANGLE, RECTANGLE[0]]), 0.006, (184, 182, 176))
    number = int((lot.length - 0.02) / CAR_PITCH)
    for row in (-1, 1):
        for k in range(number + 1):
            x, y = lot.x + (k - number / 2) * CAR_PITCH, lot.y + row * lot.width / 2
            canvas.line([(x, y), (x, y - row * 0.07)], 0.004, (222, 222, 218))


def _plane(canvas: Canvas, plane: Item, colour: Colour) -> None:
    for sign in (-1, 1):
        canvas.fill(
            plane,
            (70, 74, 82),
            [(0.3, sign * 0.34), (0.3, sign * 0.46), (0.02, sign * 0.46), (0.02, sign * 0.34)],
        )
    for part, light in ((_WINGS, 0.9), (_TAIL, 0.86), (_FUSELAGE, 1.0)):
        canvas.fill(plane, shade(colour, light), part)
    canvas.line(plane.place([(-0.95, 0), (-0.6, 0)]), 0.007, shade(colour, 0.62))
    canvas.fill(plane, (38, 44, 56), ((0.9, 0.045), (0.82, 0.06), (0.82, -0.06), (0.9, -0.045)))


def _boat(canvas: Canvas, boat: Item, colour: Colour) -> None:
    canvas.fill(boat, colour, _HULL)
    canvas.fill(boat, shade(colour, 0.84), [(0.78 * u, 0.68 * v) for u, v in _HULL])
    canvas.fill(boat, shade(colour, 1.1), _box(-0.5, -0.5, 0.15, 0.5))
    canvas.fill(boat, (44, 56, 70), _box(0.02, -0.45, 0.14, 0.45))


_PAINTERS: dict[str, Callable[[Canvas, Item, Colour], None]] = {
    **{"houses": _house, "buildings": _building, "tanks": _tank, "courts": _court, "trees": _tree},
    **{"lawn": _lawn, "parking": _parking, "planes": _plane, "boats": _boat},
}


def paint_group(canvas: Canvas, group: Group) -> None:
    """Paint a group's items and cars."""
    palette = PALETTES.get(group.kind, {})
    for item in group.items:
        _PAINTERS[group.kind](canvas, item, palette.get(item.colour, (0, 0, 0)))
    canvas.shadows([(car.place(), 0.008) for car in group.cars])
    for car in group.cars:
        canvas.fill(car, _CARS[car.colour], _CAR)
        for window in (_box(0.15, -0.8, 0.5, 0.8), _box(-0.75, -0.75, -0.5, 0.75)):
            canvas.fill(car, (40, 48, 58), window)


def outlines(group: Group) -> list[tuple[list[Point], float]]:
    """What throws the group's shadows: outlines and heights."""
    shapes: list[list[Point]] = []
    for item in group.items:
        if group.kind in ("tanks", "trees"):
            shapes.append(disc(item.x, item.y, item.length / 2 * (1 if group.kind == "tanks" else 0.85)))
        else:
            parts = {"planes": (_WINGS, _TAIL, _FUSELAGE), "boats": (_HULL,)}.get(group.kind, (RECTANGLE,))
            shapes += map(item.place, parts)
    return [(shape, _HEIGHTS[group.kind]) for shape in shapes] if group.kind in _HEIGHTS else []


def paint_ground_of(canvas: Canvas, group: Group, ground: Colour) -> None:
    """Paint what lies under a group: an apron, yards, gardens."""
    x0, y0, x1, y1 = (edge + pad for edge, pad in zip(group.box, (-0.008, -0.008, 0.008, 0.008), strict=True))
    surfaces = {
        **{"planes": ((150, 150, 148), 4, 4), "courts": ((150, 146, 134), 4, 4)},
        **dict.fromkeys(("buildings", "tanks"), ((158, 152, 140), 6, 5)),
    }
    if group.kind in surfaces:
        canvas.cover(surfaces[group.kind], _box(x0, y0, x1, y1))
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
