"""The parts of captions: nouns with number and colour, verbs, places, relations."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from src.captioning.scenes.places import gap, hull, side_of
from src.captioning.scenes.things import FOREST, MANY, Group, Rng, Scene, Shore, Strip, Thing, beach_of

Option = TypeVar("Option")

NUMBERS = ("no", "one", "two", "three", "four", "five", "six")
NOUNS: dict[str, tuple[str, ...]] = {
    "houses": ("houses", "homes", "area"),
    "buildings": ("building", "buildings", "warehouse", "warehouses", "factory", "site"),
    "tanks": ("tank", "tanks"),
    "courts": ("court", "courts"),
    "trees": ("trees", "forest", "woods"),
    "lawn": ("lawn", "grass"),
    "parking": ("parking", "lot", "car", "park", "cars"),
    "planes": ("plane", "planes", "airplane", "airplanes"),
    "boats": ("boat", "boats"),
    "river": ("river", "stream"),
    "road": ("road", "roads", "street", "streets"),
    "runway": ("runway", "airstrip"),
    "harbor": ("harbor", "port"),
    "sea": ("sea", "ocean"),
    "beach": ("beach",),
    "pier": ("pier",),
}
_BESIDE = {"beside": 0.5, "near": 0.3, "next to": 0.2}
_NEAR = 0.14  # so far apart, things are still beside each other


@dataclass(frozen=True)
class Phrase:
    """Words and the things that they name."""

    text: str = ""
    named: tuple[Thing, ...] = ()
    plural: bool = False

    def __add__(self, other: Phrase | str) -> Phrase:
        if isinstance(other, str):
            other = Phrase(other)
        return Phrase(f"{self.text} {other.text}".strip(), self.named + other.named, self.plural)


def choose(rng: Rng, options: Mapping[Option, float]) -> Option:
    """One of the options by its weight; the weights need not sum to 1."""
    weights = list(options.values())
    mark = rng.random() * sum(weights)
    for option, weight in options.items():
        mark -= weight
        if mark < 0:
            return option
    return option


def noun_phrase(thing: Thing, rng: Rng) -> Phrase:
    """A thing with its article or number and its colour, as a caption introduces it."""
    if isinstance(thing, Group):
        text, plural = _group_words(thing, rng)
        return Phrase(text, (thing,), plural)
    options = {
        "river": {"a river": 0.75, "a winding river": 0.15, "a stream": 0.1},
        "road": {"a road": 0.7, "a straight road": 0.2, "a street": 0.1},
        "runway": {"a runway": 0.75, "a long runway": 0.15, "an airstrip": 0.1},
        "harbor": {"a harbor": 0.8, "a port": 0.2},
        "sea": {"the sea": 0.8, "the ocean": 0.2},
    }[thing.kind]
    return Phrase(choose(rng, options), (thing,))


def _group_words(group: Group, rng: Rng) -> tuple[str, bool]:
    """A group's words, and whether its verb is plural."""
    if group.kind == "lawn":
        return choose(rng, {"a green lawn": 0.6, "a lawn": 0.25, "a piece of grass": 0.15}), False
    if group.kind == "parking":
        return _parking_words(group, rng), False
    if group.kind == "trees":
        return _tree_words(group, rng)
    colour = group.colour if group.colour and rng.random() < 0.85 else ""
    if group.kind == "houses" and group.count >= MANY:
        return _residential_words(group, colour, rng)
    return _counted_words(group, colour, rng)


def _counted_words(group: Group, colour: str, rng: Rng) -> tuple[str, bool]:
    if group.count == 1:
        number = "one" if rng.random() < 0.12 else "a"
    elif group.count >= MANY:
        number = "many"
    else:
        number = "several" if group.count > 3 and rng.random() < 0.08 else NUMBERS[group.count]
    if group.kind == "houses" and colour and rng.random() < 0.2:
        return f"{number} houses with {colour} roofs", True
    single, several = _names(group.kind, rng)
    if group.kind == "boats" and rng.random() < 0.12:
        number += " small"
    elif group.kind == "buildings" and rng.random() < 0.2:
        number += " large"
    noun = f"{colour} {single if group.count == 1 else several}".strip()
    if number == "a" and noun[0] in "aeiou":
        number = "an"
    text = f"{number} {noun}"
    if group.kind == "buildings" and rng.random() < 0.12:
        return f"an industrial site with {text}", False
    return text, group.count > 1


def _names(kind: str, rng: Rng) -> tuple[str, str]:
    """A noun's singular and plural."""
    return choose(
        rng,
        {
            "houses": {("house", "houses"): 0.9, ("home", "homes"): 0.1},
            "buildings": {
                ("building", "buildings"): 0.65,
                ("factory building", "factory buildings"): 0.15,
                ("warehouse", "warehouses"): 0.2,
            },
            "tanks": {("storage tank", "storage tanks"): 0.75, ("tank", "tanks"): 0.25},
            "courts": {("tennis court", "tennis courts"): 1.0},
            "planes": {("plane", "planes"): 0.75, ("airplane", "airplanes"): 0.25},
            "boats": {("boat", "boats"): 1.0},
        }[kind],
    )


def _tree_words(group: Group, rng: Rng) -> tuple[str, bool]:
    if group.count >= FOREST:
        wood = {"a dense forest": 0.4, "a forest": 0.2, "many green trees": 0.3, "dense woods": 0.1}
        text = choose(rng, wood)
        return text, not text.startswith("a ")
    return choose(rng, {"some trees": 0.5, "some green trees": 0.35, "several trees": 0.15}), True


def _residential_words(group: Group, colour: str, rng: Rng) -> tuple[str, bool]:
    shade = colour or ("colorful" if not group.colour and rng.random() < 0.5 else "")
    single_row = min(group.box[2] - group.box[0], group.box[3] - group.box[1]) < 0.16
    options = {
        f"many {shade} houses": 0.5,
        f"{'a row' if single_row else 'rows'} of {shade} houses": 0.2,
        f"a residential area with many {shade} houses": 0.2,
        f"many {shade} homes": 0.1,
    }
    text = choose(rng, options)
    return text, not text.startswith("a ")


def _parking_words(group: Group, rng: Rng) -> str:
    lot = choose(rng, {"parking lot": 0.8, "car park": 0.2})
    if not group.cars:
        return f"an empty {lot}"
    if len(group.cars) >= MANY:
        return choose(rng, {f"a {lot}": 0.25, f"a {lot} with many cars": 0.55, f"a {lot} full of cars": 0.2})
    return choose(rng, {f"a {lot}": 0.25, f"a {lot} with a few cars": 0.55, f"a {lot} with some cars": 0.2})


def verb(scene: Scene, thing: Thing, plural: bool, rng: Rng) -> str:
    """What a thing does, as in "are parked"; singular or plural as its noun is."""
    participle: Mapping[str, float] = {"": 1.0}
    if thing.kind == "planes":
        participle = {"parked": 0.7, "": 0.3}
    elif thing.kind == "boats":
        at_pier = scene.shore is not None and scene.shore.kind == "harbor"
        participle = {"docked": 0.5, "moored": 0.2, "": 0.3} if at_pier else {"sailing": 0.5, "": 0.5}
    elif thing.kind == "houses" and isinstance(thing, Group) and thing.count >= MANY:
        participle = {"arranged neatly": 0.3, "": 0.7}
    return f"{'are' if plural else 'is'} {choose(rng, participle)}".strip()


def strip_clause(strip: Strip, rng: Rng) -> Phrase:
    """A whole sentence about a river, a road or a runway."""
    if strip.axis == "diagonal":
        way = "diagonally across the picture"
    else:
        ends = {"vertical": "from top to bottom", "horizontal": "from left to right"}[strip.axis]
        across = {"across the picture": 0.3, "through the picture": 0.3, ends: 0.4}
        way = choose(rng, across)
        if strip.place and rng.random() < 0.55:
            return (
                noun_phrase(strip, rng)
                + choose(rng, {"is": 0.7, "lies": 0.3})
                + place_phrase(strip.place, rng)
            )
    verbs = {
        "river": {"flows": 0.45, "runs": 0.55},
        "road": {"goes": 0.4, "runs": 0.6},
        "runway": {"runs": 0.7, "goes": 0.3},
    }[strip.kind]
    return noun_phrase(strip, rng) + choose(rng, verbs) + way


def place_phrase(place: str, rng: Rng) -> str:
    """Where in the picture."""
    if place.endswith("corner"):
        return choose(
            rng, {f"in the {place}": 0.75, f"at the {place}": 0.15, f"in the {place} of the picture": 0.1}
        )
    if place == "center":
        return choose(
            rng, {"in the middle": 0.55, "in the center": 0.3, "in the middle of the picture": 0.15}
        )
    on = "on" if place in ("left", "right") else "at"
    options = {
        f"{on} the {place}": 0.6,
        f"{on} the {place} of the picture": 0.25,
        f"{on} the {place} side": 0.15,
    }
    return choose(rng, options)


def relation(scene: Scene, group: Group, rng: Rng) -> Phrase | None:
    """A group's place as seen from the scene's strip or water, or None where there is none to say."""
    if group.kind == "boats":
        return _afloat(scene, rng)
    if scene.shore:
        return _ashore(scene.shore, group, rng)
    if len(scene.strips) != 1 or scene.strips[0].axis == "diagonal":
        return None
    (strip,) = scene.strips
    side = side_of(group.box, strip.box)
    if side is not None and rng.random() < 0.5:
        where = {
            "left": {"on the left of": 0.7, "to the left of": 0.3},
            "right": {"on the right of": 0.7, "to the right of": 0.3},
            "above": {"above": 1.0},
            "below": {"below": 1.0},
        }[side]
        return Phrase(f"{choose(rng, where)} the {_short(strip, rng)}", (strip,))
    if gap(group.box, strip.box) <= _NEAR:
        return Phrase(f"{choose(rng, _BESIDE)} the {_short(strip, rng)}", (strip,))
    return None


def _ashore(shore: Shore, group: Group, rng: Rng) -> Phrase | None:
    if gap(group.box, shore.box) > _NEAR:
        return None
    if shore.kind == "sea" and rng.random() < 0.5:
        return Phrase(f"{choose(rng, _BESIDE)} the beach", (beach_thing(shore),))
    return Phrase(f"{choose(rng, _BESIDE)} the {_short(shore, rng)}", (shore,))


def _afloat(scene: Scene, rng: Rng) -> Phrase:
    shore = scene.shore
    if shore is None:
        river = scene.strips[0]
        return Phrase(f"{choose(rng, {'on': 0.7, 'in': 0.3})} the {_short(river, rng)}", (river,))
    if shore.kind == "sea":
        return Phrase(f"on the {_short(shore, rng)}", (shore,))
    if len(shore.piers) == 1 and rng.random() < 0.4:
        return Phrase("at the pier", (pier_thing(shore),))
    return Phrase(f"in the {_short(shore, rng)}", (shore,))


def beach_thing(shore: Shore) -> Thing:
    return Thing("beach", beach_of(shore), None)


def pier_thing(shore: Shore) -> Thing:
    return Thing("pier", hull(shore.piers[0].corners()), None)


def shore_clause(shore: Shore, rng: Rng) -> Phrase:
    """A whole sentence about the sea or a harbor."""
    phrase = (
        noun_phrase(shore, rng) + choose(rng, {"is": 0.7, "lies": 0.3}) + place_phrase(shore.place or "", rng)
    )
    if shore.kind == "sea" and rng.random() < 0.35:
        beach = choose(rng, {"a sandy beach": 0.6, "a beach": 0.4})
        return phrase + "with" + Phrase(beach, (beach_thing(shore),))
    return phrase


def _short(thing: Thing, rng: Rng) -> str:
    """The noun alone, for a thing that is taken as known."""
    usual, other = {
        "river": ("river", "stream"),
        "road": ("road", "street"),
        "runway": ("runway", "airstrip"),
        "harbor": ("harbor", "port"),
        "sea": ("sea", "ocean"),
    }[thing.kind]
    return choose(rng, {usual: 0.88, other: 0.12})
