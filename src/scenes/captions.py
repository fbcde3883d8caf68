"""Five captions for a scene: what it holds, how many, in which colour and where, in changing words.

A caption names one to three objects. It says "many" of seven or more and counts what is fewer. A place behind
a noun belongs to that noun; a place in front belongs to the first noun after it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from src.scenes.scene import FOREST, MANY, Group, Rng, Scene, SceneObject, Strip, gap, hull, side_of

GRAMMAR: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("captions.yaml").read_text("utf-8"))
NOUNS: dict[str, list[str]] = GRAMMAR["nouns"]
NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
CAPTIONS = 5
MOST_WORDS = 20  # 22 tokens with the start and the end
_ATTENTION = (1.0, 0.8, 0.65, 0.5, 0.4)  # how likely an object is named, the most striking first
_NEAR = 0.14  # objects so far apart are still beside each other
_ITS_SIDE = {"left": "on its left", "right": "on its right", "above": "above it", "below": "below it"}


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


def describe(scene: Scene, rng: Rng) -> list[str]:
    """Five captions, different as long as there are five ways to say it."""
    grammar = Grammar(scene, rng)
    captions: list[str] = []
    attempts = 0
    while len(captions) < CAPTIONS:
        words = grammar.caption().split()
        attempts += 1
        if len(words) <= MOST_WORDS and (" ".join(words) not in captions or attempts > 201):
            captions.append(" ".join(words))
    return captions


def _is(noun: str) -> str:
    return "is" if noun.startswith(("a ", "an ", "one ")) else "are"


class Grammar:
    """Each method draws from `rng` and returns words, which may be none."""

    def __init__(self, scene: Scene, rng: Rng) -> None:
        self.scene, self.rng = scene, rng

    def choose(self, options: Mapping[str, float]) -> str:
        """One of the options by its weight."""
        mark = self.rng.random() * sum(options.values())
        for option, weight in options.items():
            mark -= weight
            if mark < 0:
                return option
        return option  # where the sum's rounding left a little

    def phrase(self, key: str, **slots: str) -> str:
        """One of the grammar's ways to say it."""
        ways = GRAMMAR["phrases"][key].items()
        return self.choose({way.format(**slots): weight for way, weight in ways})

    def happens(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def subjects(self) -> list[SceneObject]:
        """What a caption chooses from, the most striking first."""
        objects = [one for one in objects_of(self.scene) if one.kind not in ("beach", "pier")]
        if len(self.scene.strips) == 2:
            objects.remove(self.scene.strips[1])  # a caption names the crossroads at once
        return objects

    def caption(self) -> str:
        objects = self.subjects()
        number = min(len(objects), int(self.phrase("number of objects")))
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
                link = self.phrase("side of a group", side=side)
                return f"{self.noun_is(groups[0])} {link} {self.noun(groups[1])}"
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
            text = f"{self.noun_is(first)} {self.participle(first)} {near}"
            place = self.place(first.place) if first.place and self.happens(0.4) else ""
            return f"{text} {place} {self.others(groups[1:])}"
        text = f"{self.clause(strip)} with"
        for k, group in enumerate(groups):
            side = sides.get(group) if strip.axis != "diagonal" else None
            beside = _ITS_SIDE[side] if side is not None and self.happens(0.7) else ""
            where = beside or self.place(group.place)
            text += f"{' and' if k else ''} {self.noun(group)} {where}"
        return text

    def others(self, objects: Sequence[SceneObject]) -> str:
        """What else a caption names, each with an "and"."""
        texts = [
            f"{self.noun(one)} {self.where(one)}" if isinstance(one, Group) else self.clause(one)
            for one in objects
        ]
        return "".join(f" and {text}" for text in texts)

    def there(self, group: Group) -> str:
        noun = self.noun(group)
        return f"there {_is(noun)} {noun}"

    def noun_is(self, group: Group) -> str:
        noun = self.noun(group)
        return f"{noun} {_is(noun)}"

    def clause(self, one: SceneObject) -> str:
        """A whole sentence about an object."""
        if isinstance(one, Group):
            where = self.where(one)
            return f"{self.noun_is(one)} {self.participle(one)} {where}" if where else self.there(one)
        if len(self.scene.strips) == 2:
            return self.phrase("crossroads")
        if isinstance(one, Strip):
            way = "diagonally across the picture" if one.axis == "diagonal" else self.phrase(one.axis)
            if one.axis == "diagonal" or not self.happens(0.55):
                return f"{self.phrase(one.kind)} {self.phrase(f'{one.kind} runs')} {way}"
        text = f"{self.phrase(one.kind)} {self.phrase('lies')} {self.place(one.place)}"
        return f"{text} {self.phrase('beach')}" if one.kind == "sea" and self.happens(0.35) else text

    def noun(self, group: Group) -> str:
        """A group with its article or number and its colour."""
        if group.kind in ("lawn", "trees"):
            return self.phrase("forest" if len(group.items) >= FOREST else group.kind)
        if group.kind == "parking":
            lot = self.phrase("lot")
            if not group.cars:
                return f"an empty {lot}"
            return self.phrase("many cars" if len(group.cars) >= MANY else "few cars", lot=lot)
        colour = group.colour if group.colour and self.happens(0.85) else ""
        if group.kind != "houses" or len(group.items) < MANY:
            return self.counted(group, colour)
        colour = colour or ("colorful" if not group.colour and self.happens(0.5) else "")
        single = min(group.box[2] - group.box[0], group.box[3] - group.box[1]) < 0.16
        return self.phrase("many houses", colour=colour, rows="a row" if single else "rows")

    def counted(self, group: Group, colour: str) -> str:
        number = len(group.items)
        if number == 1:
            many = "one" if self.happens(0.12) else "a"
        elif number >= MANY:
            many = "many"
        else:
            many = "several" if number > 3 and self.happens(0.08) else NUMBERS[number]
        if group.kind == "houses" and colour and self.happens(0.2):
            return f"{many} houses with {colour} roofs"
        names = GRAMMAR["counted"][group.kind].items()
        noun = self.choose({name.split("|")[number > 1]: weight for name, weight in names})
        if group.kind == "boats" and self.happens(0.12):
            many += " small"
        elif group.kind == "buildings" and self.happens(0.2):
            many += " large"
        noun = f"{colour} {noun}".strip()
        text = f"{'an' if many == 'a' and noun[0] in 'aeiou' else many} {noun}"
        if group.kind == "buildings" and self.happens(0.12):
            return f"an industrial site with {text}"
        return text

    def participle(self, group: Group) -> str:
        """What a group does, as in "are parked"."""
        kind, shore = group.kind, self.scene.shore
        if kind == "houses" and len(group.items) >= MANY:
            kind = "many houses"
        elif kind == "boats" and shore and shore.kind == "harbor":
            kind = "boats in a harbor"
        return self.phrase(f"{kind} are" if f"{kind} are" in GRAMMAR["phrases"] else "others are")

    def where(self, group: Group) -> str:
        """A place, a relation, both or none."""
        near = self.relation(group) if self.happens(0.4) else ""
        if near and not self.happens(0.4):
            return near
        place = self.place(group.place) if group.place and self.happens(0.96) else ""
        return f"{near} {place}" if near and self.happens(0.5) else place

    def place(self, place: str | None) -> str:
        """Where in the picture, if that can be said."""
        if place is None or place == "center":
            return self.phrase("center") if place else ""
        if place.endswith("corner"):
            return self.phrase("corner", place=place)
        return self.phrase("edge", place=place, at="on" if place in ("left", "right") else "at")

    def relation(self, group: Group) -> str:
        """A group's place as seen from the scene's strip or water, or nothing."""
        shore, strips = self.scene.shore, self.scene.strips
        other: SceneObject | None = shore or (strips[0] if len(strips) == 1 else None)
        if other is None or (isinstance(other, Strip) and other.axis == "diagonal"):
            return ""
        if group.kind == "boats":
            if shore and len(shore.piers) == 1 and self.happens(0.4):
                return "at the pier"
            on = {"sea": "on", "harbor": "in"}.get(other.kind) or self.phrase("on the river")
            return f"{on} {self.phrase(f'the {other.kind}')}"
        side = None if shore else side_of(group.box, other.box)
        if side is not None and self.happens(0.5):
            return f"{self.phrase(side)} {self.phrase(f'the {other.kind}')}"
        if gap(group.box, other.box) > _NEAR:
            return ""
        beach = other.kind == "sea" and self.happens(0.5)
        return f"{self.phrase('beside')} {'the beach' if beach else self.phrase(f'the {other.kind}')}"
