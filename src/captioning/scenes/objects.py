"""How each kind of object is painted, and the outlines and heights that throw its shadow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from src.captioning.scenes.canvas import Canvas, Colour, disc, local, shade
from src.captioning.scenes.places import Point
from src.captioning.scenes.things import Group, Item

ROOFS: dict[str, Colour] = {
    "red": (178, 66, 50),
    "blue": (62, 98, 172),
    "gray": (128, 130, 134),
    "brown": (102, 66, 42),
}
HALLS: dict[str, Colour] = {"white": (236, 236, 232), "gray": (132, 135, 140), "blue": (70, 116, 186)}
TANKS: dict[str, Colour] = {"white": (238, 238, 234), "gray": (124, 128, 132), "brown": (132, 78, 48)}
COURTS: dict[str, Colour] = {"green": (52, 128, 84), "blue": (48, 98, 168), "red": (182, 82, 62)}
PLANES: dict[str, Colour] = {
    "white": (244, 244, 246),
    "gray": (118, 122, 130),
    "blue": (52, 92, 190),
    "red": (204, 44, 40),
}
BOATS: dict[str, Colour] = {
    "white": (242, 242, 240),
    "red": (206, 44, 40),
    "blue": (58, 112, 222),
    "yellow": (240, 200, 48),
}
CARS: dict[str, Colour] = {
    "white": (238, 238, 240),
    "gray": (150, 153, 158),
    "black": (34, 36, 40),
    "red": (184, 38, 38),
    "blue": (46, 78, 158),
}
CROWN: Colour = (58, 88, 46)
RECTANGLE: tuple[Point, ...] = ((-1, -1), (1, -1), (1, 1), (-1, 1))
HULL: tuple[Point, ...] = ((-1, -0.8), (0.35, -1), (0.75, -0.6), (1, 0), (0.75, 0.6), (0.35, 1), (-1, 0.8))
FUSELAGE: tuple[Point, ...] = (
    (1.0, 0.0), (0.93, 0.06), (0.8, 0.095), (-0.5, 0.095), (-0.96, 0.03),
    (-0.96, -0.03), (-0.5, -0.095), (0.8, -0.095), (0.93, -0.06),
)  # fmt: skip
WINGS: tuple[Point, ...] = (
    (0.34, 0.0), (0.26, 0.1), (-0.2, 0.97), (-0.36, 0.97), (-0.16, 0.1), (-0.16, -0.1), (-0.36, -0.97),
    (-0.2, -0.97), (0.26, -0.1),
)  # fmt: skip
TAIL: tuple[Point, ...] = (
    (-0.62, 0.0), (-0.68, 0.06), (-0.9, 0.38), (-1.0, 0.38), (-0.92, 0.0), (-1.0, -0.38), (-0.9, -0.38),
    (-0.68, -0.06),
)  # fmt: skip


def _houses(canvas: Canvas, group: Group) -> None:
    for house in group.items:
        roof = shade(ROOFS[house.colour], canvas.rng.uniform(0.88, 1.1))
        ends = 0.0 if canvas.rng.random() < 0.5 else 0.45  # a gable or a hipped roof
        ridge = ((-1 + ends, 0.0), (1 - ends, 0.0))
        for sign, turn in ((-1, -90), (1, 90)):
            slope = ((-1, sign), (1, sign), ridge[1], ridge[0])
            canvas.polygon(local(house, slope), shade(roof, canvas.lit(house.angle + turn)))
        if ends:
            for sign, turn in ((-1, 180), (1, 0)):
                end = ((sign, -1), (sign, 1), ridge[(sign + 1) // 2])
                canvas.polygon(local(house, end), shade(roof, canvas.lit(house.angle + turn)))
        canvas.line(local(house, ridge), 0.004, shade(roof, 1.25))
        chimney = Item(*local(house, [(0.4, 0.4)])[0], 0.01, 0.01, house.angle)
        canvas.polygon(local(chimney, RECTANGLE), (92, 70, 62))


def _buildings(canvas: Canvas, group: Group) -> None:
    for hall in group.items:
        roof = shade(HALLS[hall.colour], canvas.rng.uniform(0.95, 1.04))
        canvas.polygon(local(hall, RECTANGLE), shade(roof, 0.8))
        inner = Item(hall.x, hall.y, hall.length - 0.008, hall.width - 0.008, hall.angle)
        canvas.polygon(local(inner, RECTANGLE), roof)
        ribs = int(canvas.rng.integers(5, 9))
        for k in range(1, ribs):
            u = -1 + 2 * k / ribs
            canvas.line(local(inner, [(u, -1), (u, 1)]), 0.003, shade(roof, 0.9))
        canvas.line(local(inner, [(-1, 0), (1, 0)]), 0.004, shade(roof, 1.12))
        for _ in range(int(canvas.rng.integers(2, 6))):
            x, y = local(inner, [(canvas.rng.uniform(-0.8, 0.8), canvas.rng.uniform(-0.7, 0.7))])[0]
            vent = Item(x, y, 0.014, 0.01, hall.angle)
            shadow = replace(vent, x=x + 0.004 * canvas.fall[0], y=y + 0.004 * canvas.fall[1])
            canvas.polygon(local(shadow, RECTANGLE), shade(roof, 0.55))
            canvas.polygon(local(vent, RECTANGLE), (196, 198, 200))


def _tanks(canvas: Canvas, group: Group) -> None:
    for tank in group.items:
        paint, radius = TANKS[tank.colour], tank.length / 2
        canvas.disc(tank.x, tank.y, radius, shade(paint, 0.72))
        for k in range(6):  # a dome: lighter towards the sun
            toward = -0.03 * k * radius
            x, y = tank.x + canvas.fall[0] * toward, tank.y + canvas.fall[1] * toward
            canvas.disc(x, y, radius * (0.93 - 0.13 * k), shade(paint, 0.9 + 0.028 * k))
        canvas.disc(tank.x, tank.y, radius * 0.09, shade(paint, 0.6))
        canvas.line([(tank.x, tank.y), (tank.x + radius * 0.9, tank.y)], 0.003, shade(paint, 0.68))


def _courts(canvas: Canvas, group: Group) -> None:
    white: Colour = (236, 238, 236)
    for court in group.items:
        paint = shade(COURTS[court.colour], canvas.rng.uniform(0.94, 1.06))
        canvas.polygon(local(court, RECTANGLE), shade(paint, 0.72))
        field = Item(court.x, court.y, court.length * 0.78, court.width * 0.7, court.angle)
        canvas.polygon(local(field, RECTANGLE), paint)
        canvas.line(local(field, [*RECTANGLE, RECTANGLE[0]]), 0.0035, white)
        for path in (
            [(-1, -0.75), (1, -0.75)],
            [(-1, 0.75), (1, 0.75)],
            [(-0.55, -0.75), (-0.55, 0.75)],
            [(0.55, -0.75), (0.55, 0.75)],
            [(-0.55, 0), (0.55, 0)],
        ):
            canvas.line(local(field, path), 0.003, white)
        canvas.line(local(field, [(0, -1.2), (0, 1.2)]), 0.004, (48, 52, 52))


def _trees(canvas: Canvas, group: Group) -> None:
    for tree in group.items:
        radius = tree.length / 2
        leaf = shade(CROWN, canvas.rng.uniform(0.82, 1.15))
        turns = canvas.rng.uniform(-1, 1, (9, 3)).tolist()
        for dx, dy, _ in turns:
            canvas.disc(
                tree.x + dx * radius * 0.42, tree.y + dy * radius * 0.42, radius * 0.58, shade(leaf, 0.72)
            )
        for dx, dy, light in turns:
            x = tree.x + (dx * 0.42 - canvas.fall[0] * 0.14) * radius
            y = tree.y + (dy * 0.42 - canvas.fall[1] * 0.14) * radius
            canvas.disc(x, y, radius * 0.34, shade(leaf, 1.08 + 0.16 * light))
        for dx, dy, light in turns[:5]:
            x = tree.x + (dx * 0.5 - canvas.fall[0] * 0.3) * radius
            y = tree.y + (dy * 0.5 - canvas.fall[1] * 0.3) * radius
            canvas.disc(x, y, radius * 0.15, shade(leaf, 1.35 + 0.12 * light))


def _lawn(canvas: Canvas, group: Group) -> None:
    (lawn,) = group.items
    canvas.cover(((96, 158, 62), 5, 6), local(lawn, RECTANGLE))
    stripes = ((82, 144, 54), 5, 6)
    number = max(4, round(lawn.length / 0.035))
    bands = []
    for k in range(0, number, 2):
        left, right = -1 + 2 * k / number, -1 + 2 * (k + 1) / number
        bands.append(local(lawn, [(left, -1), (right, -1), (right, 1), (left, 1)]))
    canvas.cover(stripes, *bands)
    canvas.line(local(lawn, [*RECTANGLE, RECTANGLE[0]]), 0.006, (196, 186, 160))


def _parking(canvas: Canvas, group: Group) -> None:
    (lot,) = group.items
    canvas.cover(((92, 93, 97), 5, 5), local(lot, RECTANGLE))
    canvas.line(local(lot, [*RECTANGLE, RECTANGLE[0]]), 0.006, (184, 182, 176))
    number = int((lot.length - 0.02) / 0.04)
    for row in (-1, 1):
        for k in range(number + 1):
            x = lot.x + (k - number / 2) * 0.04
            y = lot.y + row * lot.width / 2
            canvas.line([(x, y), (x, y - row * 0.07)], 0.004, (222, 222, 218))
    canvas.shadows([(local(car, RECTANGLE), 0.008) for car in group.cars])
    for car in group.cars:
        paint = CARS[car.colour]
        body = ((-1, -0.8), (-0.85, -1), (0.8, -1), (1, -0.7), (1, 0.7), (0.8, 1), (-0.85, 1), (-1, 0.8))
        canvas.polygon(local(car, body), paint)
        canvas.polygon(local(car, ((0.15, -0.8), (0.5, -0.8), (0.5, 0.8), (0.15, 0.8))), (40, 48, 58))
        canvas.polygon(local(car, ((-0.75, -0.75), (-0.5, -0.75), (-0.5, 0.75), (-0.75, 0.75))), (40, 48, 58))


def _planes(canvas: Canvas, group: Group) -> None:
    for plane in group.items:
        paint = PLANES[plane.colour]
        for sign in (-1, 1):
            engine = ((0.3, 0.34), (0.3, 0.46), (0.02, 0.46), (0.02, 0.34))
            canvas.polygon(local(plane, [(u, sign * v) for u, v in engine]), (70, 74, 82))
        canvas.polygon(local(plane, WINGS), shade(paint, 0.9))
        canvas.polygon(local(plane, TAIL), shade(paint, 0.86))
        canvas.polygon(local(plane, FUSELAGE), paint)
        canvas.line(local(plane, [(-0.95, 0), (-0.6, 0)]), 0.007, shade(paint, 0.62))
        canvas.polygon(local(plane, ((0.9, 0.045), (0.82, 0.06), (0.82, -0.06), (0.9, -0.045))), (38, 44, 56))


def _boats(canvas: Canvas, group: Group) -> None:
    for boat in group.items:
        paint = BOATS[boat.colour]
        canvas.polygon(local(boat, HULL), paint)
        canvas.polygon(local(boat, [(0.78 * u, 0.68 * v) for u, v in HULL]), shade(paint, 0.84))
        canvas.polygon(local(boat, ((-0.5, -0.5), (0.15, -0.5), (0.15, 0.5), (-0.5, 0.5))), shade(paint, 1.1))
        canvas.polygon(local(boat, ((0.02, -0.45), (0.14, -0.45), (0.14, 0.45), (0.02, 0.45))), (44, 56, 70))


PAINTERS: dict[str, Callable[[Canvas, Group], None]] = {
    "houses": _houses,
    "buildings": _buildings,
    "tanks": _tanks,
    "courts": _courts,
    "trees": _trees,
    "lawn": _lawn,
    "parking": _parking,
    "planes": _planes,
    "boats": _boats,
}

_HEIGHTS = {
    "houses": 0.02,
    "buildings": 0.032,
    "tanks": 0.028,
    "trees": 0.024,
    "planes": 0.012,
    "boats": 0.008,
}


def outlines(group: Group) -> list[tuple[list[Point], float]]:
    """What throws this group's shadows: outlines and heights, as fractions of the picture's side."""
    height = _HEIGHTS.get(group.kind)
    if height is None:
        return []
    shapes: list[tuple[list[Point], float]] = []
    for item in group.items:
        if group.kind == "planes":
            shapes += [(local(item, part), height) for part in (WINGS, TAIL, FUSELAGE)]
        elif group.kind in ("tanks", "trees"):
            shapes.append(
                (disc(item.x, item.y, item.length / 2 * (1 if group.kind == "tanks" else 0.85)), height)
            )
        else:
            shapes.append((local(item, HULL if group.kind == "boats" else RECTANGLE), height))
    return shapes
