"""Five captions for a scene: what it holds, how many, in which colour and where, in changing words.

A caption names one to three objects. It says "many" of seven or more and counts what is fewer. A place behind
a noun belongs to that noun; a place in front belongs to the first noun after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from src.scenes.scene import FOREST, MANY, Group, Rng, Scene, SceneObject, Shore, Strip, gap, hull, side_of
from src.scenes.words import (
    BACKGROUND,
    BESIDE,
    COUNTED,
    ITS_SIDE,
    NOUNS,
    NUMBERS,
    PARTICIPLES,
    SIDE_OF,
    STRIP_VERBS,
)

Option = TypeVar("Option")

CAPTIONS = 5
MOST_WORDS = 20  # 22 tokens with the start and the end
_ATTENTION = (1.0, 0.8, 0.65, 0.5, 0.4)  # how likely an object is named, the most striking first
_NEAR = 0.14  # objects so far apart are still beside each other


def objects_of(scene: Scene) -> list[SceneObject]:
    """All that captions may name, the most striking first."""
    groups = sorted(scene.groups, key=lambda group: group.kind not in ("planes", "boats"))
    shore = scene.shore
    objects: list[SceneObject] = [*groups[:1], *scene.strips, *([shore] if shore else []), *groups[1:]]
    if shore and shore.kind == "sea":
        objects.append(shore.beach)
    if shore and len(shore.piers) == 1:
        objects.append(SceneObject("pier", hull(shore.piers[0].place()), None))
    return objects


def boxes_of(scene: Scene) -> list[dict[str, Any]]:
    """For dataset.json: each object's box and all nouns that captions use for it."""
    return [
        {"words": list(NOUNS[one.kind]), "box": [round(edge, 4) for edge in one.box]}
        for one in objects_of(scene)
    ]


def describe(scene: Scene, rng: Rng) -> list[str]:
    """Five captions, different as long as there are five ways to say it."""
    grammar = _Grammar(scene, rng)
    captions: list[str] = []
    for attempt in range(10_000):
        caption = " ".join(grammar.caption().split())
        if len(caption.split()) <= MOST_WORDS and (caption not in captions or attempt > 200):
            captions.append(caption)
            if len(captions) == CAPTIONS:
                return captions
    raise RuntimeError(f"no {CAPTIONS} captions of at most {MOST_WORDS} words were found for {scene}")


class _Grammar:
    """Each method draws from `rng` and returns words, which may be none."""

    def __init__(self, scene: Scene, rng: Rng) -> None:
        self.scene, self.rng = scene, rng

    def choose(self, options: Mapping[Option, float]) -> Option:
        """One of the options by its weight."""
        mark = self.rng.random() * sum(options.values())
        for option, weight in options.items():
            mark -= weight
            if mark < 0:
                return option
        return option

    def happens(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def caption(self) -> str:
        objects = [one for one in objects_of(self.scene) if one.kind not in ("beach", "pier")]
        if len(self.scene.strips) == 2:
            objects.remove(self.scene.strips[1])  # a caption names the crossroads at once
        number = min(len(objects), self.choose({1: 0.15, 2: 0.6, 3: 0.25}))
        weights = [_ATTENTION[min(k, 4)] for k in range(len(objects))]
        shares = [weight / sum(weights) for weight in weights]
        order = self.rng.choice(len(objects), size=number, replace=False, p=shares).tolist()
        if self.happens(0.7):
            order.sort()
        return self.sentence([objects[k] for k in order])

    def sentence(self, chosen: list[SceneObject]) -> str:
        strips, groups = self.scene.strips, [one for one in chosen if isinstance(one, Group)]
        if len(strips) == 1 and strips[0] in chosen and groups and self.happens(0.6):
            return self.around(strips[0], groups)
        if len(groups) == len(chosen) == 2 and self.happens(0.25):
            side = side_of(groups[0].box, groups[1].box)
            if side in ("left", "right"):
                link = self.choose({f"on the {side} of": 0.6, f"to the {side} of": 0.4})
                first, are = self.noun(groups[0])
                return f"{first} {are} {link} {self.noun(groups[1])[0]}"
        front = chosen[0]
        if isinstance(front, Group) and front.place and self.happens(0.15):
            start = f"{self.place(front.place)} {self.there(front)}"
        elif isinstance(front, Group) and self.happens(0.4):
            start = f"{self.there(front)} {self.where(front)}"
        else:
            start = self.clause(front)
        return f"{start} {self.others(chosen[1:])}"

    def around(self, strip: Strip, groups: Sequence[Group]) -> str:
        """A strip and what lies on its sides: the strip in front, or the first group."""
        sides = {group: side_of(group.box, strip.box) for group in groups if group.kind != "boats"}
        first, near = groups[0], self.relation(groups[0])
        if near and (None in sides.values() or len(sides) < len(groups) or self.happens(0.5)):
            noun, are = self.noun(first)
            text = f"{noun} {are} {self.participle(first)} {near}"
            if first.place and self.happens(0.4):
                text += f" {self.place(first.place)}"
            return f"{text} {self.others(groups[1:])}"
        text = f"{self.clause(strip)} with"
        for k, group in enumerate(groups):
            side = sides.get(group) if strip.axis != "diagonal" else None
            beside = ITS_SIDE[side] if side is not None and self.happens(0.7) else ""
            where = beside or (self.place(group.place) if group.place else "")
            text += f"{' and' if k else ''} {self.noun(group)[0]} {where}"
        return text

    def others(self, objects: Sequence[SceneObject]) -> str:
        """What else a caption names, each with an "and"."""
        text = ""
        for one in objects:
            if isinstance(one, Group):
                text += f" and {self.noun(one)[0]} {self.where(one)}"
            else:
                text += f" and {self.clause(one)}"
        return text

    def there(self, group: Group) -> str:
        noun, are = self.noun(group)
        return f"there {are} {noun}"

    def clause(self, one: SceneObject) -> str:
        """A whole sentence about an object."""
        if isinstance(one, Strip):
            return self.strip_clause(one)
        if isinstance(one, Shore):
            return self.shore_clause(one)
        assert isinstance(one, Group)
        where = self.where(one)
        if not where:
            return self.there(one)
        noun, are = self.noun(one)
        return f"{noun} {are} {self.participle(one)} {where}"

    def strip_clause(self, strip: Strip) -> str:
        if len(self.scene.strips) == 2:
            roads, streets = "two roads cross", "two streets cross in the middle"
            return self.choose({f"{roads} in the middle": 0.5, f"{roads} each other": 0.3, streets: 0.2})
        way = "diagonally across the picture"
        if strip.axis != "diagonal":
            ends = {"vertical": "from top to bottom", "horizontal": "from left to right"}[strip.axis]
            way = self.choose({"across the picture": 0.3, "through the picture": 0.3, ends: 0.4})
            if strip.place and self.happens(0.55):
                return self.lies(strip)
        noun = self.choose(BACKGROUND[strip.kind])
        return f"{noun} {self.choose(STRIP_VERBS[strip.kind])} {way}"

    def shore_clause(self, shore: Shore) -> str:
        text = self.lies(shore)
        if shore.kind == "sea" and self.happens(0.35):
            text += " with " + self.choose({"a sandy beach": 0.6, "a beach": 0.4})
        return text

    def lies(self, one: SceneObject) -> str:
        noun = self.choose(BACKGROUND[one.kind])
        return f"{noun} {self.choose({'is': 0.7, 'lies': 0.3})} {self.place(one.place or '')}"

    def noun(self, group: Group) -> tuple[str, str]:
        """A group with its article or number and its colour, and "is" or "are"."""
        kind, number = group.kind, len(group.items)
        if kind == "lawn":
            return self.choose({"a green lawn": 0.6, "a lawn": 0.25, "a piece of grass": 0.15}), "is"
        if kind == "parking":
            return self.parking(len(group.cars)), "is"
        if kind == "trees" and number < FOREST:
            return self.choose({"some trees": 0.5, "some green trees": 0.35, "several trees": 0.15}), "are"
        if kind == "trees":
            woods = {"a dense forest": 0.4, "a forest": 0.2, "many green trees": 0.3, "dense woods": 0.1}
            text = self.choose(woods)
        else:
            colour = group.colour if group.colour and self.happens(0.85) else ""
            if kind != "houses" or number < MANY:
                return self.counted(group, colour)
            shade = colour or ("colorful" if not group.colour and self.happens(0.5) else "")
            single_row = min(group.box[2] - group.box[0], group.box[3] - group.box[1]) < 0.16
            options = {
                f"many {shade} houses": 0.5,
                f"{'a row' if single_row else 'rows'} of {shade} houses": 0.2,
                f"a residential area with many {shade} houses": 0.2,
                f"many {shade} homes": 0.1,
            }
            text = self.choose(options)
        return text, "is" if text.startswith("a ") else "are"

    def counted(self, group: Group, colour: str) -> tuple[str, str]:
        count, are = len(group.items), "is" if len(group.items) == 1 else "are"
        if count == 1:
            number = "one" if self.happens(0.12) else "a"
        elif count >= MANY:
            number = "many"
        else:
            number = "several" if count > 3 and self.happens(0.08) else NUMBERS[count]
        if group.kind == "houses" and colour and self.happens(0.2):
            return f"{number} houses with {colour} roofs", "are"
        noun = self.choose(COUNTED[group.kind])[count > 1]
        if group.kind == "boats" and self.happens(0.12):
            number += " small"
        elif group.kind == "buildings" and self.happens(0.2):
            number += " large"
        noun = f"{colour} {noun}".strip()
        text = f"{'an' if number == 'a' and noun[0] in 'aeiou' else number} {noun}"
        if group.kind == "buildings" and self.happens(0.12):
            return f"an industrial site with {text}", "is"
        return text, are

    def parking(self, cars: int) -> str:
        lot = self.choose({"parking lot": 0.8, "car park": 0.2})
        if not cars:
            return f"an empty {lot}"
        usual, other = ("many", "full of") if cars >= MANY else ("a few", "with some")
        return self.choose(
            {f"a {lot}": 0.25, f"a {lot} with {usual} cars": 0.55, f"a {lot} {other} cars": 0.2}
        )

    def participle(self, group: Group) -> str:
        """What a group does, as in "are parked"."""
        kind, shore = group.kind, self.scene.shore
        if kind == "houses" and len(group.items) >= MANY:
            kind = "many houses"
        elif kind == "boats" and shore and shore.kind == "harbor":
            kind = "boats in a harbor"
        return self.choose(PARTICIPLES.get(kind, {"": 1.0}))

    def where(self, group: Group) -> str:
        """A place, a relation, both or none."""
        near = self.relation(group) if self.happens(0.4) else ""
        if near and not self.happens(0.4):
            return near
        place = self.place(group.place) if group.place and self.happens(0.96) else ""
        return f"{near} {place}" if near and self.happens(0.5) else place

    def place(self, place: str) -> str:
        """Where in the picture."""
        if place == "center":
            middle = "in the middle"
            return self.choose({middle: 0.55, "in the center": 0.3, f"{middle} of the picture": 0.15})
        if place.endswith("corner"):
            corner = f"in the {place}"
            return self.choose({corner: 0.75, f"at the {place}": 0.15, f"{corner} of the picture": 0.1})
        edge = f"{'on' if place in ('left', 'right') else 'at'} the {place}"
        return self.choose({edge: 0.6, f"{edge} of the picture": 0.25, f"{edge} side": 0.15})

    def relation(self, group: Group) -> str:
        """A group's place as seen from the scene's strip or water, or nothing."""
        shore, strips = self.scene.shore, self.scene.strips
        other: SceneObject | None = shore or (strips[0] if len(strips) == 1 else None)
        if other is None or (isinstance(other, Strip) and other.axis == "diagonal"):
            return ""
        if group.kind == "boats":
            if shore and len(shore.piers) == 1 and self.happens(0.4):
                return "at the pier"
            on = {"sea": "on", "harbor": "in"}.get(other.kind) or self.choose({"on": 0.7, "in": 0.3})
            return f"{on} the {self.short(other)}"
        side = None if shore else side_of(group.box, other.box)
        if side is not None and self.happens(0.5):
            return f"{self.choose(SIDE_OF[side])} the {self.short(other)}"
        if gap(group.box, other.box) > _NEAR:
            return ""
        beach = other.kind == "sea" and self.happens(0.5)
        return f"{self.choose(BESIDE)} the {'beach' if beach else self.short(other)}"

    def short(self, one: SceneObject) -> str:
        """The noun alone, for a strip or water that is taken as known."""
        usual, other = NOUNS[one.kind][0], NOUNS[one.kind][2 if one.kind == "road" else 1]
        return self.choose({usual: 0.88, other: 0.12})
